"""Plans with what they measured, made by hand: operators, scans, requests of a warehouse."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from fusiondelta.account._account import Request
from fusiondelta.account._io import IoLine, QueryIo
from fusiondelta.account._nodes import PlanNode, PlanTree

#: 2030-01-02 03:04:05.678 UTC in nanoseconds since 1970.
SUBMITTED = 1_893_553_445_678_000_000
MS = 1_000_000
MIB = 2**20

UNITS = {
    "output_rows": "rows",
    "output_batches": "count",
    "output_bytes": "bytes",
    "elapsed_compute": "ns",
    "start_timestamp": "ns",
    "end_timestamp": "ns",
    "spilled_bytes": "bytes",
    "spilled_rows": "rows",
    "build_mem_used": "bytes",
    "peak_mem_used": "bytes",
    "build_input_rows": "rows",
    "input_rows": "rows",
    "bytes_scanned": "bytes",
    "bytes_total": "bytes",
    "bytes_after_statistics": "bytes",
    "io_bytes": "bytes",
    "scan_efficiency_ratio": "ratio",
    "page_index_rows_pruned_pruned": "rows",
    "page_index_rows_pruned_matched": "rows",
    "pushdown_rows_pruned": "rows",
    "pushdown_rows_matched": "rows",
}


@dataclass
class Op:
    """An operator of a plan that is being made.

    Attributes:
        operator: Name.
        detail: What follows the name in the plan's line.
        inputs: Operators below it.
        ms: Time it computed, of all partitions together.
        rows: Rows it gave; None where it does not say.
        at: Milliseconds since the call from its first work to its last.
        partitions: Partitions of its output.
        weights: How work and rows lie over partitions; even where empty.
        metrics: Further metrics of all partitions together.
    """

    operator: str
    detail: str = ""
    inputs: tuple[Op, ...] = ()
    ms: float = 1.0
    rows: int | None = None
    at: tuple[float, float] = (200, 1800)
    partitions: int = 8
    weights: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


def tree(top: Op) -> PlanTree:
    """The plan of an operator and those below it."""
    nodes: list[PlanNode] = []
    chance = random.Random(7)

    def add(op: Op, node_id: str, parent: str | None) -> None:
        nodes.append(_node(op, node_id, parent, chance))
        for place, one in enumerate(op.inputs):
            add(one, f"{node_id}.{place}", node_id)

    add(top, "0", None)
    return PlanTree(tuple(nodes))


def _node(op: Op, node_id: str, parent: str | None, chance: random.Random) -> PlanNode:
    detail = f"{op.operator}: {op.detail}" if op.detail else op.operator
    if op.operator == "DeltaSnapshotExec":
        # It hands on what it gets, and measures nothing but the files it had to choose from.
        return PlanNode(
            id=node_id,
            parent=parent,
            operator=op.operator,
            detail=detail,
            partitions=op.partitions,
            totals=op.metrics,
            units={name: UNITS.get(name, "count") for name in op.metrics},
        )
    totals: dict[str, float] = {"elapsed_compute": op.ms * MS}
    if op.rows is not None:
        totals["output_rows"] = op.rows
        totals["output_batches"] = max(op.rows // 8192, 1)
        totals.setdefault("output_bytes", op.rows * 24.0)
    totals.update(op.metrics)
    weights = op.weights or tuple(chance.uniform(0.9, 1.1) for _ in range(op.partitions))
    whole = sum(weights) or 1.0
    spread = ("elapsed_compute", "output_rows", "output_bytes", "time_elapsed_processing")
    parts: dict[str, dict[int, float]] = {
        name: {n: totals[name] * weight / whole for n, weight in enumerate(weights)}
        for name in spread
        if name in totals
    }
    start, end = (SUBMITTED + at * MS for at in op.at)
    busiest = max(weights) or 1.0
    starts = {n: start + chance.uniform(0, 0.04) * (end - start) for n in range(op.partitions)}
    ends = {
        n: starts[n] + (end - starts[n]) * (0.3 + 0.7 * weights[n] / busiest)
        for n in range(op.partitions)
    }
    parts["start_timestamp"], parts["end_timestamp"] = starts, ends
    totals["start_timestamp"], totals["end_timestamp"] = min(starts.values()), max(ends.values())
    return PlanNode(
        id=node_id,
        parent=parent,
        operator=op.operator,
        detail=detail,
        partitions=op.partitions,
        totals=totals,
        by_partition=parts,
        units={name: UNITS.get(name, "ns" if "time" in name else "count") for name in totals},
    )


def scan(
    alias: str,
    *,
    rows: int,
    version: int = 41,
    files: tuple[int, int, int] = (120, 24, 22),
    row_groups: tuple[int, int] = (180, 120),
    pages: tuple[int, int] = (2400, 900),
    size: int = 900 * MIB,
    scanned: int = 160 * MIB,
    predicate: str = "",
    ms: float = 400,
    at: tuple[float, float] = (80, 900),
    cache: tuple[int, int] = (20, 2),
    weights: tuple[float, ...] = (),
) -> Op:
    """A pinned Delta table and what reads its files.

    Args:
        alias: Name of the table.
        rows: Rows the scan gives.
        version: Of the table.
        files: In all, after partition values, after statistics.
        row_groups: In these files, and after statistics.
        pages: In these, and after the page index.
        size: Bytes of all files.
        scanned: Bytes read.
        predicate: What the scan prunes by.
        ms: Time of decoding.
        at: From its first work to its last.
        cache: Footers that were kept, and that were read.
        weights: How its work lies over partitions.
    """
    total, by_partition, left = files
    by = (
        f", predicate={predicate}, pruning_predicate={predicate.replace('@', '_max@')}, "
        "required_guarantees=[]"
        if predicate
        else ""
    )
    reader = Op(
        "DataSourceExec",
        f"file_groups={{8 groups: [[{alias}/part-0.parquet:0..{size // max(total, 1)}], [...]]}}, "
        f"projection=[id, key, day, amount], file_type=parquet{by}",
        ms=ms / 40,
        rows=rows,
        at=at,
        weights=weights,
        metrics={
            "bytes_scanned": scanned,
            "time_elapsed_opening": ms * 0.3 * MS,
            "time_elapsed_processing": ms * MS,
            "time_elapsed_scanning_total": ms * 1.9 * MS,
            "metadata_load_time": ms * 0.1 * MS,
            "files_ranges_pruned_statistics_pruned": 0,
            "files_ranges_pruned_statistics_matched": left,
            "row_groups_pruned_statistics_pruned": row_groups[0] - row_groups[1],
            "row_groups_pruned_statistics_matched": row_groups[1],
            "row_groups_pruned_bloom_filter_pruned": 0,
            "row_groups_pruned_bloom_filter_matched": row_groups[1],
            "page_index_pages_pruned_pruned": pages[0] - pages[1],
            "page_index_pages_pruned_matched": pages[1],
            "pushdown_rows_pruned": 0,
            "pushdown_rows_matched": 0,
            "io_requests": left * 3,
            "io_retries": 0,
            "io_bytes": scanned,
            "io_time": ms * 2.4 * MS,
            "metadata_cache_hits": cache[0],
            "metadata_cache_misses": cache[1],
        },
    )
    return Op(
        "DeltaSnapshotExec",
        f"table=s3://lake/{alias}, version={version}",
        (Op("DeltaScanExec", "", (reader,), ms=ms / 60, rows=rows, at=at),),
        rows=rows,
        at=at,
        metrics={
            "files_total": total,
            "files_after_partition": by_partition,
            "files_after_statistics": left,
            "bytes_total": size,
            "bytes_after_statistics": size * left // max(total, 1),
        },
    )


def hashed(key: str, op: Op, *, weights: tuple[float, ...] = (), ms: float = 60) -> Op:
    """Rows divided by a key."""
    return Op(
        "RepartitionExec",
        f"partitioning=Hash([{key}], 8), input_partitions=8",
        (op,),
        ms=ms,
        rows=op.rows,
        at=op.at,
        weights=weights,
        metrics={"repartition_time": ms * 0.7 * MS, "send_time": ms * 0.2 * MS, "fetch_time": 1e8},
    )


def requests(count: int, *, failed: int = 0, over: float = 900) -> tuple[Request, ...]:
    """Requests as a scan makes them: log first, then footers, then data.

    Args:
        count: How many.
        failed: How many of these failed and were repeated.
        over: Milliseconds in which they begin.
    """
    chance = random.Random(3)
    found = []
    for place in range(count):
        part = place / max(count, 1)
        purpose = "log" if part < 0.08 else "footer" if part < 0.25 else "data"
        operation = "get" if purpose == "log" else "get_range"
        if place == 0:
            purpose, operation = "log", "list"
        broke = part > 0.5 and place % 7 == 0 and failed > 0
        failed -= broke
        found.append(
            Request(
                operation=operation,
                purpose=purpose,
                location=f"lake/orders/day=2030-01-{1 + place % 28:02}/part-{place:05}.parquet",
                started=int(SUBMITTED + (4 + part * over) * MS),
                seconds=chance.uniform(0.008, 0.09) * (3 if place % 50 == 7 else 1),
                bytes=0 if broke else int(chance.uniform(20_000, 4_000_000)),
                retry=place % 7 == 1 and bool(found) and bool(found[-1].failure),
                failure="status 503" if broke else "",
                node="" if purpose == "log" else "0.0.0",
            )
        )
    return tuple(found)


def io(*lines: IoLine, read: int = 0, written: int = 0) -> QueryIo:
    """Counts of requests, of some lines."""
    families = {"get_range": "get", "multipart": "put"}
    by_operation = dict.fromkeys(("list", "head", "get", "put", "delete", "copy"), 0)
    by_purpose = dict.fromkeys(("log", "checkpoint", "footer", "data", "commit"), 0)
    for line in lines:
        by_operation[families.get(line.operation, line.operation)] += line.requests
        by_purpose[line.purpose] += line.requests
    return QueryIo(
        by_operation, by_purpose, read, written, sum(line.retries for line in lines), lines
    )
