"""`optimize` of a part of a table, and with several commits, each complete in itself."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import FusionDeltaEngine

pytestmark = pytest.mark.integration

PARTITIONS = 4
NAN = float("nan")


@pytest.fixture
def engine():
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture(
    params=[
        {},
        {"delta.enableDeletionVectors": "true"},
        {"delta.columnMapping.mode": "name", "delta.enableDeletionVectors": "true"},
    ],
    ids=["plain", "vectors", "mapped"],
)
def uri(request, engine, tmp_path):
    """Three files of ten rows in each partition, of which one row is deleted."""
    for n in range(3):
        ids = range(n * 40, n * 40 + 40)
        data = pa.table(
            {
                "id": pa.array(ids, pa.int64()),
                "p": [f"p{i % PARTITIONS}" for i in ids],
                "x": [NAN if i % 8 == 0 else float(i) for i in ids],
            }
        )
        made = {"partition_by": "p", "properties": request.param} if n == 0 else {}
        engine.write_delta(tmp_path / "t", data, **made)
    engine.delete(tmp_path / "t", "id = 5")
    return tmp_path / "t"


def ids(engine, uri, version=None):
    source = (
        fusiondelta.DeltaSource(uri) if version is None else fusiondelta.DeltaSource(uri, version)
    )
    found = engine.query("SELECT id FROM t ORDER BY id", sources={"t": source}).to_pylist()
    return [row["id"] for row in found]


EXPECTED = sorted(set(range(120)) - {5})


def commit(uri, version):
    lines = (uri / "_delta_log" / f"{version:020}.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_version_has_all_rows(engine, uri):
    before = engine.open_delta(uri).snapshot.version
    result = engine.optimize(uri, min_commit_interval=1e-6, max_concurrent_tasks=1)
    assert result.snapshot.version == before + PARTITIONS
    assert (result.files_added, result.files_removed) == (4, 12)
    assert result.operation_metrics["num_files_added"] == 4
    assert result.operation_metrics["num_files_removed"] == 12
    for version in range(before + 1, before + 1 + PARTITIONS):
        assert ids(engine, uri, version) == EXPECTED
        actions = commit(uri, version)
        adds = [action["add"] for action in actions if "add" in action]
        removes = [action["remove"] for action in actions if "remove" in action]
        assert (len(adds), len(removes)) == (1, 3)
        assert not any(action["dataChange"] for action in [*adds, *removes])
        [info] = [action["commitInfo"] for action in actions if "commitInfo" in action]
        assert info["readVersion"] == version - 1
    found = engine.query("SELECT count(*) AS n FROM t WHERE x > 1e300", sources={"t": uri})
    assert found.to_pylist() == [{"n": 15}]
    assert engine.optimize(uri).outcome == "UNCHANGED"


def optimized(uri, meanwhile, **options):
    """Optimizes in parts, and calls `meanwhile` with another engine after the second."""
    with FusionDeltaEngine() as one, FusionDeltaEngine() as other:
        before = one.open_delta(uri).snapshot.version

        def hook(name, version):
            if (name, version) == ("answered", before + 2):
                meanwhile(other)

        one._committer = dataclasses.replace(one._committer, hook=hook)
        return one.optimize(uri, min_commit_interval=1e-6, max_concurrent_tasks=1, **options)


def test_others_append_in_between(engine, uri):
    row = pa.table({"id": pa.array([999], pa.int64()), "p": ["p0"], "x": [0.5]})
    result = optimized(uri, lambda other: other.write_delta(uri, row))
    assert result.files_added == PARTITIONS
    assert ids(engine, uri) == [*EXPECTED, 999]


def test_others_delete_in_between(engine, uri):
    """What is committed stays, and what another has changed is left to the next run."""
    before = engine.open_delta(uri).snapshot.version
    once = fusiondelta.RetryPolicy(attempts=1)
    with pytest.raises(fusiondelta.CommitConflict):
        optimized(uri, lambda other: other.delete(uri, "id IN (3, 7)"), retry=once)
    expected = sorted(set(EXPECTED) - {3, 7})
    assert ids(engine, uri) == expected
    assert ids(engine, uri, before + 2) == EXPECTED
    added = sum("add" in action for action in commit(uri, before + 2))
    assert added == 1
    assert engine.optimize(uri).outcome == "COMMITTED"
    assert ids(engine, uri) == expected


def test_others_delete_in_between_and_it_is_tried_again(engine, uri):
    result = optimized(uri, lambda other: other.delete(uri, "id IN (3, 7)"))
    assert len(result.attempts) == 2
    assert ids(engine, uri) == sorted(set(EXPECTED) - {3, 7})
    assert engine.optimize(uri).outcome == "UNCHANGED"


@pytest.fixture
def days(engine, tmp_path):
    """Two files in each of five partitions, one of them without a day."""
    values = [dt.date(2026, 1, 9), dt.date(2026, 1, 10), dt.date(2026, 2, 1), dt.date(2027, 1, 1)]
    for n in range(2):
        data = pa.table({"id": [n] * 5, "Day": pa.array([*values, None], pa.date32())})
        engine.write_delta(tmp_path / "d", data, partition_by="Day")
    return tmp_path / "d"


@pytest.mark.parametrize(
    ("predicate", "parameters", "partitions"),
    [
        ("\"Day\" >= DATE '2026-02-01'", None, 2),
        # Of the type of the column, and not of its text.
        ('"Day" < $day', {"day": dt.date(2026, 1, 10)}, 1),
        ('extract(year FROM "Day") = 2026 AND "Day" <> \'2026-01-09\'', None, 2),
        ('"Day" IS NULL', None, 1),
        ("NOT (\"Day\" > DATE '2026-01-31')", None, 2),
        ('"Day" = NULL', None, 0),
        ("1 = 1", None, 5),
    ],
)
def test_where_partitions_are_optimized(engine, days, predicate, parameters, partitions):
    result = engine.optimize(days, predicate=predicate, param_values=parameters)
    assert result.operation_metrics["num_files_removed"] == 2 * partitions
    assert (result.outcome == "COMMITTED") == (partitions > 0)
    assert ids(engine, days) == [0] * 5 + [1] * 5
    again = engine.execute(
        f"OPTIMIZE d WHERE {predicate} ZORDER BY (id)",
        tables={"d": days},
        param_values=parameters,
    )
    assert again.files_added == partitions
    assert ids(engine, days) == [0] * 5 + [1] * 5


def test_with_partition_filters_too(engine, days):
    filters = [("Day", ">=", "2026-01-10")]
    result = engine.optimize(days, predicate="\"Day\" < '2026-12-31'", partition_filters=filters)
    assert result.files_removed == 4


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("id = 1", "'?\"?id\"?'?, which is no partition column"),
        ('"Dey" = NULL', "did you mean"),
        ('"Day" = ', "EOF"),
        ('"Day" IS NULL adn true', "adn"),
        ('"Day" IN (SELECT "Day" FROM target)', "subquery"),
        ('max("Day") IS NULL', "aggregates"),
        ('"Day"', "true or false"),
        ('"Day" = $1', "parameter"),
    ],
)
def test_where_is_no_place_for_this(engine, days, predicate, message):
    before = engine.open_delta(days).snapshot.version
    for call in (
        lambda: engine.optimize(days, predicate=predicate),
        lambda: engine.execute(f"OPTIMIZE d WHERE {predicate}", tables={"d": days}),
    ):
        with pytest.raises((fusiondelta.SqlError, fusiondelta.ParameterError)):
            call()
    with pytest.raises((fusiondelta.SqlError, fusiondelta.ParameterError), match=message):
        engine.optimize(days, predicate=predicate)
    assert engine.open_delta(days).snapshot.version == before
