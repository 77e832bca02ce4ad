"""Rows of results, as they are compared: in order or as bags, NaN as itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from fusiondelta import FusionDeltaEngine

Row = tuple[Any, ...]


def plain(value: object) -> object:
    """The value so that it is equal to itself and can be hashed."""
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, plain(item)) for key, item in value.items())
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows to compare, in their order."""
    return [tuple(plain(value) for value in row) for row in rows]


def bag(rows: Iterable[Row]) -> Counter[Row]:
    """Rows to compare, in any order."""
    return Counter(ordered(rows))


def rows_of(engine: FusionDeltaEngine, sql: str, sources: Mapping[str, Any]) -> list[Row]:
    """The rows of a query; columns may have one name."""
    table = engine.query(sql, sources=dict(sources)).to_table()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def cases(rows: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Parameters `sql` and `want` of a test, of the rows of each query by its subject."""
    return [
        pytest.param(sql, want, id=f"{subject}: {sql[:60]}")
        for subject, wanted in rows.items()
        for sql, want in wanted.items()
    ]
