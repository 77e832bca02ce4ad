"""What tests of telemetry share: accounts made by hand, an engine that only counts, a provider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fusiondelta.account import Call, _instruments
from fusiondelta.account._account import Phase, Request, RunAccount, SourceAccount
from fusiondelta.account._io import QueryIo
from fusiondelta.account._nodes import PlanNode, PlanTree
from fusiondelta.account._telemetry import Telemetry
from fusiondelta.profiles import TelemetryConfig
from fusiondelta.snapshots import SnapshotKey

ON = TelemetryConfig(enabled=True)
MS = 1_000_000
URI = "file:///lake/orders"


def node(node_id: str, operator: str, start: int, end: int, cost: float = 0, **rest: Any):
    """An operator that worked from one moment to another."""
    parent = node_id.rpartition(".")[0] or None
    totals = {"start_timestamp": start, "end_timestamp": end, "elapsed_compute": cost}
    return PlanNode(
        id=node_id,
        parent=parent,
        operator=operator,
        detail=rest.pop("detail", operator),
        totals={**totals, **rest},
    )


def request(started: int, milliseconds: float, **rest: Any) -> Request:
    given = {
        "operation": "get_range",
        "purpose": "data",
        "location": "orders/part-0.parquet",
        "bytes": 100,
        "retry": False,
        "failure": "",
        "node": "",
    }
    return Request(started=started, seconds=milliseconds / 1e3, **{**given, **rest})


def no_io() -> QueryIo:
    return QueryIo({"get": 3, "list": 1}, {"data": 3, "log": 1}, 300, 0, 1)


def query(at: int | None = None, **changes: Any) -> RunAccount:
    """A query that was planned in 20 ms and read one Delta table from 30 ms to 100 ms."""
    at = time.time_ns() if at is None else at
    detail = f"DeltaSnapshotExec: table={URI}, version=7"
    nodes = (
        node("0", "CoalescePartitionsExec", at + 31 * MS, at + 99 * MS, 1, output_rows=3),
        node("0.0", "AggregateExec", at + 32 * MS, at + 98 * MS, 9e6, spilled_bytes=4096),
        PlanNode(
            id="0.0.0",
            parent="0.0",
            operator="DeltaSnapshotExec",
            detail=detail,
            totals={"files_total": 9, "files_after_statistics": 2},
        ),
        node("0.0.0.0", "DataSourceExec", at + 33 * MS, at + 90 * MS, 5e6, bytes_scanned=300),
    )
    phases = (
        Phase("wait", at, 0.002),
        Phase("resolve", at + 2 * MS, 0.006),
        Phase("parse", at + 3 * MS, 0.001),
        Phase("optimize", at + 9 * MS, 0.004),
    )
    given: dict[str, Any] = {
        "run_id": "run-1",
        "query_id": "query-1",
        "session_id": "session-1",
        "status": "finished",
        "sql": "SELECT 1",
        "sources": (SourceAccount(alias="orders", kind="delta", uri=URI, version=7),),
        "snapshots": {"orders": SnapshotKey(URI, 7)},
        "submitted": at,
        "planned": at + 20 * MS,
        "started": at + 30 * MS,
        "first_row": at + 40 * MS,
        "ended": at + 100 * MS,
        "phases": phases,
        "rows": 3,
        "batches": 1,
        "result_bytes": 24,
        "tree": PlanTree(nodes),
        "io": no_io(),
        "requests": (
            request(at + 3 * MS, 1, operation="list", purpose="log", location="orders/_delta_log"),
            request(at + 40 * MS, 5, node="0.0.0.0"),
        ),
    }
    return RunAccount(**{**given, **changes})


def write(at: int | None = None, **changes: Any) -> RunAccount:
    """An append that lost its first attempt to another writer."""
    at = time.time_ns() if at is None else at
    attempts = [
        {
            "number": 1,
            "tried": [],
            "conflict": "ConcurrentAppend",
            "winning_version": 8,
            "waited": 0.0,
        },
        {
            "number": 2,
            "tried": [[9, "committed"]],
            "conflict": None,
            "winning_version": None,
            "waited": 0.1,
        },
    ]
    given: dict[str, Any] = {
        "kind": "write",
        "operation": "append",
        "session_id": "",
        "sql": None,
        "sources": (),
        "snapshots": {"target": SnapshotKey(URI, 9)},
        "started": 0,
        "first_row": 0,
        "tree": PlanTree(()),
        "requests": (request(at + 85 * MS, 2, operation="put", purpose="commit"),),
        "phases": (
            Phase("attempt", at + 10 * MS, 0.02),
            Phase("attempt", at + 50 * MS, 0.04),
            Phase("commit", at + 80 * MS, 0.01),
        ),
        "write": {
            "outcome": "COMMITTED",
            "commit_id": "commit-1",
            "read_version": 8,
            "rows_written": 5,
            "attempts": attempts,
        },
    }
    return query(at, **{**given, **changes})


class Native:
    """The extension's engine, as far as telemetry looks at it."""

    def __init__(self, requests: int = 2, hits: int = 3, slots: tuple[int, int] = (4, 3)) -> None:
        self.requests = requests
        self.hits = hits
        self.slots = slots

    @property
    def io(self) -> Any:
        lines = [("get_range", "get", "data", self.requests, 1, 100, 5 * MS)]
        return SimpleNamespace(lines=lambda: lines)

    def snapshot_cache(self) -> dict[str, Any]:
        return {"entries": [], "limit": 1, "hits": self.hits, "misses": 1, "evictions": 0}

    def file_caches(self) -> dict[str, dict[str, Any]]:
        return {"metadata_cache": {"hits": 1, "misses": 0, "evictions": 2, "limit": 1}}


def begin(telemetry: Any, kind: str = "query", **changes: Any) -> Any:
    given = {"query_id": "query-1", "run_id": "run-1", "operation": "SELECT", "sql": "SELECT 1"}
    if kind == "write":
        given |= {"operation": "append", "sql": None}
    traceparent = changes.pop("traceparent", None)
    return telemetry.begin(Call(kind=kind, **{**given, **changes}), traceparent=traceparent)


class Told:
    """A tracer provider with what it was told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def one(self, name):
        (found,) = self.named(name)
        return found

    def parent(self, span):
        """Name of the parent; its span id where it is none of these."""
        names = {one.context.span_id: one.name for one in self.spans}
        return span.parent and names.get(span.parent.span_id, span.parent.span_id)


@contextmanager
def told_process(monkeypatch: Any) -> Iterator[Told]:
    """For as long as the block lasts the process has these providers."""
    told = Told()
    meters = MeterProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer", told.provider.get_tracer)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: told.provider)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)
    monkeypatch.setattr(_instruments, "_of_process", None)
    yield told
    meters.shutdown()


def tell(account: RunAccount, config: TelemetryConfig = ON, **changes: Any) -> Any:
    """An operation with an account as its end."""
    operation = begin(Telemetry.of(config, Native()), account.kind, **changes)
    operation.ended(account)
    return operation
