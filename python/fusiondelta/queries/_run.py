"""The steps of a query, in order."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from fusiondelta._ids import new_id
from fusiondelta._weak import WeakList
from fusiondelta.account import Books, Call, Entry
from fusiondelta.account._versions import check_versions
from fusiondelta.errors import (
    FusionDeltaError,
    QueryError,
    QueryTimeoutError,
    SourceError,
    SqlError,
)
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
from fusiondelta.sessions import (
    ContextPool,
    Lease,
    as_arrays,
    bind,
    check_statement,
    translate,
)
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources import DeltaSource, Resolution, Resolved, Source, as_source

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeIo, NativeQuery


#: A table at a version of its own: its alias, its name, and the version or the time.
_Pin: TypeAlias = tuple[str, str, int | None, str | None]


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
    """

    native: NativeQuery | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with all that its plan is made of.

    Attributes:
        begun: The query.
        sql: Its text, as it is parsed.
        parameters: Values by the names of placeholders.
        resolved: Its tables, pinned.
        io: Its counters.
        clock: Time that is left.
        dialect: SQL dialect of the profile.
        registered: Gives the names of the sources that every query may read.
    """

    begun: _Begun
    sql: str
    parameters: Mapping[str, Any]
    resolved: Sequence[Resolved]
    io: NativeIo
    clock: _Clock
    dialect: str
    registered: Callable[[], Iterable[str]] = tuple

    def typed(self, error: BaseException) -> FusionDeltaError:
        """The typed error for one of the planner's."""
        return translate(
            error,
            sql=self.begun.spec.sql or None,
            tables=[*(one.alias for one in self.resolved), *self.registered()],
            dialect=self.dialect,
        )


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
            text, pins = self._rewritten(spec.sql)
            kind = check_statement(text, readonly=spec.readonly, dialect=self.dialect)
            parameters = bind(spec.sql, spec.param_values, dialect=self.dialect)
            clock = _Clock(spec.timeout)
            io = self._new_io(spec)
            with begun.steps.step("resolve"):
                resolved = self._resolve(spec, text, pins, io, clock)
            asked = _Asked(
                begun,
                text,
                parameters,
                resolved,
                io,
                clock,
                self.dialect,
                self.registered,
            )
            is_own = kind == "query" and all(one.is_own for one in resolved)
            if is_own and not self._calls_functions(text):
                return self._run_natively(asked)
            with begun.steps.step("context"):
                lease = self.pool.acquire(clock.left())
            begun.steps.waited(lease.waited)
            try:
                self.register(lease, resolved)
                with begun.steps.step("parse"):
                    frame = self._parse(lease, asked)
                return self._plan(
                    lease,
                    frame,
                    asked,
                    # Others were executed by the context while it parsed them.
                    crosses=kind == "query",
                    kind="SELECT" if kind == "query" else kind.upper(),
                )
            except BaseException:
                lease.release()
                raise

    def _calls_functions(self, sql: str) -> bool:
        """Whether a query may call a registered function, or ask which there are."""
        functions = self.pool.functions
        if not functions:
            return False
        words = set(re.findall(r"\w+", sql.lower()))
        names = {getattr(function, "name", None) for function in functions}
        if None in names:
            return True
        telling = {"information_schema", "show", *(name.lower() for name in names if name)}
        return not words.isdisjoint(telling)

    def _run_natively(self, asked: _Asked) -> QueryResult:
        """Parse and plan inside the extension."""
        begun, spec = asked.begun, asked.begun.spec
        memory = self._memory(spec)
        with begun.steps.step("plan"):
            try:
                native = self.native.plan_sql(
                    asked.sql,
                    _named(asked.resolved),
                    as_arrays(asked.parameters),
                    dict(self.settings),
                    asked.io,
                    (begun.run_id, begun.query_id),
                    capture=spec.capture_plan,
                    digest=spec.digest,
                    memory_limit=memory,
                    timeout=asked.clock.left(),
                )
            except ValueError as error:
                raise asked.typed(error) from None
        return self._result(asked, new_id(), "SELECT", native, memory=memory)

    def run_frame(self, frame: Any, lease: Lease, spec: QuerySpec) -> QueryResult:
        """Plan a DataFrame that was built on a lent session, which stays lent."""
        self.native.check()
        # The holder of the session gives it back; what a query gives back is only a view of it.
        view = Lease(lease.ctx, lease.codec, lease.session_id, lent=True)
        begun = self._begin(spec, None)
        with begun.noted():
            clock = _Clock(spec.timeout)
            asked = _Asked(begun, "", {}, (), self._new_io(spec), clock, self.dialect)
            return self._plan(view, frame, asked, crosses=True, kind="SELECT")

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
        text, pins = self._rewritten(spec.sql)
        check_statement(text, readonly=True, dialect=self.dialect)
        parameters = bind(spec.sql, spec.param_values, dialect=self.dialect)
        clock = _Clock(spec.timeout)
        lease = self.pool.acquire(clock.left())
        try:
            io = self._new_io(spec)
            resolved = self._resolve(spec, text, pins, io, clock)
            self.register(lease, resolved)
            begun = _Begun(spec, new_id(), new_id(), {}, Steps())
            asked = _Asked(begun, text, parameters, resolved, io, clock, self.dialect)
            frame = self._parse(lease, asked)
            return substrait_of(frame, lease.ctx, asked.typed)
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

    def _resolve(
        self, spec: QuerySpec, sql: str, pins: list[_Pin], io: NativeIo, clock: _Clock
    ) -> list[Resolved]:
        consistent = None
        if spec.consistent_at is not None:
            consistent = SnapshotSpec.timestamp(spec.consistent_at).instant_ms
        sources = spec.sources or {}
        if not isinstance(sources, Mapping):
            raise SourceError(
                f"sources is a mapping of names to sources, as in {{'t': data}}, not a "
                f"{type(sources).__name__}"
            )
        wanted = {name: as_source(value, name=name) for name, value in sources.items()}
        registered = self.registered()
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

    def _rewritten(self, sql: str) -> tuple[str, list[_Pin]]:
        """The text as `datafusion` parses it, and the tables in it with versions of their own."""
        from fusiondelta._native import rewritten

        zone = self.settings.get("datafusion.execution.time_zone")
        return rewritten(sql, self.dialect, zone)

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
        """Put pinned sources on a context under the names that SQL finds them under."""
        for name, provider in _named(resolved):
            quoted = '"' + name.replace('"', '""') + '"'
            if type(provider).__module__.startswith("pyarrow"):
                lease.ctx.register_dataset(quoted, provider)
            else:
                lease.ctx.register_table(quoted, provider)

    @staticmethod
    def _parse(lease: Lease, asked: _Asked) -> Any:
        from datafusion import SQLOptions

        allowed = not asked.begun.spec.readonly
        options = SQLOptions()
        options.with_allow_ddl(allowed)
        options.with_allow_dml(allowed)
        options.with_allow_statements(allowed)
        try:
            values = dict(asked.parameters)
            return lease.ctx.sql_with_options(asked.sql, options, param_values=values)
        except Exception as error:
            raise interrupt_in(error) or asked.typed(error) from error

    @staticmethod
    def _memory(spec: QuerySpec) -> int | None:
        limit = spec.memory_limit
        return None if limit is None else parse_bytes("memory_limit", limit)

    def _plan(
        self,
        lease: Lease,
        frame: Any,
        asked: _Asked,
        *,
        crosses: bool,
        kind: str,
    ) -> QueryResult:
        begun, spec = asked.begun, asked.begun.spec
        memory = self._memory(spec)
        crossed = _Crossed(reason="the statement is not a query")
        if crosses:
            with begun.steps.step("cross"):
                crossed = self._cross(lease, frame, asked, memory)
        native = crossed.native
        if native is None and spec.digest:
            raise QueryError(f"digest=True needs a native plan, and {crossed.reason}")
        result = self._result(
            asked,
            lease.session_id,
            kind,
            native,
            memory=memory,
            frame=None if native is not None else frame,
            fallback_reason=None if native is not None else crossed.reason,
            # Tables of other libraries and table functions ask for their context whenever they are
            # planned, which a result that another query or a write uses is once more.
            keep=(lease.ctx,),
        )
        # What goes the fallback way keeps its context, which nobody else gets, but not the place:
        # an unread result holds none, or a query over it would wait for itself.
        lease.release()
        return result

    def _result(
        self,
        asked: _Asked,
        session_id: str,
        kind: str,
        native: NativeQuery | None,
        *,
        memory: int | None,
        frame: Any = None,
        fallback_reason: str | None = None,
        keep: tuple[Any, ...] = (),
    ) -> QueryResult:
        begun, spec = asked.begun, asked.begun.spec
        facts = Asked(
            run_id=begun.run_id,
            query_id=begun.query_id,
            session_id=session_id,
            spec=spec,
            kind=kind,
            parameters=asked.parameters,
            sources=asked.resolved,
            submitted=begun.steps.submitted,
            planned=time.time_ns(),
            phases=begun.steps.found,
            memory_limit=memory,
            tags=begun.tags,
            tenant=spec.tenant,
        )
        check_scans(spec, native, facts.snapshots)
        planned = Planned(
            facts,
            io=asked.io,
            native=native,
            frame=frame,
            fallback_reason=fallback_reason,
            translate=asked.typed,
            check=self.native.check,
            handed_over=self.native.handed_over,
            entry=begun.entry,
            keep=(*asked.resolved, *keep),
        )
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
        asked: _Asked,
        memory_limit: int | None,
    ) -> _Crossed:
        """The plan inside the extension, or why it has to stay outside."""
        begun, spec, typed = asked.begun, asked.begun.spec, asked.typed
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
                asked.io,
                (begun.run_id, begun.query_id),
                capture=spec.capture_plan,
                digest=spec.digest,
                memory_limit=memory_limit,
                timeout=asked.clock.left(),
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
        return _Crossed(native)

    def _session_settings(self, lease: Lease) -> dict[str, str]:
        if not lease.lent:
            return dict(self.settings)
        return settings_of(lease.ctx)


def _named(resolved: Sequence[Resolved]) -> list[tuple[str, Any]]:
    """Tables by the names that SQL finds them under.

    An alias is found as it is written; one that is a plain identifier is found in lower case too,
    which is what unquoted SQL turns it into, unless that is the name of another.
    """
    named = {one.alias: one.provider for one in resolved}
    folded: dict[str, list[Any]] = {}
    for one in resolved:
        if one.alias.isidentifier():
            folded.setdefault(one.alias.lower(), []).append(one.provider)
    for name, providers in folded.items():
        if len(providers) == 1:
            named.setdefault(name, providers[0])
    return list(named.items())


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
