"""A thread that keeps books, so that no query waits for them."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger("fusiondelta")

#: Entries that may wait. More are let go: books never slow down a query.
WAITING = 1000
#: Seconds that a piece of work stands back for queries that are being planned.
STANDS_BACK = 0.2

_Piece = tuple[float, Callable[[], None]]


class Recorder:
    """Does one piece of work after the other, on a thread of its own.

    A piece that fails is logged and forgotten. `submit` takes no lock: garbage collection may call
    it from within anything, itself included.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        # Garbage collection, or a handler of a signal, may close an engine in the middle of
        # anything, in the same thread: what waits and what tells share one lock that it may have.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._closed = False
        #: Queries that are being planned, and flushes and the end, which wait for no query.
        self._planning = 0
        self._waited_for = 0
        self.dropped = 0

    def start(self) -> None:
        """Begin, unless it has begun or was closed."""
        with self._changed:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="fusiondelta-books", daemon=True)
                thread.start()
                self._thread = thread
                # A process that ends without closing its engine loses nothing that had ended.
                atexit.register(self.close)

    def submit(self, work: Callable[[], None]) -> None:
        """Have something done soon; where too much waits already it is not done, and counted."""
        if self._closed or self._queue.qsize() >= WAITING:
            self.dropped += 1
            return
        self._queue.put((time.monotonic(), work))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is begun for as long as the block lasts, or `STANDS_BACK` after it was submitted.

        Planning a query is Python for the most part, and waits for the interpreter where books are
        kept at the same time; executing it is not.
        """
        self._count(planning=1)
        try:
            yield
        finally:
            self._count(planning=-1)

    def _count(self, *, planning: int = 0, waited_for: int = 0) -> None:
        with self._changed:
            self._planning += planning
            self._waited_for += waited_for
            self._changed.notify_all()

    def _is_quiet(self) -> bool:
        return not self._planning or self._waited_for > 0

    def flush(self, timeout: float = 10) -> bool:
        """Wait until all that was submitted is done.

        Args:
            timeout: Seconds.

        Returns:
            Whether it is.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return True
        done = threading.Event()
        self._count(waited_for=1)
        try:
            self._queue.put((0.0, done.set))
            return done.wait(timeout)
        finally:
            self._count(waited_for=-1)

    def close(self, timeout: float = 10) -> None:
        """Finish what was submitted and take nothing more.

        Args:
            timeout: Seconds to wait for it.
        """
        with self._changed:
            thread, self._closed = self._thread, True
        self._count(waited_for=1)
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join(timeout)
            atexit.unregister(self.close)

    def _run(self) -> None:
        while (piece := self._queue.get()) is not None:
            submitted, work = piece
            with self._changed:
                left = submitted + STANDS_BACK - time.monotonic()
                self._changed.wait_for(self._is_quiet, max(left, 0))
            try:
                work()
            except Exception:
                _LOG.warning("a query could not be recorded", exc_info=True)
