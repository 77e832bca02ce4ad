"""Small tables, and what is in them."""

from __future__ import annotations

import pyarrow as pa


def numbers(*values, **columns):
    return pa.table({"id": pa.array(values, pa.int64()), **columns})


def rows(engine, source, columns="*"):
    table = engine.query(f"SELECT {columns} FROM t", sources={"t": source}).to_table()
    return sorted(table.to_pylist(), key=repr)


def ids(engine, source):
    return sorted(row["id"] for row in rows(engine, source, "id"))
