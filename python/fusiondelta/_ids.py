"""Identifiers of runs, queries, sessions and commits: sortable by time (UUID version 7)."""

from __future__ import annotations

import os
import threading
import time
import uuid

#: Parts of a millisecond that an identifier tells apart (RFC 9562, section 6.2, method 3).
_PARTS = 4096

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A fresh identifier; in one process later ones sort after earlier ones."""
    ticks = _next_tick()
    milliseconds, part = divmod(ticks, _PARTS)
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7000 << 64 | part << 64
    value |= 0x8000_0000_0000_0000 | int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    return str(uuid.UUID(int=value))


def _next_tick() -> int:
    """The time in 4,096ths of a millisecond, and at least one more than before."""
    global _last
    now = time.time_ns() * _PARTS // 1_000_000
    with _lock:
        # Two within a tick, or a clock that was set back.
        _last = max(now, _last + 1)
        return _last
