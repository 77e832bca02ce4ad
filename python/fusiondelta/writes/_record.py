"""What is known of one change of a table, while it is made and afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusiondelta.account import (
    Phase,
    PlanTree,
    QueryIo,
    Request,
    RunAccount,
    RunManifest,
    error_facts,
)
from fusiondelta.account._machine import machine_facts
from fusiondelta.account._metrics import metrics_of
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import QueryCancelledError
from fusiondelta.queries._account import requests_of, source_account
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.sources import Resolved

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeBatch, NativeIo
    from fusiondelta.account._nodes import Operator


@dataclass(slots=True, kw_only=True)
class WriteRecord:
    """One change, as the books know it.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the change.
        operation: What it does: ``append``, ``merge``…
        io: Its counters.
        tenant: Who asks.
        tags: Free text by name.
        settings: DataFusion settings it runs under.
        modes: ``mode``, ``schema_mode``, ``partition_by`` of a write.
        sources: What its rows were read from.
        write: Outcome, commit id, attempts, counts.
        snapshots: Keys of the tables read, by alias, and of what was written as ``target``.
    """

    run_id: str
    query_id: str
    operation: str
    io: NativeIo
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    modes: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Resolved, ...] = ()
    write: Mapping[str, Any] = field(default_factory=dict)
    snapshots: Mapping[str, SnapshotKey] = field(default_factory=dict)
    rows: int = 0
    _submitted: int = field(default_factory=time.time_ns)
    _started: int = 0
    _ended: int = 0
    _status: str = "running"
    _error: Mapping[str, str] | None = None
    _phases: list[Phase] = field(default_factory=list)
    _measured: tuple[NativeBatch, list[Operator], Mapping[int, str]] | None = None
    _memory: tuple[int, int | None] = (0, None)
    __weakref__: Any = field(init=False, repr=False, compare=False)

    @property
    def is_over(self) -> bool:
        """Never to be guessed: whoever makes the change says when it has ended."""
        return False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """The block is one attempt."""
        started, clock = time.time_ns(), time.perf_counter()
        self._started = self._started or started
        try:
            yield
        finally:
            self._phases.append(Phase("attempt", started, time.perf_counter() - clock))

    def succeeded(self, found: Mapping[str, Any]) -> None:
        """Note what the extension says of it."""
        self._ended, self._status = time.time_ns(), "finished"
        self._measured, self._memory = found["measured"], found["memory"]
        self.rows = found["rows"]

    def failed(self, error: BaseException) -> None:
        """Note what it ended with."""
        self._ended = time.time_ns()
        if isinstance(error, QueryCancelledError):
            self._status = "cancelled"
        else:
            self._status, self._error = "failed", error_facts(error)

    def metrics(self) -> pa.Table:
        """The metrics table."""
        return metrics_of([] if self._measured is None else [self._measured[0]])

    def account(self) -> RunAccount:
        """All that is known of it."""
        _, operators, scans = self._measured or (None, [], {})
        requests, dropped = requests_of(self.io, scans)
        peak, limit = self._memory
        return RunAccount(
            run_id=self.run_id,
            query_id=self.query_id,
            kind="write",
            operation=self.operation,
            status=self._status,
            error=self._error,
            tenant=self.tenant,
            tags=self.tags,
            sources=tuple(source_account(one) for one in self.sources),
            snapshots=self.snapshots,
            submitted=self._submitted,
            planned=self._started,
            started=self._started,
            ended=self._ended,
            phases=(*self._phases, *_commit_phase(requests)),
            rows=self.rows,
            tree=PlanTree.of(operators),
            io=QueryIo.of(self.io),
            requests=requests,
            requests_dropped=dropped,
            peak_memory=peak,
            memory_limit=limit,
            settings=self.settings,
            versions=component_versions(),
            machine=machine_facts(),
            write={**self.write, "modes": dict(self.modes)},
        )

    def manifest(self, account: RunAccount | None = None) -> RunManifest:
        """It as one document, of its account where that was made already."""
        account = account or self.account()
        return RunManifest.of_account(account, plan=None, query=None, result=None)


def _commit_phase(requests: tuple[Request, ...]) -> Iterator[Phase]:
    """From the first request of the commit to the answer of the last."""
    found = [request for request in requests if request.purpose == "commit"]
    if found:
        begun = min(request.started for request in found)
        over = max(request.started + round(request.seconds * 1e9) for request in found)
        yield Phase("commit", begun, (over - begun) / 1e9)
