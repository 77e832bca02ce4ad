"""The tables of a database in memory, as Parquet files and as Delta tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyarrow import parquet

import fusiondelta
from tests.differential.schemas import Database, plain

MEMORY = "memory"
MIXED = "mixed"
ONE_KIND = (MEMORY, "batches", "parquet", "hive", "delta", "delta_partitioned", "delta_vectors")
FORMS = (*ONE_KIND, MIXED)
_VECTORS = {"delta.enableDeletionVectors": "true"}


def written(form: str, database: Database, folder: Path, engine: Any) -> dict[str, Any]:
    """What `sources=` of a query takes, by the names of the tables."""
    return {
        name: one(_form_of(form, name), table, folder / form / name, engine)
        for name, table in database.tables.items()
    }


def _form_of(form: str, name: str) -> str:
    mixed = {"t0": "parquet", "t1": "delta_vectors"}
    return mixed.get(name, MEMORY) if form == MIXED else form


def one(form: str, table: pa.Table, folder: Path, engine: Any) -> Any:
    """One table in a form."""
    if form == MEMORY:
        return table
    if form == "batches":
        batches = table.to_batches(max_chunksize=3)
        return pa.Table.from_batches(batches, table.schema)
    writers = {
        "parquet": _parquet,
        "hive": _hive,
        "delta": _delta,
        "delta_partitioned": _partitioned,
        "delta_vectors": _vectors,
    }
    folder.mkdir(parents=True, exist_ok=True)
    return writers[form](plain(table), folder, engine)


def _pieces(table: pa.Table, count: int) -> list[pa.Table]:
    step = max(1, -(-table.num_rows // count))
    return [table.slice(at, step) for at in range(0, table.num_rows, step)] or [table]


def _parquet(table: pa.Table, folder: Path, engine: Any) -> Any:
    del engine
    for number, piece in enumerate(_pieces(table, 3)):
        parquet.write_table(
            piece,
            folder / f"part-{number}.parquet",
            row_group_size=4,
            data_page_size=64,
            write_page_index=True,
            use_dictionary=number != 1,
        )
    return fusiondelta.ParquetSource(str(folder))


def _hive(table: pa.Table, folder: Path, engine: Any) -> Any:
    if "g" not in table.column_names or not table.num_rows or table["g"].null_count:
        return _parquet(table, folder, engine)
    groups = table["g"].to_pylist()
    for value in sorted(set(groups)):
        rows = [at for at, other in enumerate(groups) if other == value]
        part = folder / f"g={quote(value)}"
        part.mkdir()
        parquet.write_table(table.take(rows).drop_columns("g"), part / "part.parquet")
    return fusiondelta.ParquetSource(str(folder), partition_columns={"g": pa.string()})


def _delta(table: pa.Table, folder: Path, engine: Any) -> Any:
    for piece in _pieces(table, 2):
        engine.write_delta(folder, piece)
    return str(folder)


def _partitioned(table: pa.Table, folder: Path, engine: Any) -> Any:
    # An empty text is NULL as a value of a partition, so that only columns without one will do.
    by = ["g", "k"] if "k" in table.column_names and table.num_rows % 2 else ["g"]
    by = [name for name in by if name in table.column_names]
    for piece in _pieces(table, 2):
        engine.write_delta(folder, piece, partition_by=by or None)
    return str(folder)


def _vectors(table: pa.Table, folder: Path, engine: Any) -> Any:
    if "id" not in table.column_names:
        return _delta(table, folder, engine)
    # Rows that are deleted again: each row once more, with an id that no row has.
    ids = pa.array([None if i is None else i + 1000 for i in table["id"].to_pylist()], pa.int64())
    gone = table.set_column(table.column_names.index("id"), "id", ids)
    for piece, doomed in zip(_pieces(table, 2), _pieces(gone, 2), strict=True):
        mixed = pa.concat_tables([doomed.slice(0, 1), piece, doomed.slice(1)])
        engine.write_delta(folder, mixed.combine_chunks(), properties=_VECTORS)
    engine.delete(folder, "id >= 900")
    return str(folder)
