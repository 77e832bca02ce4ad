"""Object-store requests of a query or an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeIo

_OPERATIONS = ("list", "head", "get", "put", "delete", "copy")
_PURPOSES = ("log", "checkpoint", "footer", "data", "commit")
_WRITES = frozenset({"put", "copy"})


@dataclass(frozen=True, slots=True)
class IoLine:
    """Requests of one kind for one purpose.

    Attributes:
        operation: list, head, get, get_range, put, multipart, delete or copy.
        purpose: log, checkpoint, footer, data or commit.
        requests: Requests that were sent, repeated ones included.
        retries: Those of them that repeated a failed one.
        bytes: Bytes that came back, or were sent.
        seconds: Time until each answer began, added up. Requests overlap, so it can be more than
            the query took.
    """

    operation: str
    purpose: str
    requests: int
    retries: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class QueryIo:
    """Counts at one moment.

    Attributes:
        requests: Requests by operation: list, head, get (parts of objects included), put (parts of
            multipart uploads included), delete, copy.
        by_purpose: Requests by purpose: log, checkpoint, footer, data, commit.
        bytes_read: Bytes that came back.
        bytes_written: Bytes that were sent.
        retries: Requests that repeated a failed one; they are among ``requests`` too.
        lines: All of it by kind of request and purpose; times among it, so equal counts compare
            equal whatever these are.
    """

    requests: Mapping[str, int]
    by_purpose: Mapping[str, int]
    bytes_read: int
    bytes_written: int
    retries: int
    lines: Sequence[IoLine] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, io: NativeIo) -> QueryIo:
        """A reading of the extension's counters."""
        requests = dict.fromkeys(_OPERATIONS, 0)
        by_purpose = dict.fromkeys(_PURPOSES, 0)
        read = written = repeated = 0
        lines = []
        for operation, family, purpose, count, retries, size, nanos in io.lines():
            requests[family] += count
            by_purpose[purpose] += count
            repeated += retries
            if family in _WRITES:
                written += size
            else:
                read += size
            lines.append(IoLine(operation, purpose, count, retries, size, nanos / 1e9))
        return cls(requests, by_purpose, read, written, repeated, tuple(lines))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "requests": dict(self.requests),
            "by_purpose": dict(self.by_purpose),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "retries": self.retries,
        }

    def to_table(self) -> pa.Table:
        """The lines as an Arrow table.

        Columns: operation, purpose (string), requests, retries, bytes (int64), seconds (float64).
        """
        import pyarrow as pa

        kinds = {
            "operation": pa.string(),
            "purpose": pa.string(),
            "requests": pa.int64(),
            "retries": pa.int64(),
            "bytes": pa.int64(),
            "seconds": pa.float64(),
        }
        columns = {
            name: pa.array([getattr(line, name) for line in self.lines], kind)
            for name, kind in kinds.items()
        }
        return pa.table(columns)
