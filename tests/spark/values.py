"""Values of every type of Delta, odd ones among them, and how rows are compared exactly."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa

UTC = dt.timezone.utc
INSTANT = pa.timestamp("us", "UTC")
WALL_CLOCK = pa.timestamp("us")

MOMENTS = [
    dt.datetime(1, 1, 1),
    dt.datetime(1500, 1, 1, 1, 2, 3, 4),  # of another calendar, for some
    dt.datetime(1582, 10, 4, 23, 59, 59, 999999),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(1970, 1, 1),
    dt.datetime(2024, 2, 29, 12, 34, 56, 789012),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
]
DATES = [dt.date(1, 1, 1), dt.date(1500, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]
FLOATS = [math.nan, -0.0, 0.0, math.inf, -math.inf, 1.5]

#: Columns by name: type and values; every one has nulls besides.
PRIMITIVES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, False]),
    "byte": (pa.int8(), [-(2**7), 2**7 - 1, 0]),
    "short": (pa.int16(), [-(2**15), 2**15 - 1, 0]),
    "int": (pa.int32(), [-(2**31), 2**31 - 1, 0]),
    "long": (pa.int64(), [-(2**63), 2**63 - 1, 0, 2**53 + 1]),
    "float": (pa.float32(), [*FLOATS, 2.0**-149, 2.0**127 * (2 - 2.0**-23)]),
    "double": (pa.float64(), [*FLOATS, 5e-324, 1.7976931348623157e308, 0.1]),
    "decimal_5_2": (pa.decimal128(5, 2), [Decimal("-999.99"), Decimal("0.00"), Decimal("1.50")]),
    "decimal_18_0": (pa.decimal128(18, 0), [Decimal(10**18 - 1), Decimal(-1)]),
    "decimal_20_4": (pa.decimal128(20, 4), [Decimal("1234567890123456.7891"), Decimal("-0.0001")]),
    "decimal_38_0": (pa.decimal128(38, 0), [Decimal(10**38 - 1), Decimal(1 - 10**38), Decimal(0)]),
    "decimal_38_38": (
        pa.decimal128(38, 38),
        [Decimal(f"0.{'9' * 38}"), Decimal(f"-0.{'0' * 37}1"), Decimal(f"0.{'0' * 38}")],
    ),
    "string": (
        pa.string(),
        ["", " ", "plain", "ünï ∑ 🦀", "' \" ` \\ ; --", "line\n\ttab", "a\0b", "x" * 40, "\uffff"],
    ),
    "binary": (pa.binary(), [b"", b"\0\xff", b"plain", "ü".encode(), b"\x80" * 40]),
    "date": (pa.date32(), DATES),
    "instant": (INSTANT, [moment.replace(tzinfo=UTC) for moment in MOMENTS]),
    "wall_clock": (WALL_CLOCK, MOMENTS),
}

#: Text that paths, URIs, SQL and Hive's names of folders have other uses for.
ODD_TEXT = [
    *("~", ":", "%", "/", "=", "+&?#", "a/b=c%20d", "{}[]|^<>*", "' \" ` \\", "..", "a b"),
    *(" leading", "trailing ", "line\nbreak", "\x01", "ünï ∑ 🦀", "e\u0301"),
    *("NULL", "null", "true", "1", "2024-01-01"),
]

#: Values of partition columns. An empty text or binary is not among them: Delta keeps it as null.
PARTITIONS: dict[str, tuple[pa.DataType, list[Any]]] = {
    **{
        name: (kind, [value for value in values if value not in ("", b"")])
        for name, (kind, values) in PRIMITIVES.items()
    },
    "float": (pa.float32(), [*FLOATS, 1e10, -1.25e-7]),
    "double": (pa.float64(), [*FLOATS, 1e10, -1.25e-7, 0.1]),
    # What is no text cannot be kept as text.
    "binary": (pa.binary(), [b"plain", b"\x01\x7f", b"/%=", "ü".encode()]),
    "string": (pa.string(), ODD_TEXT),
}

XY = pa.struct([("x", pa.int32()), ("y", pa.list_(pa.string()))])
NESTED: dict[str, tuple[pa.DataType, list[Any]]] = {
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.string()), ("at", INSTANT)]),
        [
            {"a": 1, "b": "", "at": MOMENTS[4].replace(tzinfo=UTC)},
            {"a": None, "b": None, "at": None},
        ],
    ),
    "deep": (
        pa.struct([("in", pa.struct([("in", pa.struct([("n", pa.decimal128(38, 10))]))]))]),
        [{"in": {"in": {"n": Decimal("1.5000000000")}}}, {"in": {"in": None}}, {"in": None}],
    ),
    "list": (pa.list_(pa.int32()), [[], [1, None, -3], [None]]),
    "lists": (pa.list_(pa.list_(pa.date32())), [[], [[], None, [dt.date(2024, 2, 29), None]]]),
    "structs": (
        pa.list_(XY),
        [[], [None, {"x": None, "y": None}, {"x": 1, "y": []}, {"x": 2, "y": ["ü", None, ""]}]],
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [[], [("", 1), ("ü", None), ("b", -1)]]),
    "maps": (pa.map_(pa.int32(), XY), [[(1, None), (2, {"x": 3, "y": ["z"]})]]),
}


def table(columns: dict[str, tuple[pa.DataType, list[Any]]]) -> pa.Table:
    """Rows with an `id`: each value and a null once at least in its column, then nulls alone."""
    rows = max(len(values) for _, values in columns.values()) + 1
    made = {"id": pa.array(range(rows + 1), pa.int64())}
    for name, (kind, values) in columns.items():
        cycle = itertools.cycle([*values, None])
        made[name] = pa.array([*itertools.islice(cycle, rows), None], kind)
    return pa.table(made)


def same(found: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]]) -> None:
    """Hold rows to be the same in any order, to the sign of a zero and the last digit."""
    __tracebackhide__ = True
    found, expected = list(found), list(expected)
    here, there = Counter(map(exact, found)), Counter(map(exact, expected))
    if here == there:
        return
    lines = [f"the rows are others, {len(found)} for {len(expected)}"]
    by_id = {row.get("id"): row for row in found}
    if len(by_id) == len(found) == len(expected):  # then cell by cell, which is shorter
        lines += [
            f"id {row['id']}: {name} is {by_id[row['id']].get(name)!r}, not {value!r}"
            for row in expected
            if row.get("id") in by_id
            for name, value in row.items()
            if exact(value) != exact(by_id[row["id"]].get(name))
        ]
    for side, rows in (("too many", here - there), ("missing", there - here)):
        lines += [f"{side}: {row}" for row in rows.elements()]
    raise AssertionError("\n".join(line[:300] for line in lines[:60]))


def exact(value: Any) -> str:
    """A text that only equal values of one kind have in common."""
    if isinstance(value, dict):
        # Names of columns in their own order: a struct is no set.
        return "{" + ", ".join(f"{name}: {exact(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        is_map = bool(value) and all(isinstance(one, tuple) for one in value)
        inner = [f"{exact(one[0])}: {exact(one[1])}" if is_map else exact(one) for one in value]
        return f"[{', '.join(sorted(inner) if is_map else inner)}]"
    if isinstance(value, dt.datetime) and value.tzinfo:
        return f"{value.astimezone(UTC).replace(tzinfo=None)!r} UTC"
    return repr(value)
