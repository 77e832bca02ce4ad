"""Two engines on one table, whose changes can be held at a step of their commit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, NamedTuple, TypeVar, cast

from fusiondelta.engine import FusionDeltaEngine
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import EngineProfile
from fusiondelta.writes import Committer

#: Steps of a commit: the table was read; what the commit says is there and about to be sent; the
#: store has answered. Between the last two, of a store whose commits go through a table of locks:
#: the temporary file is there, the version is locked, the temporary file was copied.
STEPS = ("read", "commit", "temporary", "locked", "copied", "answered")

#: Seconds that work is waited for, and stands still, at most.
PATIENCE = 30.0

T = TypeVar("T")


class Step(NamedTuple):
    """A step that a commit came to.

    Attributes:
        name: One of `STEPS`.
        version: Version of the table that was read, or is to be made; None where there is none.
    """

    name: str
    version: int | None


class _Pause:
    """One stay at a step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.over = False


class Held(Generic[T]):
    """Work of a writer that stands still at a step of its commit.

    It stands before it does anything further; whatever was done before has been done.
    """

    def __init__(self, work: Callable[[], T], at: str, patience: float = PATIENCE) -> None:
        self._work = work
        self._at = at
        self._patience = patience
        self._changed = threading.Condition()
        self._pause: _Pause | None = None
        self._is_free = False
        self._impatient = False
        self._ended = False
        self._value: Any = None
        self._failed: BaseException | None = None
        self._was_asked = False
        self._thread = threading.Thread(target=self._run, name="fusiondelta-held", daemon=True)

    @property
    def step(self) -> Step | None:
        """Where it stands; None once it goes on."""
        with self._changed:
            return None if self._pause is None else self._pause.step

    def advance(self, to: str) -> Step:
        """Let it go on, until it stands at another step.

        Args:
            to: Name of the step; where it has the name of this one, the next time it comes there,
                as another try of a change does.

        Raises:
            AssertionError: It ended without coming there, or took too long.
        """
        _check(to)
        with self._changed:
            self._at = to
            self._go_on()
        return self._arrive()

    def result(self) -> T:
        """Let it go on to its end, and give what it returned.

        Raises:
            AssertionError: It took too long, or stood still for too long before.
            BaseException: Whatever it raised.
        """
        self._finish()
        self._was_asked = True
        if self._impatient:
            raise AssertionError(
                f"it stood still for {self._patience:g} s and then went on by itself; call "
                "result() or advance() sooner, or give two_writers more patience"
            )
        if self._failed is not None:
            raise self._failed
        return cast("T", self._value)

    def _begin(self) -> Step:
        self._thread.start()
        return self._arrive()

    def _stands_or_ended(self) -> Step | None:
        """Wait until it stands at its step, or has ended without coming there."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._ended or self._pause is not None, self._patience
            ):
                self._is_free = True
                raise AssertionError(f"it did not come to {self._at!r} in {self._patience:g} s")
            return None if self._pause is None else self._pause.step

    def _arrive(self) -> Step:
        """Wait until it stands."""
        step = self._stands_or_ended()
        if step is not None:
            return step
        self._was_asked = True
        if self._failed is not None:
            raise self._failed
        raise AssertionError(
            f"it ended without coming to {self._at!r}, and returned {self._value!r}; a change that "
            "changes nothing makes no commit"
        )

    def _finish(self) -> None:
        with self._changed:
            self._is_free = True
            self._go_on()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            raise AssertionError(f"it did not end within {self._patience:g} s")

    def _go_on(self) -> None:
        if self._pause is not None:
            self._pause.over = True
            self._pause = None
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._failed = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _come_to(self, step: Step) -> None:
        """Called at every step of the writer: the one that is asked for stands, all others pass."""
        with self._changed:
            if self._is_free or self._ended or self._pause is not None or step.name != self._at:
                return
            pause = self._pause = _Pause(step)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: pause.over, self._patience):
                self._impatient = True
                self._go_on()


class Writer:
    """An engine, and the steps of its commits to one table.

    Attributes:
        engine: The engine.
        uri: Location of the table, as it was given.
    """

    def __init__(
        self, engine: FusionDeltaEngine, uri: str | os.PathLike[str], patience: float = PATIENCE
    ) -> None:
        self.engine = engine
        self.uri = uri
        self._patience = patience
        self._seen: list[Step] = []
        self._held: list[Held[Any]] = []
        committer = engine._committer
        plain = {one.name: getattr(committer, one.name) for one in fields(committer)}
        table = committer.resolution.canonical(os.fspath(uri))
        engine._committer = _Watched(**plain, table=table, watch=self._step)

    @property
    def seen(self) -> tuple[Step, ...]:
        """All steps of commits to the table so far."""
        return tuple(self._seen)

    def hold(self, work: Callable[[FusionDeltaEngine], T], *, at: str = "commit") -> Held[T]:
        """Begin a change in a thread of its own and leave it at a step of its commit.

        Args:
            work: Called with the engine. Changes of other tables pass.
            at: Name of the step; see `STEPS`.

        Raises:
            AssertionError: It ended without coming there, or took too long.
            ConfigurationError: There is no such step, or this writer holds another change.
            BaseException: Whatever it raised before it came there.
        """
        _check(at)
        if any(one.step is not None for one in self._held):
            raise ConfigurationError(
                "this writer holds another change already; finish that first, with result()"
            )
        held = Held(lambda: work(self.engine), at, self._patience)
        self._held.append(held)
        held._begin()
        return held

    def _step(self, name: str, version: int | None) -> None:
        step = Step(name, version)
        self._seen.append(step)
        for held in list(self._held):
            held._come_to(step)

    def _end(self) -> None:
        """Let everything come to its end.

        Raises:
            BaseException: What was raised by work whose result nobody has asked for.
        """
        for held in self._held:
            held._finish()
        for held in self._held:
            if not held._was_asked:
                held.result()


@dataclass(frozen=True, slots=True)
class _Watched(Committer):
    """A committer that tells the steps of commits to one table."""

    table: str = ""
    watch: Callable[[str, int | None], None] | None = None

    def commit(self, uri: str | os.PathLike[str], *rest: Any, **more: Any) -> Any:
        is_ours = self.resolution.canonical(os.fspath(uri)) == self.table
        told = replace(self, hook=self.watch if is_ours else None)
        return Committer.commit(told, uri, *rest, **more)


@contextmanager
def two_writers(
    uri: str | os.PathLike[str],
    *,
    engine: Callable[[], FusionDeltaEngine] | None = None,
    patience: float = PATIENCE,
) -> Iterator[tuple[Writer, Writer]]:
    """Two engines that know nothing of each other, for the changes of one table.

        with two_writers(uri) as (first, second):
            held = first.hold(lambda engine: close_month(engine, uri))
            second.engine.write_delta(uri, late)  # a commit in between
            assert held.result().snapshot.version == 2

    At the end of the block what is held goes on to its end, and the engines are closed.

    Args:
        uri: Location of the table; it need not be there.
        engine: Makes an engine; of two partitions without storage profiles where None.
        patience: Seconds that a change is waited for, and stands still at most.

    Raises:
        ConfigurationError: Both engines are the same.
        BaseException: What a held change raised, whose result nobody has asked for.
    """
    make = engine or _engine
    with ExitStack() as stack:
        one, other = (stack.enter_context(make()) for _ in range(2))
        if one is other:
            raise ConfigurationError("engine= makes a new engine at each call, not always the same")
        writers = Writer(one, uri, patience), Writer(other, uri, patience)
        try:
            yield writers
        except BaseException:
            for writer in writers:
                for held in writer._held:
                    with suppress(AssertionError):  # what came first is what is told
                        held._finish()
            raise
        for writer in writers:
            writer._end()


def _engine() -> FusionDeltaEngine:
    return FusionDeltaEngine(EngineProfile(target_partitions=2))


def _check(step: str) -> None:
    if step not in STEPS:
        raise ConfigurationError(f"a commit has the steps {', '.join(STEPS)}, and no {step!r}")
