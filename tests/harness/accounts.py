"""Accounts of runs as an engine would give them, made by hand: for pages, advice and comparisons.

Numbers are those of a warehouse on an object store. Everything is the same each time it is made.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fusiondelta.account._account import Phase, RunAccount, SourceAccount
from fusiondelta.account._io import IoLine
from fusiondelta.account._nodes import PlanTree
from fusiondelta.snapshots import SnapshotKey
from tests.harness.plans import MIB, MS, SUBMITTED, Op, hashed, io, requests, scan, tree


def source(alias: str, *, version: int = 41, rows: int = 60_000_000) -> SourceAccount:
    """What an alias stood for."""
    return SourceAccount(
        alias=alias,
        kind="delta",
        uri=f"s3://lake/{alias}",
        version=version,
        files=120,
        bytes=900 * MIB,
        rows=rows,
        properties={"delta.logRetentionDuration": "interval 30 days"},
    )


WARM_IO = io(
    IoLine("list", "log", 2, 0, 4_800, 0.046),
    IoLine("get", "log", 9, 0, 88_000, 0.271),
    IoLine("get", "checkpoint", 1, 0, 1_240_000, 0.052),
    IoLine("get_range", "footer", 12, 0, 780_000, 0.49),
    IoLine("get_range", "data", 316, 2, 402 * MIB, 11.7),
    read=404 * MIB,
)

SQL = """\
SELECT n.n_name, sum(l.l_extendedprice * (1 - l.l_discount)) AS revenue
FROM customer c
JOIN orders o ON o.o_custkey = c.c_custkey
JOIN lineitem l ON l.l_orderkey = o.o_orderkey
JOIN nation n ON n.n_nationkey = c.c_nationkey
WHERE o.o_orderdate >= $from AND o.o_orderdate < $until
GROUP BY n.n_name
ORDER BY revenue DESC
LIMIT 10"""


def account(top: Op | None = None, **other: Any) -> RunAccount:
    """A finished query of 1.9 seconds with any plan.

    Args:
        top: The root of its plan; None for none.
        other: Fields of the account that are otherwise.
    """
    fields: dict[str, Any] = {
        "run_id": "0198f3a2-7c51-7d3e-9a4b-1f6f2a8c9e10",
        "query_id": "0198f3a2-7c52-7e90-8b1c-5d2e7f3a4b61",
        "session_id": "0198f3a2-7c50-7aa1-8f00-2b6d9c1e3f57",
        "status": "finished",
        "sql": SQL,
        "submitted": SUBMITTED,
        "planned": SUBMITTED + 61 * MS,
        "started": SUBMITTED + 63 * MS,
        "first_row": SUBMITTED + 1_840 * MS,
        "ended": SUBMITTED + 1_902 * MS,
        "phases": (
            Phase("wait", SUBMITTED, 0.0004),
            Phase("resolve", SUBMITTED + 1 * MS, 0.0382),
            Phase("parse", SUBMITTED + 40 * MS, 0.0012),
            Phase("optimize", SUBMITTED + 42 * MS, 0.0091),
            Phase("physical_plan", SUBMITTED + 52 * MS, 0.0087),
        ),
        "tree": PlanTree(()) if top is None else tree(top),
        "io": WARM_IO,
        "memory_limit": 4 * 2**30,
        "machine": {"cores": 8, "memory_bytes": 32 * 2**30, "system": "Linux", "python": "3.13.1"},
        "settings": {
            "datafusion.execution.batch_size": "16384",
            "datafusion.execution.target_partitions": "8",
            "datafusion.execution.parquet.pushdown_filters": "false",
            "datafusion.optimizer.prefer_hash_join": "true",
            "datafusion.catalog.information_schema": "true",
            "datafusion.sql_parser.dialect": "generic",
        },
        "versions": {"fusiondelta": "0.1.0", "datafusion": "55.0.0", "native.deltalake": "1.1.0"},
    }
    return RunAccount(**{**fields, **other})


def join() -> RunAccount:
    """A healthy join of four tables with an aggregation and a limit."""
    orders = Op(
        "FilterExec",
        "o_orderdate@2 >= 2029-01-01 AND o_orderdate@2 < 2030-01-01",
        (
            scan(
                "orders",
                rows=2_290_000,
                predicate="o_orderdate@2 >= 2029-01-01 AND o_orderdate@2 < 2030-01-01",
                ms=520,
            ),
        ),
        ms=38,
        rows=2_275_919,
        at=(90, 900),
    )
    customer = scan("customer", rows=1_500_000, files=(16, 16, 16), version=7, ms=150, at=(70, 400))
    lineitem = scan(
        "lineitem",
        rows=59_986_052,
        files=(480, 480, 480),
        row_groups=(960, 960),
        pages=(0, 0),
        version=112,
        size=14_800 * MIB,
        scanned=3_900 * MIB,
        ms=3_900,
        at=(120, 1_790),
        cache=(478, 2),
    )
    nation = scan(
        "nation", rows=25, files=(1, 1, 1), row_groups=(1, 1), pages=(0, 0), version=0,
        size=3_000, scanned=1_200, ms=0.8, at=(66, 72), cache=(1, 0),
    )  # fmt: skip
    first = Op(
        "HashJoinExec",
        "mode=Partitioned, join_type=Inner, on=[(c_custkey@0, o_custkey@1)], "
        "projection=[c_nationkey@1, o_orderkey@2]",
        (hashed("c_custkey@0", customer), hashed("o_custkey@1", orders)),
        ms=420,
        rows=2_275_919,
        at=(380, 1_000),
        metrics={"build_time": 1.1e8, "build_mem_used": 64 * MIB, "build_input_rows": 1_500_000},
    )
    second = Op(
        "HashJoinExec",
        "mode=Partitioned, join_type=Inner, on=[(o_orderkey@1, l_orderkey@0)], "
        "projection=[c_nationkey@0, l_extendedprice@3, l_discount@4]",
        (hashed("o_orderkey@1", first), hashed("l_orderkey@0", lineitem, ms=940)),
        ms=2_640,
        rows=9_103_367,
        at=(980, 1_815),
        metrics={"build_time": 2e8, "build_mem_used": 118 * MIB, "build_input_rows": 2_275_919},
    )
    third = Op(
        "HashJoinExec",
        "mode=CollectLeft, join_type=Inner, on=[(n_nationkey@0, c_nationkey@0)], "
        "projection=[n_name@1, l_extendedprice@3, l_discount@4]",
        (nation, second),
        ms=310,
        rows=9_103_367,
        at=(985, 1_820),
        metrics={"build_mem_used": 2_048, "build_input_rows": 25},
    )
    partial = Op(
        "AggregateExec",
        "mode=Partial, gby=[n_name@0 as n_name], "
        "aggr=[sum(l.l_extendedprice * Int64(1) - l.l_discount)]",
        (third,),
        ms=520,
        rows=200,
        at=(990, 1_830),
        metrics={"peak_mem_used": 1.2 * MIB, "spilled_bytes": 0, "spill_count": 0},
    )
    final = Op(
        "AggregateExec",
        "mode=FinalPartitioned, gby=[n_name@0 as n_name], "
        "aggr=[sum(l.l_extendedprice * Int64(1) - l.l_discount)]",
        (hashed("n_name@0", partial, ms=0.4),),
        ms=0.9,
        rows=25,
        at=(1_828, 1_836),
        metrics={"peak_mem_used": 96_000},
    )
    top = Op(
        "SortPreservingMergeExec",
        "[revenue@1 DESC], fetch=10",
        (
            Op(
                "SortExec",
                "TopK(fetch=10), expr=[revenue@1 DESC], preserve_partitioning=[true]",
                (final,),
                ms=0.2,
                rows=25,
                at=(1_834, 1_839),
            ),
        ),
        ms=0.1,
        rows=10,
        partitions=1,
        at=(1_836, 1_840),
    )
    return account(
        top,
        rows=10,
        batches=1,
        result_bytes=480,
        parameters={"from": "2029-01-01", "until": "2030-01-01"},
        tenant="finance",
        tags={"job": "nightly revenue", "attempt": "1"},
        sources=(
            source("customer", version=7, rows=1_500_000),
            source("orders", rows=15_000_000),
            source("lineitem", version=112, rows=59_986_052),
            source("nation", version=0, rows=25),
        ),
        snapshots={"orders": SnapshotKey("s3://lake/orders", 41)},
        requests=requests(340, over=1_500),
        peak_memory=1_240 * MIB,
    )


def troubled() -> RunAccount:
    """A slow join with every problem of plans and requests at once."""
    events = Op(
        "FilterExec",
        "CAST(user_id@1 AS Utf8View) = 90210",
        (
            scan(
                "events",
                rows=412_000_000,
                files=(18_400, 18_400, 18_400),
                row_groups=(18_400, 18_400),
                pages=(0, 0),
                size=18_400 * MIB,
                scanned=9_100 * MIB,
                predicate="CAST(user_id@1 AS Utf8View) = 90210",
                ms=31_000,
                at=(900, 21_000),
                cache=(400, 18_000),
            ),
        ),
        ms=4_800,
        rows=1_904_000,
        at=(910, 21_000),
    )
    skew = (26.0, 1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0)
    clicks = scan("clicks", rows=3_300_000, files=(40, 40, 40), ms=900, at=(900, 3_000))
    joined = Op(
        "HashJoinExec",
        "mode=Partitioned, join_type=Inner, on=[(session@0, session@2)]",
        (hashed("session@0", events), hashed("session@2", clicks)),
        ms=38_000,
        rows=811_400_120,
        at=(3_100, 61_000),
        weights=skew,
        metrics={"build_mem_used": 610 * MIB, "build_input_rows": 1_904_000},
    )
    top = Op(
        "SortExec",
        "expr=[ts@3 ASC NULLS LAST], preserve_partitioning=[true]",
        (joined,),
        ms=29_000,
        rows=811_400_120,
        at=(3_150, 74_000),
        weights=skew,
        metrics={"spill_count": 212, "spilled_bytes": 41 * 2**30, "spilled_rows": 690_000_000},
    )
    return account(
        Op("SortPreservingMergeExec", "[ts@3 ASC NULLS LAST]", (top,), ms=3_900,
           rows=811_400_120, partitions=1, at=(61_000, 76_000)),
        sql="SELECT * FROM events e JOIN clicks c USING (session) WHERE e.user_id = '90210' "
        "ORDER BY ts",
        rows=811_400_120,
        batches=99_048,
        result_bytes=19_474_000_000,
        planned=SUBMITTED + 31_800 * MS,
        started=SUBMITTED + 31_800 * MS,
        first_row=SUBMITTED + 93_000 * MS,
        ended=SUBMITTED + 108_400 * MS,
        phases=(
            Phase("wait", SUBMITTED, 29.1),
            Phase("resolve", SUBMITTED + 29_100 * MS, 2.61),
            Phase("physical_plan", SUBMITTED + 31_720 * MS, 0.066),
        ),
        sources=(source("events", rows=412_000_000), source("clicks", rows=3_300_000)),
        io=io(
            IoLine("list", "log", 12, 0, 420_000, 0.6),
            IoLine("get", "log", 2_410, 3, 9_000_000, 71.0),
            IoLine("get_range", "footer", 18_000, 96, 310 * MIB, 610.0),
            IoLine("get_range", "data", 19_120, 4_300, 9_100 * MIB, 1_904.0),
            read=9_420 * MIB,
        ),
        requests=requests(1_000, failed=40, over=40_000),
        requests_dropped=38_542,
        peak_memory=3_990 * MIB,
    )  # fmt: skip


def large(operators: int = 500) -> RunAccount:
    """A union of many branches, one of which costs most.

    Args:
        operators: About how many.
    """
    each = 8
    branches = []
    for place in range(max(operators // each, 1)):
        busy = 30.0 if place == 11 else 1.0
        table = scan(
            f"region_{place:03}", rows=140_000, ms=9 * busy, at=(80 + place, 260 + place * 8)
        )
        kept = Op("FilterExec", "amount@3 > 100", (table,), ms=2 * busy, rows=60_000, at=table.at)
        part = Op(
            "AggregateExec", "mode=Partial, gby=[key@1 as key], aggr=[sum(amount)]", (kept,),
            ms=3 * busy, rows=800, at=table.at, metrics={"peak_mem_used": 4 * MIB},
        )  # fmt: skip
        final = Op(
            "AggregateExec", "mode=FinalPartitioned, gby=[key@0 as key], aggr=[sum(amount)]",
            (hashed("key@0", part, ms=0.5),), ms=0.4, rows=100, at=table.at,
        )  # fmt: skip
        branches.append(Op("ProjectionExec", "expr=[key@0, amount@1]", (final,), ms=0.01, rows=100))
    union = Op("UnionExec", "", tuple(branches), ms=0.3, rows=100 * len(branches))
    top = Op(
        "SortExec", "expr=[key@0 ASC], preserve_partitioning=[false]",
        (Op("CoalescePartitionsExec", "", (union,), ms=0.2, rows=6_200, partitions=1),),
        ms=1.4, rows=6_200, partitions=1,
    )  # fmt: skip
    return account(
        top,
        rows=6_200,
        batches=2,
        result_bytes=99_200,
        peak_memory=310 * MIB,
        sources=tuple(
            source(f"region_{place:03}", rows=9_000_000) for place in range(len(branches))
        ),
    )


def left_deep(joins: int) -> RunAccount:
    """Joins within joins."""
    op = scan("fact", rows=1_000)
    for place in range(joins):
        side = Op("DataSourceExec", "partitions=1, partition_sizes=[1]", ms=0.1, rows=10)
        op = Op("HashJoinExec", f"on=[(k{place}@0, k@0)]", (op, side), ms=1.0, rows=1_000)
    return account(op, rows=1_000)


def tiny() -> RunAccount:
    """A query of a few rows, all of whose ratios are bad and none of which matters."""
    small = scan(
        "t", rows=1_000, files=(3, 3, 3), row_groups=(3, 3), pages=(0, 0), size=9_000,
        scanned=9_000, predicate="CAST(id@0 AS Utf8View) = 5", ms=0.4, cache=(0, 3),
        weights=(1.0, *(0.0,) * 7),
    )  # fmt: skip
    kept = Op("FilterExec", "CAST(id@0 AS Utf8View) = 5", (small,), ms=0.1, rows=1)
    other = Op("DataSourceExec", "partitions=1, partition_sizes=[1]", ms=0.01, rows=2)
    top = Op("CrossJoinExec", "", (other, kept), ms=0.1, rows=200, weights=(1.0, *(0.0,) * 7))
    return account(
        top,
        rows=200,
        batches=1,
        planned=SUBMITTED + 4 * MS,
        started=SUBMITTED + 4 * MS,
        first_row=SUBMITTED + 6 * MS,
        ended=SUBMITTED + 6 * MS,
        phases=(Phase("wait", SUBMITTED, 0.002), Phase("parse", SUBMITTED + 2 * MS, 0.001)),
        sources=(source("t", rows=1_000),),
        io=io(
            IoLine("list", "log", 1, 0, 300, 0.0001),
            IoLine("get", "log", 2, 1, 2_000, 0.0002),
            IoLine("get_range", "footer", 3, 0, 3_000, 0.0003),
            IoLine("get_range", "data", 3, 0, 9_000, 0.0003),
            read=14_300,
        ),
        requests=requests(9, over=3),
        peak_memory=40_000,
    )


def written() -> RunAccount:
    """An append that met another writer once."""
    top = Op(
        "DeltaWriteExec",
        "target_file_size=104857600",
        (Op("SortExec", "expr=[day@2 ASC]", (scan("staging", rows=4_000_000),), ms=700,
            rows=4_000_000),),
        ms=1_900,
        rows=8,
    )  # fmt: skip
    return account(
        top,
        kind="write",
        operation="append",
        session_id="",
        sql=None,
        phases=(
            Phase("attempt", SUBMITTED + 61 * MS, 1.62),
            Phase("commit", SUBMITTED + 1_700 * MS, 0.14),
        ),
        snapshots={"target": SnapshotKey("s3://lake/sales", 42)},
        sources=(source("staging"),),
        io=io(
            IoLine("list", "log", 3, 0, 4_800, 0.05),
            IoLine("get_range", "data", 80, 0, 160 * MIB, 2.1),
            IoLine("multipart", "data", 64, 0, 310 * MIB, 3.0),
            IoLine("put", "commit", 2, 0, 4_100, 0.08),
            read=161 * MIB,
            written=310 * MIB,
        ),
        peak_memory=480 * MIB,
        write={
            "outcome": "COMMITTED",
            "commit_id": "0198f3a2-7c99-7b00-8d11-000000000001",
            "read_version": 40,
            "rows_written": 4_000_000,
            "bytes_written": 310 * MIB,
            "files_added": 8,
            "files_removed": 0,
            "write_safety": "conditional_put",
            "attempts": [
                {"number": 1, "tried": [[41, "taken"], [42, "committed"]], "conflict": None,
                 "winning_version": 41, "waited": 0.0},
            ],
            "replayed": False,
            "operation_metrics": {"num_added_rows": 4_000_000, "execution_time_ms": 1_620},
        },
    )  # fmt: skip


def failed() -> RunAccount:
    """A query that ran out of memory."""
    return dataclasses.replace(
        join(),
        status="failed",
        error={
            "class": "ResourcesExhaustedError",
            "kind": "resources_exhausted",
            "message": "the query's memory_limit of 4.0 GiB would be exceeded: 3.9 GiB are in use "
            "and HashJoinInput[3] asked for another 256.0 MiB; give it more memory or spill space",
        },
        rows=0,
        batches=0,
        first_row=0,
    )


#: All of these and a few that hold little, by name.
RUNS = {
    "join": join,
    "troubled": troubled,
    "large": large,
    "left_deep": lambda: left_deep(150),
    "tiny": tiny,
    "written": written,
    "failed": failed,
    "bare": lambda: account(io=io(), settings={}, versions={}, machine={}, phases=()),
    "running": lambda: dataclasses.replace(join(), status="running", ended=0, first_row=0),
    "planned": lambda: account(status="planned", started=0, first_row=0, ended=0),
}
