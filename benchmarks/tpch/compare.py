"""Do two engines agree? Row order aside; decimals and floats within a stated tolerance."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa


def difference(actual: pa.Table, expected: pa.Table, *, relative: float = 1e-9) -> str | None:
    """None where both hold the same rows in any order, else the first difference in words.

    Numbers agree within ``relative``, or within one unit of the last place where a side is a
    decimal: engines give quotients and averages of decimals different scales.
    """
    ours, theirs = ([n.lower() for n in t.column_names] for t in (actual, expected))
    if ours != theirs:
        return f"columns {ours}, expected {theirs}"
    if actual.num_rows != expected.num_rows:
        return f"{actual.num_rows} rows, expected {expected.num_rows}"
    kinds = [
        (_kind(a.type), _kind(b.type)) for a, b in zip(actual.schema, expected.schema, strict=True)
    ]
    for name, (a, b) in zip(ours, kinds, strict=True):
        # Integer and decimal and float meet in sums; text, dates and truth values never do.
        if a != b and "null" not in (a, b) and not {a, b} <= {"exact number", "number"}:
            return f"column {name} is {a}, expected {b}"
    approximate = [i for i, pair in enumerate(kinds) if "number" in pair]
    slack = [
        max(_last_place(a.type), _last_place(b.type))
        for a, b in zip(actual.schema, expected.schema, strict=True)
    ]
    left, right = (_sorted_rows(t, approximate) for t in (actual, expected))
    for number, (row, wanted) in enumerate(zip(left, right, strict=True)):
        for name, a, b, near in zip(ours, row, wanted, slack, strict=True):
            if not _same(a, b, relative, near):
                return f"sorted row {number}, column {name}: {a!r}, expected {b!r}"
    return None


def order_keys(sql: str) -> list[tuple[str, bool]]:
    """The (column, descending) keys of the final ORDER BY of a query text, if it has one."""
    tail = re.split(r"\border\s+by\b", sql, flags=re.IGNORECASE)
    if len(tail) == 1 or tail[-1].count(")") > tail[-1].count("("):
        return []
    clause = re.split(r"\blimit\b", tail[-1], flags=re.IGNORECASE)[0]
    words = [key.split() for key in clause.strip().rstrip(";").split(",")]
    return [(w[0].lower(), len(w) > 1 and w[1].lower() == "desc") for w in words]


def unsorted_rows(table: pa.Table, keys: Sequence[tuple[str, bool]]) -> list[int]:
    """Numbers of the rows that, by ``keys``, belong before the row above them."""
    names = [n.lower() for n in table.column_names]
    columns = [(table.column(names.index(key)).to_pylist(), down) for key, down in keys]
    wrong = []
    for row in range(1, table.num_rows):
        for values, down in columns:
            before, here = values[row - 1], values[row]
            if before != here:
                if (before < here) if down else (before > here):
                    wrong.append(row)
                break
    return wrong


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_null(kind):
        return "null"
    if pa.types.is_integer(kind):
        return "exact number"
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_date(kind):
        return "date"
    return str(kind)


def _last_place(kind: pa.DataType) -> float:
    # Sums of TPC-H money have a scale of 2 or 4 and are exact; longer ones were divided.
    return float(10.0**-kind.scale) if pa.types.is_decimal(kind) and kind.scale > 4 else 0.0


def _sorted_rows(table: pa.Table, approximate: Sequence[int]) -> list[tuple[Any, ...]]:
    exact = [i for i in range(table.num_columns) if i not in approximate]
    columns = [column.to_pylist() for column in table.columns]
    rows = list(zip(*columns, strict=True)) if columns else []
    # Exact columns first, so that rounding in the others cannot change the order of rows.
    return sorted(rows, key=lambda row: tuple(_key(row[i]) for i in [*exact, *approximate]))


def _key(value: Any) -> tuple[bool, Any]:
    if isinstance(value, (int, float, Decimal)):
        return (value is None, float(value))
    return (value is None, "" if value is None else str(value))


def _same(a: Any, b: Any, relative: float, near: float) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if isinstance(a, (int, float, Decimal)) and isinstance(b, (int, float, Decimal)):
        return math.isclose(a, b, rel_tol=relative, abs_tol=near)
    if isinstance(a, dt.datetime) or isinstance(b, dt.datetime):
        return bool(a == b)
    return type(a) is type(b) and bool(a == b)
