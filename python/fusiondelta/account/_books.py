"""The books of an engine: what is to be done about each query and write that ends.

Telemetry, manifests in the folder of artifacts, slow queries, and the runs that group them. All of
it happens on the recorder's thread; a query that nobody wants to know of costs nothing here.
"""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from fusiondelta._weak import WeakList
from fusiondelta.account._account import RunAccount
from fusiondelta.account._artifacts import Artifacts
from fusiondelta.account._call import Call
from fusiondelta.account._io import QueryIo
from fusiondelta.account._manifest import RunManifest
from fusiondelta.account._recorder import Recorder
from fusiondelta.account._run import Run
from fusiondelta.account._slow import SlowQueries
from fusiondelta.account._telemetry import Operation, Telemetry
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import FusionDeltaError, QueryError
from fusiondelta.profiles import TelemetryConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeEngine


class Accountable(Protocol):
    """A query or write that can be asked what became of it."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and nobody may have said so yet."""
        ...

    def account(self) -> RunAccount:
        """All that is known of it."""
        ...

    def manifest(self, account: RunAccount | None = None) -> RunManifest:
        """It as one document, of its account where that was made already."""
        ...

    def metrics(self) -> pa.Table:
        """The metrics table."""
        ...


class Entry:
    """What the books know of one query or write until it has ended.

    Args:
        books: Whose entry it is.
        operation: The span, where there is telemetry.
        run: The run that it is part of.
        call: What began, for one that fails before it has a plan.
    """

    def __init__(self, books: Books, operation: Operation, run: Run | None, call: Call) -> None:
        self._books = books
        self._operation = operation
        self._run = run
        self._call = call
        self._lock = threading.Lock()
        self._open = True
        self._what: weakref.ref[Accountable] | None = None
        if run is not None:
            run.expect(call.query_id, self._now)

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of the span, None where there is none."""
        return self._operation.traceparent

    def planned(self, what: Accountable) -> None:
        """There is something that can be asked now."""
        self._what = weakref.ref(what)

    def _now(self) -> RunManifest | None:
        what = None if self._what is None else self._what()
        return None if what is None else what.manifest()

    def context(self) -> AbstractContextManager[None]:
        """Makes the span current for the block, so that what happens in it joins the query."""
        return self._operation.context()

    def planning(self) -> AbstractContextManager[None]:
        """Books of what ended before stand back for the block, in which Python is busy."""
        return self._books.recorder.aside()

    def failed(self, error: BaseException) -> None:
        """It failed before there was a plan."""
        if self._close():
            account = _failed_account(error, self._call)
            self._books.recorder.submit(lambda: self._record_failed(account, error))

    def ended(self, what: Accountable) -> None:
        """It ended, well or not."""
        if self._close():
            self._books.recorder.submit(lambda: self._record(what))

    def settle(self) -> None:
        """End it if it is over: who is to say so may wait for the interpreter yet."""
        what = None if self._what is None else self._what()
        if self._open and what is not None and what.is_over:
            self.ended(what)

    def abandoned(self) -> None:
        """It was let go before it ran."""
        if self._close():
            at = time.time_ns()
            self._books.recorder.submit(lambda: self._operation.abandoned(at=at))

    def _close(self) -> bool:
        with self._lock:
            was, self._open = self._open, False
        return was

    def _record(self, what: Accountable) -> None:
        account = what.account()
        self._operation.ended(account)
        self._books.keep(account, what, self._run)

    def _record_failed(self, account: RunAccount, error: BaseException) -> None:
        self._operation.failed(error, at=account.ended)
        manifest = RunManifest.of_account(account, plan=None, query=None, result=None)
        self._books.file(manifest, self._run)


class Books:
    """What an engine keeps account with.

    Args:
        native: The extension's engine.
        config: What is told of queries.
        artifacts: Folder of manifests and slow queries; none where None.
    """

    def __init__(
        self, native: NativeEngine, config: TelemetryConfig | None, artifacts: Artifacts | None
    ) -> None:
        self.recorder = Recorder()
        self.artifacts = artifacts
        self._telemetry = Telemetry.of(config, native)
        self._entries: WeakList[Entry] = WeakList()
        self._slow: SlowQueries | None = None
        if config is not None and config.enabled and artifacts is not None:
            self._slow = SlowQueries(config, artifacts)
        self._run: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)

    @property
    def current(self) -> Run | None:
        """The run that this thread or task is in."""
        return self._run.get()

    def enter(self, run: Run) -> contextvars.Token[Run | None]:
        """Let queries and writes of this thread or task be part of a run.

        Raises:
            QueryError: They are part of one already.
        """
        if self.current is not None:
            raise QueryError(
                f"this thread or task is in run {self.current.run_id} already; end it first, or "
                "let the queries be part of it"
            )
        return self._run.set(run)

    def leave(self, run: Run, token: contextvars.Token[Run | None]) -> None:
        """End a run: its manifest is written where there is a folder."""
        self._run.reset(token)
        self.flush()
        run.close()
        if self.artifacts is not None:
            self.artifacts.write(f"{run.run_id}.json", run.manifest().to_json())

    def begin(self, call: Call) -> Entry | None:
        """The entry of a query or write that begins; None where nobody wants to know of it."""
        run = self.current
        if run is None and self.artifacts is None and not self._telemetry.enabled:
            return None
        self.recorder.start()
        parent = None if run is None else run.traceparent
        entry = Entry(self, self._telemetry.begin(call, traceparent=parent), run, call)
        self._entries.add(entry)
        return entry

    def flush(self, timeout: float = 10) -> bool:
        """Wait until the books say all that has ended; whether they do.

        Args:
            timeout: Seconds.
        """
        self._settle()
        return self.recorder.flush(timeout)

    def _settle(self) -> None:
        for entry in self._entries.there():
            entry.settle()

    def keep(self, account: RunAccount, what: Accountable, run: Run | None) -> None:
        """Put away what a query or write that ended leaves."""
        slow = self._slow is not None and account.kind == "query" and self._slow.wants(account)
        if run is None and self.artifacts is None:
            return
        manifest = what.manifest(account)
        self.file(manifest, run)
        if slow and self._slow is not None:
            self._slow.keep(account, manifest, what.metrics())

    def file(self, manifest: RunManifest, run: Run | None) -> None:
        """Put a manifest where it belongs: into its run, else into the folder."""
        if run is not None:
            run.add(manifest)
        elif self.artifacts is not None:
            self.artifacts.write(f"{manifest.run_id}.json", manifest.to_json(indent=None))

    def close(self) -> None:
        """Finish what was begun, and flush what is exported."""
        self._settle()
        self.recorder.close()
        self._telemetry.close()


def _failed_account(error: BaseException, call: Call) -> RunAccount:
    now = time.time_ns()
    return RunAccount(
        run_id=call.run_id,
        query_id=call.query_id,
        kind=call.kind,
        operation=call.operation,
        sql=call.sql,
        tenant=call.tenant,
        tags=call.tags,
        submitted=call.at,
        status="failed",
        error=error_facts(error),
        planned=now,
        ended=now,
        io=QueryIo({}, {}, 0, 0, 0),
        versions=component_versions(),
    )


def error_facts(error: BaseException) -> dict[str, str]:
    """Class, kind and message of an exception; messages of typed errors hold no secrets."""
    if isinstance(error, FusionDeltaError):
        return {
            "class": type(error).__name__,
            "kind": error.kind.value,
            "message": error.message,
        }
    return {"class": type(error).__name__, "kind": "", "message": ""}
