"""A thread that keeps books, so that no query waits for them."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from collections.abc import Callable

_LOG = logging.getLogger("fusiondelta")

#: Entries that may wait. More are let go: books never slow down a query.
WAITING = 1000


class Recorder:
    """Does one piece of work after the other, on a thread of its own.

    A piece that fails is logged and forgotten. `submit` takes no lock: garbage collection may call
    it from within anything, itself included.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.dropped = 0

    def start(self) -> None:
        """Begin, unless it has begun or was closed."""
        with self._lock:
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
        self._queue.put(work)

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
        self._queue.put(done.set)
        return done.wait(timeout)

    def close(self, timeout: float = 10) -> None:
        """Finish what was submitted and take nothing more.

        Args:
            timeout: Seconds to wait for it.
        """
        with self._lock:
            thread, self._closed = self._thread, True
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)
            atexit.unregister(self.close)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                _LOG.warning("a query could not be recorded", exc_info=True)
