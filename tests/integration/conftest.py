"""Small fixtures of the integration tests; files with needs of their own define their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fusiondelta import FusionDeltaEngine


@pytest.fixture
def engine() -> Iterator[FusionDeltaEngine]:
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where a test may make a table."""
    return str(tmp_path / "table")
