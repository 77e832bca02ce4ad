"""Small fixtures of the integration tests; files with needs of their own define their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusiondelta import FusionDeltaEngine
from tests.integration.feeds import Feed


@pytest.fixture
def engine() -> Iterator[FusionDeltaEngine]:
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where a test may make a table."""
    return str(tmp_path / "table")


@pytest.fixture
def feed() -> Iterator[Callable[..., Feed]]:
    """Makes feeds, and lets those that wait go on in the end, so that no thread is left behind."""
    made: list[Feed] = []

    def make(*args: object, **kwargs: object) -> Feed:
        made.append(Feed(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.released.set()
