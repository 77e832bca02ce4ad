"""How far a change has come, told while it is made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusiondelta.account import QueryIo

if TYPE_CHECKING:
    from fusiondelta._native import NativeIo

#: Seconds between two calls.
INTERVAL = 0.25


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


class Watch:
    """Calls back while a change is made, from a thread of its own, and once more at its end.

    An exception of the callback ends the calls, and is raised once the change has ended.

    Args:
        tell: The callback; None for none.
        io: Counters of the change.
    """

    def __init__(self, tell: Callable[[WriteProgress], None] | None, io: NativeIo) -> None:
        self._tell = tell
        self._io = io
        self._started = time.monotonic()
        self._over = threading.Event()
        self._failed: BaseException | None = None
        self.attempt = 1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """For as long as the block lasts."""
        if self._tell is None:
            yield
            return
        thread = threading.Thread(target=self._run, name="fusiondelta-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            if not self._say(done=False):
                return
        self._say(done=True)

    def _say(self, *, done: bool) -> bool:
        io = QueryIo.of(self._io)
        read = sum(line.bytes for line in io.lines if line.operation.startswith("get"))
        written = sum(line.bytes for line in io.lines if line.operation in ("put", "multipart"))
        progress = WriteProgress(
            seconds=time.monotonic() - self._started,
            attempt=self.attempt,
            bytes_read=read,
            bytes_written=written,
            requests=sum(line.requests for line in io.lines),
            done=done,
        )
        if self._tell is None:
            return False
        try:
            self._tell(progress)
        except BaseException as error:
            self._failed = error
            return False
        return True
