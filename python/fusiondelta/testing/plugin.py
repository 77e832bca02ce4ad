"""The pytest plugin: an option that writes golden plans, and fixtures.

It comes with the package. What the fixtures need is loaded when a test asks for one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusiondelta.testing import FaultProxy, Writer
from fusiondelta.testing import two_writers as _two_writers
from fusiondelta.testing._plans import UPDATES

if TYPE_CHECKING:
    from fusiondelta import FusionDeltaEngine

#: Most characters of a golden file's name.
_LONGEST = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fusiondelta-update``."""
    parser.getgroup("fusiondelta").addoption(
        "--fusiondelta-update",
        action="store_true",
        help="write the golden plans of assert_plan that are missing or differ",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hand the option to `assert_plan`."""
    UPDATES.wanted = config.getoption("--fusiondelta-update")
    UPDATES.written.clear()


def pytest_unconfigure() -> None:
    """Forget the option."""
    UPDATES.wanted = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the golden plans that were written."""
    for path in UPDATES.written:
        terminalreporter.write_line(f"golden plan written: {path}")


@pytest.fixture
def fusiondelta_engine() -> Iterator[FusionDeltaEngine]:
    """An engine whose plans do not depend on the machine; closed after the test."""
    from fusiondelta import EngineProfile, FusionDeltaEngine

    with FusionDeltaEngine(EngineProfile(target_partitions=2)) as engine:
        yield engine


@pytest.fixture
def golden_plan(request: pytest.FixtureRequest) -> Path:
    """Where the golden plan of this test is: ``golden/<module>/<test>.txt`` beside its module.

    For a second plan of the same test: ``golden_plan.with_stem("another name")``.
    """
    _, *names = request.node.nodeid.split("::")
    return request.path.parent / "golden" / request.path.stem / f"{_file_name('.'.join(names))}.txt"


def _file_name(test: str) -> str:
    """The name of a test as a file may have it; no two tests of a module have the same."""
    plain = test.removesuffix("]").replace("[", "-", 1)
    name = re.sub(r"[^\w.-]", "_", plain, flags=re.ASCII)[:_LONGEST]
    if name == plain:
        return name
    return f"{name}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"


@pytest.fixture
def two_writers() -> Iterator[Callable[..., tuple[Writer, Writer]]]:
    """Makes two engines on one table, as `fusiondelta.testing.two_writers`, until the test ends."""
    with ExitStack() as stack:

        def make(
            uri: str | os.PathLike[str],
            *,
            engine: Callable[[], FusionDeltaEngine] | None = None,
            patience: float = 30.0,
        ) -> tuple[Writer, Writer]:
            return stack.enter_context(_two_writers(uri, engine=engine, patience=patience))

        yield make


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """Puts a `FaultProxy` before the server at an endpoint, until the test ends."""
    with ExitStack() as stack:

        def make(upstream: str) -> FaultProxy:
            return stack.enter_context(FaultProxy(upstream))

        yield make
