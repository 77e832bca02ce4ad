"""Whether two results hold the same rows."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]
_NAN = ("NaN",)
_DIGITS = 9


def rows_of(table: pa.Table) -> list[Row]:
    """The rows, with values of one spelling each."""
    columns = [_values(column) for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def _values(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Nanoseconds have no datetime of Python; all are counted from 1970 in UTC.
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        instants = column.cast(pa.int64()).to_pylist()
        return [i if i is None else ("instant", i * (10**9 // per_second)) for i in instants]
    if pa.types.is_date32(kind):
        # Nor have years after 9999 or before 1.
        days = column.cast(pa.int32()).to_pylist()
        return [day if day is None else ("day", day) for day in days]
    return [normal(value) for value in column.to_pylist()]


def normal(value: Any) -> Any:
    """A value that equals and hashes as the others that mean the same."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, float):
        if math.isnan(value):
            return _NAN
        return int(value) if math.isfinite(value) and value == int(value) else value
    if isinstance(value, dict):
        return tuple(normal(one) for one in value.values())
    if isinstance(value, list):
        return ("list", *(normal(one) for one in value))
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.timezone.utc)
    return value


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}e}") if math.isfinite(value) else value
    return tuple(_rounded(one) for one in value) if isinstance(value, tuple) else value


def close(one: Any, other: Any) -> bool:
    """Whether two values are the same, doubles within a billionth."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def same(one: Sequence[Row], other: Sequence[Row], *, ordered: bool = False) -> bool:
    """Whether the rows are the same, in any order unless they are ordered."""
    if len(one) != len(other):
        return False
    if ordered or Counter(one) == Counter(other):
        return not ordered or all(map(close, one, other))
    ours, theirs = (sorted(map(_rounded, rows), key=repr) for rows in (one, other))
    return all(map(close, ours, theirs))


def shown(rows: Sequence[Row], *, ordered: bool = False, most: int = 12) -> str:
    """The rows as text, in an order of their own unless they are ordered."""
    texts = [repr(tuple(map(_plain, row))) for row in rows]
    texts = texts if ordered else sorted(texts)
    more = f" … {len(texts) - most} more" if len(texts) > most else ""
    return "[" + ", ".join(texts[:most]) + "]" + more


def _plain(value: Any) -> Any:
    if value == _NAN:
        return math.nan
    if isinstance(value, int) and abs(value) > 2**64:
        return float(value)
    if isinstance(value, tuple) and value and value[0] == "bool":
        return value[1]
    if isinstance(value, tuple) and value and value[0] in ("instant", "day"):
        since = {"instant": 1000, "day": 1}
        unit, number = value[0], value[1] // since[value[0]]
        try:
            if unit == "day":
                return str(dt.date(1970, 1, 1) + dt.timedelta(days=number))
            return str(dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=number))
        except OverflowError:
            return f"{unit} {value[1]}"
    if isinstance(value, tuple) and value and value[0] == "list":
        return [_plain(one) for one in value[1:]]
    return value
