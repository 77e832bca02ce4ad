"""Accounts and manifests made by hand: a join of two tables, a write, a run of both."""

from __future__ import annotations

import copy
from typing import Any

from fusiondelta.account._account import Phase, RunAccount, SourceAccount
from fusiondelta.account._bundle import PlanBundle
from fusiondelta.account._diff import diff_manifests
from fusiondelta.account._io import QueryIo
from fusiondelta.account._manifest import RunManifest
from fusiondelta.account._nodes import PlanNode, PlanTree
from fusiondelta.snapshots import SnapshotKey

SECOND = 10**9
MIB = 2**20
GIB = 2**30
SUBMITTED = 1_900_000_000 * SECOND
SQL = "SELECT o.id FROM orders o JOIN lines l ON o.id = l.id ORDER BY 1"
PARTITIONS = "datafusion.execution.target_partitions"
SETTINGS = {PARTITIONS: "8", "datafusion.catalog.information_schema": "true"}
VERSIONS = {"fusiondelta": "0.5.0", "native.datafusion": "55.0.0", "pyarrow": "23.0.0"}
MACHINE = {"cores": 8, "memory_bytes": 16 * GIB, "system": "Linux x86_64", "python": "3.12.1"}
COLUMNS = [{"name": "id", "type": "int64", "nullable": False}]
DIGEST = {"algorithm": "rows-1", "value": "aa", "exact": "bb", "rows": 100}
ORDERS = SourceAccount(
    alias="orders",
    kind="delta",
    uri="s3://lake/orders",
    version=4,
    files=12,
    bytes=GIB,
    rows=1_000_000,
    properties={"delta.logRetentionDuration": "interval 30 days"},
)
LINES = SourceAccount(
    alias="lines",
    kind="parquet",
    uri="s3://lake/lines/",
    files=2,
    bytes=3 * MIB,
    pins=(("lines/1.parquet", MIB, 1_000, "e1"), ("lines/2.parquet", 2 * MIB, 2_000, None)),
    options={"paths": ["s3://lake/lines/"], "extension": ".parquet"},
)

#: Operators of the join: id, name, detail, seconds, other metrics.
JOIN = (
    ("0", "SortExec", "SortExec: expr=[id@0 ASC]", 0.1, {"output_rows": 100}),
    (
        "0.0",
        "HashJoinExec",
        "HashJoinExec: mode=CollectLeft, join_type=Inner, on=[(id@0, id@0)]",
        0.5,
        {"output_rows": 100},
    ),
    (
        "0.0.0",
        "DeltaSnapshotExec",
        "DeltaSnapshotExec: table=s3://lake/orders, version=4",
        0.0,
        {"files_total": 12, "files_after_statistics": 3},
    ),
    (
        "0.0.0.0",
        "DataSourceExec",
        "DataSourceExec: file_groups={8 groups: [[a.parquet], [b.parquet]]}, projection=[id], "
        "file_type=parquet, predicate=DynamicFilter [ id@0 >= 3 ], pruning_predicate=id_max@0 >= 3",
        0.4,
        {"output_rows": 1000, "io_time": 200_000_000},
    ),
    (
        "0.0.1",
        "DataSourceExec",
        "DataSourceExec: file_groups={2 groups: [[lake/lines/1.parquet]]}, file_type=parquet",
        0.2,
        {"output_rows": 500},
    ),
)
IO = {
    "requests": {"list": 1, "head": 0, "get": 12, "put": 0, "delete": 0, "copy": 0},
    "by_purpose": {"log": 2, "checkpoint": 1, "footer": 2, "data": 8, "commit": 0},
    "bytes_read": 40 * MIB,
    "bytes_written": 0,
    "retries": 0,
}


def tree(operators: Any = JOIN) -> PlanTree:
    """A tree of operators as `JOIN` has them."""
    return PlanTree(
        tuple(
            PlanNode(
                id=path,
                parent=path.rpartition(".")[0] or None,
                operator=name,
                detail=detail,
                partitions=8,
                totals={"elapsed_compute": seconds * 1e9, **metrics},
            )
            for path, name, detail, seconds, metrics in operators
        )
    )


def plan_lines(operators: Any = JOIN) -> str:
    """The plan's text."""
    return "\n".join("  " * path.count(".") + detail for path, _, detail, _, _ in operators)


def bundle(operators: Any = JOIN, **changes: Any) -> PlanBundle:
    """The plan bundle of the join."""
    values: dict[str, Any] = {
        "sql": SQL,
        "parameters": {},
        "logical_plan": "Sort: o.id",
        "optimized_plan": "Sort: o.id\n  Inner Join: o.id = l.id",
        "physical_plan": plan_lines(operators),
        "physical_tree": "┌──┐",
        "physical_proto": None,
        "physical_proto_missing": "not asked for",
        "settings": SETTINGS,
        "versions": VERSIONS,
        "snapshots": {"orders": ("s3://lake/orders", 4)},
    }
    return PlanBundle(**{**values, **changes})


def account(**changes: Any) -> RunAccount:
    """The account of the join: 0.1 s to plan, 1.1 s to run."""
    values: dict[str, Any] = {
        "run_id": "r1",
        "query_id": "q1",
        "session_id": "s1",
        "status": "finished",
        "sql": SQL,
        "sources": (ORDERS, LINES),
        "snapshots": {"orders": SnapshotKey("s3://lake/orders", 4)},
        "submitted": SUBMITTED,
        "planned": SUBMITTED + SECOND // 10,
        "started": SUBMITTED + SECOND,
        "first_row": SUBMITTED + 2 * SECOND,
        "ended": SUBMITTED + 21 * SECOND // 10,
        "phases": (
            Phase("resolve", SUBMITTED, 0.06),
            Phase("optimize", SUBMITTED + SECOND // 20, 0.03),
        ),
        "rows": 100,
        "batches": 2,
        "result_bytes": 800,
        "tree": tree(),
        "io": QueryIo(**IO),
        "peak_memory": 100 * MIB,
        "memory_limit": 2 * GIB,
        "settings": SETTINGS,
        "versions": VERSIONS,
        "machine": MACHINE,
        "tenant": "north",
        "tags": {"job": "nightly"},
    }
    return RunAccount(**{**values, **changes})


def query(**changes: Any) -> RunManifest:
    """The manifest of the join."""
    return RunManifest.of_account(
        account(**changes),
        plan=bundle(),
        query={"readonly": True},
        result={
            "partitions": 8,
            "columns": COLUMNS,
            "digest": DIGEST,
        },
    )


def write(**changes: Any) -> RunManifest:
    """The manifest of an append that met a conflict."""
    done = {
        "outcome": "COMMITTED",
        "commit_id": "c1",
        "read_version": 4,
        "rows_written": 1000,
        "bytes_written": 4 * MIB,
        "files_added": 3,
        "files_removed": 0,
        "write_safety": "conditional_put",
        "attempts": [
            {"number": 1, "tried": [[5, "taken"]], "conflict": "ConcurrentAppend", "waited": 0.0},
            {"number": 2, "tried": [[6, "committed"]], "conflict": None, "waited": 0.2},
        ],
        "replayed": False,
        "operation_metrics": {"num_added_rows": 1000},
        "modes": {"mode": "append"},
    }
    values: dict[str, Any] = {
        "query_id": "w1",
        "session_id": "",
        "kind": "write",
        "operation": "append",
        "sql": None,
        "sources": (),
        "snapshots": {"target": SnapshotKey("s3://lake/orders", 6)},
        "submitted": SUBMITTED + 5 * SECOND,
        "planned": 0,
        "started": SUBMITTED + 5 * SECOND,
        "ended": SUBMITTED + 7 * SECOND,
        "phases": (Phase("attempt", SUBMITTED, 1.5), Phase("commit", SUBMITTED, 0.3)),
        "tree": PlanTree(()),
        "write": done,
    }
    return RunManifest.of_account(account(**{**values, **changes}))


def failed() -> RunManifest:
    """The manifest of a query that failed before it had a plan."""
    return RunManifest.of_account(
        account(
            status="failed",
            error={"class": "SqlError", "kind": "sql", "message": "no table 'oder'"},
            sources=(),
            snapshots={},
            started=0,
            first_row=0,
            tree=PlanTree(()),
            settings={},
        )
    )


def run() -> RunManifest:
    """The manifest of the join and the append together."""
    return RunManifest.of_run("r1", [query(), write()], tenant="north", tags={"job": "nightly"})


KINDS = {"query": query, "write": write, "failed": failed, "run": run}


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a document with values at paths like ``sources.0.version`` replaced.

    Keys of mappings that have dots in them are written with slashes between steps instead.
    """
    out = copy.deepcopy(document)
    for path, value in changes.items():
        *steps, last = path.split("/" if "/" in path else ".")
        inner: Any = out
        for step in steps:
            inner = inner[int(step) if isinstance(inner, list) else step]
        inner[int(last) if isinstance(inner, list) else last] = value
    return out


def diff(changes, document=None):
    """What differs once a document (the join, where None) is changed."""
    document = query().to_dict() if document is None else document
    return diff_manifests(document, changed(document, changes))


def told(difference):
    """Kind, subject and effect of each finding."""
    return [(one.kind, one.subject, one.effect) for one in difference.findings]


def only(changes, document=None):
    """The one finding of a change."""
    found = diff(changes, document).findings
    assert len(found) == 1, told(diff(changes, document))
    return found[0]


def planned(operators, **changes):
    """The join with another plan."""
    manifest = RunManifest.of_account(
        account(tree=tree(operators), **changes),
        plan=bundle(operators),
        query={"readonly": True},
        result={"partitions": 8, "columns": COLUMNS, "digest": DIGEST},
    )
    return manifest.to_dict()


def operators(**changes):
    """The join's operators with fields of some replaced, by path with underscores."""
    return tuple((path, *changes.get("at_" + path.replace(".", "_"), rest)) for path, *rest in JOIN)


def slower(seconds):
    """Changes that make the join take longer to execute."""
    return {"timing.execution_seconds": 1.1 + seconds, "timing.seconds": 1.2 + seconds}
