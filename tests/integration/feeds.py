"""Streams that count, wait and fail, queries that do not end, and waiting for an engine to rest."""

from __future__ import annotations

import threading
import time

import pyarrow as pa

#: Bound of what has to happen at once.
SOON = 2.0
SCHEMA = pa.schema([("n", pa.int64())])
#: Runs for hours, and its first row comes at the end.
ENDLESS = "SELECT count(*) AS n FROM generate_series(1, 1000) a, generate_series(1, 1000000000) b"
#: Runs for hours, and gives rows all the time.
FLOWING = "SELECT b.value AS n FROM generate_series(1, 1000) a, generate_series(1, 1000000000) b"


class Feed:
    """A stream of batches that counts what is pulled, and may wait or fail on the way."""

    def __init__(self, batches=1000, *, rows=1, wait_at=None, fail_at=None):
        self.pulled = 0
        self.waiting = threading.Event()
        self.released = threading.Event()
        self._plan = batches, rows, wait_at, fail_at

    def batches(self):
        count, rows, wait_at, fail_at = self._plan
        for n in range(count):
            self.pulled += 1
            if n == wait_at:
                self.waiting.set()
                self.released.wait(60)
            if n == fail_at:
                raise ValueError("the feed broke")
            yield pa.record_batch({"n": pa.array([n] * rows, pa.int64())})

    def reader(self):
        return pa.RecordBatchReader.from_batches(SCHEMA, self.batches())


def eventually(holds, within=SOON):
    """Whether something holds now or soon."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def busy(engine):
    """Execution slots in use."""
    return engine.debug.pool()["slots_in_use"]


def idle(engine, within=SOON):
    """Whether every slot and context is, or soon was, given back."""

    def free():
        pool = engine.debug.pool()
        return pool["slots_in_use"] == pool["in_use"] == pool["waiting"] == 0

    return eventually(free, within)
