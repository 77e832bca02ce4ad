"""`FusionDeltaEngine`: the one object users hold. It wires the parts and has no algorithm."""

from __future__ import annotations

import atexit
import contextvars
import datetime as dt
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fusiondelta._ids import new_id
from fusiondelta.account import Books, QueryProgress, Run, RunManifest
from fusiondelta.account._artifacts import Artifacts
from fusiondelta.errors import ConfigurationError, QueryError
from fusiondelta.profiles import (
    EngineProfile,
    RetentionPolicy,
    StorageProfile,
    TablePolicy,
    TelemetryConfig,
)
from fusiondelta.queries import QueryResult, QueryRunner, QuerySpec
from fusiondelta.sessions import ArrowFunction, ContextPool, Lease
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources import DeltaChanges, DeltaSource, Resolution, Source, as_source
from fusiondelta.storage import ProbeReport, SafetyGate, by_prefix, native_storage, probe
from fusiondelta.writes import CommitOutcome, Committer, Holds, TableStatements, TableUpkeep

if TYPE_CHECKING:
    import pyarrow as pa
    from datafusion import SessionContext

    from fusiondelta.account import ReplayReport
    from fusiondelta.debug import Debug

#: Sessions that this thread or task has been lent, the innermost last.
_LENT: contextvars.ContextVar[tuple[Lease, ...]] = contextvars.ContextVar("lent", default=())


@functools.cache
def _at_exit() -> None:
    """Have the end of the process interrupt functions, and wait for what is read from Python."""
    from fusiondelta._native import end_calls

    atexit.register(end_calls)


class FusionDeltaEngine(TableStatements, TableUpkeep):
    """SQL over Delta tables pinned to exact versions, and safe writes to them.

    One engine serves a whole process: any thread, any asyncio task. It is a context manager.

    Args:
        profile: Resources and settings; `EngineProfile()` fits the machine.
        storage: How locations are reached: one profile, or profiles by URI prefix (the longest
            match wins).
        pool_size: Queries at once, over the profile's.
        retention: What vacuum and the cleaning of logs must leave; `RetentionPolicy()` where None.
        tables: What writers may do to tables: one policy, or policies by URI prefix.
        telemetry: What is told of queries: spans, metrics, slow queries; nothing where None.
        artifacts: Folder that gets a manifest for each run, and what slow queries leave.

    Raises:
        ConfigurationError: A profile cannot be used, or the installed `datafusion` does not fit.

    Example:
        >>> import fusiondelta
        >>> with fusiondelta.FusionDeltaEngine() as engine:
        ...     engine.query("select 1 + 1 as two").to_pylist()
        [{'two': 2}]
    """

    def __init__(
        self,
        profile: EngineProfile | None = None,
        storage: StorageProfile | Mapping[str, StorageProfile] | None = None,
        *,
        pool_size: int | None = None,
        telemetry: TelemetryConfig | None = None,
        retention: RetentionPolicy | None = None,
        tables: TablePolicy | Mapping[str, TablePolicy] | None = None,
        artifacts: str | os.PathLike[str] | None = None,
    ) -> None:
        from fusiondelta._native import NativeEngine

        profile = profile or EngineProfile()
        if pool_size is not None:
            profile = profile.replace(pool_size=pool_size)
        profiles = by_prefix(storage)
        self.profile = profile
        self._storage = profiles
        self._settings = profile.settings()
        config = profile.native()
        self._native = NativeEngine(config, native_storage(profiles))
        _at_exit()
        self._telemetry = telemetry
        self._artifacts = None if artifacts is None else Artifacts(artifacts)
        self._books = Books(self._native, telemetry, self._artifacts)
        self._sources: dict[str, Source] = {}
        self._lock = threading.Lock()
        self._pool = ContextPool(
            self._native,
            self._settings,
            size=config.slots,
            queue_timeout=config.queue_timeout,
            memory_limit=config.memory_limit,
        )
        resolution = Resolution(
            engine=self._native,
            io=self._native.io,
            storage=profiles,
            settings=self._settings,
            staleness=profile.cache.max_staleness.total_seconds(),
            partitions=int(self._settings["datafusion.execution.target_partitions"]),
        )
        self._resolution = resolution
        self._queries = QueryRunner(
            native=self._native,
            pool=self._pool,
            resolution=resolution,
            settings=self._settings,
            limits=profile.limits,
            registered=self._registered,
            by_tenant=profile.cache.by_tenant,
            books=self._books,
        )
        given = {"": tables} if isinstance(tables, TablePolicy) else tables or {}
        self._tables = {k and resolution.canonical(k): policy for k, policy in given.items()}
        self._committer = Committer(
            self._native,
            resolution,
            self._settings,
            SafetyGate(self._native),
            self._books,
            self._tables,
        )
        self._retention = retention or RetentionPolicy()
        self._holds = Holds(self._kept_versions)
        self._spill_dir = profile.spill_dir and os.fspath(profile.spill_dir)

    # queries

    def query(
        self,
        query: Any,
        *,
        sources: Mapping[str, Any] | None = None,
        param_values: Mapping[str, Any] | Sequence[Any] | None = None,
        readonly: bool = True,
        timeout: dt.timedelta | float | None = None,
        memory_limit: int | str | None = None,
        capture_plan: bool = True,
        consistent_at: dt.datetime | str | None = None,
        max_scan_bytes: int | str | None = None,
        expect_pruning: Mapping[str, float] | None = None,
        digest: bool = False,
        progress: Callable[[QueryProgress], None] | None = None,
        tenant: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> QueryResult:
        """Parse, pin and plan a query; it starts when its rows are first pulled.

        Args:
            query: SQL text, a `QuerySpec` (then all other arguments come from it), or a DataFrame
                built on a session that `session` has lent.
            sources: What the query reads, by alias; see `fusiondelta.sources.as_source`.
            param_values: Values of ``$name`` (a mapping) or ``$1`` (a list).
            readonly: Whether anything but a query is refused.
            timeout: Time from now to the last row, seconds or timedelta.
            memory_limit: Bytes (or text like ``"2GiB"``) the query may reserve.
            capture_plan: Whether `QueryResult.plan` is to be had.
            consistent_at: Instant that Delta sources without a version of their own are pinned to.
            max_scan_bytes: Most bytes (or text like ``"10GiB"``) of files that the plan may hold.
            expect_pruning: Share of a Delta table's files, by alias and from 0 to 1, that the plan
                must leave out.
            digest: Whether the rows are digested on their way out; see `QueryResult.digest`.
            progress: Called four times a second with a `QueryProgress` while rows are read, from a
                thread of its own. What it raises is raised at the end of the rows.
            tenant: Name of who asks.
            tags: Free text by name.

        Raises:
            ScanLimitError: The plan holds more than ``max_scan_bytes`` or ``expect_pruning`` allow.
            SqlError: The SQL is wrong or names what is not there; with line and column.
            ReadOnlyViolationError: It does more than read.
            ParameterError: Parameters and placeholders do not match.
            SourceError: A source cannot be read.
            SnapshotNotFoundError: A version does not exist.
            PoolTimeoutError: All contexts stayed in use.
            QueryTimeoutError: The time was over before planning was.
            EngineClosedError: The engine is closed.
        """
        if isinstance(query, QuerySpec):
            return self._queries.run(query)
        rest: dict[str, Any] = {
            "param_values": param_values,
            "readonly": readonly,
            "capture_plan": capture_plan,
            "timeout": timeout,
            "memory_limit": memory_limit,
            "consistent_at": consistent_at,
            "max_scan_bytes": max_scan_bytes,
            "expect_pruning": expect_pruning,
            "digest": digest,
            "progress": progress,
            "tenant": tenant,
            "tags": tags,
        }
        if isinstance(query, str):
            spec = QuerySpec(sql=query, sources=sources, **rest)
            return self._queries.run(spec)
        if hasattr(query, "optimized_logical_plan"):
            if sources or param_values:
                raise QueryError("a DataFrame has its sources and parameters in it")
            lent = _LENT.get()
            if not lent:
                raise QueryError(
                    "the DataFrame was not built on a session of this engine that is lent now; "
                    "build it inside `with engine.session() as ctx:` and query it there"
                )
            spec = QuerySpec(sql="", sources=None, **rest)
            return self._queries.run_frame(query, lent[-1], spec)
        raise QueryError(
            f"a query is SQL text, a QuerySpec or a DataFrame, not {type(query).__name__}"
        )

    async def aquery(self, query: Any, **options: Any) -> QueryResult:
        """`query` without blocking the event loop; ``async for batch in result`` reads it.

        Cancelling the task cancels the query: what was planned in vain is closed.
        """
        import asyncio

        planning = asyncio.ensure_future(asyncio.to_thread(self.query, query, **options))
        try:
            return await asyncio.shield(planning)
        except asyncio.CancelledError:
            planning.add_done_callback(_close_result)
            raise

    @contextmanager
    def run(
        self,
        run_id: str | None = None,
        *,
        tenant: str | None = None,
        tags: Mapping[str, str] | None = None,
        traceparent: str | None = None,
        pinned: bool = False,
    ) -> Iterator[Run]:
        """Group reads and writes into one run, with one manifest.

        It holds for what this thread or task does in the block. The manifest is to be had from the
        `Run` afterwards, and in the folder of artifacts.

        Args:
            run_id: Identifier; a new one where None.
            tenant: Who asks, of queries that do not say so themselves.
            tags: Free text by name, added to that of each query.
            traceparent: W3C trace context that spans of the run belong to.
            pinned: Whether the manifest says that the versions it names are to be kept.

        Raises:
            ConfigurationError: The identifier is no file's name.
            QueryError: A run is open here already.
        """
        self._native.check()
        run = Run(
            new_id() if run_id is None else run_id,
            tenant=tenant,
            tags=tags,
            traceparent=traceparent,
            pinned=pinned,
        )
        token = self._books.enter(run)
        try:
            yield run
        finally:
            self._books.leave(run, token)

    def replay(
        self, manifest: RunManifest | str | os.PathLike[str], **options: Any
    ) -> ReplayReport:
        """Run the query of a manifest again: same snapshots, same settings, same parameters.

        Args:
            manifest: The manifest, or the path of its file.
            **options: As of `query`: ``timeout``, ``memory_limit``, ``progress``.

        Returns:
            What is different this time: plan, settings, versions, rows, digest.

        Raises:
            QueryError: It is of a write, of a DataFrame, or of data that was in memory.
            SnapshotExpiredError: A version is gone.
            SourceError: A file is gone, or is another one now.
        """
        from fusiondelta.queries._replay import replay

        if not isinstance(manifest, RunManifest):
            manifest = RunManifest.from_file(manifest)
        return replay(manifest, self._with_settings, options)

    @contextmanager
    def _with_settings(self, settings: Mapping[str, str]) -> Iterator[Callable[..., QueryResult]]:
        """Queries of an engine like this one, for a replay: with other settings, and no books."""
        profile = self.profile.replace(options={**self.profile.options, **settings})
        with FusionDeltaEngine(profile, self._storage, tables=self._tables) as engine:
            for function in self._pool.functions:
                engine.register_udf(function)
            for known in self._pool.arrow_functions:
                engine._pool.add_arrow_function(known)
            yield engine.query

    # sources

    def open_delta(
        self,
        uri: str | os.PathLike[str],
        as_of: int | str | dt.datetime | SnapshotSpec | None = None,
    ) -> DeltaSource:
        """A Delta table pinned to a version, which it keeps.

        Args:
            uri: Location of the table.
            as_of: None or ``"latest"``, a version, a datetime, ISO 8601 text, or a `SnapshotSpec`.

        Raises:
            SourceError: There is no Delta table.
            SnapshotNotFoundError: There is no such version; the message says which there are.
            UnsupportedTableFeatureError: The table cannot be read here.
        """
        self._native.check()
        resolved = DeltaSource(uri, as_of).resolve("table", self._resolution)
        assert resolved.delta is not None  # noqa: S101 - a Delta source's always is
        return DeltaSource.pinned(self._native, resolved.delta)

    def register(self, name: str, source: Any) -> None:
        """Make a source readable by every later query under a name.

        A Delta source without a version is resolved anew by each query that names it.

        Raises:
            ConfigurationError: The name is empty.
            SourceError: The source is nothing that can be read.
        """
        if not name:
            raise ConfigurationError("a source needs a name")
        made = as_source(source, name=name)
        with self._lock:
            self._sources[name] = made

    def deregister(self, name: str) -> None:
        """Forget a registered source.

        Raises:
            ConfigurationError: There is none of that name.
        """
        with self._lock:
            if self._sources.pop(name, None) is None:
                known = ", ".join(sorted(self._sources)) or "none"
                raise ConfigurationError(f"no source {name!r} is registered; there are: {known}")

    def tables(self) -> tuple[str, ...]:
        """Names of the registered sources."""
        return tuple(sorted(self._registered()))

    def _kept_versions(self) -> Iterator[SnapshotKey]:
        """Versions that open results read, and those of manifests that are marked as pinned."""
        yield from self._queries.live()
        if self._artifacts is not None:
            yield from self._artifacts.pinned()

    def _registered(self) -> Mapping[str, Source]:
        with self._lock:
            return dict(self._sources)

    def register_udf(self, function: Any) -> None:
        """Make a scalar, aggregate, window or table function of `datafusion` known to queries.

        Queries that are planned already do not see it.

        Raises:
            ConfigurationError: It is none of these.
        """
        self._pool.add_function(function)

    def register_function(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[pa.DataType],
        returns: pa.DataType,
        *,
        volatility: Literal["immutable", "stable", "volatile"] = "immutable",
    ) -> None:
        """Make a function of Python known to queries and changes, in place of one of its name.

        It is called with a `pyarrow.Array` for each argument, all of one length, from threads of
        the extension, several at once, and gives an array of as many values. There is one of it for
        the process: what it closes over is neither copied nor pickled. Without arguments it is
        called with the number of values that are wanted. It cannot use an engine. Queries that are
        planned already do not see it.

        Args:
            name: What SQL calls it; in lower case.
            function: The function.
            arguments: Arrow types of its arguments; what queries give is cast to them.
            returns: Arrow type of its result.
            volatility: ``immutable`` gives the same for the same arguments, ``stable`` within one
                query, ``volatile`` never for certain.

        Raises:
            ConfigurationError: A name, type or volatility is none.
        """
        known = ArrowFunction.of(name, function, arguments, returns, volatility)
        self._pool.add_arrow_function(known)

    @contextmanager
    def session(self) -> Iterator[SessionContext]:
        """Lend a `datafusion.SessionContext`, for the DataFrame API.

        Registered sources are on it. What is registered on it goes when it is given back. A
        DataFrame built on it is run natively by `query` while the session is lent.

        Raises:
            PoolTimeoutError: All contexts stayed in use.
        """
        self._native.check()
        with self._pool.lease() as lease:
            self._queries.register_shared(lease)
            token = _LENT.set((*_LENT.get(), lease))
            try:
                yield lease.ctx
            finally:
                _LENT.reset(token)

    def changes(
        self, uri: str | os.PathLike[str], start: int, end: int | None = None, **options: Any
    ) -> QueryResult:
        """What commits did to the rows of a table, of its change data feed.

        To query it further, use `DeltaChanges` as a source.

        Args:
            uri: Location of the table.
            start: First version whose changes are given.
            end: Last one; the newest where None.
            **options: As of `query`.

        Raises:
            SnapshotNotFoundError: There are no such versions.
            UnsupportedTableFeatureError: The table keeps no changes.
        """
        feed = DeltaChanges(uri, start, end)
        return self.query("SELECT * FROM changes", sources={"changes": feed}, **options)

    # commits; what changes tables is in TableOperations

    def commit_outcome(self, uri: str | os.PathLike[str], commit_id: str) -> CommitOutcome:
        """What became of a commit, by the id that its `WriteResult` or `CommitOutcomeUnknown` has.

        Reads the log, newest first. ``UNKNOWN`` where it is not there and the log was cleaned, so
        that it may have been. A commit that was sent and not answered may still arrive while its
        version is not taken: ask again after the store's longest delay.

        Args:
            uri: Location of the table.
            commit_id: What the commit carries as ``fusiondelta.commit_id``.
        """
        self._native.check()
        profile = self._resolution.profile(os.fspath(uri))
        location = profile.canonicalize_uri(os.fspath(uri))
        version = self._native.commit_version(location, commit_id, self._native.io)
        if version is not None:
            return CommitOutcome("COMMITTED", SnapshotKey(location, version))
        there = self._native.log_range(location, self._native.io)
        is_whole = there is None or there[0] == 0
        return CommitOutcome("NOT_COMMITTED" if is_whole else "UNKNOWN", None)

    # storage

    def probe(self, uri: str | os.PathLike[str], *, timeout: float = 30) -> ProbeReport:
        """Try out a location: who we are there, and what we may do. Nothing is left behind.

        Each check passes, fails with the fix, or is skipped with the reason; a failing check is no
        exception. Writing is tried with objects whose names no reader of a table takes for data.

        Args:
            uri: Location of a table, or of one to be.
            timeout: Seconds for each request.

        Raises:
            ConfigurationError: It is no location that a profile serves.
        """
        self._native.check()
        profile = self._resolution.profile(os.fspath(uri))
        return probe(self._native, profile.canonicalize_uri(uri), profile, timeout=timeout)

    def lock_table(self, uri: str | os.PathLike[str], *, create: bool = False) -> None:
        """Check the DynamoDB table of locks of a location, or make it: see ``aws_s3_locked``.

        Args:
            uri: Location of a table whose profile has ``write_safety="aws_s3_locked"``.
            create: Whether the table is made first, paid by request, with its items forgotten a day
                after their commit.

        Raises:
            ConfigurationError: There is no such table, it has other keys, or the location's commits
                go through none.
        """
        profile = self._resolution.profile(os.fspath(uri))
        self._native.lock_table(profile.canonicalize_uri(os.fspath(uri)), create)

    # account and end

    @property
    def debug(self) -> Debug:
        """Settings, pool, caches, requests, plans, versions."""
        from fusiondelta.debug import Debug

        return Debug(
            self._native,
            self._pool,
            self._queries,
            self._settings,
            self._books,
            self.profile,
            self.probe,
        )

    def respawn(self) -> FusionDeltaEngine:
        """A new engine of the same profiles in this process, for use after ``fork``.

        Registered sources come along, functions have to be registered again.
        """
        made = FusionDeltaEngine(
            self.profile,
            self._storage,
            telemetry=self._telemetry,
            retention=self._retention,
            tables=self._tables,
            artifacts=None if self._artifacts is None else self._artifacts.folder,
        )
        made._sources.update(self._sources)
        return made

    def flush(self, timeout: float = 10) -> bool:
        """Wait until what has ended is in the books: spans emitted, manifests written.

        For tests, and for processes that are frozen between calls. `close` does it by itself.

        Args:
            timeout: Seconds.

        Returns:
            Whether it is.
        """
        return self._books.flush(timeout)

    def close(self) -> None:
        """Cancel what runs and refuse what comes. May be called any number of times."""
        self._pool.close()
        self._native.close()
        self._books.close()

    def __enter__(self) -> FusionDeltaEngine:  # noqa: PYI034 Self is 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FusionDeltaEngine {self.profile!r}>"


def _close_result(planning: Any) -> None:
    if not planning.cancelled() and planning.exception() is None:
        planning.result().close()
