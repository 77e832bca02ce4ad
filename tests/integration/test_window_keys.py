"""Windows ordered by keys of every type, and the frames that they can have."""

from __future__ import annotations

import datetime
import itertools

import duckdb
import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine, SqlError

ROWS = 40


def _keys() -> dict[str, pa.Array]:
    numbers = [None if n % 9 == 0 else n % 7 for n in range(ROWS)]

    def of(make, kind):
        return pa.array([None if n is None else make(n) for n in numbers], kind)

    second = datetime.timedelta(seconds=1)
    return {
        "binary": of(lambda n: bytes([200 + n]), pa.binary()),
        "binary_view": of(lambda n: bytes([n]) * 20, pa.binary_view()),
        "time32": of(lambda n: datetime.time(n), pa.time32("s")),
        "time64": of(lambda n: datetime.time(n), pa.time64("us")),
        "duration": of(lambda n: n * second, pa.duration("us")),
        "interval": of(
            lambda n: pa.MonthDayNano([0, n, 0]),
            pa.month_day_nano_interval(),
        ),
        "struct": of(
            lambda n: {"a": n // 2, "b": str(n)}, pa.struct({"a": pa.int64(), "b": pa.string()})
        ),
        "text": of(str, pa.string()),
        "boolean": of(lambda n: n > 3, pa.bool_()),
        "decimal": of(lambda n: n, pa.decimal128(9, 2)),
        "date": of(lambda n: datetime.date(2020, 1, 1 + n), pa.date32()),
    }


KEYS = _keys()
FUNCTIONS = "count(*) {0} c, sum(x) {0} s, first_value(x) {0} f, min(x) {0} m"
RANKS = "rank() {0} r, dense_rank() {0} d, cume_dist() {0} u, lag(x) {1} l"
FRAMES = [
    "",
    "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "RANGE CURRENT ROW",
    "RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
]
ORDERS = ["ASC NULLS FIRST", "ASC NULLS LAST", "DESC NULLS FIRST", "DESC NULLS LAST"]


def _table(kind: str) -> pa.Table:
    # What a frame gives first is the same for all rows that are equal.
    keys = KEYS[kind]
    known = {key: n for n, key in enumerate(dict.fromkeys(map(str, keys)))}
    x = [known[str(key)] for key in keys]
    return pa.table({"id": range(ROWS), "p": [n % 2 for n in range(ROWS)], "k": keys, "x": x})


def _sql(order: str, frame: str) -> str:
    window = f"OVER (PARTITION BY p ORDER BY k {order} {frame})"
    alone = f"OVER (PARTITION BY p ORDER BY k {order}, id)"
    columns = FUNCTIONS.format(window) + ", " + RANKS.format(window, alone)
    return f"SELECT id, {columns} FROM t ORDER BY id"


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("kind", KEYS)
def test_every_key_orders_a_window(kind, partitions):
    table = _table(kind)
    profile = EngineProfile(target_partitions=partitions, batch_size=7)
    known = table
    if kind == "binary_view":
        known = table.set_column(2, "k", table["k"].cast(pa.binary()))
    with FusionDeltaEngine(profile) as engine, duckdb.connect() as duck:
        duck.register("t", known)
        for order, frame in itertools.product(ORDERS, FRAMES):
            sql = _sql(order, frame)
            rows = engine.query(sql, sources={"t": table}).to_pylist()
            assert [tuple(row.values()) for row in rows] == duck.sql(sql).fetchall(), sql


@pytest.mark.parametrize(
    "value",
    [
        pa.array([[("a", 1)], [("a", 1)], [("a", 2)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([{"a": None}, {"a": None}, {"a": 1}, None], pa.struct({"a": pa.int64()})),
        pa.array([{"a": [1]}, {"a": [1]}, {"a": [2]}, None]),
        pa.array([[[1]], [[1]], [[2]], None]),
    ],
    ids=["map", "struct with NULL", "struct of list", "list of list"],
)
def test_a_nested_key_behind_another(engine, value):
    table = pa.table({"id": [1, 2, 3, 4], "g": [1] * 4, "k": value})
    sql = "SELECT id, sum(id) OVER (ORDER BY g, k) a FROM t ORDER BY id"
    rows = engine.query(sql, sources={"t": table}).to_pylist()
    with duckdb.connect() as duck:
        duck.register("t", table)
        assert [tuple(row.values()) for row in rows] == duck.sql(sql).fetchall()


@pytest.mark.parametrize("kind", ["binary", "time64", "duration", "interval", "struct"])
def test_a_range_of_a_distance_is_refused_by_name(engine, kind):
    sql = "SELECT sum(x) OVER (ORDER BY k RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t"
    with pytest.raises(SqlError, match="cannot have a RANGE of a distance"):
        engine.query(sql, sources={"t": _table(kind)})
