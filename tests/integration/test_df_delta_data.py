"""What can be written to a Delta table, under which names and types, and how it is stored."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal
from pathlib import Path

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import SourceError, WriterProperties
from tests.harness.log_files import actions
from tests.integration.tables import ids, numbers, rows

pytestmark = pytest.mark.integration

UTC = dt.timezone.utc


def commit(uri, version):
    return actions(Path(uri, "_delta_log", f"{version:020}.json"))


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


FOLDERS = [
    "with space",
    "100%",
    "50%25",
    "a#b",
    "a?b",
    "grüße",
    "名前",
    "a=b",
    "a+b",
    "it's",
    "[x]",
    "{y}",
]


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
    if "%" not in folder:
        # The package takes the sign for an escape, and looks elsewhere.
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
    engine.write_delta(
        uri, numbers(*range(100)), writer_properties=WriterProperties(compression=codec)
    )
    (path,) = Path(uri).glob("*.parquet")
    expected = {"lz4_raw": "LZ4"}.get(codec, codec.upper())
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == expected
    assert ids(engine, uri) == list(range(100))


def test_writer_properties_choose_row_groups_statistics_and_dictionaries(engine, uri):
    chosen = WriterProperties(max_row_group_rows=100, statistics="none", dictionary=False)
    engine.write_delta(uri, numbers(*range(250)), writer_properties=chosen)
    (path,) = Path(uri).glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [
        100,
        100,
        50,
    ]
    column = metadata.row_group(0).column(0)
    assert not column.is_stats_set
    assert not column.has_dictionary_page


def test_target_file_size_splits_the_rows(engine, tmp_path):
    noise = pa.table({"v": [os.urandom(100) for _ in range(20_000)]})
    counts = {}
    for size in ("256KiB", "100MB"):
        uri = str(tmp_path / size)
        counts[size] = engine.write_delta(uri, noise, target_file_size=size).files_added
        assert engine.query("SELECT v FROM t", sources={"t": uri}).to_table().num_rows == 20_000
    assert counts["100MB"] == 1
    assert 4 <= counts["256KiB"] <= 12, "about 2 MB in all"


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
