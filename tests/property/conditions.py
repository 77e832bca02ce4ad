"""Random tables of every type, and random conditions over their columns as SQL text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

UTC = dt.timezone.utc
NAN, INF = float("nan"), float("inf")
#: Beyond the characters that statistics keep of a text, and of bytes.
LONG = "x" * 70


@dataclass(frozen=True)
class Kind:
    """A type of a source, the one a table makes of it, and what its columns hold.

    Attributes:
        source: As it is written.
        stored: As it is read.
        values: Few, so that conditions find some.
        family: What can be asked of it.
    """

    source: pa.DataType
    stored: pa.DataType
    values: Sequence[Any]
    family: str


def _signed(kind: pa.DataType, bits: int) -> Kind:
    most = 2 ** (bits - 1) - 1
    return Kind(kind, kind, [-most - 1, -1, 0, 1, 2, 3, 100, most - 1, most], "number")


def _unsigned(kind: pa.DataType, bits: int, stored: pa.DataType) -> Kind:
    return Kind(kind, stored, [0, 1, 2, 3, 100, 2**bits - 2, 2**bits - 1], "number")


def _decimal(precision: int, scale: int) -> Kind:
    kind = pa.decimal128(precision, scale)
    most = 10**precision - 1
    unscaled = {0, 1, -1, most, -most, most - 1, 15, 25 % (most + 1)}
    if precision > scale:
        unscaled |= {10**scale, 2 * 10**scale}
    values = [Decimal(f"{one}e-{scale}") for one in sorted(unscaled) if abs(one) <= most]
    return Kind(kind, kind, values, "number")


def _instants(kind: pa.DataType, stored: pa.DataType, zone: dt.tzinfo | None) -> Kind:
    values = [
        dt.datetime(2020, 1, 1),
        dt.datetime(2020, 1, 1, 0, 0, 0, 1),
        dt.datetime(2020, 1, 1, 12, 30, 15, 999),
        dt.datetime(2019, 12, 31, 23, 59, 59, 999999),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999500),
        dt.datetime(2199, 6, 1),
    ]
    return Kind(kind, stored, [one.replace(tzinfo=zone) for one in values], "instant")


_US, _ZONED = pa.timestamp("us"), pa.timestamp("us", "UTC")
_REALS = [NAN, -0.0, 0.0, 1.0, 1.5, -2.5, 100.0, INF, -INF, None]
_TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "b",
    "ü",
    "日本",
    "it's",
    "%",
    "_",
    " a",
    "1",
    "1.5",
    LONG,
    LONG + "b",
]
_BYTES = [b"", b"a", b"\x00", b"\xff\xff", b"ab", LONG.encode(), LONG.encode() + b"b"]
_DAYS = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2020, 1, 1), dt.date(2020, 2, 29)]
_LIST = pa.list_(pa.int64())
_STRUCT = pa.struct([("a", pa.int64()), ("b", pa.string())])

KINDS = [
    _signed(pa.int8(), 8),
    _signed(pa.int16(), 16),
    _signed(pa.int32(), 32),
    _signed(pa.int64(), 64),
    _unsigned(pa.uint8(), 8, pa.int16()),
    _unsigned(pa.uint16(), 16, pa.int32()),
    _unsigned(pa.uint32(), 32, pa.int64()),
    _unsigned(pa.uint64(), 64, pa.decimal128(20, 0)),
    *(_decimal(p, s) for p, s in [(1, 0), (5, 2), (17, 2), (18, 9), (19, 3)]),
    *(_decimal(p, s) for p, s in [(20, 0), (38, 0), (38, 10), (38, 38)]),
    Kind(pa.float32(), pa.float32(), [*_REALS, 0.25], "number"),
    Kind(pa.float64(), pa.float64(), [*_REALS, 0.1, 1e300], "number"),
    Kind(pa.bool_(), pa.bool_(), [True, False], "flag"),
    Kind(pa.string(), pa.string(), _TEXTS, "text"),
    Kind(pa.string_view(), pa.string(), _TEXTS, "text"),
    Kind(pa.dictionary(pa.int32(), pa.string()), pa.string(), _TEXTS, "text"),
    Kind(pa.binary(), pa.binary(), _BYTES, "bytes"),
    Kind(pa.date32(), pa.date32(), [*_DAYS, dt.date(9999, 12, 31)], "day"),
    _instants(_US, _US, None),
    _instants(_ZONED, _ZONED, UTC),
    _instants(pa.timestamp("us", "Europe/Berlin"), _ZONED, UTC),
    Kind(_LIST, _LIST, [[], [1], [1, None], [2, 3], [None]], "list"),
    Kind(
        _STRUCT, _STRUCT, [{"a": 1, "b": "x"}, {"a": None, "b": ""}, {"a": 3, "b": None}], "struct"
    ),
]
#: Whose values name a partition in a way that all agree on.
NAMES_PARTITIONS = ("flag", "text", "day", "instant")


@dataclass(frozen=True)
class Random:
    """A table, and how it lies on disk.

    Attributes:
        source: What is written; ``row`` is another in every row.
        memory: The same rows as they are read.
        kinds: By column.
        by: Its partition column.
        cuts: Where its files begin.
    """

    source: pa.Table
    memory: pa.Table
    kinds: dict[str, Kind]
    by: str | None
    cuts: tuple[int, ...]


@st.composite
def tables(draw: Callable[..., Any], most: int = 10) -> Random:
    count = draw(st.integers(0, most))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    named = {f"c{n}": kind for n, kind in enumerate(kinds)}
    rows = pa.array(range(count), pa.int64())
    source, memory = {"row": rows}, {"row": rows}
    can = [name for name, kind in named.items() if may_name_partitions(kind)]
    by = draw(st.none() | st.sampled_from(can)) if can else None
    for name, kind in named.items():
        cell = st.none() | st.sampled_from(kind.values)
        values = draw(st.lists(cell, min_size=count, max_size=count))
        source[name] = pa.array(values, kind.source)
        if name == by:
            # As the protocol says.
            values = [None if one == "" else one for one in values]
        memory[name] = _in_memory(values, kind.stored)
    cuts = {0, *draw(st.sets(st.integers(0, max(0, count - 1)), max_size=3))}
    return Random(pa.table(source), pa.table(memory), named, by, tuple(sorted(cuts)))


def _in_memory(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(kind):
        return pa.array(values, kind)
    # Fields of a null are null too, as in a file: what is beneath a null should not matter, and is
    # no matter of these tests.
    fields = [pa.array([one and one[f.name] for one in values], f.type) for f in kind]
    return pa.StructArray.from_arrays(
        fields, fields=list(kind), mask=pa.array([one is None for one in values], pa.bool_())
    )


def may_name_partitions(kind: Kind) -> bool:
    exact = pa.types.is_integer(kind.stored) or pa.types.is_decimal(kind.stored)
    return exact or kind.family in NAMES_PARTITIONS


@dataclass(frozen=True)
class Condition:
    """SQL text, and whether it may fail at some row: then it depends on which are looked at."""

    text: str
    risky: bool = False


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal(value: Any) -> str:
    """A value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value) if abs(value) < INF else f"CAST('{value}' AS DOUBLE)"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, dt.datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    # The digits of the least of 64 bits overflow before the sign is seen.
    return f"({value})" if value != -(2**63) else f"({value + 1} - 1)"


NUMBERS = [
    *("NULL", "0", "1", "1.0", "1.5", "-2.5", "0.1", "2.000001", "100", "127.5", "128", "-129"),
    *("255", "256", "300", "32768", "65535.5", "2147483648", "4294967295", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "123456789012345.67"),
    *("1e3", "1e300", "-1e300", "CAST('NaN' AS DOUBLE)", "CAST(1 AS TINYINT)", "1::smallint"),
]
OTHERS = {
    "number": NUMBERS,
    "text": ["NULL", "''", "'a'", "'aa'", quoted(LONG + "a"), "'ÿ'", "upper('a')"],
    "bytes": ["NULL", "X''", "X'61'", "X'ff'"],
    "flag": ["NULL", "true", "false"],
    "day": ["NULL", "DATE '2020-01-01'", "'2020-01-01'", "TIMESTAMP '2020-01-01 12:00:00'"],
    "instant": [
        *("NULL", "DATE '2020-01-01'", "TIMESTAMP '2020-01-01 00:00:00'", "'2020-01-01T00:00:00'"),
        *("TIMESTAMP '2019-12-31 23:59:59.999'", "TIMESTAMP '2020-01-01 00:00:00.0000005'"),
    ],
}
COMPARED = ("=", "<>", "<", "<=", ">", ">=")
SAME = ("IS DISTINCT FROM", "IS NOT DISTINCT FROM")


def conditions(table: Random, depth: int = 2) -> st.SearchStrategy[Condition]:
    """A condition over the table's columns; in subqueries the table goes by ``target``."""
    simple = st.sampled_from(sorted(table.kinds)).flatmap(lambda name: _atom(table, name))
    if depth == 0:
        return simple
    inner = conditions(table, depth - 1)
    one = st.sampled_from(
        [
            *("NOT ({})", "({}) IS TRUE", "({}) IS NOT TRUE", "({}) IS FALSE", "({}) IS UNKNOWN"),
            *("({}) IS NOT NULL", "({}) = NULL", "({}) IS NOT DISTINCT FROM true", "({}) AND NULL"),
            *("({}) OR NULL", "coalesce({}, true)", "CASE WHEN {} THEN NULL ELSE true END"),
            *("CASE WHEN {} THEN true END", "nullif({}, false)"),
        ]
    )
    two = st.sampled_from(
        [
            *("({}) AND ({})", "({}) OR ({})", "({}) = ({})", "NOT ({}) AND NOT ({})"),
            *(
                "CASE WHEN {} THEN {} ELSE NULL END",
                "CASE WHEN {} THEN false WHEN {} THEN true END",
            ),
        ]
    )
    return st.one_of(
        simple,
        st.builds(_combined, one, inner),
        st.builds(_combined, two, inner, inner),
        st.builds(_combined, two, simple, inner),
    )


def _combined(form: str, *parts: Condition) -> Condition:
    text = form.format(*(part.text for part in parts))
    return Condition(text, any(part.risky for part in parts))


def _atom(table: Random, name: str) -> st.SearchStrategy[Condition]:
    kind = table.kinds[name]
    own = st.sampled_from(list(kind.values)).map(literal)
    others = st.sampled_from(OTHERS.get(kind.family, ["NULL"]))
    value = own | others
    forms = [f"{name} IS NULL", f"{name} IS NOT NULL", *EXTRA.get(kind.family, ())]
    plain = st.sampled_from(forms).map(lambda form: Condition(form.format(c=name)))
    if kind.family in ("list", "struct"):
        return plain
    compared = st.builds(
        lambda operator, one, turned: Condition(
            f"{one} {operator} {name}" if turned else f"{name} {operator} {one}"
        ),
        st.sampled_from([*COMPARED, *COMPARED, *SAME]),
        value,
        st.booleans(),
    )
    among = st.builds(
        lambda several, no: Condition(f"{name} {no}IN ({', '.join(several)})"),
        st.lists(own, min_size=1, max_size=3).flatmap(
            lambda several: st.sampled_from([several, [*several, "NULL"]])
        ),
        st.sampled_from(["", "NOT "]),
    )
    between = st.builds(
        lambda low, high, no: Condition(f"{name} {no}BETWEEN {low} AND {high}"),
        value,
        value,
        st.sampled_from(["", "NOT "]),
    )
    subquery = st.sampled_from(SUBQUERIES).map(lambda form: Condition(form.format(c=name)))
    fail = st.builds(
        lambda form, one: Condition(form.format(c=name, x=one), True),
        st.sampled_from(RISKY.get(kind.family, ["{c} = {x}"])),
        value,
    )
    other = [other for other, its in table.kinds.items() if its.stored == kind.stored]
    columns = st.builds(
        lambda operator, one: Condition(f"{name} {operator} {one}"),
        st.sampled_from([*COMPARED, *SAME]),
        st.sampled_from(other),
    )
    return st.one_of(compared, compared, among, between, plain, subquery, fail, columns)


#: What cannot fail, by family; ``{c}`` is the column.
EXTRA = {
    "text": [
        *("{c} LIKE 'a%'", "{c} NOT LIKE '%b'", "{c} LIKE '_'", "{c} ILIKE 'A%'", "{c} LIKE NULL"),
        *("length({c}) > 1", "upper({c}) = 'A'", "{c} || 'b' = 'ab'", "{c} ~ '^[a-z]'"),
        *("TRY_CAST({c} AS BIGINT) = 1", "coalesce({c}, 'a') = 'a'", "nullif({c}, 'a') IS NULL"),
        *("starts_with({c}, 'x')", "CASE {c} WHEN 'a' THEN 1 WHEN 'b' THEN NULL ELSE 2 END > 1"),
    ],
    "number": [
        *("TRY_CAST({c} AS TINYINT) = 1", "nullif({c}, {c}) = 1", "coalesce({c}, 1) = 1"),
        *("CASE WHEN {c} = 1 THEN NULL ELSE {c} END > 1", "TRY_CAST({c} AS VARCHAR) LIKE '1%'"),
    ],
    "bytes": ["octet_length({c}) > 1", "coalesce({c}, X'61') = X'61'"],
    "flag": [
        *("{c}", "NOT {c}", "{c} IS TRUE", "{c} IS NOT FALSE", "{c} IS UNKNOWN", "{c} = {c}"),
        *("{c} AND NULL", "{c} OR NULL", "coalesce({c}, true)"),
    ],
    "day": ["extract(year FROM {c}) = 2020", "{c} = {c}", "CAST({c} AS VARCHAR) LIKE '2020%'"],
    "instant": [
        "extract(month FROM {c}) = 1",
        "{c} = {c}",
        "CAST({c} AS DATE) = DATE '2020-01-01'",
    ],
    "list": ["array_length({c}) > 1", "{c}[1] = 1", "{c}[1] IS NULL", "array_has({c}, 3)"],
    "struct": ["{c}['a'] > 1", "{c}['a'] IS NULL", "{c}['b'] = ''", "{c}['b'] LIKE 'x%'"],
}
#: What may fail at a row; ``{x}`` is a value.
RISKY = {
    "number": [
        *("{c} + 1 > {x}", "{c} * 2 = {x}", "{c} - {x} <= 0", "-{c} < {x}", "{c} % 2 = 1"),
        *("1 / {c} < {x}", "CAST({c} AS TINYINT) = 1", "CAST({c} AS DOUBLE) > {x}", "abs({c}) = 1"),
        *("CAST({c} AS DECIMAL(38, 10)) = {x}", "CAST({c} AS BIGINT) < 100", "{c} = '1'"),
    ],
    "text": ["CAST({c} AS BIGINT) = 1", "CAST({c} AS DOUBLE) > 0", "{c} = 1"],
    "day": ["{c} + INTERVAL '1 day' > {x}", "CAST({c} AS TIMESTAMP) < {x}"],
    "instant": ["{c} + INTERVAL '1 hour' > {x}", "{c} - INTERVAL '1 second' < {x}"],
}
SUBQUERIES = [
    "{c} IN (SELECT {c} FROM target WHERE row < 3)",
    "{c} NOT IN (SELECT {c} FROM target WHERE row < 2)",
    "{c} = (SELECT min({c}) FROM target)",
    "{c} < (SELECT max({c}) FROM target WHERE row > 1)",
    "EXISTS (SELECT 1 FROM target AS o WHERE o.row > target.row AND o.{c} = target.{c})",
    "row > (SELECT avg(row) FROM target)",
]
