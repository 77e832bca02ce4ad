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

if TYPE_CHECKING:
    import fusiondelta

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
    def again(self, frame: DataFrame) -> Answer:
        """The answer of the side under test."""


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

        def again(self, frame: DataFrame) -> Answer:
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

        def again(self, frame: DataFrame) -> Answer:
            import fusiondelta

            try:
                result = self.engine.query(frame)
            except fusiondelta.QueryError as error:
                reason = re.search(r"run this DataFrame: (.*); pass the SQL", str(error), re.DOTALL)
                if reason is None:
                    raise
                return dataclasses.replace(plain(frame), execution="refused", reason=reason[1])
            with result:
                return Answer(result.reader().read_all(), "native")

    @contextlib.contextmanager
    def session(self) -> Iterator[Lease]:
        import fusiondelta

        profile = fusiondelta.EngineProfile(
            target_partitions=TARGET_PARTITIONS, pool_size=2, string_views=True
        )
        with fusiondelta.FusionDeltaEngine(profile=profile) as engine, engine.session() as ctx:
            yield self._Lease(engine, ctx)
