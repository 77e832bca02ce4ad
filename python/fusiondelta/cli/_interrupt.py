"""Ctrl-C, remembered: native code that calls back into Python can lose a KeyboardInterrupt."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_seen = threading.Event()


def install() -> None:
    """Remember Ctrl-C from now on, besides raising KeyboardInterrupt as Python does.

    A process that was started with the signal ignored goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(_: int, __: FrameType | None) -> None:
    _seen.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt where there was one, also if it got lost on its way."""
    if _seen.is_set():
        raise KeyboardInterrupt
