"""Every configuration value: frozen, keyword-only, compared by what it holds, shown in full."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import pytest

import fusiondelta
from fusiondelta import profiles
from fusiondelta.profiles._engine import NativeConfig
from fusiondelta.writes import CommitSpec, WriteSpec

#: A value that is valid and not the default, for every field of every class.
OTHER = {
    fusiondelta.CacheProfile: {
        "snapshots": 1,
        "listings": 1,
        "listings_ttl": 30,
        "metadata": 1,
        "statistics": 1,
        "max_staleness": 5,
        "by_tenant": True,
    },
    fusiondelta.EngineProfile: {
        "target_partitions": 3,
        "batch_size": 100,
        "memory_limit": "1GiB",
        "memory_pool": "greedy",
        "spill_dir": "/spill",
        "max_spill": 0,
        "pool_size": 7,
        "queue_timeout": 1,
        "stall_timeout": None,
        "string_views": True,
        "isolation": "per_request",
        "cache": fusiondelta.CacheProfile.multi_tenant_no_caches(),
        "options": {"datafusion.execution.batch_size": "1"},
        "limits": fusiondelta.MaterializeLimits(max_rows=1),
    },
    fusiondelta.IoPolicy: {
        "connect_timeout": 1,
        "request_timeout": 1,
        "retries": 0,
        "first_backoff": 1,
        "longest_backoff": 20,
        "retry_budget": 1,
        "concurrency": 1,
        "coalesce": 0,
    },
    fusiondelta.MaterializeLimits: {"max_rows": 1, "max_bytes": 1},
    fusiondelta.QuerySpec: {
        "sql": "select 2",
        "sources": {"t": "t"},
        "param_values": [1],
        "readonly": False,
        "capture_plan": False,
        "timeout": 1,
        "memory_limit": 1,
        "consistent_at": "2024-01-01",
        "max_scan_bytes": 1,
        "expect_pruning": {"t": 0.5},
        "digest": True,
        "progress": print,
        "tenant": "t",
        "tags": {"a": "b"},
    },
    fusiondelta.RetentionPolicy: {
        "min_retention": 1,
        "log_retention": 1,
        "keep_versions": 1,
        "no_vacuum": True,
    },
    fusiondelta.RetryPolicy: {
        "attempts": 1,
        "first_delay": 1,
        "longest_delay": 10,
        "budget": 1,
        "spool": True,
        "allow_volatile": True,
    },
    fusiondelta.StorageProfile: {
        "options": {"region": "eu-west-1"},
        "secrets": {"sse_customer_key_base64": "c2VjcmV0"},
        "io": fusiondelta.IoPolicy(retries=0),
        "write_safety": "single_writer_unsafe",
        "conditional_put_verified": True,
        "scheme": "s3a",
        "credentials": dict,
    },
    fusiondelta.TablePolicy: {"writers": "append_only"},
    fusiondelta.TelemetryConfig: {
        "enabled": True,
        "slow_query_threshold": 1,
        "slow_query_sampling": 1.0,
        "traces": False,
        "metrics": False,
        "logs": True,
        "operators": 1,
        "requests": 1,
        "statement": False,
        "slow_query_rate": 1,
        "slow_query_keep": 1,
        "endpoint": "http://other",
        "headers": {"a": "b"},
        "protocol": "grpc",
        "service_name": "s",
        "delta_tracing": True,
    },
    fusiondelta.WriterProperties: {
        "compression": "snappy",
        "compression_level": 3,
        "max_row_group_rows": 1,
        "data_page_bytes": 1,
        "dictionary": False,
        "statistics": "none",
        "bloom_filter_columns": ("a",),
        "column_compression": {"a": "zstd"},
        "column_dictionary": {"a": False},
        "column_encoding": {"a": "plain"},
        "column_statistics": {"a": "none"},
    },
    CommitSpec: {
        "uri": "file:///other",
        "commit_id": "d",
        "run_id": "d",
        "query_id": "d",
        "metadata": {"a": "b"},
        "idempotency_key": ("app", 1),
        "source_version": 1,
        "hook": print,
    },
    WriteSpec: {
        "mode": "append",
        "schema_mode": "merge",
        "partition_by": ["a"],
        "replace_where": "a > 1",
        "replace_partitions": True,
        "target_file_size": 1,
        "truncate_timestamps": True,
        "writer_properties": fusiondelta.WriterProperties(compression="snappy"),
        "properties": {"a": "b"},
    },
}
#: A field that does not change alone: others of the profile go with some kinds only.
NOT_ALONE = {(fusiondelta.StorageProfile, "kind")}
NEEDED = {
    fusiondelta.QuerySpec: {"sql": "select 1"},
    fusiondelta.StorageProfile: {"kind": "s3", "write_safety": "conditional_put"},
    CommitSpec: {"uri": "file:///t", "commit_id": "c", "run_id": "r", "query_id": "q"},
    WriteSpec: {"mode": "overwrite"},
    fusiondelta.TelemetryConfig: {"endpoint": "http://127.0.0.1:4318"},
}
#: What holds mappings or lists that a user gave, and so has no hash.
UNHASHABLE = {CommitSpec, WriteSpec}
FIELDS = [(cls, name) for cls, values in OTHER.items() for name in values]

pytestmark = pytest.mark.contracts


def make(cls, **changes):
    return cls(**{**NEEDED.get(cls, {}), **changes})


def problems(cls: type) -> list[str]:
    """What keeps a class from being a configuration value, a line each."""
    if not dataclasses.is_dataclass(cls):
        return ["is no dataclass"]
    found = []
    if not cls.__dataclass_params__.frozen:
        found.append("is not frozen")
    if not cls.__dataclass_params__.eq:
        found.append("does not compare by value")
    if "__slots__" not in vars(cls):
        found.append("has no slots")
    parameters = list(inspect.signature(cls).parameters.values())
    found += [f"{p.name} is positional" for p in parameters if p.kind is not p.KEYWORD_ONLY]
    found += [f"{f.name} is not in the repr" for f in dataclasses.fields(cls) if not f.repr]
    found += [f"{f.name} does not compare" for f in dataclasses.fields(cls) if not f.compare]
    return found


def test_every_class_is_here():
    public = {getattr(profiles, name) for name in profiles.__all__}
    assert len(public) >= 9
    assert public <= set(OTHER)
    for cls, values in OTHER.items():
        fields = {field.name for field in dataclasses.fields(cls)}
        assert fields == set(values) | {name for other, name in NOT_ALONE if other is cls}


@pytest.mark.parametrize("cls", [*OTHER, NativeConfig], ids=lambda cls: cls.__name__)
def test_is_a_value(cls):
    assert problems(cls) == []


@pytest.mark.parametrize("cls", OTHER, ids=lambda cls: cls.__name__)
def test_equal_ones_are_equal_and_frozen(cls):
    one = make(cls)
    assert one == make(cls)
    assert pickle.loads(pickle.dumps(one)) == one
    if cls not in UNHASHABLE:
        assert hash(one) == hash(make(cls))
    field = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, field, getattr(one, field))


@pytest.mark.parametrize(
    ("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS]
)
def test_each_field_counts_and_shows(cls, name):
    one, other = make(cls), make(cls, **{name: OTHER[cls][name]})
    assert one != other
    assert repr(one) != repr(other)
    assert f"{name}=" in repr(other)
    if hasattr(cls, "replace"):
        assert one.replace(**{name: OTHER[cls][name]}) == other


def test_planted_violations_are_found():
    @dataclasses.dataclass
    class Loose:
        a: int = 1
        b: int = dataclasses.field(default=1, repr=False, compare=False)

    assert set(problems(Loose)) == {
        "is not frozen",
        "has no slots",
        "a is positional",
        "b is positional",
        "b is not in the repr",
        "b does not compare",
    }
    assert problems(dict) == ["is no dataclass"]
