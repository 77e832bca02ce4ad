"""`RunManifest`: a query or a write as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Version of the document's layout.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """What ran, on what, and how it ended.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the query or write.
        session_id: Identifier of the context.
        kind: ``query`` or ``write``.
        snapshots: ``{"alias", "uri", "version"}`` of each Delta table read.
        status: ``planned``, ``finished``, ``failed`` or ``cancelled``.
        error: Class and kind of the exception, of a failed run.
        content: Bundle, counts, write outcome: all else.
    """

    run_id: str
    query_id: str
    session_id: str
    kind: str
    snapshots: tuple[Mapping[str, Any], ...]
    status: str
    error: Mapping[str, str] | None = None
    content: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ``content`` spread among the top-level keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "query_id": self.query_id,
            "session_id": self.session_id,
            "kind": self.kind,
            "status": self.status,
            "error": dict(self.error) if self.error else None,
            "snapshots": [dict(s) for s in self.snapshots],
            **self.content,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON, keys sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=str)
