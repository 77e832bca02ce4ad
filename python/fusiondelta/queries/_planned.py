"""A planned query on the Python side."""

from __future__ import annotations

import base64
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fusiondelta.account import (
    Entry,
    Phase,
    PlanBundle,
    PlanTree,
    QueryIo,
    QueryProgress,
    RunAccount,
    RunManifest,
    error_facts,
)
from fusiondelta.account._machine import machine_facts
from fusiondelta.account._manifest import encode_parameters
from fusiondelta.account._metrics import metrics_of
from fusiondelta.account._progress import Watch, scanned_files, told
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import FusionDeltaError, QueryCancelledError, class_of
from fusiondelta.queries._account import phases_of, requests_of, source_account
from fusiondelta.queries._rows import Rows
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.snapshots import SnapshotKey

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeIo, NativeQuery, NativeTable
    from fusiondelta.sources import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked, and how it came to its plan.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the query.
        session_id: Identifier of the context.
        spec: The query.
        kind: What it is: ``SELECT``, or the kind of statement.
        parameters: Bound values by name.
        sources: What it reads.
        submitted: When it came, nanoseconds since 1970.
        planned: When its plan was there.
        phases: Steps in between, of this side.
        memory_limit: Bytes it may reserve; None without a limit of its own.
        tags: Free text by name, those of its run among them.
        tenant: Who asks.
    """

    run_id: str
    query_id: str
    session_id: str
    spec: QuerySpec
    kind: str
    parameters: Mapping[str, Any]
    sources: Sequence[Resolved]
    submitted: int
    planned: int
    phases: Sequence[Phase]
    memory_limit: int | None
    tags: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None

    @property
    def snapshots(self) -> dict[str, SnapshotKey]:
        """Keys of the Delta tables by alias."""
        return {one.alias: one.snapshot for one in self.sources if one.snapshot is not None}


class Planned:
    """A query between planning and its last row.

    Args:
        asked: What was asked.
        io: Its counters.
        native: Its plan.
        check: Raises where the engine is closed, or of another process.
        entry: Who wants to know how it ends; None where nobody does.
        keep: What has to live as long as the query.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        io: NativeIo,
        native: NativeQuery,
        check: Callable[[], None],
        entry: Entry | None = None,
        keep: tuple[Any, ...] = (),
    ) -> None:
        self.asked = asked
        self.native = native
        self.entry = entry
        self._status = "planned"
        self._error: dict[str, str] | None = None
        self._is_read = False
        self._io = io
        self._check = check
        self._keep = keep
        self._lock = threading.Lock()
        self._bundle: PlanBundle | None = None
        tell = told(asked.spec.progress, "query")
        self._watch: Watch[QueryProgress] | None = None
        if tell is not None:
            mine = weakref.ref(self)
            self._watch = Watch(tell, lambda seconds, done: _progress(mine(), seconds, done))
        if entry is not None:
            entry.planned(self)
            # Refers to the entry alone: what is dropped unread must be free to go.
            native.on_end(entry.abandoned)

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the rows."""
        import pyarrow as pa

        return pa.schema(self.native.schema)

    @property
    def partitions(self) -> int:
        """Partitions of the plan."""
        return self.native.partitions

    def rows(self, partition: int | None) -> Rows:
        """Rows of one partition or of all."""
        self._check()
        if self._watch is not None:
            self._watch.start()
        self._is_read = True
        if self.entry is not None or self._watch is not None:
            # From here on the stream keeps the query, whoever reads it, and lets go at its end.
            self.native.on_end(self._settle)
        return Rows(self.native.rows(partition), self.ended)

    def as_table(self) -> NativeTable:
        """The plan as a table of another query."""
        return self.native.as_table()

    # how it goes

    @property
    def is_over(self) -> bool:
        """Whether its stream has ended, whoever read it."""
        return bool(self.native.course()["ended"])

    @property
    def status(self) -> str:
        """Planned, running, finished, failed or cancelled."""
        self._look()
        return self._status

    @property
    def error(self) -> dict[str, str] | None:
        """Class, kind and message of what it failed with."""
        self._look()
        return self._error

    def ended(self, error: BaseException | None) -> None:
        """Note how the query ended; only the first call counts.

        Raises:
            BaseException: What a progress callback raised, where the query itself went well.
        """
        is_over = not self._is_read or self.is_over
        if error is None and not is_over:
            # One partition of several.
            return
        failed = self._watch.finish() if self._watch is not None else None
        if error is None:
            self._close("finished", None)
        elif isinstance(error, QueryCancelledError):
            self._close("cancelled", None)
        else:
            self._close("failed", error_facts(error))
        if self.entry is not None and is_over:
            self.entry.ended(self)
        if failed is not None and error is None:
            raise failed

    def _close(self, status: str, error: dict[str, str] | None) -> None:
        with self._lock:
            if self._status in ("planned", "running"):
                self._status, self._error = status, error

    def _look(self) -> None:
        """See how the stream is, which others read without passing here."""
        if self._status not in ("planned", "running"):
            return
        course = self.native.course()
        if not course["ended"]:
            if course["started"]:
                with self._lock:
                    if self._status == "planned":
                        self._status = "running"
            return
        failure = course["failure"]
        if failure is None:
            self._close("finished", None)
        elif failure[0] == QueryCancelledError.default_kind.value:
            self._close("cancelled", None)
        else:
            name = class_of(failure[0]).__name__
            self._close("failed", {"class": name, "kind": failure[0], "message": failure[1]})

    def _settle(self) -> None:
        """The stream has ended, however it was read."""
        self._look()
        if self._watch is not None:
            # The stream lets go of the query when this returns, and the last call is about it.
            self._watch.finish(wait=False, keep=self)
        if self.entry is not None:
            self.entry.ended(self)

    # what there is to say of it

    def io(self) -> QueryIo:
        """Requests so far."""
        return QueryIo.of(self._io)

    def metrics(self) -> pa.Table:
        """The metrics table."""
        return metrics_of([self.native.metrics()])

    def tree(self) -> PlanTree:
        """Operators with what they measured."""
        return PlanTree.of(self.native.operators()[0])

    def digest(self) -> dict[str, Any] | None:
        """The digest of the rows so far, None where none was asked for."""
        found = self.native.course()["digest"]
        if found is None:
            return None
        algorithm, rows, value, exact = found
        return {"algorithm": algorithm, "rows": rows, "value": value, "exact": exact}

    def account(self) -> RunAccount:
        """All that is known of the query so far."""
        asked = self.asked
        course = self.native.course()
        operators, scans = self.native.operators()
        requests, dropped = requests_of(self._io, scans)
        peak, limit = self.native.memory
        return RunAccount(
            run_id=asked.run_id,
            query_id=asked.query_id,
            session_id=asked.session_id,
            kind="query",
            operation=asked.kind,
            status=self.status,
            error=self.error,
            sql=asked.spec.sql or None,
            parameters=self._parameters(),
            tenant=asked.tenant,
            tags=asked.tags,
            sources=tuple(source_account(one) for one in asked.sources),
            snapshots=asked.snapshots,
            submitted=asked.submitted,
            planned=asked.planned,
            started=course["started"],
            first_row=course["first_row"],
            ended=course["ended"],
            phases=phases_of(self.native, asked.phases),
            rows=course["rows"],
            batches=course["batches"],
            result_bytes=course["bytes"],
            tree=PlanTree.of(operators),
            io=self.io(),
            requests=requests,
            requests_dropped=dropped,
            peak_memory=peak,
            memory_limit=limit,
            settings=dict(self.native.settings()),
            versions=component_versions(),
            machine=machine_facts(),
        )

    def manifest(self, account: RunAccount | None = None, *, pinned: bool = False) -> RunManifest:
        """The query as one document, of its account where that was made already."""
        asked, spec = self.asked, self.asked.spec
        return RunManifest.of_account(
            account or self.account(),
            plan=self.bundle() if spec.capture_plan else None,
            query={
                "parameters_ipc": encode_parameters(asked.parameters),
                "readonly": spec.readonly,
                "consistent_at": spec.consistent_at,
                "memory_limit": asked.memory_limit,
            },
            result={
                "partitions": self.partitions,
                "columns": [
                    {"name": one.name, "type": str(one.type), "nullable": one.nullable}
                    for one in self.schema
                ],
                "digest": self.digest(),
            },
            pinned=pinned,
        )

    def explain(self, *, analyze: bool) -> str:
        """The physical plan as text."""
        return self.native.analyzed_text() if analyze else self.native.texts()["physical"]

    def bundle(self) -> PlanBundle:
        """The plan bundle, made at the first call."""
        if self._bundle is None:
            self._bundle = self._make_bundle()
        return self._bundle

    def _parameters(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.asked.parameters.items()}

    def _make_bundle(self) -> PlanBundle:
        common: dict[str, Any] = {
            "sql": self.asked.spec.sql or None,
            "parameters": self._parameters(),
            "versions": component_versions(),
            "snapshots": {
                alias: (key.uri, key.version) for alias, key in sorted(self.asked.snapshots.items())
            },
        }
        texts = self.native.texts()
        proto, missing = None, None
        try:
            proto = base64.b64encode(self.native.physical_proto()).decode("ascii")
        except FusionDeltaError as error:
            missing = error.message
        logical: str | None = None
        with suppress(FusionDeltaError):
            logical = base64.b64encode(self.native.logical_proto()).decode("ascii")
        return PlanBundle(
            logical_plan=texts["logical"],
            optimized_plan=texts["optimized"],
            physical_plan=texts["physical"],
            physical_tree=texts["tree"],
            logical_proto=logical,
            physical_proto=proto,
            physical_proto_missing=missing,
            settings=dict(self.native.settings()),
            **common,
        )


def _progress(planned: Planned | None, seconds: float, done: bool) -> QueryProgress | None:
    """How far a query is; None of one that is gone."""
    if planned is None:
        return None
    rows = planned.native.course()["rows"]
    return QueryProgress.of(
        seconds=seconds, rows=rows, io=planned.io(), files=scanned_files(planned.tree()), done=done
    )
