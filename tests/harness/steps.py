"""Commits that stop where a test wants them to.

    with Steps(engine) as steps:
        loser = steps.start(lambda: engine.delete(uri, "id = 1"), at="commit")
        engine.write_delta(uri, rows)  # another commit, in between
        error = loser.finish()

The engine calls its hook at each step of a commit: ``read`` (the table was opened), ``commit``
(what it says is there and about to be sent) and ``answered``.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

#: Longer than any step takes; a test that waits as long has failed.
PATIENCE = 30


class Held:
    """A change that stands still at its step."""

    def __init__(self, work: Callable[[], Any], at: str) -> None:
        self._at = at
        self._arrived = threading.Event()
        self._go = threading.Event()
        self._outcome: Any = None
        self._failed: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._outcome = self._work()
        except BaseException as error:
            self._failed = error
        finally:
            self._arrived.set()

    def reach(self) -> None:
        """Run until the step, or to the end where it is never reached."""
        self._thread.start()
        assert self._arrived.wait(PATIENCE), f"it never came to {self._at}"

    def pause(self, name: str) -> None:
        """Called at each step of every change: the first that comes to the step stands."""
        if name == self._at and not self._arrived.is_set():
            self._arrived.set()
            assert self._go.wait(PATIENCE)

    def finish(self) -> Any:
        """Go on to the end: what came of it, which may be the exception that it raised."""
        self._go.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self._failed if self._failed is not None else self._outcome


class Steps:
    """The hook of an engine, for as long as the block lasts."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._before = engine._committer
        self._held: Held | None = None
        self.seen: list[tuple[str, int | None]] = []

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
        self.seen.append((name, version))
        held = self._held
        if held is not None:
            held.pause(name)
