"""The steps of a query, in order."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta._weak import WeakList
from fusiondelta.account import Books, Call, Entry
from fusiondelta.account._versions import check_versions
from fusiondelta.errors import FusionDeltaError, QueryError, QueryTimeoutError, SqlError
from fusiondelta.profiles import MaterializeLimits
from fusiondelta.profiles._sizes import parse_bytes, parse_duration
from fusiondelta.queries._crossing import (
    CATALOG,
    MAY_FALL_BACK,
    changed,
    checked,
    interrupt_in,
    settings_of,
    substrait_of,
)
from fusiondelta.queries._limits import check_scans
from fusiondelta.queries._planned import Asked, Planned
from fusiondelta.queries._result import QueryResult
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.queries._steps import Steps
from fusiondelta.sessions import ContextPool, Lease, bind, check_statement, translate
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources import DeltaSource, Resolution, Resolved, Source, as_source

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeIo, NativeQuery


@dataclass(slots=True)
class _Begun:
    """A query that has begun.

    Attributes:
        spec: What is asked.
        run_id: Identifier of the run.
        query_id: Identifier of the query.
        tags: Free text by name, those of its run among them.
        steps: How long each step takes.
        entry: Who wants to know how it ends.
    """

    spec: QuerySpec
    run_id: str
    query_id: str
    tags: dict[str, str]
    steps: Steps
    entry: Entry | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """The block joins the query's span, and what it raises goes into the books."""
        if self.entry is None:
            yield
            return
        try:
            with self.entry.planning(), self.entry.context():
                yield
        except BaseException as error:
            self.entry.failed(error)
            raise


@dataclass(frozen=True, slots=True)
class _Crossed:
    """Which way a plan goes.

    Attributes:
        native: It inside the extension; None where it has to stay outside.
        reason: Why it has to.
        encoded: It as it crossed.
    """

    native: NativeQuery | None = None
    reason: str = ""
    encoded: bytes = b""


@dataclass(frozen=True, slots=True)
class QueryRunner:
    """What queries of an engine are run with.

    Attributes:
        native: The extension's engine.
        pool: Contexts.
        resolution: How sources are resolved, without a query's own limits.
        settings: DataFusion settings of the profile.
        limits: Guards of the materialising helpers.
        registered: Gives the sources that every query may read.
        by_tenant: Whether each tenant has caches of its own.
        books: Who wants to know how queries end.
    """

    native: NativeEngine
    pool: ContextPool
    resolution: Resolution
    settings: Mapping[str, str]
    limits: MaterializeLimits
    registered: Callable[[], Mapping[str, Source]]
    by_tenant: bool
    books: Books
    _results: WeakList[QueryResult] = field(default_factory=WeakList)

    @property
    def dialect(self) -> str:
        """SQL dialect of the profile."""
        return self.settings.get("datafusion.sql_parser.dialect", "generic")

    def run(self, spec: QuerySpec, *, run_id: str | None = None) -> QueryResult:
        """Parse, pin, plan; the result has not started.

        Args:
            spec: The query.
            run_id: Identifier of the run; that of the run this thread or task is in, or a new one,
                where None.
        """
        check_versions()
        self.native.check()
        begun = self._begin(spec, run_id)
        with begun.noted():
            text, _ = self._rewritten(spec.sql)
            kind = check_statement(text, readonly=spec.readonly, dialect=self.dialect)
            parameters = bind(spec.sql, spec.param_values, dialect=self.dialect)
            clock = _Clock(spec.timeout)
            io = self._new_io(spec)
            with begun.steps.step("context"):
                lease = self.pool.acquire(clock.left())
            begun.steps.waited(lease.waited)
            try:
                with begun.steps.step("resolve"):
                    resolved = self._resolve(spec, io, clock)
                self.register(lease, resolved)
                tables = [r.alias for r in resolved]

                def typed(error: BaseException) -> FusionDeltaError:
                    return translate(error, sql=spec.sql, tables=tables, dialect=self.dialect)

                with begun.steps.step("parse"):
                    frame = self._parse(lease, spec, parameters, typed)
                return self._plan(
                    lease,
                    frame,
                    begun,
                    parameters=parameters,
                    resolved=resolved,
                    io=io,
                    clock=clock,
                    typed=typed,
                    # Others were executed by the context while it parsed them.
                    crosses=kind == "query",
                    kind="SELECT" if kind == "query" else kind.upper(),
                )
            except BaseException:
                lease.release()
                raise

    def run_frame(self, frame: Any, lease: Lease, spec: QuerySpec) -> QueryResult:
        """Plan a DataFrame that was built on a lent session, which stays lent."""
        self.native.check()

        def typed(error: BaseException) -> FusionDeltaError:
            return translate(error, sql=None, tables=(), dialect=self.dialect)

        # The holder of the session gives it back; what a query gives back is only a view of it.
        view = Lease(lease.ctx, lease.codec, lease.session_id, lent=True)
        begun = self._begin(spec, None)
        with begun.noted():
            return self._plan(
                view,
                frame,
                begun,
                parameters={},
                resolved=(),
                io=self._new_io(spec),
                clock=_Clock(spec.timeout),
                typed=typed,
                crosses=True,
                kind="SELECT",
            )

    def _begin(self, spec: QuerySpec, run_id: str | None) -> _Begun:
        steps = Steps()
        run = self.books.current
        tags, tenant = dict(spec.tags or {}), spec.tenant
        if run is not None:
            run_id = run_id or run.run_id
            tags, tenant = {**run.tags, **tags}, tenant or run.tenant
        begun = _Begun(spec.replace(tenant=tenant), run_id or new_id(), new_id(), tags, steps)
        begun.entry = self.books.begin(
            Call(
                kind="query",
                query_id=begun.query_id,
                run_id=begun.run_id,
                operation="SELECT",
                sql=spec.sql or None,
                tenant=tenant,
                tags=tags,
            )
        )
        return begun

    def substrait(self, spec: QuerySpec) -> bytes:
        """The optimized logical plan of a query as a Substrait message."""
        check_versions()
        self.native.check()
        text, _ = self._rewritten(spec.sql)
        check_statement(text, readonly=True, dialect=self.dialect)
        parameters = bind(spec.sql, spec.param_values, dialect=self.dialect)
        clock = _Clock(spec.timeout)
        lease = self.pool.acquire(clock.left())
        try:
            resolved = self._resolve(spec, self._new_io(spec), clock)
            self.register(lease, resolved)
            tables = [one.alias for one in resolved]

            def typed(error: BaseException) -> FusionDeltaError:
                return translate(error, sql=spec.sql, tables=tables, dialect=self.dialect)

            frame = self._parse(lease, spec, parameters, typed)
            return substrait_of(frame, lease.ctx, typed)
        finally:
            lease.release()

    def _new_io(self, spec: QuerySpec) -> NativeIo:
        return self.native.new_io((spec.tenant or "") if self.by_tenant else "")

    def register_shared(self, lease: Lease) -> None:
        """Put every registered source on a session that is about to be lent."""
        io = self.native.new_io()
        resolution = replace(self.resolution, io=io)
        resolved = [source.resolve(name, resolution) for name, source in self.registered().items()]
        self.register(lease, resolved)

    def _resolve(self, spec: QuerySpec, io: NativeIo, clock: _Clock) -> list[Resolved]:
        consistent = None
        if spec.consistent_at is not None:
            consistent = SnapshotSpec.timestamp(spec.consistent_at).instant_ms
        wanted = {name: as_source(value, name=name) for name, value in (spec.sources or {}).items()}
        registered = self.registered()
        sql, pins = self._rewritten(spec.sql)
        for alias, base, version, instant in pins:
            wanted[alias] = _pinned(alias, base, version, instant, {**registered, **wanted})
        if registered:
            referred = self._referred(sql)
            for name, source in registered.items():
                if name not in wanted and (referred is None or name.lower() in referred):
                    wanted[name] = source
        return [
            source.resolve(
                name,
                replace(self.resolution, io=io, consistent_at_ms=consistent, timeout=clock.left()),
            )
            for name, source in wanted.items()
        ]

    def _rewritten(self, sql: str) -> tuple[str, list[tuple[str, str, int | None, str | None]]]:
        """The text as `datafusion` parses it, and the tables in it with versions of their own."""
        from fusiondelta._native import rewritten

        return rewritten(sql, self.dialect)

    def _referred(self, sql: str) -> frozenset[str] | None:
        """Lower-case names of the tables in a query; None for all, where it asks the catalog."""
        from fusiondelta._native import table_references

        references = table_references(sql, self.dialect)
        words = sql.lower()
        if any("information_schema" in parts for parts in references) or "show " in words:
            return None
        return frozenset(parts[-1].lower() for parts in references)

    @staticmethod
    def register(lease: Lease, resolved: list[Resolved] | tuple[Resolved, ...]) -> None:
        """Put pinned sources on a context under their aliases.

        An alias is found as it is written; one that is a plain identifier is found in lower case
        too, which is what unquoted SQL turns it into.
        """
        for item in resolved:
            names = {item.alias}
            if item.alias.isidentifier():
                names.add(item.alias.lower())
            for name in sorted(names):
                quoted = '"' + name.replace('"', '""') + '"'
                provider = item.provider
                if type(provider).__module__.startswith("pyarrow"):
                    lease.ctx.register_dataset(quoted, provider)
                else:
                    lease.ctx.register_table(quoted, provider)

    def _parse(
        self,
        lease: Lease,
        spec: QuerySpec,
        parameters: Mapping[str, Any],
        typed: Callable[[BaseException], FusionDeltaError],
    ) -> Any:
        from datafusion import SQLOptions

        allowed = not spec.readonly
        options = SQLOptions()
        options.with_allow_ddl(allowed)
        options.with_allow_dml(allowed)
        options.with_allow_statements(allowed)
        try:
            sql, _ = self._rewritten(spec.sql)
            return lease.ctx.sql_with_options(sql, options, param_values=dict(parameters))
        except Exception as error:
            raise interrupt_in(error) or typed(error) from error

    def _plan(
        self,
        lease: Lease,
        frame: Any,
        begun: _Begun,
        *,
        parameters: Mapping[str, Any],
        resolved: list[Resolved] | tuple[Resolved, ...],
        io: NativeIo,
        clock: _Clock,
        typed: Callable[[BaseException], FusionDeltaError],
        crosses: bool,
        kind: str,
    ) -> QueryResult:
        spec = begun.spec
        ids = (begun.run_id, begun.query_id)
        limit = spec.memory_limit
        memory = None if limit is None else parse_bytes("memory_limit", limit)
        crossed = _Crossed(reason="the statement is not a query")
        if crosses:
            with begun.steps.step("cross"):
                crossed = self._cross(lease, frame, spec, memory, io, clock, typed, ids)
        native = crossed.native
        if native is None and spec.digest:
            raise QueryError(f"digest=True needs a native plan, and {crossed.reason}")
        asked = Asked(
            run_id=begun.run_id,
            query_id=begun.query_id,
            session_id=lease.session_id,
            spec=spec,
            kind=kind,
            parameters=parameters,
            sources=resolved,
            submitted=begun.steps.submitted,
            planned=time.time_ns(),
            phases=begun.steps.found,
            memory_limit=memory,
            tags=begun.tags,
            tenant=spec.tenant,
        )
        check_scans(spec, native, asked.snapshots)
        planned = Planned(
            asked,
            io=io,
            native=native,
            frame=None if native is not None else frame,
            fallback_reason=None if native is not None else crossed.reason,
            encoded=crossed.encoded if spec.capture_plan else b"",
            translate=typed,
            check=self.native.check,
            entry=begun.entry,
            # Tables of other libraries and table functions ask for their context whenever they are
            # planned, which a result that another query or a write uses is once more.
            keep=(*resolved, lease.ctx),
        )
        # What goes the fallback way keeps its context, which nobody else gets, but not the place:
        # an unread result holds none, or a query over it would wait for itself.
        lease.release()
        result = QueryResult(planned, self.limits)
        self._results.add(result)
        return result

    def live(self) -> Iterator[SnapshotKey]:
        """Delta tables that results read which are there and have not ended."""
        for result in self._results.there():
            if result.is_open:
                yield from result.snapshots

    def _cross(
        self,
        lease: Lease,
        frame: Any,
        spec: QuerySpec,
        memory_limit: int | None,
        io: NativeIo,
        clock: _Clock,
        typed: Callable[[BaseException], FusionDeltaError],
        ids: tuple[str, str],
    ) -> _Crossed:
        """The plan inside the extension, or why it has to stay outside."""
        try:
            optimized = frame.optimized_logical_plan()
        except Exception as error:
            raise interrupt_in(error) or typed(error) from error
        shown = optimized.display_indent_schema()
        catalog = CATALOG.search(shown)
        if catalog is not None:
            return _Crossed(reason=f"{catalog[0]} describes the context that planned the query")
        try:
            encoded = optimized.to_bytes(lease.ctx)
        except Exception as error:
            interrupt = interrupt_in(error)
            if interrupt is not None:
                raise interrupt from error
            reason = f"the plan cannot be encoded: {error}"
            return _Crossed(reason=checked(frame, typed, reason))
        try:
            native = self.native.plan(
                lease.ctx,
                lease.codec,
                encoded,
                self._session_settings(lease),
                io,
                ids,
                capture=spec.capture_plan,
                digest=spec.digest,
                memory_limit=memory_limit,
                timeout=clock.left(),
            )
        except FusionDeltaError as error:
            if error.kind not in MAY_FALL_BACK:
                raise
            reason = f"the plan was refused natively: {error.message}"
            return _Crossed(reason=checked(frame, typed, reason))
        difference = changed(shown, native.arrived_columns())
        if difference is not None:
            reason = f"the plan changed on the way: {difference}"
            return _Crossed(reason=checked(frame, typed, reason))
        return _Crossed(native, encoded=encoded)

    def _session_settings(self, lease: Lease) -> dict[str, str]:
        if not lease.lent:
            return dict(self.settings)
        return settings_of(lease.ctx)


def _pinned(
    alias: str, base: str, version: int | None, instant: str | None, known: Mapping[str, Source]
) -> DeltaSource:
    """The source that stands for ``base VERSION AS OF version`` in a query."""
    source = known.get(base)
    if source is None:
        close = get_close_matches(base, list(known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise SqlError(f"there is no table {base!r} among the sources of the query{hint}")
    if not isinstance(source, DeltaSource):
        raise SqlError(f"{base!r} has no versions: it is a {type(source).__name__}")
    if not source.as_of.is_latest:
        raise SqlError(f"{base!r} is pinned among the sources, and AS OF names another version")
    return DeltaSource(
        source.uri,
        as_of=version if instant is None else instant,
        alias=alias,
    )


class _Clock:
    """Time that is left for a query."""

    def __init__(self, timeout: dt.timedelta | float | None) -> None:
        limit = None if timeout is None else parse_duration("timeout", timeout)
        self._deadline = None if limit is None else time.monotonic() + limit.total_seconds()

    def left(self) -> float | None:
        """Seconds left, None without a limit.

        Raises:
            QueryTimeoutError: None are.
        """
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise QueryTimeoutError("the deadline passed while the query was planned")
        return left
