"""When two answers are the same: columns, types, and rows as a multiset."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pyarrow as pa


def columns(schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and types, without nullability and metadata."""
    return [(f.name, _bare(f.type)) for f in schema]


def same_columns(plain: pa.Schema, other: pa.Schema) -> bool:
    """Whether names and types are the same; a BIGINT stands for what counts without a sign."""
    pairs = itertools.zip_longest(columns(plain), columns(other))
    return all(a == b or (a and b == (a[0], "int64") and a[1] == "uint64") for a, b in pairs)


def same_rows(a: pa.Table, b: pa.Table) -> bool:
    if a.num_rows != b.num_rows:
        return False
    if same_columns(a.schema, b.schema) and all(
        _equal(x, y) for x, y in zip(a.columns, b.columns, strict=True)
    ):
        return True
    return bag(a) == bag(b)


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows in their order, as values that compare and hash; floats to 11 digits."""
    if not table.num_columns:
        return [()] * table.num_rows
    return list(zip(*(_values(c) for c in table.columns), strict=True))


def bag(table: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter(rows(table))


def difference(plain: pa.Table, other: pa.Table) -> str:
    """One line for a person: what differs, with an example."""
    if not same_columns(plain.schema, other.schema):
        return f"columns {columns(other.schema)}, want {columns(plain.schema)}"
    have, want = bag(other), bag(plain)
    missing, extra = want - have, have - want
    return (
        f"{other.num_rows} rows, want {plain.num_rows}; "
        f"missing e.g. {str(next(iter(missing), ''))[:300]}; "
        f"extra e.g. {str(next(iter(extra), ''))[:300]}"
    )


def _bare(t: pa.DataType) -> str:
    if pa.types.is_struct(t):
        return f"struct<{', '.join(f'{f.name}: {_bare(f.type)}' for f in t)}>"
    if pa.types.is_map(t):
        return f"map<{_bare(t.key_type)}, {_bare(t.item_type)}>"
    if pa.types.is_fixed_size_list(t):
        return f"fixed_size_list<{_bare(t.value_type)}>[{t.list_size}]"
    for name in ("list", "large_list", "list_view", "large_list_view"):
        if getattr(pa.types, f"is_{name}")(t):
            return f"{name}<{_bare(t.value_type)}>"
    return str(t)


def _equal(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    try:
        return bool(a.equals(b))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError):
        return False


def _values(column: pa.ChunkedArray) -> list[Any]:
    t = column.type
    # Times as integers: Python's own range is narrower than Arrow's.
    if pa.types.is_timestamp(t) or pa.types.is_duration(t) or pa.types.is_time64(t):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_date64(t):
        return [v for c in column.chunks for v in c.view(pa.int64()).to_pylist()]
    if pa.types.is_date32(t) or pa.types.is_time32(t):
        return list(column.cast(pa.int32()).to_pylist())
    digits = 11
    if pa.types.is_float32(t) or pa.types.is_float16(t):
        digits = 5 if pa.types.is_float32(t) else 2
    try:
        return [_hashable(v, digits) for v in column.to_pylist()]
    except (pa.ArrowException, ValueError, OverflowError, TypeError, KeyError):
        # What Python cannot hold (years beyond 9999, nanoseconds, unions) by Arrow's own text.
        return [c.slice(i, 1).to_string() for c in column.chunks for i in range(len(c))]


def _hashable(v: Any, digits: int) -> Any:
    if isinstance(v, float):
        if math.isnan(v):
            return "NaN"
        return v if v == 0 or math.isinf(v) else float(f"%.{digits}g" % v)
    if isinstance(v, dict):
        return tuple((k, _hashable(x, digits)) for k, x in v.items())
    if isinstance(v, list | tuple):
        return tuple(_hashable(x, digits) for x in v)
    return v
