"""Statements for Spark about tables at a place, with values written so that none is changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from tests.spark.values import UTC

EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
NAMES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.string_view(): "string",
    pa.binary(): "binary",
    pa.binary_view(): "binary",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.timestamp("us"): "timestamp_ntz",
}


def type_name(kind: pa.DataType) -> str:
    """What Spark calls a type, in statements and in what it says of columns."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{f.name}:{type_name(f.type)}' for f in kind)}>"
    if pa.types.is_list(kind):
        return f"array<{type_name(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{type_name(kind.key_type)},{type_name(kind.item_type)}>"
    return NAMES[kind]


def type_names(schema: pa.Schema) -> list[str]:
    """The same for every column."""
    return [type_name(field.type) for field in schema]


def literal(value: Any, kind: pa.DataType) -> str:
    """An expression that gives this value of this type."""
    name = type_name(kind)
    if value is None:
        return f"CAST(NULL AS {name})"
    match name.partition("<")[0].partition("(")[0]:
        case "boolean":
            return str(value).lower()
        case "string":
            return f"CAST(X'{value.encode().hex()}' AS string)"
        case "binary":
            return f"X'{value.hex()}'"
        case "date":
            return f"date_from_unix_date({(value - EPOCH.date()).days})"
        case "timestamp":
            return f"timestamp_micros({(value - EPOCH) // dt.timedelta(microseconds=1)})"
        case "timestamp_ntz":
            return f"timestamp_ntz'{value.isoformat(' ')}'"
        case "decimal":
            return f"CAST('{value:f}' AS {name})"
        case "struct":
            inner = [f"'{f.name}', {literal(value[f.name], f.type)}" for f in kind]
            return f"named_struct({', '.join(inner)})"
        case "array":
            inner = [literal(one, kind.value_type) for one in value]
            return f"CAST(array({', '.join(inner)}) AS {name})"
        case "map":
            inner = [
                f"{literal(key, kind.key_type)}, {literal(one, kind.item_type)}"
                for key, one in value
            ]
            return f"CAST(map({', '.join(inner)}) AS {name})"
    return f"CAST('{value}' AS {name})"


def at(uri: Any, version: int | None = None) -> str:
    """A table, now or at a version."""
    return f"delta.`{uri}`" + ("" if version is None else f" VERSION AS OF {version}")


def properties(given: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}' = '{value}'" for name, value in given.items())


def create(
    uri: Any,
    schema: pa.Schema,
    *,
    partition_by: Iterable[str] = (),
    having: Mapping[str, str] | None = None,
) -> str:
    """Make an empty table; `having` are its properties."""
    columns = [
        f"`{field.name}` {type_name(field.type)}{'' if field.nullable else ' NOT NULL'}"
        for field in schema
    ]
    parted = ", ".join(f"`{name}`" for name in partition_by)
    return (
        f"CREATE TABLE {at(uri)} ({', '.join(columns)}) USING delta"
        + (f" PARTITIONED BY ({parted})" if parted else "")
        + (f" TBLPROPERTIES ({properties(having)})" if having else "")
    )


def rows(data: pa.Table) -> str:
    """Rows as a query, which may stand in brackets where a table may."""
    cells = [
        ", ".join(literal(row[field.name], field.type) for field in data.schema)
        for row in data.to_pylist()
    ]
    names = ", ".join(f"`{name}`" for name in data.column_names)
    return f"SELECT * FROM VALUES {', '.join(f'({row})' for row in cells)} AS rows({names})"


def insert(uri: Any, data: pa.Table) -> str:
    """Append rows."""
    return f"INSERT INTO {at(uri)} {rows(data)}"


def select(uri: Any, version: int | None = None) -> str:
    """All rows, now or at a version."""
    return f"SELECT * FROM {at(uri, version)}"
