"""The metrics table, of one query, of many, or of one that has none to show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeBatch


def metrics_of(batches: Iterable[NativeBatch]) -> pa.Table:
    """One metrics table of several of the extension's."""
    import pyarrow as pa

    found = [pa.record_batch(batch) for batch in batches]
    return pa.Table.from_batches(found, schema=empty_metrics().schema)


def empty_metrics() -> pa.Table:
    """A metrics table without rows."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            pa.field("run_id", text, nullable=False),
            pa.field("query_id", text, nullable=False),
            pa.field("node_id", text, nullable=False),
            pa.field("parent_id", text),
            pa.field("operator", text, nullable=False),
            pa.field("partition", pa.int32()),
            pa.field("metric_name", text, nullable=False),
            pa.field("metric_value", pa.float64(), nullable=False),
            pa.field("unit", text, nullable=False),
            pa.field("labels_json", text, nullable=False),
        ]
    ).empty_table()
