"""How far a change has come, told while it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusiondelta.account import QueryIo
from fusiondelta.account._progress import Watch, told

if TYPE_CHECKING:
    from fusiondelta._native import NativeIo


@dataclass(frozen=True, slots=True)
class WriteProgress:
    """How far a change has come.

    Attributes:
        seconds: Since it began.
        attempt: Which try it is, from 1.
        bytes_read: Bytes read from storage.
        bytes_written: Bytes of data files and commits that storage has taken.
        requests: Requests made.
        done: Whether this is the last call: it has ended, well or not.
    """

    seconds: float
    attempt: int
    bytes_read: int
    bytes_written: int
    requests: int
    done: bool = False


class WriteWatch(Watch[WriteProgress]):
    """Calls back while a change is made; see `Watch`.

    Args:
        tell: The callback; None for none but what is asked for in this context.
        kind: Of the change.
        io: Counters of the change.
    """

    def __init__(
        self, tell: Callable[[WriteProgress], None] | None, kind: str, io: NativeIo
    ) -> None:
        super().__init__(told(tell, kind), self._progress)
        self._io = io
        self.attempt = 1

    def _progress(self, seconds: float, done: bool) -> WriteProgress:
        io = QueryIo.of(self._io)
        return WriteProgress(
            seconds=seconds,
            attempt=self.attempt,
            bytes_read=sum(one.bytes for one in io.lines if one.operation.startswith("get")),
            bytes_written=sum(
                one.bytes for one in io.lines if one.operation in ("put", "multipart")
            ),
            requests=sum(one.requests for one in io.lines),
            done=done,
        )
