"""Identifiers of runs, queries, sessions and commits: sortable by time (UUID version 7)."""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> str:
    """A fresh identifier; later ones sort after earlier ones (to the millisecond)."""
    random = int.from_bytes(os.urandom(10), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7000 << 64 | (random >> 68 & 0x0FFF) << 64
    value |= 0x8000_0000_0000_0000 | (random & 0x3FFF_FFFF_FFFF_FFFF)
    return str(uuid.UUID(int=value))
