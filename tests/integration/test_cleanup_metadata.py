"""The log is cleaned without taking a version that somebody was promised."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest

from fusiondelta import (
    DeltaSource,
    FusionDeltaEngine,
    RetentionPolicy,
    SnapshotExpiredError,
    SourceError,
)

pytestmark = pytest.mark.integration

NOTHING = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
    "delta.checkpointInterval": "1000",
}


@pytest.fixture
def engine():
    with FusionDeltaEngine(retention=RetentionPolicy(min_retention=0)) as engine:
        yield engine


@pytest.fixture
def uri(engine, tmp_path):
    """Six versions, with a checkpoint of version 3."""
    folder = tmp_path / "t"
    for n in range(6):
        engine.write_delta(folder, pa.table({"n": [n]}), properties=NOTHING)
        if n == 3:
            assert engine.checkpoint(folder).version == 3
    return folder


def commits(uri):
    return sorted(int(p.name[:20]) for p in (uri / "_delta_log").glob("*.json"))


def count(engine, uri, version=None):
    source = DeltaSource(uri, version)
    [row] = engine.query("SELECT count(*) AS n FROM t", sources={"t": source}).to_pylist()
    return row["n"]


def test_only_what_lies_before_a_checkpoint_goes(engine, uri):
    trial = engine.cleanup_metadata(uri, dry_run=True)
    assert commits(uri) == list(range(6))
    assert [int(name[:20]) for name in trial.removed] == [0, 1, 2]
    done = engine.cleanup_metadata(uri)
    assert done.removed == trial.removed
    assert done.oldest == 3
    assert commits(uri) == [3, 4, 5]
    with FusionDeltaEngine() as fresh:
        for version in (3, 4, 5):
            assert count(fresh, uri, version) == version + 1
        assert count(fresh, uri) == 6
        with pytest.raises(SnapshotExpiredError, match="log was cleaned; versions 3 to 5 can"):
            count(fresh, uri, 1)
        assert fresh.reachable_versions(uri) == range(3, 6)
    assert engine.cleanup_metadata(uri).removed == ()


def test_nothing_goes_without_a_checkpoint(engine, tmp_path):
    uri = tmp_path / "t"
    for n in range(3):
        engine.write_delta(uri, pa.table({"n": [n]}), properties=NOTHING)
    assert engine.cleanup_metadata(uri).removed == ()
    assert commits(uri) == [0, 1, 2]


def test_what_is_promised_stays(uri):
    policy = RetentionPolicy(min_retention=0, keep_versions=4)
    with FusionDeltaEngine(retention=policy) as engine:
        assert engine.cleanup_metadata(uri).removed == ()
        assert count(engine, uri, 2) == 3
    young = RetentionPolicy(min_retention=0, log_retention=3600)
    with FusionDeltaEngine(retention=young) as engine:
        assert engine.cleanup_metadata(uri).removed == ()
    with FusionDeltaEngine() as engine:
        held = engine.open_delta(uri, as_of=1)
        with engine.hold(held.snapshot):
            assert engine.cleanup_metadata(uri, log_retention=0).removed == ()
        assert engine.cleanup_metadata(uri, log_retention=0).oldest == 3


def test_the_tables_own_retention_counts(engine, tmp_path):
    uri = tmp_path / "t"
    for n in range(3):
        engine.write_delta(uri, pa.table({"n": [n]}))
    engine.checkpoint(uri)
    assert engine.cleanup_metadata(uri).removed == (), "30 days where the table says nothing"


def test_a_part_of_a_checkpoint_is_none(engine, uri):
    """What a writer of many parts has left when it died must not cost the log."""
    log = uri / "_delta_log"
    whole = log / f"{3:020}.checkpoint.parquet"
    shutil.move(whole, log / f"{3:020}.checkpoint.0000000001.0000000002.parquet")
    (log / "_last_checkpoint").unlink()
    assert engine.cleanup_metadata(uri).removed == ()
    assert commits(uri) == list(range(6))


def test_a_checkpoint_that_cannot_be_read_costs_nothing(engine, uri):
    checkpoint = uri / "_delta_log" / f"{3:020}.checkpoint.parquet"
    checkpoint.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(SourceError, match="was not cleaned"):
        engine.cleanup_metadata(uri)
    assert commits(uri) == list(range(6))


def test_commits_do_not_clean_the_log_by_the_way(engine, uri):
    """A table whose entries are all old enough keeps them until it is asked."""
    engine.write_delta(uri, pa.table({"n": [6]}))
    assert commits(uri) == list(range(7))


def test_the_outcome_of_a_commit_that_was_cleaned_away(engine, uri):
    *_, first = engine.open_delta(uri).history()
    commit_id = first["fusiondelta.commit_id"]
    assert engine.commit_outcome(uri, commit_id).snapshot.version == 0
    assert engine.commit_outcome(uri, "made up").status == "NOT_COMMITTED"
    engine.cleanup_metadata(uri)
    assert engine.commit_outcome(uri, commit_id).status == "UNKNOWN"
