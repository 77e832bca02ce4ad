"""Delta tables on the local file system: written in every way, read back, and read as they were."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import deltalake
import pyarrow as pa
import pytest

from fusiondelta import (
    DeltaSource,
    FusionDeltaError,
    SchemaMismatchError,
    SnapshotKey,
    SnapshotNotFoundError,
    SnapshotSpec,
    SourceError,
)
from tests.integration.tables import ids, numbers, rows

pytestmark = pytest.mark.integration

UTC = dt.timezone.utc


def files(engine, uri):
    return engine.open_delta(uri).files()


def committed_at(uri, version, instant):
    ns = int(instant.timestamp() * 1_000_000_000)
    os.utime(Path(uri, "_delta_log", f"{version:020}.json"), ns=(ns, ns))


# modes


def test_write_makes_a_table_and_append_adds_to_it(engine, uri):
    first = engine.write_delta(uri, numbers(1, 2))
    second = engine.write_delta(uri, numbers(3))

    assert (first.snapshot.version, first.read_version, first.rows_written) == (0, None, 2)
    assert (second.snapshot.version, second.read_version, second.rows_written) == (1, 0, 1)
    assert first.outcome == second.outcome == "COMMITTED"
    assert second.files_added == 1
    assert second.files_removed == 0
    assert second.bytes_written > 0
    assert second.snapshot == SnapshotKey(f"file://{uri}", 1)
    assert ids(engine, uri) == [1, 2, 3]


def test_overwrite_replaces_all_rows(engine, uri):
    engine.write_delta(uri, numbers(1, 2))
    written = engine.write_delta(uri, numbers(7), mode="overwrite")
    assert (written.files_added, written.files_removed) == (1, 1)
    assert ids(engine, uri) == [7]
    assert ids(engine, DeltaSource(uri, 0)) == [1, 2]


def test_replace_where_replaces_the_rows_it_selects(engine, uri):
    engine.write_delta(uri, numbers(1, 2, 3, k=["a", "b", "b"]))
    engine.write_delta(uri, numbers(9, 10, k=["b", "b"]), mode="overwrite", replace_where="k = 'b'")
    assert ids(engine, uri) == [1, 9, 10]


def test_replace_where_refuses_rows_outside_of_it(engine, uri):
    engine.write_delta(uri, numbers(1, 2, k=["a", "b"]))
    with pytest.raises(FusionDeltaError, match=r"not among those that replace_where"):
        engine.write_delta(uri, numbers(9, k=["a"]), mode="overwrite", replace_where="k = 'b'")
    assert engine.open_delta(uri).snapshot.version == 0
    assert ids(engine, uri) == [1, 2]


def test_replace_where_on_a_partition_leaves_the_other_files_alone(engine, uri):
    engine.write_delta(uri, numbers(1, 2, 3, k=["a", "b", "c"]), partition_by="k")
    before = set(files(engine, uri)["path"].to_pylist())
    written = engine.write_delta(
        uri, numbers(9, k=["b"]), mode="overwrite", replace_where="k = 'b'"
    )
    after = set(files(engine, uri)["path"].to_pylist())
    assert (written.files_added, written.files_removed) == (1, 1)
    assert len(before & after) == 2
    assert ids(engine, uri) == [1, 3, 9]


@pytest.mark.parametrize("columns", ["k", ["k"], ["k", "day"]])
def test_partitioned_tables_are_laid_out_and_pruned_by_their_columns(engine, uri, columns):
    day = [dt.date(2024, 1, d) for d in (1, 1, 2, 2)]
    engine.write_delta(
        uri, numbers(1, 2, 3, 4, k=["a", "b", "a", None], day=day), partition_by=columns
    )
    names = [columns] if isinstance(columns, str) else columns
    assert engine.open_delta(uri).detail()["partition_columns"] == names
    assert all(path.startswith("k=") for path in files(engine, uri)["path"].to_pylist())

    pruned = engine.query("SELECT id FROM t WHERE k = 'b'", sources={"t": uri})
    assert pruned.to_pylist() == [{"id": 2}]
    assert pruned.io.by_purpose["footer"] == 1, "of three or four files one is opened"
    absent = engine.query("SELECT id, day FROM t WHERE k IS NULL", sources={"t": uri})
    assert absent.to_pylist() == [{"id": 4, "day": dt.date(2024, 1, 2)}]


def test_append_keeps_the_partitioning_of_the_table(engine, uri):
    engine.write_delta(uri, numbers(1, k=["a"]), partition_by="k")
    engine.write_delta(uri, numbers(2, k=["b"]))
    assert {path.split("/")[0] for path in files(engine, uri)["path"].to_pylist()} == {"k=a", "k=b"}
    assert rows(engine, uri) == [{"id": 1, "k": "a"}, {"id": 2, "k": "b"}]


def test_mode_error_writes_only_where_there_is_no_table(engine, uri):
    assert engine.write_delta(uri, numbers(1), mode="error").snapshot.version == 0
    with pytest.raises(SourceError, match="already, at version 0"):
        engine.write_delta(uri, numbers(2), mode="error")
    assert ids(engine, uri) == [1]


def test_mode_ignore_does_nothing_where_there_is_a_table(engine, uri):
    assert engine.write_delta(uri, numbers(1), mode="ignore").outcome == "COMMITTED"
    ignored = engine.write_delta(uri, numbers(2), mode="ignore")
    assert ignored.outcome == "IGNORED"
    assert (ignored.snapshot.version, ignored.rows_written, ignored.files_added) == (0, 0, 0)
    assert ids(engine, uri) == [1]


def test_schema_merge_adds_columns(engine, uri):
    engine.write_delta(uri, numbers(1))
    engine.write_delta(uri, numbers(2, name=["b"]), schema_mode="merge")
    assert rows(engine, uri) == [{"id": 1, "name": None}, {"id": 2, "name": "b"}]
    engine.write_delta(uri, numbers(3), schema_mode="merge")
    assert rows(engine, uri)[2] == {"id": 3, "name": None}


def test_schema_overwrite_replaces_the_schema_and_has_to_be_allowed(engine, uri):
    engine.write_delta(uri, numbers(1))
    other = pa.table({"name": ["x"]})
    with pytest.raises(ValueError, match="allow_metadata_change=True"):
        engine.write_delta(uri, other, mode="overwrite", schema_mode="overwrite")
    engine.write_delta(
        uri, other, mode="overwrite", schema_mode="overwrite", allow_metadata_change=True
    )
    assert rows(engine, uri) == [{"name": "x"}]
    assert engine.open_delta(uri, 0).schema.names == ["id"]


def test_strict_schema_is_the_default(engine, uri):
    engine.write_delta(uri, numbers(1))
    with pytest.raises(SchemaMismatchError, match="name: string in the data, not in the table"):
        engine.write_delta(uri, numbers(2, name=["b"]))
    assert engine.open_delta(uri).snapshot.version == 0


# as they were


def test_time_travel_by_version(engine, uri):
    for version in range(4):
        engine.write_delta(uri, numbers(version))
    for version in range(4):
        expected = list(range(version + 1))
        assert ids(engine, DeltaSource(uri, version)) == expected
        assert ids(engine, DeltaSource(uri, SnapshotSpec.version(version))) == expected
    assert engine.reachable_versions(uri) == range(4)


def test_time_travel_by_timestamp(engine, uri):
    noon = dt.datetime(2024, 5, 1, 12, tzinfo=UTC)
    for version in range(3):
        engine.write_delta(uri, numbers(version))
        committed_at(uri, version, noon + dt.timedelta(hours=version))

    def at(instant):
        return engine.open_delta(uri, instant).snapshot.version

    assert at(noon) == 0
    assert at(noon + dt.timedelta(minutes=59)) == 0
    assert at(noon + dt.timedelta(hours=1)) == 1
    assert at("2024-05-01T15:30:00+02:00") == 1
    assert at("2024-05-01T14:00:00Z") == 2
    assert at(dt.datetime(2024, 5, 1, 13, 30)) == 1, "without a zone it is UTC"
    assert at(SnapshotSpec.timestamp(noon + dt.timedelta(days=400))) == 2
    assert ids(engine, DeltaSource(uri, noon)) == [0]
    with pytest.raises(SnapshotNotFoundError, match=r"version 0, committed at 2024-05-01T12:00"):
        at(noon - dt.timedelta(milliseconds=1))


def test_consistent_at_pins_every_table_to_one_instant(engine, tmp_path):
    noon = dt.datetime(2024, 5, 1, 12, tzinfo=UTC)
    uris = {name: str(tmp_path / name) for name in ("a", "b")}
    for minute, (name, value) in enumerate([("a", 1), ("b", 10), ("a", 2), ("b", 20)]):
        version = engine.write_delta(uris[name], numbers(value)).snapshot.version
        committed_at(uris[name], version, noon + dt.timedelta(minutes=minute))

    def total(minute, sources=uris):
        result = engine.query(
            "SELECT (SELECT sum(id) FROM a) + (SELECT sum(id) FROM b) AS total",
            sources=sources,
            consistent_at=noon + dt.timedelta(minutes=minute),
        )
        versions = tuple(key.version for key in result.snapshots)
        return versions, result.to_pylist()[0]["total"]

    assert total(1) == ((0, 0), 11)
    assert total(2) == ((1, 0), 13)
    assert total(3) == ((1, 1), 33)
    own = {**uris, "a": DeltaSource(uris["a"], 1)}
    assert total(1, own) == ((1, 0), 13), "a source's own version wins"
    with pytest.raises(SnapshotNotFoundError, match=r"no version of .*/b is as old"):
        total(0)


def test_latest_is_resolved_by_each_query_and_a_pinned_source_is_not(engine, uri):
    engine.write_delta(uri, numbers(1))
    engine.register("moving", uri)
    engine.register("pinned", engine.open_delta(uri))
    engine.write_delta(uri, numbers(2))

    def count(name):
        return engine.query(f"SELECT count(*) AS n FROM {name}").to_pylist()[0]["n"]

    assert (count("moving"), count("pinned")) == (2, 1)
    deltalake.write_deltalake(uri, numbers(3), mode="append")
    assert (count("moving"), count("pinned")) == (3, 1)


def test_a_delta_table_object_is_pinned_at_its_version(engine, uri):
    engine.write_delta(uri, numbers(1))
    table = deltalake.DeltaTable(uri)
    engine.write_delta(uri, numbers(2))
    assert ids(engine, table) == [1]


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_table_deleted_and_made_anew_is_noticed(engine, uri, commits):
    engine.write_delta(uri, numbers(1))
    engine.write_delta(uri, numbers(2))
    assert ids(engine, uri) == [1, 2]

    shutil.rmtree(uri)
    with pytest.raises(SourceError, match="no table"):
        ids(engine, uri)

    for value in range(commits):
        deltalake.write_deltalake(uri, pa.table({"other": [value]}), mode="append")
    assert rows(engine, uri) == [{"other": value} for value in range(commits)]
    assert engine.query("SELECT * FROM t", sources={"t": uri}).snapshots[0].version == commits - 1


def test_a_table_made_anew_is_noticed_by_writes(engine, uri):
    engine.write_delta(uri, numbers(1))
    shutil.rmtree(uri)
    assert engine.write_delta(uri, pa.table({"other": ["x"]})).snapshot.version == 0
    assert rows(engine, uri) == [{"other": "x"}]


def test_writers_at_once_lose_nothing(engine, uri):
    engine.write_delta(uri, numbers(0))
    start = Barrier(8)

    def append(value):
        start.wait(timeout=30)
        return engine.write_delta(uri, numbers(value)).snapshot.version

    with ThreadPoolExecutor(8) as threads:
        versions = sorted(threads.map(append, range(1, 9)))
    assert versions == list(range(1, 9))
    assert ids(engine, uri) == list(range(9))


def test_writers_at_once_may_all_be_the_first(engine, uri):
    start = Barrier(4)

    def append(value):
        start.wait(timeout=30)
        return engine.write_delta(uri, numbers(value)).snapshot.version

    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(append, value) for value in range(4)]
    landed = [n for n, outcome in enumerate(outcomes) if outcome.exception() is None]
    assert landed, [outcome.exception() for outcome in outcomes]
    assert ids(engine, uri) == landed, "what was not reported as an error is there, and only that"


# together with another engine


def test_another_engine_reads_the_same_rows_and_appends_in_between(engine, uri):
    engine.write_delta(uri, numbers(1, 2, k=["a", "b"]), partition_by="k")
    deltalake.write_deltalake(uri, numbers(3, k=["b"]), mode="append")
    engine.write_delta(uri, numbers(4, k=["c"]))
    deltalake.DeltaTable(uri).create_checkpoint()
    deltalake.DeltaTable(uri).delete("id = 1")
    engine.write_delta(uri, numbers(5, k=["a"]))

    table = deltalake.DeltaTable(uri)
    assert table.version() == 4
    theirs = table.to_pyarrow_table().sort_by("id").select(["id", "k"]).to_pylist()
    assert rows(engine, uri, "id, k") == theirs
    assert [row["id"] for row in theirs] == [2, 3, 4, 5]
