"""Object-store requests of a query or an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class QueryIo:
    """Counts at one moment.

    Attributes:
        requests: Requests by operation: list, head, get, put, delete, copy.
        by_purpose: Requests by purpose: log, checkpoint, footer, data, commit.
        bytes_read: Bytes that came back.
        bytes_written: Bytes that were sent.
        retries: Requests that were sent again.
    """

    requests: Mapping[str, int]
    by_purpose: Mapping[str, int]
    bytes_read: int
    bytes_written: int
    retries: int

    @classmethod
    def of(cls, reading: Mapping[str, Any]) -> QueryIo:
        """From a reading of the extension."""
        return cls(**reading)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "requests": dict(self.requests),
            "by_purpose": dict(self.by_purpose),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "retries": self.retries,
        }
