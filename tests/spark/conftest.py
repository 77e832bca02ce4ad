"""Spark for the session, an engine and a place for a table for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fusiondelta import DeltaSource, FusionDeltaEngine
from tests.harness.spark import Spark
from tests.stores.store import start


@pytest.fixture(scope="session")
def spark(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Spark]:
    """One for all tests: it takes ten seconds to be there and longer to be warm."""
    running = start(Spark, tmp_path_factory.mktemp(Spark.program), request.config)
    yield running
    running.stop()


@pytest.fixture
def engine() -> Iterator[FusionDeltaEngine]:
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture
def uri(tmp_path: Path) -> Path:
    """Where a test may make a table."""
    return tmp_path / "table"


@pytest.fixture
def read(engine: FusionDeltaEngine) -> Callable[..., list[dict[str, Any]]]:
    """All rows of a table as fusiondelta sees them, now or at a version."""

    def rows(uri: Path, version: int | None = None) -> list[dict[str, Any]]:
        return engine.query("SELECT * FROM t", sources={"t": DeltaSource(uri, version)}).to_pylist()

    return rows
