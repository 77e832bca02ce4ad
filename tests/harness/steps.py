"""Commits that stop where a test wants them to.

    with Steps(engine) as steps:
        loser = steps.start(lambda: engine.delete(uri, "id = 1"), at="commit")
        engine.write_delta(uri, rows)  # another commit, in between
        error = loser.finish()

As `fusiondelta.testing.two_writers`, but of one engine and every table, and what a change raises
is handed out like what it returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fusiondelta.testing import Step
from fusiondelta.testing import _writers as writers


class Held(writers.Held[Any]):
    """A change that stands still at its step."""

    def reach(self) -> None:
        """Run until the step, or to the end where it is never reached."""
        self._thread.start()
        self._stands_or_ended()

    def finish(self) -> Any:
        """Go on to the end: what came of it, which may be the exception that it raised."""
        try:
            return self.result()
        except BaseException as error:
            return error


class Steps:
    """The hook of an engine, for as long as the block lasts."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._before = engine._committer
        self._held: Held | None = None
        self.seen: list[Step] = []

    def __enter__(self):
        self._engine._committer = dataclasses.replace(self._before, hook=self._step)
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.finish()
        self._engine._committer = self._before

    def start(self, work: Callable[[], Any], at: str = "commit") -> Held:
        """Begin a change and leave it at its step; other changes of the engine go through."""
        held = self._held = Held(work, at)
        held.reach()
        return held

    def _step(self, name: str, version: int | None) -> None:
        step = Step(name, version)
        self.seen.append(step)
        held = self._held
        if held is not None:
            held._come_to(step)
