"""A query or write that begins, as the books and telemetry are told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A query or write that begins.

    Attributes:
        kind: ``query`` or ``write``.
        query_id: Identifier of the query or write.
        run_id: Identifier of the run.
        operation: ``SELECT``, ``append``…, as far as it is known; the account's counts in the end.
        sql: Text of the query.
        tenant: Who asks.
        tags: Free text by name.
        table: Location of the table that is written.
        at: When, nanoseconds since 1970.
    """

    kind: str
    query_id: str
    run_id: str
    operation: str
    sql: str | None = None
    tenant: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    table: str | None = None
    at: int = field(default_factory=time.time_ns)
