"""`RunAccount`: all that is known of one query or write, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusiondelta.account._io import QueryIo
from fusiondelta.account._nodes import PlanTree
from fusiondelta.snapshots import SnapshotKey


@dataclass(frozen=True, slots=True)
class Phase:
    """A step between the call and the first row, or of a commit.

    Attributes:
        name: ``parse``, ``resolve`` (sources to snapshots), ``plan`` (with ``bind``, ``optimize``
            and ``physical_plan``); with tables of other libraries ``wait`` (for a context) and
            ``context`` (making it); of a DataFrame ``cross`` (with ``decode``, ``optimize`` and
            ``physical_plan``); of a write ``attempt`` and ``commit``.
        started: Nanoseconds since 1970.
        seconds: How long it took.
    """

    name: str
    started: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request to storage.

    Attributes:
        operation: list, head, get, get_range, put, multipart, delete or copy.
        purpose: log, checkpoint, footer, data or commit.
        location: Path of the object within its store, without credentials.
        started: Nanoseconds since 1970.
        seconds: Time until the answer began.
        bytes: Bytes that came back, or were sent; 0 while it runs or where it failed.
        retry: Whether it repeats a failed one.
        failure: Empty, or how it failed: ``status 503``, ``timeout``, ``connect``, ``broken``.
        node: Operator that asked, ``0.1.0``; empty where no operator did (logs, listings).
    """

    operation: str
    purpose: str
    location: str
    started: int
    seconds: float
    bytes: int
    retry: bool
    failure: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAccount:
    """What one alias of a query stood for.

    Attributes:
        alias: Name in the SQL.
        kind: ``delta``, ``parquet``, ``csv``, ``json``, ``ipc``, ``changes``, ``memory`` or
            ``provider``.
        uri: Where it is; empty of what is in memory.
        version: Version of a Delta table, None of others.
        files: Files there are, None where that is not known.
        bytes: Their size.
        rows: Their rows, None where that is not known.
        pins: Files of a file source: path, bytes, modified (milliseconds since 1970), etag.
        options: What makes the source again, besides ``uri`` and ``version``; plain values.
        properties: Properties of a Delta table that say how long versions are kept.
    """

    alias: str
    kind: str
    uri: str = ""
    version: int | None = None
    files: int | None = None
    bytes: int | None = None
    rows: int | None = None
    pins: tuple[tuple[str, int, int, str | None], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccount:
    """All that is known of one query or write so far.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the query or write.
        session_id: Identifier of the context; empty of a write.
        kind: ``query`` or ``write``.
        operation: ``SELECT``, or what the write did: ``append``, ``merge``…
        status: ``planned``, ``running``, ``finished``, ``failed`` or ``cancelled``.
        error: Class, kind and message of the exception, where there was one.
        sql: Text of the query; None of a DataFrame or a write.
        parameters: Bound values as text, by name.
        tenant: Who asked.
        tags: Free text by name.
        sources: What was read, in the order of aliases.
        snapshots: Keys of the Delta tables read, by alias; of a write also ``target``.
        submitted: When the call came, nanoseconds since 1970; the following are too.
        planned: When the plan was there, 0 before.
        started: When the first row was asked for, 0 before.
        first_row: When the first batch came, 0 before.
        ended: When it ended, 0 before.
        phases: Steps of planning, in order; may lie within each other.
        rows: Rows handed out.
        batches: Batches handed out.
        result_bytes: Their bytes in memory.
        tree: Operators and what they measured.
        io: Requests to storage.
        requests: The first of these one by one, in the order they began.
        requests_dropped: How many more there were.
        peak_memory: Most bytes reserved at once.
        memory_limit: Most bytes that could be: the engine's limit, which all that runs shares, or
            its own where that is less; None without a limit, or where it is not known.
        settings: Every setting of the session.
        versions: Versions by component.
        machine: Cores, memory in bytes, operating system.
        write: Of a write: outcome, commit id, attempts, counts; empty of a query.
    """

    run_id: str
    query_id: str
    session_id: str = ""
    kind: str = "query"
    operation: str = "SELECT"
    status: str
    error: Mapping[str, str] | None = None
    sql: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[SourceAccount, ...] = ()
    snapshots: Mapping[str, SnapshotKey] = field(default_factory=dict)
    submitted: int
    planned: int = 0
    started: int = 0
    first_row: int = 0
    ended: int = 0
    phases: tuple[Phase, ...] = ()
    rows: int = 0
    batches: int = 0
    result_bytes: int = 0
    tree: PlanTree = field(default_factory=lambda: PlanTree(()))
    io: QueryIo
    requests: tuple[Request, ...] = ()
    requests_dropped: int = 0
    peak_memory: int = 0
    memory_limit: int | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    write: Mapping[str, Any] = field(default_factory=dict)

    @property
    def planning_seconds(self) -> float:
        """From the call to the plan."""
        return max(self.planned - self.submitted, 0) / 1e9

    @property
    def execution_seconds(self) -> float:
        """From the first pull to the end; 0 while it runs."""
        return max(self.ended - self.started, 0) / 1e9 if self.started and self.ended else 0.0

    @property
    def seconds(self) -> float:
        """What it took: planning and execution, without the time in which nobody asked for rows."""
        return self.planning_seconds + self.execution_seconds
