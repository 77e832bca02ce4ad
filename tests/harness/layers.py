"""Says at the end of a run which layers of tests ran, which could not, and why.

A plugin of pytest, registered by `tests/conftest.py`. Where the environment variable CI is set, a
layer that was selected and could not run makes the run fail; elsewhere its tests are skipped.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import NoReturn

import pytest

SERVERS = ("spark", "minio", "localstack", "azurite", "gcs")
LAYERS = (
    "unit",
    "property",
    "pages",
    "integration",
    "contracts",
    "conformance",
    "sqllogic",
    "packaging",
    *SERVERS,
)


def layer_of(item: pytest.Item) -> str | None:
    """The server a test needs, else its folder, else its marker."""
    marks = {mark.name for mark in item.iter_markers()}
    by_mark = [name for name in LAYERS if name in marks]
    servers = [name for name in by_mark if name in SERVERS]
    return next((n for n in [*servers, item.path.parent.name, *by_mark] if n in LAYERS), None)


class Layers:
    """What became of the tests of each layer."""

    def __init__(self) -> None:
        self._layer: dict[str, str] = {}
        self._outcomes: dict[str, Counter[str]] = {}
        self._skips: dict[str, dict[str, None]] = {}
        self._missing: dict[str, dict[str, None]] = {}

    def missing(self, layer: str, reason: str) -> None:
        """A layer cannot run, or not all of it."""
        self._missing.setdefault(layer, {})[reason] = None

    def could_not(self) -> dict[str, str]:
        """The selected layers of which no test ran, and why."""
        return {
            layer: "; ".join(self._missing.get(layer) or self._skips.get(layer) or ())
            for layer, seen in self._outcomes.items()
            if not seen["passed"] and (layer in self._missing or set(seen) == {"skipped"})
        }

    def lines(self) -> list[str]:
        """The report."""
        could_not = self.could_not()
        width = max(map(len, LAYERS))
        said = []
        for layer in LAYERS:
            seen = self._outcomes.get(layer)
            if layer in could_not:
                said.append(f"{layer:{width}}  could not run: {could_not[layer]}")
            elif seen:
                counts = ", ".join(f"{number} {outcome}" for outcome, number in seen.items())
                partly = "".join(f"; could not: {why}" for why in self._missing.get(layer, ()))
                said.append(f"{layer:{width}}  ran: {counts}{partly}")
        others = [layer for layer in LAYERS if not self._outcomes.get(layer)]
        if others:
            said.append(f"not selected: {', '.join(others)}")
        return said

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if layer := layer_of(item):
                self._layer[item.nodeid] = layer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        layer = self._layer.get(report.nodeid)
        if layer is None or (report.when != "call" and report.passed):
            return
        seen = self._outcomes.setdefault(layer, Counter())
        if hasattr(report, "wasxfail"):
            seen["xfailed"] += 1
        elif report.failed and report.when != "call":
            seen["errors"] += 1
        else:
            seen[report.outcome] += 1
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ").splitlines()[0]
            self._skips.setdefault(layer, {})[reason] = None

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and os.environ.get("CI") and self.could_not():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._outcomes:
            terminalreporter.section("layers")
            for line in self.lines():
                terminalreporter.line(line)


_LAYERS = pytest.StashKey[Layers]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LAYERS] = Layers()
    config.pluginmanager.register(config.stash[_LAYERS], "fusiondelta-layers")


def missing(config: pytest.Config, layer: str, reason: str) -> NoReturn:
    """End a test whose server is not to be had: as failed where CI is set, else as skipped."""
    first, *_ = reason.splitlines()
    config.stash[_LAYERS].missing(layer, first)
    if os.environ.get("CI"):
        pytest.fail(f"the layer {layer} could not run: {reason}", pytrace=False)
    pytest.skip(first)
