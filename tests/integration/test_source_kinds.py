"""What stands for a table: how often it can be read, what it is called, and what it cannot be."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import ParquetSource, SourceError, SqlError, StreamConsumedError

TABLE = pa.table({"a": [1, 2]})
TWICE = "SELECT count(*) n FROM s x JOIN s y ON x.a = y.a"


class Frame(pd.DataFrame):
    """A frame of somebody's own."""


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        Frame({"a": [1, 2]}),
        pl.DataFrame({"a": [1, 2]}),
        pl.LazyFrame({"a": [1, 2]}),
    ],
    ids=["pyarrow", "pandas subclass", "polars", "polars lazy"],
)
def test_what_is_held_or_computed_is_read_twice(engine, data):
    for _ in range(2):
        assert engine.query(TWICE, sources={"s": data}).to_pylist() == [{"n": 2}]


def test_a_duckdb_relation_is_read_twice(engine):
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT * FROM (VALUES (1), (2)) v(a)")
        assert engine.query(TWICE, sources={"s": relation}).to_pylist() == [{"n": 2}]
        assert engine.query("SELECT sum(a) n FROM s", sources={"s": relation}).to_pylist() == [
            {"n": 3}
        ]


def test_a_source_that_fails_the_second_time_says_so(engine):
    class Lazy(pl.LazyFrame):
        times = 0

        def collect(self, *args, **kwargs):
            Lazy.times += 1
            if Lazy.times > 1:
                raise RuntimeError("gone")
            return pl.DataFrame({"a": [1, 2]})

    with pytest.raises(Exception, match="gone"):
        engine.query(TWICE, sources={"s": Lazy({"a": [1, 2]})}).to_pylist()


def test_a_stream_is_read_once(engine):
    stream = pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches())
    with pytest.raises(StreamConsumedError, match=r"pyarrow\.Table"):
        engine.query(TWICE, sources={"s": stream}).to_pylist()


@pytest.mark.parametrize("data", [pa.array([1]), pa.chunked_array([[1]]), pl.Series([1])])
def test_a_column_is_no_table(engine, data):
    with pytest.raises(SourceError, match="no table"):
        engine.query("SELECT * FROM s", sources={"s": data}).to_pylist()


def test_sources_have_names(engine):
    with pytest.raises(SourceError, match="mapping"):
        engine.query("SELECT * FROM s", sources=[TABLE])


def test_names_are_told_apart_by_case_where_they_are_quoted(engine):
    other = pa.table({"a": [7]})
    both = {"A": TABLE, "a": other}
    assert engine.query('SELECT sum(a) n FROM "A"', sources=both).to_pylist() == [{"n": 3}]
    assert engine.query("SELECT sum(a) n FROM A", sources=both).to_pylist() == [{"n": 7}]
    assert engine.query("SELECT sum(a) n FROM A", sources={"A": TABLE}).to_pylist() == [{"n": 3}]


def test_registered_names_are_told_apart_in_every_way_of_running(engine):
    from datafusion import udf

    engine.register("orders", TABLE)
    engine.register("Orders", pa.table({"a": [7]}))
    engine.register_udf(udf(lambda x: x, [pa.int64()], pa.int64(), "immutable", name="same"))
    for call in ("a", "same(a)"):
        for name, n in (("orders", 3), ('"Orders"', 7)):
            rows = engine.query(f"SELECT sum({call}) n FROM {name}").to_pylist()
            assert rows == [{"n": n}]


def test_a_misspelt_name_is_compared_with_the_registered_ones(engine):
    engine.register("orders", TABLE)
    with pytest.raises(SqlError, match="did you mean 'orders'"):
        engine.query("SELECT * FROM ordrs")


# dictionaries


def _narrow(prefix):
    keys = pa.array([n % 100 for n in range(200)], pa.int8())
    words = pa.DictionaryArray.from_arrays(keys, [f"{prefix}{n}" for n in range(100)])
    return pa.table({"k": words, "n": range(200)})


@pytest.mark.parametrize("form", ["memory", "stream", "parquet", "delta"])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT k, count(*) FROM t GROUP BY k", 200),
        ("SELECT k FROM t WHERE k = 'b3'", 2),
        ("SELECT k FROM t ORDER BY k", 400),
        ("SELECT DISTINCT k FROM t", 200),
        ("SELECT array_agg(k) FROM t", 1),
        ("SELECT k FROM t UNION SELECT k FROM t WHERE n < 0", 200),
        ("SELECT row_number() OVER (PARTITION BY k ORDER BY n) FROM t", 400),
    ],
)
def test_dictionaries_have_room_for_the_values_of_all_batches(engine, tmp_path, form, sql, rows):
    parts = [_narrow("a"), _narrow("b")]
    chunks = [part["k"].chunk(0) for part in parts]
    whole = pa.table({"k": pa.chunked_array(chunks), "n": [*range(200), *range(200)]})
    if form == "stream":
        if "UNION" in sql:
            return  # reads it twice
        data = pa.RecordBatchReader.from_batches(whole.schema, whole.to_batches())
    elif form == "parquet":
        for number, part in enumerate(parts):
            pq.write_table(part, tmp_path / f"{number}.parquet")
        data = ParquetSource(tmp_path)
    elif form == "delta":
        data = tmp_path / "t"
        for part in parts:
            engine.write_delta(data, part)
    else:
        data = whole
    assert engine.query(sql, sources={"t": data}).to_table().num_rows == rows
