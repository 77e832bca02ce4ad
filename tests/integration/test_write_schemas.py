"""Schemas that a write makes or changes."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import SchemaMismatchError

pytestmark = pytest.mark.integration

BARE = pa.timestamp("us")
AT = dt.datetime(2024, 5, 1, 12)


@pytest.fixture
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BARE, AT),
        (pa.list_(BARE), [AT]),
        (pa.struct([("a", BARE)]), {"a": AT}),
        (pa.list_(pa.struct([("a", BARE)])), [{"a": AT}]),
    ],
    ids=str,
)
def test_a_timestamp_without_zone_may_be_anywhere_but_in_a_map(engine, tmp_path, kind, value):
    engine.write_delta(tmp_path / "t", pa.table({"c": pa.array([value], kind)}))
    rows = engine.query("SELECT c FROM t", sources={"t": tmp_path / "t"}).to_pylist()
    assert rows == [{"c": value}]
    assert "timestampNtz" in str(engine.open_delta(tmp_path / "t").protocol)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.map_(pa.string(), BARE), [("a", AT)]),
        (pa.map_(BARE, pa.int64()), [(AT, 1)]),
        (pa.map_(pa.string(), pa.struct([("a", BARE)])), [("a", {"a": AT})]),
    ],
    ids=str,
)
def test_a_timestamp_without_zone_in_a_map_is_written(engine, tmp_path, kind, value):
    given = pa.table({"c": pa.array([value], kind)})
    engine.write_delta(tmp_path / "t", given)
    assert "timestampNtz" in str(engine.open_delta(tmp_path / "t").protocol)
    found = engine.query("SELECT * FROM t", sources={"t": tmp_path / "t"}).to_pylist()
    assert found == given.to_pylist()


def test_merged_columns_are_all_there_and_the_new_ones_last(engine, tmp_path):
    first = pa.table({"id": [1], "day": ["mon"], "price": [1.0]})
    engine.write_delta(tmp_path / "t", first, partition_by="day")
    more = pa.table({"id": [2], "day": ["tue"], "price": [2.0], "note": ["new"]})
    engine.write_delta(tmp_path / "t", more, schema_mode="merge")
    names = engine.open_delta(tmp_path / "t").schema.names
    # The crate puts partition columns behind the others when it merges; readers go by name.
    assert sorted(names) == ["day", "id", "note", "price"]
    assert names[-1] == "note"


NS = pa.timestamp("ns")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (NS, 1001),
        (pa.timestamp("ns", "Europe/Berlin"), 1001),
        (pa.list_(NS), [1000, 1001]),
        (pa.struct([("a", NS)]), {"a": 1001}),
        (pa.list_(pa.struct([("a", NS)])), [{"a": 1001}]),
    ],
    ids=str,
)
def test_nanoseconds_are_not_lost_unless_they_may_be(engine, tmp_path, kind, value):
    data = pa.table({"c": pa.array([value], kind)})
    with pytest.raises(SchemaMismatchError, match="nanoseconds") as caught:
        engine.write_delta(tmp_path / "t", data)
    assert "'c'" in str(caught.value) or '"c"' in str(caught.value)
    assert not list((tmp_path / "t").glob("**/*.parquet"))
    engine.write_delta(tmp_path / "t", data, allow_truncated_timestamps=True)


def test_nanoseconds_that_are_whole_microseconds(engine, tmp_path):
    data = pa.table({"c": pa.array([1_000, None, 7_000], NS)})
    engine.write_delta(tmp_path / "t", data)
    back = engine.query("SELECT c FROM t", sources={"t": tmp_path / "t"}).to_table()
    assert back.column("c").cast(pa.int64()).to_pylist() == [1, None, 7]


@pytest.mark.parametrize(
    ("kind", "largest", "made"),
    [
        (pa.uint8(), 2**8 - 1, pa.int16()),
        (pa.uint16(), 2**16 - 1, pa.int32()),
        (pa.uint32(), 2**32 - 1, pa.int64()),
        (pa.uint64(), 2**64 - 1, pa.decimal128(20, 0)),
    ],
    ids=str,
)
def test_unsigned_numbers_keep_their_values(engine, tmp_path, kind, largest, made):
    data = pa.table({"c": pa.array([0, largest, None], kind)})
    engine.write_delta(tmp_path / "t", data)
    back = engine.query("SELECT c FROM t", sources={"t": tmp_path / "t"}).to_table()
    assert back.schema.field("c").type == made
    assert back.column("c").to_pylist() == [0, largest, None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([dt.time(1, 2)]),
        pa.array([1], pa.duration("s")),
        pa.array([1], pa.decimal256(50, 1)),
        pa.array([1.0], pa.float16()),
        pa.nulls(1),
        pa.array([[None]], pa.list_(pa.null())),
        pa.array([[dt.time(1, 2)]]),
    ],
    ids=lambda array: str(array.type),
)
def test_types_that_a_table_cannot_hold(engine, tmp_path, array):
    data = pa.table({"good": [1], "bad": array})
    with pytest.raises(SchemaMismatchError, match="bad") as caught:
        engine.write_delta(tmp_path / "t", data)
    assert "good" not in str(caught.value)
    assert not (tmp_path / "t").exists()


def test_writer_properties_of_single_columns(engine, tmp_path):
    import pyarrow.parquet as pq

    from fusiondelta import WriterProperties

    properties = WriterProperties(
        compression="snappy",
        column_compression={"a": "zstd"},
        column_dictionary={"b": False},
        column_encoding={"a": "delta_binary_packed"},
        column_statistics={"b": "none"},
        bloom_filter_columns=["c"],
    )
    data = pa.table({"a": list(range(1000)), "b": ["x"] * 1000, "c": ["y"] * 1000})
    engine.write_delta(tmp_path / "t", data, writer_properties=properties)
    [file] = (tmp_path / "t").glob("*.parquet")
    group = pq.ParquetFile(file).metadata.row_group(0)
    a, b, c = (group.column(i) for i in range(3))
    assert a.compression == "ZSTD"
    assert "DELTA_BINARY_PACKED" in a.encodings
    assert c.compression == "SNAPPY"
    assert not any("DICTIONARY" in name for name in b.encodings)
    assert not b.is_stats_set
    assert c.is_stats_set
    with pytest.raises(fusiondelta.ConfigurationError, match="delta_byte_array"):
        WriterProperties(column_encoding={"a": "delta_byte_arrays"})
