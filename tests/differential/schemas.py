"""Small tables with random rows, whose columns bear the same names."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

ARROW: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "k": pa.int32(),
    "g": pa.string(),
    "n": pa.int64(),
    "big": pa.int64(),
    "x": pa.float64(),
    "s": pa.string(),
    "b": pa.bool_(),
    "d": pa.date32(),
    "ts": pa.timestamp("us", "UTC"),
    "m": pa.decimal128(10, 2),
    "dic": pa.dictionary(pa.int32(), pa.string()),
    "st": pa.struct([("a", pa.int64()), ("t", pa.string())]),
    "l": pa.list_(pa.int64()),
}
# The type that expressions know a column by.
TYPES = {
    "id": "int",
    "k": "int",
    "g": "text",
    "n": "int",
    "big": "big",
    "x": "double",
    "s": "text",
    "b": "bool",
    "d": "date",
    "ts": "ts",
    "m": "dec",
    "dic": "text",
    "st": "struct",
    "l": "list",
}
OPTIONAL = ("n", "big", "x", "s", "b", "d", "ts", "m", "dic", "st", "l")
LONG = "abcdefghij" * 12
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "a%b",
    "A",
    " a ",
    "ü",
    "日本",
    "🙂x",
    "12",
    "abc,def",
    LONG,
    LONG + "z",
]
DAYS = [dt.date(2020, 1, 1), dt.date(2020, 2, 29), dt.date(1969, 12, 31), dt.date(2021, 12, 31)]
FAR_DAYS = [dt.date(1, 1, 1), dt.date(1500, 6, 15), dt.date(2500, 1, 1), dt.date(9999, 12, 31)]


@dataclass(frozen=True)
class Database:
    """Tables by name, as they are in memory."""

    tables: Mapping[str, pa.Table]

    def columns(self, name: str) -> dict[str, str]:
        """Types of expressions by column."""
        return {column: TYPES[column] for column in self.tables[name].column_names}


def plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries, in one piece."""
    fields = [
        f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).combine_chunks()


def database(rng: random.Random, features: frozenset[str]) -> Database:
    """Two or three tables."""
    count = rng.choice((2, 3, 3))
    return Database({f"t{number}": _table(rng, features) for number in range(count)})


def _table(rng: random.Random, features: frozenset[str]) -> pa.Table:
    rows = rng.choice((0, 1, 2, 5, 8, 12, 20, 40, rng.randint(0, 40)))
    optional = [name for name in OPTIONAL if name in features or name not in ("st", "l", "dic")]
    chosen = rng.sample(optional, rng.randint(3, min(7, len(optional))))
    others = ["k", "g", *chosen]
    rng.shuffle(others)
    ids = rng.sample(range(-5, 60), rows)
    columns: dict[str, Any] = {"id": pa.array(ids, pa.int64())}
    for name in others:
        columns[name] = pa.array(_values(rng, name, rows, features), ARROW[name])
    table = pa.table(columns)
    if rows > 2 and rng.random() < 0.5:
        at = rng.randint(1, rows - 1)
        table = pa.concat_tables([table.slice(0, at), table.slice(at)])
    return table


def _values(rng: random.Random, name: str, rows: int, features: frozenset[str]) -> list[Any]:
    empty = rng.choice((0.0, 0.1, 0.25, 0.25, 0.6))
    value = _makers(rng, features)[name]
    return [None if rng.random() < empty else value() for _ in range(rows)]


def _makers(rng: random.Random, features: frozenset[str]) -> dict[str, Callable[[], Any]]:
    doubles = [0.0, 0.25, 1.0, -1.5, 2.5, 100.75]
    doubles += [float("nan")] * ("nan" in features)
    doubles += [float("inf"), float("-inf")] * ("inf" in features)
    doubles += [-0.0] * ("negative_zero" in features)
    days = DAYS + FAR_DAYS * ("far_dates" in features)
    letters = ["a", "b", "c", "A", "ü"]

    def instant() -> dt.datetime:
        day = rng.choice(days)
        at = dt.time(rng.choice((0, 5, 23)), rng.choice((0, 59)), 0, rng.choice((0, 1, 999_999)))
        return dt.datetime.combine(day, at, dt.timezone.utc)

    def number() -> int | None:
        return rng.choice((None, 0, 1, 2, -7))

    return {
        "k": lambda: rng.randint(-2, 5),
        "g": lambda: rng.choice(letters),
        "n": lambda: rng.randint(-20, 20),
        "big": lambda: rng.choice((-(2**63), 2**63 - 1, 2**53 + 1, 2**53, 0, -1)),
        "x": lambda: rng.choice(doubles),
        "s": lambda: rng.choice(TEXTS),
        "b": lambda: rng.random() < 0.5,
        "d": lambda: rng.choice(days),
        "ts": instant,
        "m": lambda: Decimal(rng.choice((0, 1, -150, 225, 9_999, 99_999_999))).scaleb(-2),
        "dic": lambda: rng.choice(("", "a", "b", "ü", "long " * 9)),
        "st": lambda: {"a": number(), "t": rng.choice((None, "", "a", "b"))},
        "l": lambda: [number() for _ in range(rng.randint(0, 3))],
    }
