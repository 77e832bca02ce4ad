"""Progress bars for terminals and notebooks, over the callbacks of queries and writes.

Nothing is shown unless it is asked for: for one query or write with ``progress=bar()``, for all of
a block with `shown`. Needs tqdm, which ``pip install 'fusiondelta[progress]'`` brings.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from fusiondelta.account import _progress
from fusiondelta.account._progress import QueryProgress
from fusiondelta.account._units import size
from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from fusiondelta.writes import WriteProgress

__all__ = ["Bar", "QueryProgress", "bar", "enabled", "shown"]

#: What ends sooner shows no bar, in seconds.
_SHORTEST = 0.5
#: Characters of a title.
_TITLE = 40
#: Characters of a line of a terminal that does not say.
_WIDTH = 80

_WITH_SHARE = "{desc} |{bar}| [{elapsed}<{remaining}{postfix}]"
_WITHOUT = "{desc} [{elapsed}{postfix}]"


class Bar:
    """A bar that is told how far a query or write has come; made by `bar`.

    It appears once half a second has passed, and closes with the last call. Any thread may call it.
    Where it cannot be drawn any more, what it shows goes on without it.

    Args:
        make: Makes a tqdm bar; None draws nothing.
        title: What is written before it; what is done where None.
    """

    def __init__(self, make: Any, title: str | None) -> None:
        self._make = make
        self._title = title
        self._lock = threading.Lock()
        self._drawn: Any = None

    def __call__(self, progress: QueryProgress | WriteProgress) -> None:
        """Show how far it is."""
        with self._lock:
            if self._make is None or (self._drawn is None and progress.seconds < _SHORTEST):
                return
            self._draw(progress)

    def close(self) -> None:
        """Take it away as it is; later calls show nothing. May be called any number of times."""
        with self._lock:
            drawn, self._make, self._drawn = self._drawn, None, None
            if drawn is not None:
                drawn.close()

    def _draw(self, progress: QueryProgress | WriteProgress) -> None:
        share = None if progress.done else getattr(progress, "share", None)
        title = self._title or ("query" if isinstance(progress, QueryProgress) else "write")
        if share is not None:
            title = f"{title} {share:4.0%}"
        facts = ", ".join(_facts(progress))
        drawn = self._drawn
        if drawn is None:
            if progress.done:
                return
            drawn = self._drawn = self._make(
                total=None if share is None else 100, desc=title, postfix=facts
            )
            drawn.start_t -= progress.seconds
        # A query with a LIMIT ends before its input does: the end is full, and no part of a whole.
        drawn.total, drawn.n = (None, 100) if share is None else (100, 100 * share)
        drawn.bar_format = _WITHOUT if share is None else _WITH_SHARE
        drawn.set_description_str(title, refresh=False)
        drawn.set_postfix_str(facts, refresh=False)
        # A refresh that raises keeps the lock of all bars, unless somebody else has taken it.
        with drawn.get_lock():
            drawn.refresh(nolock=True)
        if progress.done:
            drawn.close()
            self._make = self._drawn = None


class _Quiet:
    """A file whose failures are nobody's concern: the terminal is gone, or it was closed."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def bar(title: str | None = None, file: TextIO | None = None, *, leave: bool = True) -> Bar:
    """A bar for the ``progress`` of one query or write.

    Args:
        title: What is written before it, 40 characters at most; what is done where None.
        file: Where it is drawn, whatever that is. Where None it is standard error if that is a
            terminal, a widget in a notebook, and nothing elsewhere.
        leave: Whether its last state stays.

    Raises:
        ConfigurationError: tqdm is not installed.

    Example:
        >>> import fusiondelta, fusiondelta.progress
        >>> with fusiondelta.FusionDeltaEngine() as engine:
        ...     result = engine.query("SELECT 1 AS n", progress=fusiondelta.progress.bar("one"))
        ...     result.to_pylist()
        [{'n': 1}]
    """
    kind = _bar_kind(file)
    if title is not None:
        title = "".join(char if char.isprintable() else " " for char in title)[:_TITLE]
    if file is None and not (_is_notebook() or _is_terminal(sys.stderr)):
        return Bar(None, title)

    place = sys.stderr if file is None else file

    def make(**first: Any) -> Any:
        # Some terminals do not know how wide they are, and nothing fits into none.
        width = {"ncols": _WIDTH} if _columns(place) == 0 else {"dynamic_ncols": True}
        return kind(**first, **width, file=_Quiet(place), leave=leave, bar_format=_WITHOUT)

    return Bar(make, title)


@contextlib.contextmanager
def shown(file: TextIO | None = None, *, leave: bool = True) -> Iterator[None]:
    """Shows a bar for every query and write that is asked for in the block without ``progress``.

    It holds for the thread or task that enters it, and for what these start with a copy of their
    context, as `asyncio.to_thread` does.

    Args:
        file: As of `bar`.
        leave: As of `bar`.

    Raises:
        ConfigurationError: tqdm is not installed.
    """
    _bar_kind(file)
    with _progress.telling(lambda title: bar(title, file, leave=leave)):
        yield


def enabled() -> bool:
    """Whether the code that asks runs within `shown`."""
    return _progress.is_telling()


def _facts(progress: QueryProgress | WriteProgress) -> Iterator[str]:
    if isinstance(progress, QueryProgress):
        if progress.files_total is not None:
            yield f"{progress.files_done or 0:,}/{progress.files_total:,} files"
        elif progress.files_done:
            yield f"{progress.files_done:,} files"
        yield f"{progress.rows:,} rows"
        yield f"{size(progress.bytes_read)} read"
        return
    if progress.attempt > 1:
        yield f"attempt {progress.attempt}"
    yield f"{size(progress.bytes_read)} read"
    yield f"{size(progress.bytes_written)} written"


def _bar_kind(file: TextIO | None) -> Any:
    """The class of tqdm for a place, without the thread that watches over slow loops."""
    try:
        std = importlib.import_module("tqdm.std")
        kind = std.tqdm if file is not None else importlib.import_module("tqdm.auto").tqdm
    except ModuleNotFoundError as error:
        if error.name not in ("tqdm", "tqdm.auto", "tqdm.std"):
            raise
        raise ConfigurationError(
            "progress bars need tqdm; install it with: pip install 'fusiondelta[progress]'"
        ) from None
    # The lock that tqdm makes by itself is one of processes too, and making it settles for good how
    # this process starts others. That of its threads is a part of it.
    lock = getattr(kind, "_lock", std.TqdmDefaultWriteLock.th_lock)
    return type("FusionDeltaBar", (kind,), {"monitor_interval": 0, "_lock": lock})


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except (AttributeError, ValueError):  # no file at all (pythonw), or a closed one
        return False


def _columns(file: Any) -> int | None:
    """Characters of a line of a terminal; None of what is none."""
    try:
        return os.get_terminal_size(file.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return None


def _is_notebook() -> bool:
    """Whether a kernel runs this code, whose front end shows widgets or text."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None
