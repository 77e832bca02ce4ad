"""Texts of queries as spans show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta.account._statement import shown, summary

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT 'a' FROM t", "SELECT ? FROM t"),
        ("SELECT 'it''s', t1.c2 FROM t1", "SELECT ?, t1.c2 FROM t1"),
        (r"SELECT E'a\'b', e'x'", "SELECT ?, ?"),
        ("SELECT x'ab', N'q', U&'d'", "SELECT ?, ?, ?"),
        ("SELECT $$a 'b$$, $tag$ c $$ d$tag$", "SELECT ?, ?"),
        ("SELECT -1.5e-3, .5, 1_000, 0x1F", "SELECT -?, ?, ?, ?"),
        ('SELECT "a 1", `b 2` FROM "it""s 3"', 'SELECT "a 1", `b 2` FROM "it""s 3"'),
        ("SELECT 1 -- a 'b\nFROM t", "SELECT ?  \nFROM t"),
        ("SELECT /* 'a' */ 1", "SELECT   ?"),
        ("SELECT 'never ends", "SELECT ?"),
        ("SELECT $$never ends", "SELECT ?"),
        ("SELECT /* never ends", "SELECT  "),
        ('SELECT "never ends', 'SELECT "never ends'),
        ("SELECT c1, date_bin('1 day', d)", "SELECT c1, date_bin(?, d)"),
        ("SELECT 'a' WHERE b = $1", "SELECT 'a' WHERE b = $1"),
        ("SELECT 2 WHERE b = $name", "SELECT 2 WHERE b = $name"),
        ("SELECT '$1', 2 -- $2", "SELECT ?, ?  "),
        ("", ""),
    ],
)
def test_literals_are_left_out_unless_there_are_placeholders(sql, text):
    assert shown(sql) == text


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_literal_comes_through(values):
    quoted = ["tok-" + value.replace("'", "''") for value in values]
    sql = "SELECT " + ", ".join(f"'{one}'" for one in quoted) + " FROM t"
    assert shown(sql) == "SELECT " + ", ".join("?" for _ in values) + " FROM t"


@given(st.text(max_size=60))
def test_any_text_can_be_shown(sql):
    assert len(shown(sql)) <= len(sql)


def test_a_long_text_is_cut_before_it_is_read():
    found = shown("SELECT 'a', " * 1_000_000)
    assert len(found) < 20_000
    assert "a" not in found
    assert found.endswith("…")


def test_a_summary_is_short():
    assert summary("SELECT", ["a", "b"]) == "SELECT a b"
    assert summary("append", []) == "append"
    assert len(summary("SELECT", ["x" * 100] * 50)) == 255
