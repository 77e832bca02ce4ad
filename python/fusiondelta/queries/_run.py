"""The steps of a query, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta._weak import WeakList
from fusiondelta.account import Books, Call
from fusiondelta.account._versions import check_versions
from fusiondelta.errors import (
    SourceError,
    SqlError,
)
from fusiondelta.profiles import MaterializeLimits
from fusiondelta.profiles._sizes import parse_bytes
from fusiondelta.queries._crossing import (
    crossed,
    parsed,
    substrait_of,
)
from fusiondelta.queries._limits import check_scans
from fusiondelta.queries._planned import Asked, Planned
from fusiondelta.queries._request import Begun, Clock, Request
from fusiondelta.queries._result import QueryResult
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.queries._steps import Steps
from fusiondelta.queries._tables import carried, named, register
from fusiondelta.sessions import (
    ContextPool,
    Lease,
    as_arrays,
    bind,
    check_statement,
    parse,
)
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources import DeltaSource, Resolution, Resolved, Source, as_source

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeIo, NativeQuery, NativeSql


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
            clock = Clock(spec.timeout)
            with begun.steps.step("parse"):
                sql = parse(spec.sql, self.settings)
                kind = check_statement(sql, readonly=spec.readonly)
                parameters = bind(sql.placeholders, spec.param_values)
            io = self._new_io(spec)
            with begun.steps.step("resolve"):
                resolved = self._resolve(spec, sql, io, clock)
            asked = Request(
                begun,
                parameters,
                resolved,
                io,
                clock,
                self.dialect,
                self.registered,
            )
            if all(one.is_own for one in resolved):
                return self._planned(asked, sql, kind, named(resolved))
            with begun.steps.step("context"):
                lease = self.pool.acquire(clock.left())
            begun.steps.waited(lease.waited)
            # An unread result holds no place, or a query over it would wait for itself.
            with lease.held():
                return self._planned(asked, sql, kind, carried(lease, resolved), lease)

    def _planned(
        self,
        asked: Request,
        sql: NativeSql,
        kind: str,
        tables: list[tuple[str, Any]],
        lease: Lease | None = None,
    ) -> QueryResult:
        """Plan inside the extension.

        Args:
            asked: The query.
            sql: Its text, parsed.
            kind: What it is: ``query``, or the kind of statement.
            tables: Its tables by name; plans of those of other libraries.
            lease: That of their context.
        """
        begun, spec = asked.begun, asked.begun.spec
        memory = self._memory(spec)
        with begun.steps.step("plan"):
            try:
                native = self.native.plan_sql(
                    sql,
                    tables,
                    as_arrays(asked.parameters),
                    dict(self.settings),
                    asked.io,
                    (begun.run_id, begun.query_id),
                    session=None if lease is None else lease.ctx,
                    readonly=spec.readonly,
                    capture=spec.capture_plan,
                    digest=spec.digest,
                    memory_limit=memory,
                    timeout=asked.clock.left(),
                )
            except ValueError as error:
                raise asked.typed(error) from None
        # Tables of other libraries ask for their context whenever they are planned, which a result
        # that another query or a write uses is once more.
        keep = () if lease is None else (lease,)
        shown = "SELECT" if kind == "query" else kind.upper()
        return self._result(asked, new_id(), shown, native, memory=memory, keep=keep)

    def run_frame(self, frame: Any, lease: Lease, spec: QuerySpec) -> QueryResult:
        """Plan a DataFrame that was built on a lent session, which stays lent."""
        self.native.check()
        begun = self._begin(spec, None)
        with begun.noted():
            clock = Clock(spec.timeout)
            asked = Request(begun, {}, (), self._new_io(spec), clock, self.dialect)
            with begun.steps.step("cross"):
                memory = self._memory(spec)
                native = crossed(self.native, lease, frame, asked, memory)
            return self._result(
                asked, lease.session_id, "SELECT", native, memory=memory, keep=(lease,)
            )

    def _begin(self, spec: QuerySpec, run_id: str | None) -> Begun:
        steps = Steps()
        run = self.books.current
        tags, tenant = dict(spec.tags or {}), spec.tenant
        if run is not None:
            run_id = run_id or run.run_id
            tags, tenant = {**run.tags, **tags}, tenant or run.tenant
        begun = Begun(spec.replace(tenant=tenant), run_id or new_id(), new_id(), tags, steps)
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
        sql = parse(spec.sql, self.settings)
        check_statement(sql, readonly=True)
        parameters = bind(sql.placeholders, spec.param_values)
        clock = Clock(spec.timeout)
        lease = self.pool.acquire(clock.left())
        try:
            io = self._new_io(spec)
            resolved = self._resolve(spec, sql, io, clock)
            register(lease, resolved)
            begun = Begun(spec, new_id(), new_id(), {}, Steps())
            asked = Request(begun, parameters, resolved, io, clock, self.dialect)
            frame = parsed(lease, sql.text, asked)
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
        register(lease, resolved)

    def _resolve(
        self, spec: QuerySpec, sql: NativeSql, io: NativeIo, clock: Clock
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
        for alias, base, version, instant in sql.pins:
            wanted[alias] = _pinned(alias, base, version, instant, {**registered, **wanted})
        if registered:
            referred = _referred(sql)
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

    @staticmethod
    def _memory(spec: QuerySpec) -> int | None:
        limit = spec.memory_limit
        return None if limit is None else parse_bytes("memory_limit", limit)

    def _result(
        self,
        asked: Request,
        session_id: str,
        kind: str,
        native: NativeQuery,
        *,
        memory: int | None,
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
            check=self.native.check,
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


def _referred(sql: NativeSql) -> frozenset[str] | None:
    """Lower-case names of the tables in a query; None for all, where it asks the catalog."""
    tables = sql.tables()
    if any("information_schema" in parts for parts in tables) or "SHOW " in sql.text:
        return None
    return frozenset(parts[-1].lower() for parts in tables)


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
