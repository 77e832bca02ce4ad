"""A query on its way: what is asked, what it is planned from, and the time that is left."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.account import Entry
from fusiondelta.errors import FusionDeltaError, QueryTimeoutError
from fusiondelta.profiles._sizes import parse_duration
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.queries._steps import Steps
from fusiondelta.sessions import translate
from fusiondelta.sources import Resolved

if TYPE_CHECKING:
    from fusiondelta._native import NativeIo


@dataclass(slots=True)
class Begun:
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


class Clock:
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


@dataclass(frozen=True, slots=True)
class Request:
    """A query with all that its plan is made of.

    Attributes:
        begun: The query.
        parameters: Values by the names of placeholders.
        resolved: Its tables, pinned.
        io: Its counters.
        clock: Time that is left.
        dialect: SQL dialect of the profile.
        registered: Gives the names of the sources that every query may read.
    """

    begun: Begun
    parameters: Mapping[str, Any]
    resolved: Sequence[Resolved]
    io: NativeIo
    clock: Clock
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
