"""The steps of a query, in order."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.account._versions import check_versions
from fusiondelta.errors import ErrorKind, FusionDeltaError, QueryTimeoutError
from fusiondelta.profiles import MaterializeLimits
from fusiondelta.profiles._sizes import parse_bytes, parse_duration
from fusiondelta.queries._planned import Planned
from fusiondelta.queries._result import QueryResult
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.sessions import ContextPool, Lease, bind, check_statement, translate
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources import Resolution, Resolved, Source, as_source

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeIo, NativeQuery

#: Tables whose rows differ between the context and the extension: their functions, their settings.
_CATALOG = re.compile(r"information_schema\.(routines|parameters|df_settings)")

_VISIBLE = "datafusion.catalog.information_schema"

#: Kinds of native planning failures after which the context may still know how: what cannot be
#: carried, or differs between the two sides. All else (no memory, no time, no file) is the answer.
_MAY_FALL_BACK = frozenset(
    {
        ErrorKind.QUERY,
        ErrorKind.SQL,
        ErrorKind.INTERNAL,
        ErrorKind.EXECUTION,
        ErrorKind.CONFIGURATION,
    }
)


class _Results:
    """Results that are there, held by nobody here.

    References without callbacks: what Python runs when an object goes swallows a Ctrl-C that
    arrives just then, as `weakref.WeakSet` does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[weakref.ref[QueryResult]] = []
        self._most = 64

    def add(self, result: QueryResult) -> None:
        with self._lock:
            if len(self._found) >= self._most:
                self._found = [ref for ref in self._found if ref() is not None]
                self._most = max(64, 2 * len(self._found))
            self._found.append(weakref.ref(result))

    def open(self) -> list[QueryResult]:
        """Those that have not ended."""
        with self._lock:
            found = [ref() for ref in self._found]
        return [result for result in found if result is not None and result.is_open]


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
    """

    native: NativeEngine
    pool: ContextPool
    resolution: Resolution
    settings: Mapping[str, str]
    limits: MaterializeLimits
    registered: Callable[[], Mapping[str, Source]]
    by_tenant: bool
    _results: _Results = field(default_factory=_Results)

    @property
    def dialect(self) -> str:
        """SQL dialect of the profile."""
        return self.settings.get("datafusion.sql_parser.dialect", "generic")

    def run(self, spec: QuerySpec, *, run_id: str) -> QueryResult:
        """Parse, pin, plan; the result has not started."""
        check_versions()
        self.native.check()
        kind = check_statement(spec.sql, readonly=spec.readonly, dialect=self.dialect)
        parameters = bind(spec.sql, spec.param_values, dialect=self.dialect)
        clock = _Clock(spec.timeout)
        io = self._new_io(spec)
        lease = self.pool.acquire(clock.left())
        try:
            resolved = self._resolve(spec, io, clock)
            self.register(lease, resolved)
            tables = [r.alias for r in resolved]

            def typed(error: BaseException) -> FusionDeltaError:
                return translate(error, sql=spec.sql, tables=tables, dialect=self.dialect)

            frame = self._parse(lease, spec, parameters, typed)
            return self._plan(
                lease,
                frame,
                spec,
                parameters=parameters,
                resolved=resolved,
                io=io,
                clock=clock,
                run_id=run_id,
                typed=typed,
                # Statements other than queries were executed by the context while it parsed them.
                crosses=kind == "query",
            )
        except BaseException:
            lease.release()
            raise

    def run_frame(self, frame: Any, lease: Lease, spec: QuerySpec, *, run_id: str) -> QueryResult:
        """Plan a DataFrame that was built on a lent session, which stays lent."""
        self.native.check()

        def typed(error: BaseException) -> FusionDeltaError:
            return translate(error, sql=None, tables=(), dialect=self.dialect)

        # The holder of the session gives it back; what a query gives back is only a view of it.
        view = Lease(lease.ctx, lease.codec, lease.session_id, lent=True)
        return self._plan(
            view,
            frame,
            spec,
            parameters={},
            resolved=(),
            io=self._new_io(spec),
            clock=_Clock(spec.timeout),
            run_id=run_id,
            typed=typed,
            crosses=True,
        )

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
        if registered:
            referred = self._referred(spec.sql)
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
            return lease.ctx.sql_with_options(spec.sql, options, param_values=dict(parameters))
        except Exception as error:
            raise _interrupt_in(error) or typed(error) from error

    def _plan(
        self,
        lease: Lease,
        frame: Any,
        spec: QuerySpec,
        *,
        parameters: Mapping[str, Any],
        resolved: list[Resolved] | tuple[Resolved, ...],
        io: NativeIo,
        clock: _Clock,
        run_id: str,
        typed: Callable[[BaseException], FusionDeltaError],
        crosses: bool,
    ) -> QueryResult:
        query_id = new_id()
        native, reason = None, "the statement is not a query"
        if crosses:
            native, reason = self._cross(lease, frame, spec, io, clock, typed, (run_id, query_id))
        planned = Planned(
            run_id=run_id,
            query_id=query_id,
            session_id=lease.session_id,
            sql=spec.sql or None,
            parameters=parameters,
            snapshots={r.alias: r.snapshot for r in resolved if r.snapshot is not None},
            io=io,
            capture_plan=spec.capture_plan,
            tenant=spec.tenant,
            tags=dict(spec.tags or {}),
            native=native,
            frame=None if native is not None else frame,
            fallback_reason=None if native is not None else reason,
            translate=typed,
            check=self.native.check,
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
        for result in self._results.open():
            yield from result.snapshots

    def _cross(
        self,
        lease: Lease,
        frame: Any,
        spec: QuerySpec,
        io: NativeIo,
        clock: _Clock,
        typed: Callable[[BaseException], FusionDeltaError],
        ids: tuple[str, str],
    ) -> tuple[NativeQuery | None, str]:
        """The plan inside the extension, or why it has to stay outside."""
        try:
            optimized = frame.optimized_logical_plan()
        except Exception as error:
            raise _interrupt_in(error) or typed(error) from error
        shown = optimized.display_indent_schema()
        catalog = _CATALOG.search(shown)
        if catalog is not None:
            return None, f"{catalog[0]} describes the context that planned the query"
        try:
            encoded = optimized.to_bytes(lease.ctx)
        except Exception as error:
            interrupt = _interrupt_in(error)
            if interrupt is not None:
                raise interrupt from error
            return None, _checked(frame, typed, f"the plan cannot be encoded: {error}")
        limit = (
            None if spec.memory_limit is None else parse_bytes("memory_limit", spec.memory_limit)
        )
        try:
            native = self.native.plan(
                lease.ctx,
                lease.codec,
                encoded,
                self._session_settings(lease),
                io,
                ids,
                capture=spec.capture_plan,
                memory_limit=limit,
                timeout=clock.left(),
            )
        except FusionDeltaError as error:
            if error.kind not in _MAY_FALL_BACK:
                raise
            return None, _checked(frame, typed, f"the plan was refused natively: {error.message}")
        changed = _changed(shown, native.arrived_columns())
        if changed is not None:
            return None, _checked(frame, typed, f"the plan changed on the way: {changed}")
        return native, ""

    def _session_settings(self, lease: Lease) -> dict[str, str]:
        if not lease.lent:
            return dict(self.settings)
        return _settings_of(lease.ctx)


def _interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error came of.

    One that arrives while `datafusion` logs is left pending there, and comes out as the cause of a
    SystemError.
    """
    cause: BaseException | None = error
    while isinstance(cause, SystemError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, KeyboardInterrupt) else None


def _settings_of(ctx: Any) -> dict[str, str]:
    """Settings of a context whose holder may have changed them, and hidden the catalog."""
    query = "SELECT name, value FROM information_schema.df_settings"
    try:
        rows = ctx.sql(query).collect()
        visible = "true"
    except ValueError:
        ctx.sql(f"SET {_VISIBLE} = true")
        try:
            rows = ctx.sql(query).collect()
        finally:
            ctx.sql(f"SET {_VISIBLE} = false")
        visible = "false"
    settings = {
        name: value
        for batch in rows
        for name, value in zip(
            batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True
        )
        if value is not None and not name.startswith("datafusion.runtime.")
    }
    return {**settings, _VISIBLE: visible}


def _changed(sent: str, arrived: str) -> str | None:
    """How the columns of a plan differ from those that were sent, nullability apart.

    Not every scalar survives the encoding: half floats come back as floats.

    Args:
        sent: Plan text with schemas, of the context.
        arrived: Columns as plan texts show them, of the extension.
    """
    if "Float16(" in sent:
        return "it has a half-float literal, which has no encoding"
    # A child stands on a line of its own, indented; names of columns may hold line ends too.
    first = sent.split("\n  ", 1)[0].replace(";N", "")
    arrived = arrived.replace(";N", "")
    return None if first.endswith(arrived) else f"{first!r} became {arrived!r}"


def _checked(frame: Any, typed: Callable[[BaseException], FusionDeltaError], reason: str) -> str:
    """The reason for the fallback way, once the context has shown that it can plan the query."""
    try:
        frame.execution_plan()
    except Exception as error:
        raise typed(error) from error
    return reason


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
