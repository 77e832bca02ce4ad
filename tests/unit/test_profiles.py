"""Profiles: what they take, refuse and render to."""

import dataclasses
import pickle
import subprocess
import sys
from datetime import timedelta

import pytest

from fusiondelta import profiles, retry
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import (
    CacheProfile,
    EngineProfile,
    IoPolicy,
    MaterializeLimits,
    RetentionPolicy,
    RetryPolicy,
    StorageProfile,
    TablePolicy,
    TelemetryConfig,
    _engine,
    _machine,
)
from fusiondelta.profiles._settings import known_settings

pytestmark = pytest.mark.unit

MIB = 2**20
GIB = 2**30
DEFAULTS = [getattr(profiles, name)() for name in profiles.__all__]


@pytest.fixture
def machine(monkeypatch):
    """Eight cores and 10 GiB."""
    monkeypatch.setattr(_engine, "usable_cores", lambda: 8)
    monkeypatch.setattr(_engine, "usable_memory", lambda: 10 * GIB)


@pytest.mark.parametrize("value", DEFAULTS, ids=lambda v: type(v).__name__)
class TestEveryProfile:
    def test_is_a_value(self, value):
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert hash(again) == hash(value)
        assert value.replace() == value
        assert repr(value).startswith(f"{type(value).__name__}(")

    def test_is_frozen(self, value):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)

    def test_takes_keywords_only(self, value):
        with pytest.raises(TypeError):
            type(value)(1)

    def test_replace_names_the_nearest_field(self, value):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(ConfigurationError, match=f"did you mean '{name}'"):
            value.replace(**{name + "x": 1})


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 0),
        (17, 17),
        ("17", 17),
        ("8GiB", 8 * GIB),
        ("512 MB", 512 * 10**6),
        ("64M", 64 * MIB),
        ("1.5 kib", 1536),
        ("3b", 3),
        ("1TiB", 2**40),
    ],
)
def test_sizes(size, expected):
    assert CacheProfile(metadata=size).metadata == expected


@pytest.mark.parametrize(
    "size", [-1, True, 1.5, None, "", "GiB", "-1GiB", "8 GiBs", "1e3", "٣", 2**63, "9999999TiB"]
)
def test_bad_sizes_name_the_field_and_the_fix(size):
    with pytest.raises(ConfigurationError, match=r"CacheProfile\.metadata must be .*'8GiB'"):
        CacheProfile(metadata=size)


@pytest.mark.parametrize("given", [timedelta(milliseconds=1500), 1.5])
def test_durations(given):
    assert CacheProfile(max_staleness=given).max_staleness == timedelta(seconds=1.5)


@pytest.mark.parametrize(
    "given",
    [-1, timedelta(-1), True, "5s", None, float("nan"), float("inf"), 1e300, 10**400],
    ids=lambda g: repr(g)[:12],
)
def test_bad_durations_name_the_field_and_the_fix(given):
    with pytest.raises(ConfigurationError, match=r"max_staleness must be a duration: a timedelta"):
        CacheProfile(max_staleness=given)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (EngineProfile, "target_partitions", 0),
        (EngineProfile, "target_partitions", True),
        (EngineProfile, "batch_size", "8192"),
        (EngineProfile, "memory_limit", 0),
        (EngineProfile, "memory_pool", "fairly"),
        (EngineProfile, "memory_pool", ["fair"]),
        (EngineProfile, "spill_dir", ""),
        (EngineProfile, "max_spill", None),
        (EngineProfile, "pool_size", 0),
        (EngineProfile, "queue_timeout", None),
        (EngineProfile, "stall_timeout", 0),
        (EngineProfile, "isolation", None),
        (EngineProfile, "cache", "fresh"),
        (EngineProfile, "limits", 5),
        (EngineProfile, "options", [("a", "b")]),
        (MaterializeLimits, "max_rows", 0),
        (CacheProfile, "listings_ttl", 0),
        (CacheProfile, "by_tenant", "yes"),
        (IoPolicy, "retries", -1),
        (IoPolicy, "request_timeout", 0),
        (IoPolicy, "longest_backoff", 0.01),
        (IoPolicy, "concurrency", 0),
        (IoPolicy, "coalesce", "far"),
        (RetentionPolicy, "keep_versions", -1),
        (RetentionPolicy, "log_retention", "7d"),
        (RetentionPolicy, "no_vacuum", 1),
        (RetryPolicy, "attempts", 0),
        (RetryPolicy, "budget", 0),
        (RetryPolicy, "longest_delay", 0.01),
        (StorageProfile, "kind", "s4"),
        (StorageProfile, "scheme", "s3"),
        (TablePolicy, "writers", "append"),
        (TelemetryConfig, "enabled", None),
        (TelemetryConfig, "slow_query_sampling", 1.1),
        (TelemetryConfig, "slow_query_sampling", float("nan")),
    ],
)
def test_refusals_name_the_field(kind, field, value):
    with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\.{field}\b"):
        kind(**{field: value})
    with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}\.{field}\b"):
        kind().replace(**{field: value})


class TestEngineProfile:
    def test_defaults_fit_the_machine(self, machine):
        profile = EngineProfile()
        native = profile.native()
        assert profile.settings()["datafusion.execution.target_partitions"] == "8"
        assert profile.settings()["datafusion.execution.batch_size"] == "16384"
        assert native.memory_limit == 7 * GIB
        assert native.slots == 8
        assert native.max_spill == 100 * GIB
        assert (native.queue_timeout, native.stall_timeout) == (30.0, 60.0)
        assert (native.metadata_cache, native.list_files_cache) == (256 * MIB, 0)
        assert (native.list_files_ttl, native.spill_dir) == (None, None)
        assert (native.file_statistics_cache, native.snapshot_cache) == (20 * MIB, 256 * MIB)

    def test_small_machines_have_four_slots(self, monkeypatch):
        monkeypatch.setattr(_engine, "usable_cores", lambda: 1)
        assert EngineProfile().native().slots == 4

    @pytest.mark.parametrize(("pool_size", "expected"), [(1, "8"), (3, "3"), (8, "1"), (99, "1")])
    def test_cores_are_divided_among_the_queries_at_once(self, machine, pool_size, expected):
        settings = EngineProfile(pool_size=pool_size).settings()
        assert settings["datafusion.execution.target_partitions"] == expected

    def test_our_defaults(self):
        settings = EngineProfile(batch_size=100).settings()
        assert settings["datafusion.execution.batch_size"] == "100"
        assert settings["datafusion.execution.parquet.pushdown_filters"] == "false"
        assert settings["datafusion.catalog.information_schema"] == "true"
        assert set(settings) <= known_settings()

    def test_options_win(self):
        profile = EngineProfile(
            target_partitions=4,
            options={
                "datafusion.execution.target_partitions": 7,
                "datafusion.execution.parquet.pushdown_filters": True,
                "datafusion.execution.time_zone": "UTC",
            },
        )
        settings = profile.settings()
        assert settings["datafusion.execution.target_partitions"] == "7"
        assert settings["datafusion.execution.parquet.pushdown_filters"] == "true"
        assert settings["datafusion.execution.time_zone"] == "UTC"

    def test_options_are_compared_by_value(self):
        one = {"datafusion.execution.batch_size": 9, "datafusion.format.safe": True}
        other = {"datafusion.format.safe": "true", "datafusion.execution.batch_size": "9"}
        a, b = EngineProfile(options=one), EngineProfile(options=other)
        assert a == b
        assert hash(a) == hash(b)
        assert pickle.loads(pickle.dumps(a)) == a
        assert dict(a.options) == {
            "datafusion.execution.batch_size": "9",
            "datafusion.format.safe": "true",
        }
        one["datafusion.format.safe"] = False
        assert a.options["datafusion.format.safe"] == "true"

    @pytest.mark.parametrize(
        ("key", "nearest"),
        [
            ("datafusion.execution.batchsize", "datafusion.execution.batch_size"),
            ("batch_size", "datafusion.execution.batch_size"),
            ("parquet.pushdown_filters", "datafusion.execution.parquet.pushdown_filters"),
            (5, "datafusion"),
        ],
    )
    def test_unknown_option_names_the_nearest(self, key, nearest):
        with pytest.raises(ConfigurationError, match=f"options: .*did you mean '{nearest}"):
            EngineProfile(options={key: 5})

    @pytest.mark.parametrize("value", [None, float("nan"), float("inf"), [1], b"x"])
    def test_option_values_are_scalars(self, value):
        with pytest.raises(ConfigurationError, match="batch_size must be a text"):
            EngineProfile(options={"datafusion.execution.batch_size": value})

    def test_information_schema_stays_on(self):
        key = "datafusion.catalog.information_schema"
        assert EngineProfile(options={key: True}).settings()[key] == "true"
        with pytest.raises(ConfigurationError, match="always on"):
            EngineProfile(options={key: False})

    def test_runtime_options_set_the_native_fields(self):
        profile = EngineProfile(
            memory_limit="1GiB",
            options={
                "datafusion.runtime.memory_limit": "2G",
                "datafusion.runtime.metadata_cache_limit": 5,
                "datafusion.runtime.list_files_cache_limit": "1M",
                "datafusion.runtime.list_files_cache_ttl": "1m30s",
                "datafusion.runtime.file_statistics_cache_limit": "3K",
                "datafusion.runtime.max_temp_directory_size": "4G",
                "datafusion.runtime.temp_directory": "/spill",
            },
        )
        native = profile.native()
        assert native.memory_limit == 2 * GIB
        assert native.metadata_cache == 5
        assert native.list_files_cache == MIB
        assert native.list_files_ttl == 90.0
        assert native.file_statistics_cache == 3 * 1024
        assert native.max_spill == 4 * GIB
        assert native.spill_dir == "/spill"
        assert not any(key.startswith("datafusion.runtime.") for key in profile.settings())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("memory_limit", "lots"),
            ("memory_limit", 0),
            ("list_files_cache_ttl", "30"),
            ("list_files_cache_ttl", "0s"),
            ("list_files_cache_ttl", ""),
            ("list_files_cache_ttl", "99999999999999999999m"),
            ("max_spill_merge_fan_in", 4),
        ],
    )
    def test_bad_runtime_options_fail_when_made(self, key, value):
        with pytest.raises(ConfigurationError, match=rf"datafusion\.runtime\.{key}"):
            EngineProfile(options={f"datafusion.runtime.{key}": value})

    def test_every_runtime_setting_is_decided_on(self):
        runtime = {k for k in known_settings() if k.startswith("datafusion.runtime.")}
        ours = {f"datafusion.runtime.{k}" for k in _engine._NATIVE_FIELDS}
        assert runtime - ours == {"datafusion.runtime.max_spill_merge_fan_in"}
        assert ours <= runtime

    def test_unbounded_has_no_limit(self):
        assert EngineProfile(memory_pool="unbounded").native().memory_limit is None
        with pytest.raises(ConfigurationError, match="memory_limit has no effect"):
            EngineProfile(memory_pool="unbounded", memory_limit="1GiB")
        with pytest.raises(ConfigurationError, match="memory_pool"):
            EngineProfile(
                memory_pool="unbounded", options={"datafusion.runtime.memory_limit": "1G"}
            )

    def test_spill_dir_takes_paths(self, tmp_path):
        assert EngineProfile(spill_dir=tmp_path).native().spill_dir == str(tmp_path)

    def test_replace_keeps_what_fits_the_machine_open(self, machine):
        assert EngineProfile().replace(pool_size=4).native().memory_limit == 7 * GIB

    @pytest.mark.parametrize("name", ["development", "production", "interactive", "low_memory"])
    def test_named_profiles_differ(self, name):
        profile = getattr(EngineProfile, name)()
        assert profile != EngineProfile()
        assert pickle.loads(pickle.dumps(profile)) == profile
        assert set(profile.settings()) <= known_settings()
        assert profile.native().memory_limit > 0

    def test_named_profiles_stay_within_small_containers(self, monkeypatch):
        monkeypatch.setattr(_engine, "usable_memory", lambda: 100 * MIB)
        assert EngineProfile.low_memory().memory_limit == 70 * MIB
        assert EngineProfile.development().memory_limit == 70 * MIB


class TestCacheProfile:
    def test_named(self):
        assert CacheProfile.snapshot_pinned() == CacheProfile()
        stale = CacheProfile.remote_fast_stale()
        assert (stale.listings, stale.listings_ttl, stale.metadata) == (64 * MIB, None, 256 * MIB)
        ttl = CacheProfile.remote_fast_ttl30s()
        assert ttl == stale.replace(listings_ttl=30)
        fresh = CacheProfile.fresh_no_list_cache()
        assert (fresh.listings, fresh.metadata) == (0, 256 * MIB)
        none = CacheProfile.multi_tenant_no_caches()
        assert (none.listings, none.metadata, none.snapshots, none.statistics) == (0, 0, 0, 0)
        assert none.by_tenant
        assert EngineProfile(cache=ttl).native().list_files_ttl == 30.0


def test_io_policy_speaks_delta_rs():
    assert IoPolicy().to_deltalake_options() == {
        "max_retries": "10",
        "retry_timeout": "180s",
        "backoff_config.init_backoff": "100ms",
        "backoff_config.max_backoff": "15s",
        "connect_timeout": "5s",
        "timeout": "30s",
        "OBJECT_STORE_CONCURRENCY_LIMIT": "64",
    }
    odd = IoPolicy(request_timeout=timedelta(microseconds=1_000_001))
    assert odd.to_deltalake_options()["timeout"] == "1000001us"


def test_policies():
    assert RetentionPolicy().min_retention == timedelta(days=7)
    assert RetentionPolicy(log_retention=60).log_retention == timedelta(minutes=1)
    assert TablePolicy(writers="append_only").writers == "append_only"
    assert retry.RetryPolicy is RetryPolicy
    assert RetryPolicy().first_delay == timedelta(milliseconds=100)
    assert TelemetryConfig(slow_query_sampling=1).slow_query_sampling == 1.0


def test_known_settings_are_those_of_the_installed_datafusion():
    datafusion = pytest.importorskip("datafusion")
    context = datafusion.SessionContext(datafusion.SessionConfig().with_information_schema(True))
    rows = context.sql("select name from information_schema.df_settings").to_pydict()
    assert known_settings() == frozenset(rows["name"])


def test_no_upstream_import():
    code = (
        "import sys, fusiondelta.profiles, fusiondelta.retry\n"
        "print({m.split('.')[0] for m in sys.modules} & {'pyarrow', 'datafusion', 'deltalake'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestMachine:
    @staticmethod
    def root(tmp_path, membership, files):
        for name, text in {"proc/self/cgroup": membership, **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    @pytest.fixture(autouse=True)
    def host(self, monkeypatch):
        if sys.platform != "linux":
            pytest.skip("cgroups are of Linux")
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
        monkeypatch.setattr(_machine, "_physical_memory", lambda: 64 * GIB)

    def test_without_cgroups(self, tmp_path):
        assert _machine.usable_cores(tmp_path) == 16
        assert _machine.usable_memory(tmp_path) == 64 * GIB

    def test_v2_takes_the_least_on_the_way_up(self, tmp_path):
        root = self.root(
            tmp_path,
            "0::/pod/box\n",
            {
                "sys/fs/cgroup/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "250000 100000\n",
                "sys/fs/cgroup/pod/box/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/pod/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/pod/box/memory.max": "max\n",
            },
        )
        assert _machine.usable_cores(root) == 3
        assert _machine.usable_memory(root) == 3 * GIB

    def test_v1_in_a_container_that_sees_the_hosts_path(self, tmp_path):
        root = self.root(
            tmp_path,
            "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
            },
        )
        assert _machine.usable_cores(root) == 1
        assert _machine.usable_memory(root) == 2 * GIB

    def test_v1_without_limits(self, tmp_path):
        root = self.root(
            tmp_path,
            "4:memory:/\n3:cpu,cpuacct:/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
        )
        assert _machine.usable_cores(root) == 16
        assert _machine.usable_memory(root) == 64 * GIB


def test_this_machine():
    assert _machine.usable_cores() >= 1
    assert _machine.usable_memory() > 64 * MIB
