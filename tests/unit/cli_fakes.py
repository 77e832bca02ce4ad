"""An engine that answers as it was told, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import fusiondelta
from fusiondelta.account import PlanNode, PlanTree, QueryIo, RunAccount
from fusiondelta.cli import cli
from fusiondelta.errors import FusionDeltaError, SnapshotNotFoundError
from fusiondelta.snapshots import SnapshotKey

#: Steers a terminal, breaks a line, turns the direction of writing, has no encoding.
HOSTILE = "a\x1b[31mb\r\nc\u202ed\x9b1m\u2028e"

IO = QueryIo({"list": 0, "get": 3, "put": 0}, {"data": 3}, 2048, 0, 0)


class FakeSource:
    """`DeltaSource` without a table."""

    def __init__(self, uri: str, as_of: Any = None) -> None:
        self.uri, self.as_of = uri, as_of

    def __eq__(self, other: object) -> bool:
        return (self.uri, self.as_of) == (other.uri, other.as_of)

    __hash__ = None


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def account(**changes: Any) -> RunAccount:
    """What is known of a query of two operators that gave two rows."""
    scan = {"output_rows": 7.0, "elapsed_compute": 3e9, "build_mem_used": 4096.0}
    nodes = (
        PlanNode(id="0", parent=None, operator="FilterExec", totals={"elapsed_compute": 1e9}),
        PlanNode(id="0.0", parent="0", operator="DataSourceExec", detail=HOSTILE, totals=scan),
    )
    values = {
        "run_id": "r",
        "query_id": "q",
        "status": "finished",
        "submitted": 0,
        "planned": 10**9,
        "started": 10**9,
        "ended": 3 * 10**9,
        "rows": 2,
        "tree": PlanTree(nodes),
        "io": IO,
        "peak_memory": 1024,
    }
    return RunAccount(**{**values, **changes})


class FakeTable:
    """A table of some versions, each with its files by path."""

    def __init__(self, version: int, files: dict[str, int], columns: tuple[str, ...] = ()) -> None:
        self.snapshot = SnapshotKey("/t", version)
        self.properties: dict[str, str] = {}
        self._files, self._columns = files, columns
        self.as_of: Any = None

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        commits = [
            {"version": 1, "timestamp": 0, "operation": "WRITE", "operationParameters": {"a": 1}},
            {"version": 0, "timestamp": 0, "operation": "CREATE", "userName": "ada"},
        ]
        return commits[:limit]

    def detail(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of,
            "schema": {"id": "long"},
            "partition_columns": list(self._columns),
        }

    def files(self) -> pa.Table:
        parts = {
            f"partition.{name}": [path.split("/")[at].partition("=")[2] for path in self._files]
            for at, name in enumerate(self._columns)
        }
        return pa.table(
            {"path": [*self._files], "size_bytes": [*self._files.values()], **parts},
        )


@dataclass
class FakeWrite:
    """A `WriteResult`."""

    operation_metrics: dict[str, Any] = field(default_factory=dict)
    outcome: str = "COMMITTED"
    read_version: int = 3
    snapshot: SnapshotKey = SnapshotKey("/t", 4)  # noqa: RUF009 - it is frozen
    files_removed: int = 5
    files_added: int = 1
    bytes_written: int = 2048


@dataclass
class FakeCleanup:
    """A `LogCleanup`."""

    removed: tuple[str, ...]
    oldest: int


class FakePlan:
    """A `PlanBundle`."""

    logical_plan, optimized_plan = "L", "O"

    def to_dict(self) -> dict[str, Any]:
        return {"physical_plan": "P"}


class FakeManifest:
    """A `RunManifest` that goes into no file."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def write(self, path: Any) -> None:
        self._engine.manifests.append((str(path), self._engine.pulled))


class FakeResult:
    """A `QueryResult`."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.plan = FakePlan()

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._engine.schema, self._pull())

    def _pull(self) -> Any:
        for one in self._engine.batches:
            self._engine.pulled += 1
            if isinstance(one, BaseException):
                raise one
            yield one

    def explain(self, *, analyze: bool = False) -> str:
        return f"Projection: {HOSTILE}{' measured' if analyze else ''}"

    def account(self) -> RunAccount:
        return self._engine.account

    def manifest(self) -> FakeManifest:
        return FakeManifest(self._engine)

    def close(self) -> None:
        self._engine.closed_results += 1


class FakeDebug:
    """``engine.debug``."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def doctor(self, uris: list[str]) -> Any:
        self._engine.asked = uris
        return self._engine.report


class FakeEngine:
    """One query, answered with `batches`; an exception among them is raised in its turn.

    Calls of other methods are in `calls`, by name.
    """

    def __init__(self, batches: Any = (), tables: dict[Any, FakeTable] | None = None) -> None:
        self.batches = list(batches)
        self.schema = getattr(self.batches[0], "schema", None) if self.batches else None
        self.tables = tables or {}
        self.account = account()
        self.profile = self.storage = self.asked = self.report = self.write = None
        self.options: dict[str, Any] = {}
        self.calls: dict[str, Any] = {}
        self.manifests: list[tuple[str, int]] = []
        self.pulled = self.closed_results = self.closed = 0
        self.debug = FakeDebug(self)

    def __call__(self, profile: Any = None, storage: Any = None, **options: Any) -> FakeEngine:
        self.profile, self.storage, self.options = profile, storage, options
        return self

    def query(
        self, sql: str, *, sources: Any = None, param_values: Any = None, **options: Any
    ) -> FakeResult:
        self.asked = (sql, sources, param_values)
        self.calls["query"] = options
        if isinstance(self.batches[0], FusionDeltaError):
            raise self.batches[0]
        return FakeResult(self)

    def open_delta(self, uri: str, as_of: Any = None) -> FakeTable:
        if uri == "missing":
            raise SnapshotNotFoundError("no table\nhere")
        table = self.tables.get(as_of) or FakeTable(9, {})
        table.as_of = as_of
        return table

    def __getattr__(self, name: str) -> Any:
        if name not in ("vacuum", "optimize", "restore", "cleanup_metadata", "checkpoint"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls[name] = (*args, options)
            return self.write

        return call

    def reachable_versions(self, uri: str) -> list[int]:
        return [*range(2, 10)]

    def close(self) -> None:
        self.closed += 1


def runner(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command line on an engine."""
    monkeypatch.setattr(fusiondelta, "DeltaSource", FakeSource)

    def invoke(engine: FakeEngine, *args: str, **kwargs: Any) -> Any:
        monkeypatch.setattr(fusiondelta, "FusionDeltaEngine", engine)
        return CliRunner().invoke(cli, args, **kwargs)

    return invoke
