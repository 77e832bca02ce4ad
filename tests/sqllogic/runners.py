"""Who answers a query the second time: the engine, or, to try this layer, a plain context."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from datafusion import DataFrame, SessionConfig, SessionContext

from fusiondelta.queries._crossing import settings_of
from tests.sqllogic import slt

if TYPE_CHECKING:
    import fusiondelta

ALL_TEXTS = os.environ.get("FUSIONDELTA_SQLLOGIC_RUNNER") == "texts"
TARGET_PARTITIONS = 4  # as the official runner has it


@dataclasses.dataclass(frozen=True)
class Answer:
    table: pa.Table
    execution: str = "plain"  # "plain", "native" or "refused"
    reason: str | None = None  # why it was refused


class Lease(Protocol):
    """A session that runs one file."""

    @property
    def ctx(self) -> SessionContext: ...
    def again(self, frame: DataFrame, sql: str) -> Answer:
        """The answer of the side under test to a query, which is given as a frame too."""


class Runner(Protocol):
    name: str

    def session(self) -> contextlib.AbstractContextManager[Lease]: ...


def plain(frame: DataFrame) -> Answer:
    """What the context itself answers."""
    batches = frame.collect()
    schema = batches[0].schema if batches else frame.schema()
    return Answer(pa.Table.from_batches(batches, schema=schema))


def chosen() -> Runner:
    return PlainTwice() if os.environ.get("FUSIONDELTA_SQLLOGIC_RUNNER") == "plain" else Native()


class PlainTwice:
    """Stands in for the engine where only the harness is on trial."""

    name = "plain"

    @dataclasses.dataclass
    class _Lease:
        ctx: SessionContext

        def again(self, frame: DataFrame, sql: str) -> Answer:
            return dataclasses.replace(plain(frame), execution="native")

    @contextlib.contextmanager
    def session(self) -> Iterator[Lease]:
        config = SessionConfig().with_information_schema(True)
        yield self._Lease(SessionContext(config.with_target_partitions(TARGET_PARTITIONS)))


class Native:
    """A fresh engine for each file, so that no setting or table outlives it."""

    name = "native"

    @dataclasses.dataclass
    class _Lease:
        engine: fusiondelta.FusionDeltaEngine
        ctx: SessionContext
        texts: _Texts

        def again(self, frame: DataFrame, sql: str) -> Answer:
            import fusiondelta

            if ALL_TEXTS:
                return self.texts.answer(self.ctx, sql)
            try:
                result = self.engine.query(frame)
            except fusiondelta.QueryError as error:
                reason = re.search(r"run this DataFrame: (.*); pass the SQL", str(error), re.DOTALL)
                if reason is None:
                    raise
                if "rewrite its subquery" in reason[1] and not slt.is_explain(sql):
                    return self.texts.answer(self.ctx, sql)
                return dataclasses.replace(plain(frame), execution="refused", reason=reason[1])
            with result:
                return Answer(result.reader().read_all(), "native")

    @contextlib.contextmanager
    def session(self) -> Iterator[Lease]:
        import fusiondelta

        profile = fusiondelta.EngineProfile(
            target_partitions=TARGET_PARTITIONS, pool_size=2, string_views=True
        )
        with (
            fusiondelta.FusionDeltaEngine(profile=profile) as engine,
            engine.session() as ctx,
            contextlib.closing(_Texts(engine, ctx)) as texts,
        ):
            yield self._Lease(engine, ctx, texts)


class _Texts:
    """Asks texts over the tables of a session, under its settings."""

    def __init__(self, engine: fusiondelta.FusionDeltaEngine, ctx: SessionContext) -> None:
        self._first = settings_of(ctx)
        self._made: dict[tuple[tuple[str, str], ...], fusiondelta.FusionDeltaEngine] = {(): engine}

    def close(self) -> None:
        for engine in self._made.values():
            engine.close()

    def answer(self, ctx: SessionContext, sql: str) -> Answer:
        """The rows of a text.

        Raises:
            FusionDeltaError: It has none.
        """
        from fusiondelta import _native

        settings = settings_of(ctx)
        changed = {key: v for key, v in settings.items() if self._first.get(key) != v}
        dialect = settings["datafusion.sql_parser.dialect"]
        schema = ctx.catalog().schema()
        names = {parts[-1] for parts in _native.table_references(sql, dialect)}
        sources = {name: schema.table(name) for name in names if schema.table_exist(name)}
        with self._engine(changed).query(sql, sources=sources) as result:
            return Answer(result.reader().read_all(), "native")

    def _engine(self, changed: dict[str, str]) -> fusiondelta.FusionDeltaEngine:
        import fusiondelta

        key = tuple(sorted(changed.items()))
        if key not in self._made:
            profile = fusiondelta.EngineProfile(
                target_partitions=int(
                    changed.pop("datafusion.execution.target_partitions", TARGET_PARTITIONS)
                ),
                options=changed,
                string_views=True,
            )
            self._made[key] = fusiondelta.FusionDeltaEngine(profile=profile)
        return self._made[key]
