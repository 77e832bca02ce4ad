"""Functions whose results are far larger than their arguments keep to the query's memory."""

from __future__ import annotations

import pytest

from fusiondelta import EngineProfile, ExecutionError, FusionDeltaEngine, ResourcesExhaustedError

LIMIT = "64MiB"
# Each would take far more: while it is planned where it is of constants, of a column as it runs.
LARGE = [
    "repeat('x', {n})",
    "repeat(repeat('xy', 1000), {n})",
    "lpad('x', {n})",
    "rpad('x', {n}, 'é')",
    "array_repeat(1, {n})",
    "array_resize([1], {n})",
    "range(0, {n})",
    "generate_series(1, {n})",
    "generate_series({n}, 1, -1)",
    "generate_series(TIMESTAMP '1970-01-01', to_timestamp({n}), INTERVAL '1 millisecond')",
    "replace(repeat('a', 1000), 'a', repeat('b', {n} / 500))",
    "replace(repeat('a', 1000), '', repeat('b', {n} / 500))",
]
# Each has some 100,000 bytes in each of 20,000 rows, of one partition of a window.
IN_WINDOWS = [
    "array_agg(value) OVER ()",
    "array_agg(value) OVER (ORDER BY value)",
    "array_agg(value) OVER (ORDER BY value ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
    "string_agg(value::varchar, ',') OVER ()",
    "first_value(repeat('x', 100000)) OVER ()",
]
# And in rows of which a few are there at once.
IN_ROWS = [
    "range(0, 12500)",
    "repeat('x', 100000)",
    "repeat('x', 100000) || value",
    "concat(value, repeat('x', 100000))",
    "concat_ws('-', value, repeat('x', 100000))",
    "(SELECT array_agg(value) FROM range(0, 20000))",
]


@pytest.fixture(scope="module")
def small():
    with FusionDeltaEngine(EngineProfile(memory_limit=LIMIT)) as engine:
        yield engine


@pytest.mark.parametrize("of", ["constants", "a column"])
@pytest.mark.parametrize("call", LARGE)
def test_what_is_larger_than_the_limit_is_refused(small, call, of):
    number = "1000000000" if of == "constants" else "n"
    sql = f"SELECT {call.format(n=number)} x FROM (VALUES (1000000000)) v(n)"
    with pytest.raises(
        (ResourcesExhaustedError, ExecutionError), match=r"(?i)memory|bytes|exhaust"
    ):
        small.query(sql, timeout=20).to_table()
    assert small.query("SELECT 1 x").to_pylist() == [{"x": 1}]


@pytest.mark.parametrize("value", IN_WINDOWS)
def test_large_values_in_many_rows_are_refused(small, value):
    sql = f"SELECT max(cardinality([v])) FROM (SELECT {value} v FROM range(0, 20000))"
    with pytest.raises(
        (ResourcesExhaustedError, ExecutionError), match=r"(?i)memory|bytes|exhaust|holds"
    ):
        small.query(sql, timeout=60).to_table()


@pytest.mark.parametrize("value", IN_ROWS)
def test_large_values_are_worked_on_a_few_rows_at_a_time(small, value):
    sql = f"SELECT max(cardinality([v])) > 0 n FROM (SELECT {value} v FROM range(0, 20000))"
    with small.query(sql, timeout=60) as result:
        assert result.to_pylist() == [{"n": True}]


def test_parts_of_lists_take_the_memory_of_parts(small):
    sql = (
        "SELECT count(x) n FROM (SELECT last_value(make_array(value, value)) OVER (ORDER BY value) "
        "x FROM range(0, 20000))"
    )
    assert small.query(sql, timeout=60).to_pylist() == [{"n": 20_000}]


@pytest.mark.parametrize(
    ("sql", "want"),
    [
        ("SELECT length(repeat('ab', 3)) x", 6),
        ("SELECT repeat('ab', -1) x", ""),
        ("SELECT repeat(NULL, 3) x", None),
        ("SELECT repeat('a', NULL) x", None),
        ("SELECT lpad('é', 3, 'üx') x", "üxé"),
        ("SELECT rpad('abc', 2) x", "ab"),
        ("SELECT replace('aXbX', 'X', 'yy') x", "ayybyy"),
        ("SELECT array_repeat('a', 2) x", ["a", "a"]),
        ("SELECT array_resize([1, 2], 3, 0) x", [1, 2, 0]),
        ("SELECT range(5) x", [0, 1, 2, 3, 4]),
        ("SELECT range(5, 1, -2) x", [5, 3]),
        ("SELECT generate_series(1, NULL) x", None),
        (
            "SELECT cardinality(generate_series(DATE '2024-01-01', DATE '2024-12-31', "
            "INTERVAL '1 month')) x",
            12,
        ),
    ],
)
def test_what_fits_is_as_it_was(small, sql, want):
    assert small.query(sql).to_pylist() == [{"x": want}]
    assert small.query(sql + " FROM (VALUES (1), (2)) v(i)").to_pylist() == [{"x": want}] * 2
