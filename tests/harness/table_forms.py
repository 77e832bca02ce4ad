"""The same rows as Arrow data, as a Parquet file and as a Delta table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

FORMS = ("memory", "parquet", "delta")


def table_forms(
    folder: Path,
    tables: Mapping[str, pa.Table],
    partitioned: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Sources by the names of tables, by form.

    Args:
        folder: Where files are written.
        tables: Rows by name.
        partitioned: Partition columns of the Delta tables by name.
    """
    made: dict[str, dict[str, Any]] = {"memory": dict(tables), "parquet": {}, "delta": {}}
    for name, table in tables.items():
        file = folder / f"{name}.parquet"
        pq.write_table(table, file)
        made["parquet"][name] = str(file)
        uri = str(folder / name)
        by = list((partitioned or {}).get(name, [])) or None
        write_deltalake(uri, table, partition_by=by)
        made["delta"][name] = uri
    return made
