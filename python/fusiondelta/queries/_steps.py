"""How long each step of planning takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from fusiondelta.account import Phase


class Steps:
    """The steps of one query, as they come."""

    def __init__(self) -> None:
        self.submitted = time.time_ns()
        self.found: list[Phase] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The block is a step.

        Args:
            name: As `Phase` has it.
        """
        started, clock = time.time_ns(), time.perf_counter()
        try:
            yield
        finally:
            self.found.append(Phase(name, started, time.perf_counter() - clock))

    def waited(self, seconds: float) -> None:
        """The step before began with a wait, which is a step of its own."""
        last = self.found.pop()
        begun = last.started + round(seconds * 1e9)
        self.found.append(Phase("wait", last.started, seconds))
        self.found.append(Phase(last.name, begun, max(last.seconds - seconds, 0.0)))
