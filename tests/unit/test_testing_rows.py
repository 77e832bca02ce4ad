"""`assert_same_rows`: what makes rows the same, and what the message says where they are not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.testing import assert_same_rows

pytestmark = pytest.mark.unit

NAN = float("nan")


def one(values, kind):
    return pa.table({"v": pa.array(values, kind)})


def failure(actual, expected):
    with pytest.raises(AssertionError) as caught:
        assert_same_rows(actual, expected)
    with pytest.raises(AssertionError):
        assert_same_rows(expected, actual)
    return str(caught.value)


NESTED = pa.list_(pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64()))]))


@pytest.mark.parametrize(
    ("kind", "some", "other"),
    [
        (pa.int64(), [1, None, 2, 2], [1, 2, 3, None]),
        (pa.float64(), [0.5, NAN, None], [0.5, NAN, NAN]),
        (pa.float16(), [0.5, NAN], [0.5, 0.5]),
        (pa.bool_(), [True, False, None], [True, True, None]),
        (pa.string(), ["a", "", None], ["a", "", ""]),
        (pa.binary(), [b"a", b"", None], [b"a", b"", b""]),
        (pa.decimal128(10, 2), [Decimal("1.10"), None], [Decimal("1.11"), None]),
        (pa.date32(), [dt.date(2026, 1, 1), None], [dt.date(2026, 1, 2), None]),
        (pa.time64("ns"), [1, 10**9 + 1], [1, 10**9 + 2]),
        (pa.timestamp("ns", "UTC"), [1, 10**18 + 1], [1, 10**18 + 2]),
        (pa.duration("us"), [1, 2], [1, 3]),
        (pa.list_(pa.int64()), [[1, 2], [], None], [[2, 1], [], None]),
        (pa.list_(pa.int64(), 2), [[1, 2], None], [[2, 1], None]),
        (pa.struct([("a", pa.int64())]), [{"a": 1}, {"a": None}, None], [{"a": 1}, None, None]),
        (NESTED, [[{"a": 1, "b": [NAN]}], [None]], [[{"a": 1, "b": [1.0]}], [None]]),
        (pa.map_(pa.string(), pa.int64()), [{"a": 1, "b": 2}], [{"a": 1, "b": 3}]),
        (pa.null(), [None, None], [None]),
        (pa.month_day_nano_interval(), [(1, 2, 3), None], [(1, 2, 4), None]),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_rows_are_compared_as_often_as_they_are_there_in_any_order(kind, some, other):
    assert_same_rows(one(some, kind), one(some[::-1], kind))
    assert "the rows are others" in failure(one(some, kind), one(other, kind))
    assert "the rows are others" in failure(one(some, kind), one([*some, some[0]], kind))


def test_entries_of_a_map_have_no_order_and_zero_has_no_sign():
    kind = pa.map_(pa.string(), pa.list_(pa.int64()))
    assert_same_rows(one([{"a": [1], "b": [2]}], kind), one([{"b": [2], "a": [1]}], kind))
    assert_same_rows(one([0.0], pa.float64()), one([-0.0], pa.float64()))


@pytest.mark.parametrize(
    ("kinds", "values"),
    [
        (
            (
                pa.string(),
                pa.large_string(),
                pa.string_view(),
                pa.dictionary(pa.int8(), pa.string()),
            ),
            ["a", "a", None],
        ),
        ((pa.binary(), pa.large_binary(), pa.binary_view()), [b"a", None]),
        (
            (pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_view(pa.int64())),
            [[1], [], None],
        ),
        (
            (pa.struct([("a", pa.string())]), pa.struct([("a", pa.string_view())])),
            [{"a": "x"}, None],
        ),
        (
            (pa.map_(pa.string(), pa.string()), pa.map_(pa.string_view(), pa.string_view())),
            [[("a", "x")], None],
        ),
    ],
    ids=["text", "binary", "list", "struct", "map"],
)
def test_layouts_are_the_same_type(kinds, values):
    for kind in kinds:
        assert_same_rows(one(values, kinds[0]), one(values, kind))


def test_types_are_named():
    actual = pa.table({"id": pa.array([1], pa.int32()), "at": pa.array([1], pa.timestamp("us"))})
    expected = pa.table({"id": [1], "name": ["a"]})
    assert failure(actual, expected).splitlines() == [
        "the columns are others:",
        "  id: int32, expected int64",
        "  at: timestamp[us], expected none",
        "  name: none, expected string",
    ]
    inner = one([[1]], pa.list_(pa.int32()))
    assert "list<item: int32>, expected list<item: int64>" in failure(
        inner, one([[1]], pa.list_(pa.int64()))
    ).replace("element", "item")


def test_the_order_of_columns_matters():
    said = failure(pa.table({"a": [1], "b": [1]}), pa.table({"b": [1], "a": [1]}))
    assert said.splitlines()[1:] == ["  in the order a, b", "  expected in the order b, a"]


def test_rows_of_one_side_are_shown():
    actual = pa.table({"id": [1, 2, 2, 2], "name": ["a", None, None, "c"]})
    expected = pa.table({"id": [2, 1, 3], "name": [None, "a", "d"]})
    assert failure(actual, expected).splitlines() == [
        "the rows are others (4 against 3 expected): 2 are too many, 1 are missing",
        "too many:",
        "  id=2, name=None",
        "  id=2, name=c",
        "missing:",
        "  id=3, name=d",
    ]


def test_not_all_rows_are_shown():
    said = failure(pa.table({"id": list(range(50))}), pa.table({"id": [0]}))
    assert len(said.splitlines()) == 13
    assert said.splitlines()[-1] == "  and 39 more"


def test_what_rows_may_be_in():
    table = pa.table({"id": [1, 2], "name": ["a", "b"]})
    [batch] = table.to_batches()
    rows = [{"name": "b", "id": 2}, {"id": 1, "name": "a"}]
    result = SimpleNamespace(to_table=lambda: table)
    for other in (table, batch, table.to_reader(), rows, result):
        assert_same_rows(other, table)
    for other in (table, batch, table.to_reader(), rows, result):
        assert_same_rows(table, other)
    assert_same_rows(rows, result)
    assert_same_rows([], table.slice(0, 0))


def test_dictionaries_take_the_types_of_the_other_side():
    table = pa.table({"id": pa.array([1, None], pa.int8())})
    assert_same_rows(table, [{"id": 1}, {"id": None}])
    assert_same_rows([{"id": 1}, {}], table)
    assert "column 'id' is int8 on the other side" in failure(table, [{"id": "x"}, {}])
    assert "other: none, expected int64" in failure(table, [{"id": 1, "other": 2}])
    assert "id=2" in failure(table, [{"id": 1}, {"id": 2}])


@pytest.mark.parametrize(
    ("actual", "expected", "says"),
    [
        (7, pa.table({"v": [1]}), "a int has no rows"),
        ([{"v": 1}], [{"v": 1}], "two lists"),
        (
            pa.table([[1], [2]], names=["v", "v"]),
            pa.table([[1], [2]], names=["v", "v"]),
            "columns of the same name",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(actual, expected, says):
    with pytest.raises(ConfigurationError, match=says):
        assert_same_rows(actual, expected)
