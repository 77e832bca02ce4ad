"""`QuerySpec`: one query, as a value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from fusiondelta.account import QueryProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySpec:
    """One query and everything it depends on.

    Attributes:
        sql: Text of one statement.
        sources: What the query reads, by alias; registered sources come on top.
        param_values: Parameters by name (``$name``) or position (``$1``).
        readonly: Whether anything but a query is refused.
        capture_plan: Whether `QueryResult.plan` is to be had.
        timeout: Time from the call to the last row; no limit where None.
        memory_limit: Bytes (or ``"2GiB"``) the query may reserve on top of the engine's own limit.
        consistent_at: Instant that every Delta source without a version of its own is pinned to.
        max_scan_bytes: Most bytes (or ``"10GiB"``) of files the plan may hold once partition values
            and statistics were looked at; more is refused before any is read.
        expect_pruning: Share of a Delta table's files, by alias and from 0 to 1, that the plan must
            leave out; less is refused before any is read.
        digest: Whether the rows are digested on their way out; see `QueryResult.digest`.
        progress: Called four times a second with a `QueryProgress` while rows are read, from a
            thread of its own.
        tenant: Name of who asks, for spans and manifests.
        tags: Free text by name, for spans and manifests.
    """

    sql: str
    sources: Mapping[str, Any] | None = None
    param_values: Mapping[str, Any] | Sequence[Any] | None = None
    readonly: bool = True
    capture_plan: bool = True
    timeout: dt.timedelta | float | None = None
    memory_limit: int | str | None = None
    consistent_at: dt.datetime | str | None = None
    max_scan_bytes: int | str | None = None
    expect_pruning: Mapping[str, float] | None = None
    digest: bool = False
    progress: Callable[[QueryProgress], None] | None = None
    tenant: str | None = None
    tags: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sql, str):
            raise ConfigurationError(f"sql is text, not {type(self.sql).__name__}")

    def replace(self, **changes: Any) -> QuerySpec:
        """A copy with some attributes changed."""
        return replace(self, **changes)
