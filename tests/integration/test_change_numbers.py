"""Numbers, times and NaN in changes: literals keep their value, what is stored is what is meant."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from decimal import Decimal

import pyarrow as pa
import pytest

from fusiondelta import ExecutionError, SchemaMismatchError
from tests.harness.changes import VECTORS, column, make, refused
from tests.harness.readers import bag, by_engine, read_back

pytestmark = pytest.mark.integration

DAY = dt.date(2020, 1, 1)
NOON = dt.datetime(2020, 1, 1, 12)
MONEY = pa.decimal128(5, 2)
PRICES = [Decimal("1.50"), Decimal("1.51")]
INTEGERS = [1, 2, 3, 4]

LITERALS = [
    (pa.int64(), INTEGERS, "x >= 2.5", [3, 4]),
    (pa.int64(), INTEGERS, "x = 1.5", []),
    (pa.int64(), INTEGERS, "x <> 1.5", INTEGERS),
    (pa.int64(), INTEGERS, "x BETWEEN 1.2 AND 3.9", [2, 3]),
    (pa.int64(), INTEGERS, "x NOT BETWEEN 1.2 AND 3.9", [1, 4]),
    (pa.int64(), INTEGERS, "x IN (1.5, 2, 3.0)", [2, 3]),
    (pa.int64(), INTEGERS, "2.5 > x", [1, 2]),
    (pa.int64(), INTEGERS, "x = '2'", [2]),
    (pa.int64(), INTEGERS, "x < 9223372036854775808", INTEGERS),
    (pa.int64(), INTEGERS, "x > -1e300", INTEGERS),
    (pa.int64(), INTEGERS, "x * 2 = 5", []),
    (pa.int64(), INTEGERS, "x + 0.5 = 2.5", [2]),
    (MONEY, PRICES, "x = 1.505", []),
    (MONEY, PRICES, "x > 1.505", [PRICES[1]]),
    (MONEY, PRICES, "x = 1.5", [PRICES[0]]),
    (MONEY, PRICES, "x >= 1.5000001", [PRICES[1]]),
    (MONEY, PRICES, "x < 12345.678", PRICES),
    (MONEY, PRICES, "x IN (1.505, 1.51)", [PRICES[1]]),
    (pa.int8(), [1, 2], "x < 300", [1, 2]),
    (pa.int8(), [1, 2], "x = 257", []),
    (pa.int8(), [1, 2], "x > -129", [1, 2]),
    (pa.int8(), [1, 2], "x IN (257, 2)", [2]),
    (pa.int16(), [1, 2], "x <> 65537", [1, 2]),
    (pa.int32(), [1, 2], "x = 4294967297", []),
    (pa.float64(), [1.0, 2.5], "x = 1", [1.0]),
    (pa.float64(), [1.0, 2.5], "x < 2.4999999999", [1.0]),
    (pa.bool_(), [True, False], "x", [True]),
    (pa.bool_(), [True, False], "x = false", [False]),
    (pa.string(), ["1", "a"], "x = '1'", ["1"]),
    (pa.date32(), [DAY], "x < TIMESTAMP '2020-01-01 12:00:00'", [DAY]),
    (pa.date32(), [DAY], "x = TIMESTAMP '2020-01-01 12:00:00'", []),
    (pa.date32(), [DAY], "x = '2020-01-01'", [DAY]),
    (pa.timestamp("us"), [NOON], "x > DATE '2020-01-01'", [NOON]),
]


@pytest.mark.parametrize("where", ["column", "partition", "files", "vectors"])
@pytest.mark.parametrize(("kind", "values", "text", "gone"), LITERALS)
def test_a_literal_keeps_its_value(engine, tmp_path, where, kind, values, text, gone):
    data = pa.table({"x": pa.array(values, kind), "o": list(range(len(values)))})
    layout = {
        "column": {},
        "partition": {"by": "x"},
        "files": {"files": len(values)},
        "vectors": {"properties": VECTORS},
    }[where]
    uri = make(engine, tmp_path / "t", data, **layout)
    for source in (uri, data):
        found = engine.query(f"SELECT x FROM t WHERE {text}", sources={"t": source}).to_pylist()
        assert sorted(row["x"] for row in found) == sorted(gone)
    engine.delete(uri, text)
    assert column(engine, uri, "x") == sorted(one for one in values if one not in gone)


def test_a_literal_of_a_constraint_keeps_its_value(engine, tmp_path):
    uri = make(engine, tmp_path / "t", pa.table({"a": [2, 3]}))
    engine.add_constraint(uri, "c", "a >= 1.5", allow_metadata_change=True)
    engine.write_delta(uri, pa.table({"a": [4]}))
    with refused(uri, ExecutionError):
        engine.write_delta(uri, pa.table({"a": [1]}))
    assert column(engine, uri, "a") == [2, 3, 4]


EXACT = [
    (pa.decimal128(17, 2), "123456789012345.67", "0.01"),
    (pa.decimal128(18, 0), "999999999999999998", "1"),
    (pa.decimal128(20, 0), "9007199254740993", "1"),
    (pa.decimal128(38, 0), str(10**37 + 1), "1"),
    (pa.decimal128(38, 10), "1234567890123456789012345678.0123456789", "0.0000000001"),
    (pa.decimal128(38, 37), "1." + "0" * 36 + "1", "1e-37"),
    (pa.uint64(), str(2**63 + 5), "1"),
    (pa.int64(), "9007199254740993", "1"),
    (pa.int64(), str(2**63 - 2), "1"),
    (pa.int64(), str(-(2**53) - 1), "1"),
]


@pytest.mark.parametrize(
    "layout", [{}, {"files": 3}, {"by": "d"}, {"properties": VECTORS}], ids=str
)
@pytest.mark.parametrize(("kind", "literal", "step"), EXACT, ids=str)
def test_numbers_are_exact(engine, tmp_path, kind, literal, step, layout):
    with decimal.localcontext(decimal.Context(prec=60)):
        exact = Decimal(literal)
        around = [exact - Decimal(step), exact, exact + Decimal(step)]
    below, there, above = around if pa.types.is_decimal(kind) else map(int, around)
    data = pa.table({"d": pa.array([below, there, above], kind), "o": [1, 2, 3]})
    uri = make(engine, tmp_path / "t", data, **layout)
    stored = engine.query("SELECT * FROM t", sources={"t": uri}).to_table()
    wanted = {"=": [2], "<": [1], "<=": [1, 2], ">": [3], ">=": [2, 3], "<>": [1, 3]}
    for operator, order in wanted.items():
        for source in (uri, stored):
            sql = f"SELECT o FROM t WHERE d {operator} {literal}"
            found = engine.query(sql, sources={"t": source}).to_pylist()
            assert sorted(row["o"] for row in found) == order, operator
    engine.update(uri, {"o": "20"}, "d = $d", param_values={"d": there})
    engine.delete(uri, f"d = {literal}")
    assert column(engine, uri, "o") == [1, 3]
    assert column(engine, uri, "d") == [below, above]


# Values that are stored

STORED = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "i8": pa.array([1, 127], pa.int8()),
        "i32": pa.array([1, 2**31 - 1], pa.int32()),
        "i64": pa.array([1, 2**63 - 1], pa.int64()),
        "d": pa.array([Decimal("1.25"), Decimal("999.99")], MONEY),
        "f32": pa.array([0.5, 1.0], pa.float32()),
        "f64": pa.array([1.5, 1e300], pa.float64()),
        "b": [True, None],
        "s": ["1", "x"],
        "day": pa.array([DAY, None], pa.date32()),
        "ts": pa.array([NOON, None], pa.timestamp("us")),
    }
)


@pytest.fixture(params=[None, VECTORS], ids=["plain", "vectors"])
def stored(engine, tmp_path, request):
    return make(engine, tmp_path / "t", STORED, properties=request.param)


@pytest.mark.parametrize(
    ("name", "value", "there"),
    [
        ("d", "2.5", Decimal("2.50")),
        ("d", "2", Decimal("2.00")),
        ("d", "d + 0.01", Decimal("1.26")),
        ("i64", "i32", 1),
        ("i32", "i64", 1),
        ("i32", "i64 + 2147483646", 2**31 - 1),
        ("i8", "i64 - 129", -128),
        ("f32", "0.25", 0.25),
        ("f64", "f32", 0.5),
        ("f64", "2", 2.0),
        ("i64", "NULL", None),
        ("day", "NULL", None),
        ("i64", "CAST(1.4 AS BIGINT)", 1),
        ("i64", "CAST(f64 AS BIGINT)", 1),
        ("i64", "CAST(s AS BIGINT)", 1),
        ("day", "CAST(ts AS DATE)", DAY),
        ("d", "CAST(1.504 AS DECIMAL(5, 2))", Decimal("1.50")),
        ("ts", "TIMESTAMP '2020-01-01 12:00:00'", NOON),
        ("s", "s || s", "11"),
    ],
)
def test_a_value_is_stored_as_it_is(engine, stored, name, value, there):
    engine.update(stored, {name: value}, "id = 1")
    (row,) = (row for row in read_back(engine, stored) if row["id"] == 1)
    assert row[name] == there
    other = [row for row in STORED.to_pylist() if row["id"] == 2]
    assert [row for row in by_engine(engine, stored) if row["id"] == 2] == other


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i64", "f64"),
        ("i64", "f64 + 1"),
        ("i64", "s"),
        ("i32", "s || '1'"),
        ("d", "s"),
        ("f64", "s"),
        ("day", "ts"),
        ("day", "now()"),
        ("ts", "i64"),
        ("i32", "CASE WHEN b THEN f64 ELSE 1 END"),
    ],
)
def test_a_type_that_a_column_cannot_hold(engine, stored, name, value):
    """Told before any row is read: of a table without rows too."""
    with refused(stored, SchemaMismatchError, match=rf"\b{name}\b"):
        engine.update(stored, {name: value}, "id = 1")
    source = STORED.slice(0, 1)
    for merge in (
        engine.merge(stored, source, ["id"]).when_matched_update({name: f"({value_of(value)})"}),
        engine.merge(stored, source, ["s"]).when_not_matched_insert({name: value}),
    ):
        with refused(stored, SchemaMismatchError, match=rf"\b{name}\b"):
            merge.execute()
    engine.delete(stored)
    with refused(stored, SchemaMismatchError, match=rf"\b{name}\b"):
        engine.update(stored, {name: value})


def value_of(text):
    """The expression over the table, where the source has the same columns."""
    for name in ("f64", "s", "ts", "i64", "b"):
        text = re.sub(rf"\b{name}\b", f"target.{name}", text)
    return text


@pytest.mark.parametrize(
    ("name", "value"),
    [("i64", "1.4"), ("d", "1.505"), ("d", "1000"), ("b", "2"), ("f32", "1e300"), ("i8", "128")],
)
def test_a_literal_that_a_column_cannot_hold(engine, stored, name, value):
    with refused(stored, SchemaMismatchError, match=rf"\b{name}\b"):
        engine.update(stored, {name: value}, "id = 1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i64", "i64 * 4"),
        ("i64", "i64 + 1"),
        ("i64", "-i64 - 2"),
        ("i32", "i64"),
        ("i32", "i32 + 1"),
        ("i8", "i8 + 1"),
        ("i8", "i32"),
        ("d", "d + 0.01"),
        ("d", "d * 2"),
        ("i64", "CAST(s AS BIGINT)"),
        ("i64", "i64 / (id - 2)"),
    ],
)
def test_a_number_never_wraps_around(engine, stored, name, value):
    """What fits depends on the row: the second one's values are the largest there are."""
    with refused(stored, (ExecutionError, SchemaMismatchError)):
        engine.update(stored, {name: value})


@pytest.mark.parametrize("text", ["CAST(s AS BIGINT) = 1", "1 / (id - 1) = 1", "i64 * 4 > 0"])
def test_a_condition_that_fails_at_a_row(engine, stored, text):
    with refused(stored, ExecutionError):
        engine.delete(stored, text)
    if "*" in text:  # queries wrap around, as DataFusion does
        return
    with pytest.raises(ExecutionError):
        engine.query(f"SELECT * FROM t WHERE {text}", sources={"t": stored}).to_table()


# NaN, and the zeros

NAN = float("nan")
FLOATS = [NAN, 1.0, 0.5, -0.5, None]


@pytest.mark.parametrize(
    "layout", [{}, {"files": 2}, {"files": 5}, {"properties": VECTORS}], ids=str
)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()], ids=str)
@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("f > 1", [NAN]),
        ("f >= 1", [NAN, 1.0]),
        ("f < 0", [-0.5]),
        ("f <= 1", [1.0, 0.5, -0.5]),
        ("f <> 1", [NAN, 0.5, -0.5]),
        ("f = 'NaN'", [NAN]),
        ("f = CAST('NaN' AS DOUBLE)", [NAN]),
        ("f <> CAST('NaN' AS DOUBLE)", [1.0, 0.5, -0.5]),
        ("f < CAST('NaN' AS DOUBLE)", [1.0, 0.5, -0.5]),
        ("f > 1e30", [NAN]),
        ("f BETWEEN 0 AND 1", [1.0, 0.5]),
        ("f NOT BETWEEN 0 AND 1", [NAN, -0.5]),
        ("f IN (1, CAST('NaN' AS DOUBLE))", [NAN, 1.0]),
        ("f = (SELECT max(f) FROM target)", [NAN]),
        ("isnan(f)", [NAN]),
        ("f = f", [NAN, 1.0, 0.5, -0.5]),
        ("f IS NULL", [None]),
    ],
)
def test_nan_is_the_largest_number(engine, tmp_path, kind, layout, text, there):
    data = pa.table({"f": pa.array(FLOATS, kind), "o": list(range(5))})
    uri = make(engine, tmp_path / "t", data, **layout)
    wanted = bag([{"f": one} for one in there])
    for source in (uri, data):
        sql = f"SELECT f FROM target WHERE {text}"
        assert bag(engine.query(sql, sources={"target": source}).to_pylist()) == wanted
    engine.delete(uri, text)
    left = [row["f"] for row in read_back(engine, uri)]
    assert bag([{"f": one} for one in FLOATS]) == bag([{"f": one} for one in [*left, *there]])


@pytest.mark.parametrize(
    "values", [[NAN, 1.0], [NAN, NAN], [NAN], [1.0, NAN, 2.0], [-0.0, 0.0]], ids=str
)
def test_floats_survive_the_rewriting_of_their_file(engine, tmp_path, values):
    data = pa.table({"f": [*values, 9.0], "o": list(range(len(values) + 1))})
    uri = make(engine, tmp_path / "t", data)
    engine.delete(uri, "f = 9")
    engine.update(uri, {"o": "o + 10"})
    found = sorted(engine.query("SELECT * FROM t", sources={"t": uri}).to_pylist(), key=order)
    assert str([row["f"] for row in found]) == str(values)
    assert len(read_back(engine, uri)) == len(values)


def order(row):
    return row["o"]


@pytest.mark.parametrize("layout", [{}, {"files": 3}, {"properties": VECTORS}], ids=str)
@pytest.mark.parametrize(
    ("text", "there"),
    [("f = 0", [0, 1]), ("f < 0", []), ("f >= 0", [0, 1, 2]), ("f > 0", [2]), ("f = -0.0", [0, 1])],
)
def test_zeros_are_equal(engine, tmp_path, layout, text, there):
    data = pa.table({"f": [-0.0, 0.0, 1.0], "o": [0, 1, 2]})
    uri = make(engine, tmp_path / "t", data, **layout)
    for source in (uri, data):
        found = engine.query(f"SELECT o FROM t WHERE {text}", sources={"t": source}).to_pylist()
        assert sorted(map(order, found)) == there
    engine.delete(uri, text)
    assert column(engine, uri, "o") == [one for one in (0, 1, 2) if one not in there]
