"""What a pinned table says of its past."""

from __future__ import annotations

import pyarrow as pa
import pytest

import fusiondelta

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_history_ends_at_the_pinned_version(tmp_path, version, cached):
    with fusiondelta.FusionDeltaEngine() as engine:
        writes = [engine.write_delta(tmp_path / "t", pa.table({"n": [n]})) for n in range(3)]
        if cached:
            history = engine.open_delta(tmp_path / "t", version).history()
    if not cached:
        with fusiondelta.FusionDeltaEngine() as engine:
            history = engine.open_delta(tmp_path / "t", version).history()
    assert [commit["version"] for commit in history] == list(range(version, -1, -1))
    ids = [write.commit_id for write in writes[version::-1]]
    assert [commit["fusiondelta.commit_id"] for commit in history] == ids


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_history_is_limited_from_its_newest_commit(tmp_path, limit):
    with fusiondelta.FusionDeltaEngine() as engine:
        for n in range(4):
            engine.write_delta(tmp_path / "t", pa.table({"n": [n]}))
        history = engine.open_delta(tmp_path / "t", 2).history(limit)
    assert [commit["version"] for commit in history] == [2, 1, 0][:limit]
