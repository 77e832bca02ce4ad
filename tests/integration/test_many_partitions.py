"""Writes of more partitions than have files open at once: sorted, in parts, committed once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import fusiondelta
from tests.harness.log_files import actions, litter, newest

pytestmark = pytest.mark.integration

#: A memory limit of 64 MiB opens four partitions at once.
PROFILE = fusiondelta.EngineProfile(memory_limit=64 * 2**20, target_partitions=2)
PARTITIONS = 50
ROWS = 5_000


@pytest.fixture
def engine() -> Iterator[fusiondelta.FusionDeltaEngine]:
    with fusiondelta.FusionDeltaEngine(PROFILE) as engine:
        yield engine


def rows(first: int = 0) -> pa.Table:
    """Every partition in turn, one of them null, and a second partition column of text."""
    numbers = range(first, first + ROWS)
    return pa.table(
        {
            "p": pa.array([n % PARTITIONS or None for n in numbers], pa.int64()),
            "q": pa.array([f"a b%{n % 2}" for n in numbers]),
            "n": pa.array(numbers, pa.int64()),
        }
    )


def found(engine: fusiondelta.FusionDeltaEngine, uri: str) -> pa.Table:
    result = engine.query("select p, q, n from t order by n", sources={"t": uri})
    return result.to_table().cast(rows().schema)


def test_one_commit_with_all_files(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    done = engine.write_delta(uri, rows(), partition_by=["p", "q"])
    assert done.rows_written == ROWS
    assert found(engine, uri).equals(rows())
    assert newest(Path(uri)).name == f"{0:020}.json"
    commit = actions(newest(Path(uri)))
    added = [action["add"] for action in commit if "add" in action]
    assert len(added) == len({str(add["partitionValues"]) for add in added}) == PARTITIONS
    assert len({str(add["path"]) for add in added}) == PARTITIONS
    assert sum(json.loads(str(add["stats"]))["numRecords"] for add in added) == ROWS
    [metrics] = [a["commitInfo"]["operationMetrics"] for a in commit if "commitInfo" in a]
    assert (metrics["num_added_files"], metrics["num_added_rows"]) == (PARTITIONS, ROWS)
    kinds = [kind for action in commit for kind in action]
    assert [kinds.count(kind) for kind in ("commitInfo", "protocol", "metaData")] == [1, 1, 1]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_modes(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path, mode: str) -> None:
    uri = str(tmp_path / "t")
    engine.write_delta(uri, rows(), partition_by=["p", "q"])
    engine.write_delta(uri, rows(ROWS), mode=mode)
    expected = rows(ROWS) if mode == "overwrite" else pa.concat_tables([rows(), rows(ROWS)])
    assert found(engine, uri).equals(expected.combine_chunks())
    removed = [a["remove"]["path"] for a in actions(newest(Path(uri))) if "remove" in a]
    assert len(removed) == len(set(removed)) == (PARTITIONS if mode == "overwrite" else 0)


def test_another_schema(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    engine.write_delta(uri, rows().drop_columns(["n"]).append_column("old", [["x"] * ROWS]))
    engine.write_delta(
        uri,
        rows(),
        mode="overwrite",
        schema_mode="overwrite",
        partition_by=["p", "q"],
        allow_metadata_change=True,
    )
    assert found(engine, uri).equals(rows())
    assert engine.query("select * from t", sources={"t": uri}).schema.names == ["p", "q", "n"]


def test_replaced_partitions(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    engine.write_delta(uri, rows(), partition_by=["p", "q"])
    later = rows(ROWS)
    new = later.filter(pc.fill_null(pc.less(later["p"], 20), True))
    engine.write_delta(uri, new, mode="overwrite", replace_partitions=True)
    before = rows()
    kept = before.filter(pc.fill_null(pc.greater_equal(before["p"], 20), False))
    assert found(engine, uri).equals(pa.concat_tables([kept, new]).combine_chunks())
    removed = [action for action in actions(newest(Path(uri))) if "remove" in action]
    assert len(removed) == 20


def test_a_schema_that_grows(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    engine.write_delta(uri, rows(), partition_by=["p", "q"])
    more = rows(ROWS).append_column("more", pa.array(range(ROWS), pa.int32()))
    engine.write_delta(uri, more, schema_mode="merge")
    kinds = [kind for action in actions(newest(Path(uri))) for kind in action]
    assert kinds.count("metaData") == 1
    counted = engine.query(
        "select count(*) n, count(more) m, sum(more) s from t", sources={"t": uri}
    )
    expected = {"n": 2 * ROWS, "m": ROWS, "s": sum(range(ROWS))}
    assert counted.to_table().to_pylist() == [expected]


@pytest.mark.parametrize("at", [ROWS // 2, ROWS - 1])
def test_a_failure_leaves_nothing(
    engine: fusiondelta.FusionDeltaEngine, tmp_path: Path, at: int
) -> None:
    """Of a row that breaks a constraint in one of the partitions that are written in parts."""
    uri = str(tmp_path / "t")
    engine.write_delta(uri, rows(), partition_by=["p", "q"])
    engine.add_constraint(uri, "low", f"n <> {ROWS + at}", allow_metadata_change=True)
    with pytest.raises(fusiondelta.FusionDeltaError) as caught:
        engine.write_delta(uri, rows(ROWS))
    assert "low" in str(caught.value) or f"{ROWS + at}" in str(caught.value)
    assert found(engine, uri).equals(rows())
    assert not litter(Path(uri))


def test_a_stream_that_fails(engine: fusiondelta.FusionDeltaEngine, tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from rows().to_batches(max_chunksize=500)
        raise ValueError("no more")

    uri = str(tmp_path / "t")
    with pytest.raises(Exception, match="no more"):
        engine.write_delta(uri, failing(), schema=rows().schema, partition_by=["p", "q"])
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob("*.json"))
