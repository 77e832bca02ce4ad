"""How long chains of operators in a text may be."""

from __future__ import annotations

import pytest

from fusiondelta import SqlError
from fusiondelta._native import NativeSql

pytestmark = pytest.mark.unit

OPERATORS, RELATIONS = 4_000, 2_000


def plus(count):
    return "SELECT " + " + ".join(["1"] * (count + 1))


def unions(count):
    return " UNION ALL ".join(["SELECT 1"] * (count + 1))


def joins(count):
    return "SELECT 1 FROM t" + " JOIN t USING (id)" * count


def casts(count):
    return "SELECT 1" + "::int" * count


def subscripts(count):
    return "SELECT x" + "[1]" * count


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (plus, OPERATORS),
        (casts, OPERATORS),
        (subscripts, OPERATORS),
        (unions, RELATIONS),
        (joins, RELATIONS),
    ],
)
def test_chains_are_bounded(make, most):
    assert NativeSql(make(most), "generic").kinds == ["query"]
    with pytest.raises(SqlError, match="follow each other") as caught:
        NativeSql(make(most + 1), "generic")
    assert caught.value.line == 1
    assert caught.value.column is not None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + ", ".join(["1 + 1"] * 20_000),
        "SELECT 1 WHERE 1 IN (" + ", ".join(["1 + 1"] * 20_000) + ")",
        "SELECT * FROM (VALUES " + ", ".join(["(1, -2, 'a = b')"] * 20_000) + ")",
        "SELECT '" + " + 1" * 5_000 + "'",
        "SELECT 1 -- " + " + 1" * 5_000,
    ],
    ids=["columns", "list", "rows", "text", "comment"],
)
def test_long_lists_are_none(sql):
    assert NativeSql(sql, "generic").kinds == ["query"]


def test_text_that_is_no_sql_is_left_to_the_parser():
    for sql in (")" * 10_000, "'" + "x" * 10_000, "]" * 3_000 + "+" * 3_000):
        with pytest.raises(SqlError, match=r"Expected|Unterminated"):
            NativeSql(sql, "generic")
