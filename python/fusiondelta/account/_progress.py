"""How far a query or a change has come, told while it runs."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from fusiondelta.account._io import QueryIo
from fusiondelta.account._nodes import PlanTree

#: Seconds between two calls.
INTERVAL = 0.25

#: Seconds that the end waits for a callback which does not return: garbage collection may end a
#: query while its thread holds what the callback waits for.
PATIENCE = 5.0

Tell = Callable[[Any], None]

#: Makes a callback for whatever starts in this context and was given none.
_MAKER: contextvars.ContextVar[Callable[[str], Tell] | None] = contextvars.ContextVar(
    "fusiondelta_progress", default=None
)


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """How far a query has come.

    Attributes:
        seconds: Since its first row was asked for.
        rows: Rows handed out.
        bytes_read: Bytes read from storage.
        requests: Requests made.
        files_done: Files that its scans are through with, None where that is not known. A file that
            several partitions read in parts counts once for each.
        files_total: Files that its scans read, counted alike; None where that is not known.
        share: Part of these that is done, from 0 to 1; None where that is not known.
        done: Whether this is the last call: it has ended, well or not.
    """

    seconds: float
    rows: int
    bytes_read: int
    requests: int
    files_done: int | None = None
    files_total: int | None = None
    share: float | None = None
    done: bool = False

    @classmethod
    def of(
        cls,
        *,
        seconds: float,
        rows: int,
        io: QueryIo,
        files: tuple[int | None, int | None] = (None, None),
        done: bool = False,
    ) -> QueryProgress:
        """What the counters of a query say.

        Args:
            seconds: Since its first row was asked for.
            rows: Rows handed out.
            io: Its requests.
            files: Files done and in all, as `scanned_files` has them.
            done: Whether it has ended.
        """
        through, total = files
        if through is not None and total is not None:
            # What is executed again is read again.
            through = min(through, total)
        return cls(
            seconds=seconds,
            rows=rows,
            bytes_read=io.bytes_read,
            requests=sum(io.requests.values()),
            files_done=through,
            files_total=total,
            share=through / total if total and through is not None else None,
            done=done,
        )


def scanned_files(tree: PlanTree) -> tuple[int | None, int | None]:
    """Files that the scans of a plan are through with, and files that they read in all.

    Either is None where it is not measured, the second also where it is not of every scan.

    Args:
        tree: The operators with what they have measured so far: ``files_processed`` of a scan,
            ``file_parts`` of a scan or of an operator above it.
    """
    measured = [node.id for node in tree if "files_processed" in node.totals]
    planned = [node.id for node in tree if "file_parts" in node.totals]
    through = int(tree.total("files_processed")) if measured or planned else None
    is_whole = all(any(f"{id_}.".startswith(f"{one}.") for one in planned) for id_ in measured)
    return through, int(tree.total("file_parts")) if planned and is_whole else None


class Ending(Protocol):
    """A frozen dataclass that says whether it is the last of its kind."""

    @property
    def done(self) -> bool:
        """Whether it is."""
        ...


P = TypeVar("P", bound=Ending)


class Watch(Generic[P]):
    """Calls back while something runs, from a thread of its own, and once more at its end.

    An exception of the callback ends the calls, and is raised once what is watched has ended. The
    callback sees the context variables of whoever made the watch.

    Args:
        tell: The callback; None for none.
        look: Gives how far it is, from the seconds since `start` and whether it has ended; None
            where what is watched is gone, which ends the calls. A look at what should not live
            longer because it is looked at refers to it weakly.
        interval: Seconds between two calls.
    """

    def __init__(
        self,
        tell: Callable[[P], None] | None,
        look: Callable[[float, bool], P | None],
        interval: float = INTERVAL,
    ) -> None:
        self._tell = tell
        self._look = look
        self._interval = interval
        self._context = contextvars.copy_context() if tell is not None else None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self._failed: BaseException | None = None
        self._last: P | None = None
        self._kept: object = None

    def start(self) -> None:
        """Begin, unless it has begun or ended."""
        with self._lock:
            if self._context is None or self._thread is not None or self._over.is_set():
                return
            self._started = time.monotonic()
            self._thread = threading.Thread(
                target=self._context.run,
                args=(self._run,),
                name="fusiondelta-progress",
                daemon=True,
            )
            self._thread.start()

    def finish(self, *, wait: bool = True, keep: object = None) -> BaseException | None:
        """Make the last call, and give the exception of the callback if there was one.

        May be called any number of times, and from the callback itself. A callback that does not
        return within `PATIENCE` is left alone.

        Args:
            wait: Whether to wait for the last call. Without it the exception may come later, to
                whoever asks again.
            keep: What must not go before the last look at it, which may come after this returns.
        """
        with self._lock:
            if keep is not None and self._thread is not None and self._thread.is_alive():
                self._kept = keep
            self._over.set()
            thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)
        return self._failed

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches for as long as the block lasts.

        Raises:
            BaseException: What the callback raised, where the block itself raised nothing.
        """
        self.start()
        try:
            yield
        except BaseException:
            self.finish()
            raise
        failed = self.finish()
        if failed is not None:
            raise failed

    def _run(self) -> None:
        is_on = True
        while is_on and not self._over.wait(self._interval):
            is_on = self._say(done=False)
        if is_on:
            self._say(done=True)
        with self._lock:
            # What is looked at holds the watch.
            self._kept = None

    def _say(self, *, done: bool) -> bool:
        """Call back; False where that was the last time."""
        assert self._tell is not None  # noqa: S101 - there is no thread without it
        try:
            progress = self._look(time.monotonic() - self._started, done)
            if progress is None:
                # The last that is known is the end.
                if self._last is not None:
                    self._tell(replace(self._last, done=True))  # type: ignore[type-var]
                return False
            self._last = progress
            self._tell(progress)
        except BaseException as error:
            self._failed = error
            return False
        return True


def told(given: Callable[[P], None] | None, title: str) -> Callable[[P], None] | None:
    """The callback that was given, else one of `telling`, else None.

    Args:
        given: What the caller passed as ``progress``.
        title: What is watched, in a word: ``query``, ``append``.
    """
    if given is not None:
        return given
    maker = _MAKER.get()
    return None if maker is None else maker(title)


@contextlib.contextmanager
def telling(maker: Callable[[str], Tell] | None) -> Iterator[None]:
    """Gives a callback to every query and change that is asked for in the block without one.

    Args:
        maker: Makes one, from a word for what is watched; None for none.
    """
    token = _MAKER.set(maker)
    try:
        yield
    finally:
        _MAKER.reset(token)


def is_telling() -> bool:
    """Whether `telling` holds here."""
    return _MAKER.get() is not None
