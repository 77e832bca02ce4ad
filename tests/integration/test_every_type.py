"""Values of every Arrow type in every operator, as DuckDB answers them."""

from __future__ import annotations

import datetime
import decimal
from collections import Counter
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine

NUMBERS = [None, 3, 1, 2, 3, None, 1, 5]


def _of(make: Callable[[int], object], kind: pa.DataType) -> pa.Array:
    return pa.array([None if n is None else make(n) for n in NUMBERS], kind)


def _date(n: int) -> datetime.date:
    return datetime.date(2020, 1, n)


def _time(n: int) -> datetime.datetime:
    return datetime.datetime(2020, 1, n)


INT, TEXT = pa.int64(), pa.string()
LIST = pa.list_(INT)
COLUMNS = {
    "boolean": _of(lambda n: n > 2, pa.bool_()),
    "int8": _of(int, pa.int8()),
    "uint32": _of(int, pa.uint32()),
    "uint64": _of(lambda n: 2**64 - n, pa.uint64()),
    "half": _of(float, pa.float16()),
    "float": _of(float, pa.float32()),
    "decimal32": _of(decimal.Decimal, pa.decimal32(5, 1)),
    "decimal128": _of(decimal.Decimal, pa.decimal128(30, 3)),
    "text": _of(str, TEXT),
    "large text": _of(str, pa.large_string()),
    "text view": _of(str, pa.string_view()),
    "dictionary": _of(str, TEXT).dictionary_encode(),
    "small dictionary": _of(str, TEXT)
    .dictionary_encode()
    .cast(pa.dictionary(pa.int8(), pa.large_string())),
    "dictionary with NULL": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3, 1, 0, 2, 4], pa.int32()), pa.array([None, "3", "1", "2", "5"])
    ),
    "dictionary with a value twice": pa.DictionaryArray.from_arrays(
        pa.array([None, 0, 1, 2, 3, None, 1, 4], pa.int32()), pa.array(["3", "1", "2", "3", "5"])
    ),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array(range(1, 9), pa.int32()), _of(str, TEXT)),
    "binary": _of(lambda n: bytes([200 + n]), pa.binary()),
    "binary view": _of(lambda n: bytes([n]) * 20, pa.binary_view()),
    "fixed binary": _of(lambda n: bytes([n, n]), pa.binary(2)),
    "date32": _of(_date, pa.date32()),
    "date64": _of(_date, pa.date64()),
    "time32": _of(datetime.time, pa.time32("s")),
    "time64": _of(datetime.time, pa.time64("us")),
    "timestamp": _of(_time, pa.timestamp("ms")),
    "instant": _of(
        lambda n: _time(n).replace(tzinfo=datetime.timezone.utc), pa.timestamp("us", "UTC")
    ),
    "duration": _of(lambda n: datetime.timedelta(days=n), pa.duration("us")),
    "interval": _of(lambda n: pa.MonthDayNano([0, n, 0]), pa.month_day_nano_interval()),
    "struct": _of(lambda n: {"a": n, "b": str(n)}, pa.struct({"a": INT, "b": TEXT})),
    "struct of list": _of(
        lambda n: {"a": [n], "b": {"c": str(n)}},
        pa.struct({"a": LIST, "b": pa.struct({"c": TEXT})}),
    ),
    "list": _of(lambda n: [n, None], LIST),
    "slice of list": pa.concat_arrays([_of(lambda n: [n, None], LIST)] * 2).slice(8, 8),
    "large list": _of(lambda n: [str(n)], pa.large_list(TEXT)),
    "fixed list": _of(lambda n: [n, n], pa.list_(INT, 2)),
    "list view": _of(lambda n: [n], pa.list_view(INT)),
    "list of list": _of(lambda n: [[n], [], None], pa.list_(LIST)),
    "list of struct": _of(lambda n: [{"a": n}, None], pa.list_(pa.struct({"a": INT}))),
    "struct of list view": _of(lambda n: {"a": [n]}, pa.struct({"a": pa.list_view(INT)})),
    "map": _of(lambda n: [("k", n)], pa.map_(TEXT, INT)),
    "null": pa.nulls(len(NUMBERS)),
}

STATEMENTS = [
    "SELECT k, count(*) c FROM t GROUP BY k",
    "SELECT DISTINCT k FROM t",
    "SELECT id, row_number() OVER (ORDER BY k, id) n FROM t",
    "SELECT id, k FROM t ORDER BY k DESC NULLS LAST, id LIMIT 3",
    "SELECT a.id, b.id i FROM t a JOIN t b ON a.k = b.k",
    "SELECT a.id, b.id i FROM t a LEFT JOIN t b ON a.k = b.k AND a.id < b.id",
    "SELECT a.id, b.id i FROM t a FULL JOIN (SELECT * FROM t WHERE id > 3) b ON a.k = b.k",
    "SELECT a.id, b.id i FROM t a JOIN t b ON a.k < b.k",
    "SELECT a.id, b.id i FROM t a JOIN t b ON a.k IS NOT DISTINCT FROM b.k",
    "SELECT id, k FROM t JOIN (SELECT DISTINCT k FROM t WHERE id > 3) u USING (k)",
    "SELECT id FROM t WHERE k IN (SELECT k FROM t WHERE id > 2)",
    "SELECT id FROM t WHERE k NOT IN (SELECT k FROM t WHERE id > 5)",
    "SELECT id FROM t WHERE k NOT IN (SELECT k FROM t WHERE id > 6)",
    "SELECT id FROM t WHERE k > ALL (SELECT k FROM t WHERE id = 3)",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE u.k = t.k AND u.id <> t.id)",
    "SELECT id, (SELECT count(*) FROM t u WHERE u.k < t.k) c FROM t",
    "SELECT id, (SELECT max(u.id) FROM t u WHERE u.k = t.k) c FROM t",
    "SELECT id FROM t WHERE k = (SELECT max(k) FROM t)",
    "SELECT min(k) a, max(k) b FROM t",
    "SELECT id % 2 g, min(k) a, max(k) b FROM t GROUP BY id % 2",
    "SELECT id, min(k) OVER (ORDER BY id) a, max(k) OVER (ORDER BY id) b FROM t",
    "SELECT id, min(k) OVER w a, max(k) OVER w b FROM t "
    "WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    "SELECT count(DISTINCT k) c, count(k) d FROM t",
    "SELECT id % 2 g, count(DISTINCT k) c FROM t GROUP BY id % 2",
    "SELECT id % 2 g, first_value(k ORDER BY id) a, last_value(k ORDER BY id) b FROM t "
    "GROUP BY id % 2",
    "SELECT first_value(id ORDER BY k, id) a, last_value(id ORDER BY k NULLS FIRST, id) b FROM t",
    "SELECT array_agg(k ORDER BY id) a, array_agg(id ORDER BY k, id) b FROM t",
    "SELECT id % 2 g, array_agg(id ORDER BY k DESC NULLS LAST, id) a FROM t GROUP BY id % 2",
    "SELECT array_agg(DISTINCT k ORDER BY k) a FROM t",
    "SELECT id, lag(k) OVER w a, lead(k, 2) OVER w b, first_value(k) OVER w c, "
    "nth_value(k, 2) OVER w d FROM t WINDOW w AS (ORDER BY id)",
    "SELECT id, rank() OVER w a, count(*) OVER w b, sum(id) OVER w c FROM t "
    "WINDOW w AS (ORDER BY k)",
    "SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) a FROM t",
    "SELECT a.id, b.id i, a.k = b.k x, a.k <= b.k y, a.k IS DISTINCT FROM b.k z FROM t a, t b",
    "SELECT id, CASE WHEN id > 3 THEN k END a, coalesce(k, (SELECT max(k) FROM t)) b, "
    "nullif(k, (SELECT max(k) FROM t)) c FROM t",
    "SELECT id, greatest(k, (SELECT min(k) FROM t)) a, least(k, (SELECT min(k) FROM t)) b FROM t",
    "SELECT id, k BETWEEN (SELECT min(k) FROM t) AND k a FROM t",
    "SELECT k FROM t UNION SELECT k FROM t WHERE id > 4",
    "SELECT k FROM t UNION ALL SELECT NULL",
    "SELECT k FROM t EXCEPT SELECT k FROM t WHERE id > 4",
    "SELECT k FROM t EXCEPT ALL SELECT k FROM t WHERE id > 4",
    "SELECT k FROM t INTERSECT SELECT k FROM t WHERE id > 4",
    "SELECT k, id % 2 g, count(*) c FROM t GROUP BY GROUPING SETS ((k), (id % 2), ())",
    "SELECT DISTINCT ON (k) k, id FROM t ORDER BY k, id",
    "WITH RECURSIVE r AS (SELECT k, 1 n FROM t WHERE id = 2 UNION ALL "
    "SELECT k, n + 1 FROM r WHERE n < 3) SELECT * FROM r",
    "SELECT x.id FROM t x, LATERAL (SELECT count(*) c FROM t u WHERE u.k = x.k) y WHERE y.c > 1",
]

PROFILES = {
    "hash joins": EngineProfile(target_partitions=4, batch_size=2),
    "merge joins": EngineProfile(
        target_partitions=2,
        batch_size=8192,
        options={"datafusion.optimizer.prefer_hash_join": "false"},
    ),
}


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, pa.MonthDayNano):
        return datetime.timedelta(days=value.days)
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _plain(item)) for key, item in value.items())
    if isinstance(value, int | float | decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    return value


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", COLUMNS)
def test_every_type_in_every_operator(kind, profile):
    table = pa.table({"id": pa.array(range(1, len(NUMBERS) + 1), INT), "k": COLUMNS[kind]})
    # Several batches, each with a dictionary of its own.
    cut = [table.slice(start, 3) for start in range(0, len(NUMBERS), 3)]
    given = pa.Table.from_batches([batch for part in cut for batch in part.to_batches()])
    with FusionDeltaEngine(PROFILES[profile]) as engine, duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        # It knows no half floats.
        known = table["k"].cast(pa.float32()) if kind == "half" else table["k"]
        duck.register("t", table.set_column(1, "k", known))
        for sql in STATEMENTS:
            rows = engine.query(sql, sources={"t": given}).to_pylist()
            got = Counter(_plain(tuple(row.values())) for row in rows)
            wanted = duck.sql(_of_duckdb(sql)).fetchall()
            assert got == Counter(map(_plain, wanted)), sql


@pytest.mark.parametrize(
    "values",
    [[1, None], [True, None], [[1], None], [datetime.timedelta(1), None]],
    ids=["numbers", "booleans", "lists", "durations"],
)
def test_dictionaries_of_every_type_may_have_null_among_their_values(engine, values):
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(values))
    sql = "SELECT count(*) a, count(k) b FROM t"
    rows = engine.query(sql, sources={"t": pa.table({"k": column})}).to_pylist()
    assert rows == [{"a": 3, "b": 2}]


@pytest.mark.parametrize("kind", ["list view", "runs", "struct of list view", "dictionary"])
def test_files_of_arrow_in_every_encoding(engine, tmp_path, kind):
    table = pa.table({"k": COLUMNS[kind]})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    sql = "SELECT count(*) a, count(k) b FROM t"
    rows = engine.query(sql, sources={"t": str(tmp_path / "t.arrow")}).to_pylist()
    assert rows == [{"a": 8, "b": 6}]


def _of_duckdb(sql: str) -> str:
    """Its `first_value` is of windows only."""
    if "OVER" in sql:
        return sql
    return sql.replace("first_value(", "first(").replace("last_value(", "last(")
