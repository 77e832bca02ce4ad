"""A table on disk read by others than the engine, and by hand: all have to find the same rows.

`read_back` is for logs without checkpoints. What a file or the log must not hold, so that readers
find what was written, is checked with it: Arrow types that only some libraries know, and ids of the
fields of another file.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import deltalake
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.harness import vectors
from tests.harness.log_files import actions, active

Rows = list[dict[str, Any]]
#: A file of Parquet as the rows that are in it, in their order.
ReadFile = Callable[[Path], Rows]
WIDE = decimal.Context(prec=38)


def comparable(value: Any) -> Any:
    """A value that is equal and prints alike where two readers mean the same."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.timezone.utc).isoformat()
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    if isinstance(value, dict):
        return {key: comparable(value[key]) for key in sorted(value)}
    return value


def bag(rows: Rows) -> Rows:
    """Rows in an order of their own, so that only what they hold counts."""
    return sorted(map(comparable, rows), key=repr)


def read_back(engine: Any, uri: Path) -> Rows:
    """Rows of the newest version, which all readers agree on."""
    uri = Path(uri)
    found = by_engine(engine, uri)
    for reader, others in (
        ("pyarrow, as the log says", by_hand(uri)),
        ("DuckDB, as the log says", by_hand(uri, duckdb_file)),
        ("delta-rs", by_deltalake(uri)),
    ):
        assert bag(others) == found, f"{reader}: {bag(others)}, the engine: {found}"
    problems = not_plain(uri)
    assert not problems, problems
    return found


def by_engine(engine: Any, uri: Path) -> Rows:
    """In an order of their own."""
    return bag(engine.query("SELECT * FROM t", sources={"t": uri}).to_pylist())


def by_deltalake(uri: Path) -> Rows:
    """Its way to Arrow; that of Polars, or of its queries, where there may be deletion vectors."""
    table = deltalake.DeltaTable(Path(uri).absolute().as_uri())
    parts = table.metadata().partition_columns
    is_decimal = any(
        str(f["type"]).startswith("decimal") for f in schema_fields(uri) if f["name"] in parts
    )
    # Its datasets write the values of decimals wrongly.
    if "deletionVectors" not in (table.protocol().reader_features or ()) and not is_decimal:
        return table.to_pyarrow_table().to_pylist()
    kinds = [str(f["type"]) for f in schema_fields(uri) if f["name"] in parts]
    if any(kind == "binary" or kind.startswith("timestamp") for kind in kinds):
        # Polars reads no bytes there, and does not find the vectors of files in escaped folders.
        query = deltalake.QueryBuilder().register("t", table)
        return pa.table(query.execute("SELECT * FROM t")).to_pylist()
    return pl.read_delta(table).to_arrow().to_pylist()


def by_hand(uri: Path, read: ReadFile | None = None) -> Rows:
    """The files that the log names, partition values and deletion vectors."""
    fields = schema_fields(uri)
    rows: Rows = []
    for path, add in active(uri).items():
        parts = {
            field["name"]: partition_value(add["partitionValues"][field["name"]], field["type"])
            for field in fields
            if field["name"] in add["partitionValues"]
        }
        vector = add.get("deletionVector")
        gone = vectors.deleted(uri, vector) if vector else ()
        in_file = (read or pyarrow_file)(uri / unquote(path))
        assert json.loads(add["stats"])["numRecords"] == len(in_file)
        # A column that was added later is in no older file.
        rows += [
            {field["name"]: parts.get(field["name"], row.get(field["name"])) for field in fields}
            for position, row in enumerate(in_file)
            if position not in gone
        ]
    return rows


def pyarrow_file(path: Path) -> Rows:
    return pq.ParquetFile(path).read().to_pylist()


def duckdb_file(path: Path) -> Rows:
    sql = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
    return _duckdb().sql(sql, params=[str(path)]).to_arrow_table().to_pylist()


@functools.cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def schema_fields(uri: Path) -> list[dict[str, Any]]:
    """Fields of the newest schema in the log."""
    schema = None
    for commit in sorted((Path(uri) / "_delta_log").glob("*.json")):
        for action in actions(commit):
            schema = action.get("metaData", {}).get("schemaString", schema)
    return json.loads(schema)["fields"]


def partition_value(text: str | None, kind: str) -> Any:
    """What the text of a partition value stands for; an empty one is null."""
    if text is None or text == "":
        return None
    if kind in ("byte", "short", "integer", "long"):
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind == "date":
        return dt.date.fromisoformat(text)
    if kind == "binary":
        return text.encode()
    if kind.startswith("decimal"):
        scale = int(kind.rstrip(")").split(",")[1])
        return decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-scale), context=WIDE)
    if kind.startswith("timestamp"):
        at = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
        if kind == "timestamp_ntz":
            return at
        return at.replace(tzinfo=at.tzinfo or dt.timezone.utc)
    assert kind == "string"
    return text


def not_plain(uri: Path) -> list[str]:
    """What is in the log's schema or in a file and would mislead a reader."""
    found = [f"the log: {key}" for key in foreign(schema_fields(uri))]
    for path in active(uri):
        for field in fields_of(pq.read_schema(uri / unquote(path))):
            kind = str(field.type)
            if kind.endswith("_view") or kind.startswith("dictionary") or field.metadata:
                found.append(f"{path}: {field.name} {kind} {field.metadata}")
    return found


def foreign(schema: Any) -> Iterator[str]:
    """Keys of field metadata that are no business of Delta's, at any depth."""
    if isinstance(schema, dict):
        for key in schema.get("metadata") or {}:
            if key != "CURRENT_DEFAULT" and not key.startswith("delta."):
                yield key
        for value in schema.values():
            yield from foreign(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from foreign(value)


def fields_of(schema: Any) -> Iterator[pa.Field]:
    """The fields of a schema or a type, at every depth."""
    count = schema.num_fields if isinstance(schema, pa.DataType) else len(schema)
    for n in range(count):
        yield schema.field(n)
        yield from fields_of(schema.field(n).type)
