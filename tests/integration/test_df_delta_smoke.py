"""Delta tables on the local file system: written in every way, read back, and read as they were."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import (
    DeltaSource,
    SchemaMismatchError,
    SnapshotKey,
    SnapshotNotFoundError,
    SnapshotSpec,
    SourceError,
    WriterProperties,
)

pytestmark = pytest.mark.integration

UTC = dt.timezone.utc


def numbers(*values, **columns):
    return pa.table({"id": pa.array(values, pa.int64()), **columns})


def rows(engine, source, columns="*"):
    table = engine.query(f"SELECT {columns} FROM t", sources={"t": source}).to_table()
    return sorted(table.to_pylist(), key=repr)


def ids(engine, source):
    return sorted(row["id"] for row in rows(engine, source, "id"))


def files(engine, uri):
    return engine.open_delta(uri).files()


def commit(uri, version):
    text = Path(uri, "_delta_log", f"{version:020}.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


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
    engine.write_delta(
        uri, numbers(9, 10, k=["b", "b"]), mode="overwrite", replace_where="k = 'b'"
    )
    assert ids(engine, uri) == [1, 9, 10]


def test_replace_where_refuses_rows_outside_of_it(engine, uri):
    engine.write_delta(uri, numbers(1, 2, k=["a", "b"]))
    with pytest.raises(Exception, match="(?i)replace_?where|predicate|check|invalid"):
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
    engine.write_delta(uri, numbers(1, 2, 3, 4, k=["a", "b", "a", None], day=day), partition_by=columns)
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
    assert total(1, {**uris, "a": DeltaSource(uris["a"], 1)}) == ((1, 0), 13), "its own version wins"
    with pytest.raises(SnapshotNotFoundError, match="no version of .*/b is as old"):
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


# data of every kind

BATCH = pa.record_batch({"id": pa.array([1, 2], pa.int64()), "name": ["a", "b"]})
TABLE = pa.Table.from_batches([BATCH])
PRODUCERS = {
    "table": lambda engine: {"data": TABLE},
    "batch": lambda engine: {"data": BATCH},
    "reader": lambda engine: {"data": TABLE.to_reader()},
    "pandas": lambda engine: {"data": TABLE.to_pandas()},
    "polars": lambda engine: {"data": pl.DataFrame({"id": [1, 2], "name": ["a", "b"]})},
    "list": lambda engine: {"data": [BATCH.slice(0, 1), BATCH.slice(1)], "schema": BATCH.schema},
    "generator": lambda engine: {
        "data": (BATCH.slice(n, 1) for n in range(2)),
        "schema": BATCH.schema,
    },
    "callable": lambda engine: {"data": TABLE.to_reader},
    "callable giving a generator": lambda engine: {
        "data": lambda: iter([BATCH]),
        "schema": BATCH.schema,
    },
    "result": lambda engine: {
        "data": engine.query("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (id, name)")
    },
    "schema with metadata": lambda engine: {"data": TABLE.replace_schema_metadata({"made": "by"})},
    "result with metadata": lambda engine: {
        "data": engine.query("SELECT * FROM p", sources={"p": TABLE.to_pandas()})
    },
    "duckdb": lambda engine: {
        "data": duckdb.sql("SELECT * FROM (VALUES (1::BIGINT, 'a'), (2, 'b')) AS v (id, name)")
    },
}


@pytest.mark.parametrize("kind", PRODUCERS)
def test_data_of_every_kind_is_written(engine, uri, kind):
    written = engine.write_delta(uri, **PRODUCERS[kind](engine))
    assert written.rows_written == 2
    table = engine.query("SELECT * FROM t ORDER BY id", sources={"t": uri}).to_table()
    assert table.to_pylist() == BATCH.to_pylist()
    assert table.schema.field("id").type == pa.int64()


@pytest.mark.parametrize("data", ["text", 7, object(), {"a": 1}])
def test_what_is_no_data_is_refused(engine, uri, data):
    with pytest.raises(SourceError):
        engine.write_delta(uri, data)
    assert not Path(uri).exists()


def test_an_iterator_needs_a_schema(engine, uri):
    with pytest.raises(ValueError, match="schema="):
        engine.write_delta(uri, iter([BATCH]))


@pytest.mark.parametrize(
    "data", [TABLE.slice(0, 0), pa.Table.from_batches([], BATCH.schema), pd.DataFrame({"id": []})]
)
def test_empty_input_makes_an_empty_table(engine, uri, data):
    written = engine.write_delta(uri, data)
    assert (written.snapshot.version, written.rows_written) == (0, 0)
    result = engine.query("SELECT * FROM t", sources={"t": uri})
    assert result.schema.names[0] == "id"
    assert result.to_pylist() == []


def test_empty_input_appends_and_overwrites(engine, uri):
    engine.write_delta(uri, TABLE)
    assert engine.write_delta(uri, TABLE.slice(0, 0)).rows_written == 0
    assert ids(engine, uri) == [1, 2]
    engine.write_delta(uri, TABLE.slice(0, 0), mode="overwrite")
    assert ids(engine, uri) == []


def test_a_source_that_fails_commits_nothing(engine, uri):
    def batches():
        yield BATCH
        raise RuntimeError("the sensor broke")

    with pytest.raises(Exception, match="the sensor broke"):
        engine.write_delta(uri, batches(), schema=BATCH.schema)
    assert not list(Path(uri).glob("_delta_log/*.json"))


# names and places

NAMES = [
    "with space",
    "a.b",
    'quo"te',
    "single'quote",
    "grüße",
    "名前",
    "🦆",
    "select",
    "MixedCase",
    "100%",
    "50%25",
    "a/b",
    "back`tick",
    "$1",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_column_names(engine, uri, name):
    engine.write_delta(uri, pa.table({name: [1, 2, 3], "other": ["a", "b", "c"]}))
    quoted = '"' + name.replace('"', '""') + '"'
    result = engine.query(f"SELECT {quoted} FROM t WHERE {quoted} > 1", sources={"t": uri})
    assert result.schema.names == [name]
    assert sorted(row[name] for row in result.to_pylist()) == [2, 3]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "x" * 200])
def test_odd_partition_column_names_and_values(engine, uri, name):
    engine.write_delta(uri, pa.table({name: NAMES, "n": range(len(NAMES))}), partition_by=name)
    quoted = '"' + name.replace('"', '""') + '"'
    found = engine.query(f"SELECT {quoted} AS v, n FROM t ORDER BY n", sources={"t": uri})
    assert [row["v"] for row in found.to_pylist()] == NAMES
    one = engine.query(
        f"SELECT n FROM t WHERE {quoted} = $v", sources={"t": uri}, param_values={"v": "a/b"}
    )
    assert one.to_pylist() == [{"n": NAMES.index("a/b")}]


FOLDERS = ["with space", "100%", "50%25", "a#b", "a?b", "grüße", "名前", "a=b", "a+b", "it's", "[x]", "{y}"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_odd_table_paths(engine, tmp_path, folder):
    path = tmp_path / folder / "t"
    engine.write_delta(path, numbers(1))
    assert (path / "_delta_log").is_dir(), sorted(tmp_path.rglob("*"))
    engine.write_delta(str(path), numbers(2))
    key = engine.open_delta(path).snapshot
    assert key.version == 1
    for spelling in (path, str(path), f"{path}/", key.uri, f"{path.parent}/./../{folder}/t"):
        assert engine.open_delta(spelling).snapshot == key
        assert ids(engine, spelling) == [1, 2]
    assert deltalake.DeltaTable(str(path)).version() == 1


def test_relative_paths(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine.write_delta("here", numbers(1))
    engine.write_delta("./down/../here/", numbers(2))
    assert ids(engine, "here") == [1, 2]
    assert ids(engine, tmp_path / "here") == [1, 2]


# types

NOON = dt.datetime(2024, 2, 29, 12, 34, 56, 789012)
TYPES = {
    "int8": pa.array([-128, 127, None], pa.int8()),
    "int16": pa.array([-(2**15), 2**15 - 1, None], pa.int16()),
    "int32": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
    "int64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "float32": pa.array([1.5, float("-inf"), None], pa.float32()),
    "float64": pa.array([-0.1, 1e308, None], pa.float64()),
    "bool": pa.array([True, False, None]),
    "string": pa.array(["", "größe 🦆", None]),
    "large_string": pa.array(["", "x" * 100, None], pa.large_string()),
    "string_view": pa.array(["", "x" * 100, None], pa.string_view()),
    "binary": pa.array([b"", b"\0\xff", None], pa.binary()),
    "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "timestamp": pa.array([NOON, dt.datetime(1900, 1, 1), None], pa.timestamp("us")),
    "timestamp_utc": pa.array([NOON.replace(tzinfo=UTC), None], pa.timestamp("us", "UTC")),
    "decimal": pa.array([Decimal("-999.99"), Decimal("0.01"), None], pa.decimal128(5, 2)),
    "decimal38": pa.array([Decimal(10) ** 37, -(Decimal(10) ** 37), None], pa.decimal128(38, 0)),
    "list": pa.array([[1, None], [], None], pa.list_(pa.int32())),
    "struct": pa.array([{"x": 1, "y": {"z": "a"}}, {"x": None, "y": None}, None]),
    "map": pa.array([[("a", 1), ("b", None)], [], None], pa.map_(pa.string(), pa.int64())),
    "nested": pa.array([[{"k": [1]}, {"k": []}], [], None]),
    "dictionary": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "all null": pa.array([None, None], pa.string()),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_round_trip(engine, uri, name):
    column = TYPES[name]
    table = pa.table({"n": range(len(column)), "v": column})
    engine.write_delta(uri, table)
    engine.write_delta(uri, table)  # strict: the type is the table's own now
    assert engine.open_delta(uri).snapshot.version == 1
    read = engine.query("SELECT v FROM t ORDER BY n", sources={"t": uri}).to_table()["v"]
    assert read.to_pylist() == [value for value in column.to_pylist() for _ in range(2)]
    by_deltalake = deltalake.DeltaTable(uri).to_pyarrow_table().sort_by("n")["v"]
    assert by_deltalake.to_pylist() == read.to_pylist()


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_keep_what_they_mean(engine, uri, zone):
    engine.write_delta(uri, pa.table({"v": pa.array([NOON], pa.timestamp("us", zone))}))
    assert engine.open_delta(uri).schema.field("v").type == pa.timestamp("us", zone)


def test_an_instant_in_another_zone_is_stored_as_that_instant(engine, uri):
    tokyo = pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo"))
    engine.write_delta(uri, pa.table({"v": tokyo}))
    (read,) = rows(engine, uri)
    assert read["v"] == NOON.replace(tzinfo=UTC)


# how it is stored


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "lz4_raw", "brotli", "uncompressed"])
def test_writer_properties_choose_the_compression(engine, uri, codec):
    engine.write_delta(uri, numbers(*range(100)), writer_properties=WriterProperties(compression=codec))
    (path,) = Path(uri).glob("*.parquet")
    expected = {"lz4_raw": "LZ4"}.get(codec, codec.upper())
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == expected
    assert ids(engine, uri) == list(range(100))


def test_writer_properties_choose_row_groups_statistics_and_dictionaries(engine, uri):
    chosen = WriterProperties(max_row_group_rows=100, statistics="none", dictionary=False)
    engine.write_delta(uri, numbers(*range(250)), writer_properties=chosen)
    (path,) = Path(uri).glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [100, 100, 50]
    column = metadata.row_group(0).column(0)
    assert not column.is_stats_set
    assert not column.has_dictionary_page


def test_target_file_size_splits_the_rows(engine, tmp_path):
    noise = pa.table({"v": [os.urandom(1000) for _ in range(2000)]})
    batches = noise.to_batches(max_chunksize=50)
    counts = {}
    for size in ("256KiB", "100MB"):
        uri = str(tmp_path / size)
        small_groups = WriterProperties(max_row_group_rows=50)
        written = engine.write_delta(
            uri,
            batches,
            schema=noise.schema,
            target_file_size=size,
            writer_properties=small_groups,
        )
        counts[size] = written.files_added
        assert engine.query("SELECT v FROM t", sources={"t": uri}).to_table().num_rows == 2000
    assert counts["100MB"] == 1
    assert 4 <= counts["256KiB"] <= 12


def test_a_commit_carries_the_run_the_id_and_the_metadata_given(engine, uri):
    written = engine.write_delta(uri, numbers(1), metadata={"job": "nightly"})
    (info,) = [a["commitInfo"] for a in commit(uri, 0) if "commitInfo" in a]
    assert info["job"] == "nightly"
    assert info["fusiondelta.commit_id"] == written.commit_id
    assert info["fusiondelta.run_id"] == written.run_id
    assert engine.open_delta(uri).history()[0]["job"] == "nightly"
    with pytest.raises(ValueError, match="engine's"):
        engine.write_delta(uri, numbers(2), metadata={"fusiondelta.commit_id": "mine"})


def test_properties_of_a_new_table(engine, uri):
    engine.write_delta(uri, numbers(1), properties={"delta.appendOnly": "true"})
    assert engine.open_delta(uri).properties["delta.appendOnly"] == "true"
    with pytest.raises(NotImplementedError, match="append-only"):
        engine.write_delta(uri, numbers(2), mode="overwrite")


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
