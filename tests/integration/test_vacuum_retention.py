"""What vacuum and the cleaning of the log must leave, whoever asks for it."""

from __future__ import annotations

import datetime as dt
import os
import time

import pyarrow as pa
import pytest

from fusiondelta import (
    ConfigurationError,
    DeltaSource,
    FusionDeltaEngine,
    RetentionPolicy,
    SnapshotExpiredError,
    SnapshotKey,
)

pytestmark = pytest.mark.integration

NOW = RetentionPolicy(min_retention=0)
#: Tables that promise nothing themselves.
NOTHING = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
}


def write(engine, uri, n, mode="overwrite"):
    engine.write_delta(uri, pa.table({"n": [n]}), mode=mode, properties=NOTHING)


@pytest.fixture
def engine():
    with FusionDeltaEngine(retention=NOW) as engine:
        yield engine


@pytest.fixture
def uri(engine, tmp_path):
    """Five versions, each of one file of its own."""
    folder = tmp_path / "t"
    for n in range(5):
        write(engine, folder, n)
    return folder


def files(uri):
    return {path.name for path in uri.glob("*.parquet")}


def read(engine, uri, version):
    source = DeltaSource(uri, version)
    return engine.query("SELECT n FROM t", sources={"t": source}).to_pylist()


def readable(engine, uri):
    """Versions whose rows can really be read."""
    found = []
    for version in range(engine.open_delta(uri).snapshot.version + 1):
        try:
            read(engine, uri, version)
        except SnapshotExpiredError:
            continue
        found.append(version)
    return found


def test_a_vacuum_is_a_dry_run_unless_told_otherwise(engine, uri):
    before = files(uri)
    result = engine.vacuum(uri)
    assert result.outcome == "UNCHANGED"
    assert result.operation_metrics["dry_run"] is True
    assert len(result.operation_metrics["files"]) == 4
    assert files(uri) == before
    result = engine.vacuum(uri, dry_run=False)
    assert result.outcome == "COMMITTED"
    assert len(result.operation_metrics["files"]) == 4
    assert len(files(uri)) == 1
    assert set(engine.reachable_versions(uri)) >= {4}
    assert 3 not in engine.reachable_versions(uri)


def test_a_vacuumed_version_says_so(engine, uri):
    engine.vacuum(uri, dry_run=False)
    # A new engine has nothing kept.
    with FusionDeltaEngine() as fresh:
        with pytest.raises(SnapshotExpiredError, match="vacuum") as caught:
            read(fresh, uri, 2)
        assert caught.value.details["version"] == "2"
        assert caught.value.details["removed_by"] == "3"
        assert "reachable_versions" in str(caught.value)
        assert read(fresh, uri, 4) == [{"n": 4}]
        assert readable(fresh, uri) == list(fresh.reachable_versions(uri))


def test_the_default_policy_keeps_a_week(tmp_path):
    uri = tmp_path / "t"
    with FusionDeltaEngine() as engine:
        for n in range(3):
            engine.write_delta(uri, pa.table({"n": [n]}), mode="overwrite")
        assert engine.vacuum(uri).operation_metrics["files"] == []
        with pytest.raises(ConfigurationError, match="min_retention"):
            engine.vacuum(uri, retention=3600)
        assert engine.vacuum(uri, dry_run=False).outcome == "UNCHANGED"
        assert read(engine, uri, 0) == [{"n": 0}]


def test_the_tables_own_retention_counts_too(engine, tmp_path):
    uri = tmp_path / "t"
    properties = {"delta.deletedFileRetentionDuration": "interval 2 days"}
    for n in range(2):
        engine.write_delta(uri, pa.table({"n": [n]}), mode="overwrite", properties=properties)
    with pytest.raises(ConfigurationError, match="deletedFileRetentionDuration"):
        engine.vacuum(uri, retention=dt.timedelta(days=1))
    assert engine.vacuum(uri).operation_metrics["files"] == []


def test_a_policy_without_vacuum(uri):
    with (
        FusionDeltaEngine(retention=RetentionPolicy(no_vacuum=True)) as engine,
        pytest.raises(ConfigurationError, match="no_vacuum"),
    ):
        engine.vacuum(uri)


def test_newest_versions_are_kept(uri):
    policy = NOW.replace(keep_versions=3)
    with FusionDeltaEngine(retention=policy) as engine:
        engine.vacuum(uri, dry_run=False)
        assert {2, 3, 4} <= set(engine.reachable_versions(uri))
        assert not {0, 1} & set(engine.reachable_versions(uri))
        assert read(engine, uri, 2) == [{"n": 2}]


def test_what_an_open_result_reads_is_kept(engine, uri):
    open_one = engine.query("SELECT n FROM t", sources={"t": DeltaSource(uri, 1)})
    engine.vacuum(uri, dry_run=False)
    assert open_one.to_pylist() == [{"n": 1}]
    # It has ended: nothing holds the version any more.
    engine.vacuum(uri, dry_run=False)
    with FusionDeltaEngine() as fresh, pytest.raises(SnapshotExpiredError):
        read(fresh, uri, 1)


def test_what_is_held_is_kept(engine, uri):
    manifest = engine.query("SELECT n FROM t", sources={"t": DeltaSource(uri, 0)})
    manifest.to_table()
    key = SnapshotKey(engine.open_delta(uri).snapshot.uri, 2)
    with engine.hold(key, manifest.manifest()):
        engine.vacuum(uri, dry_run=False)
        assert read(engine, uri, 2) == [{"n": 2}]
        assert read(engine, uri, 0) == [{"n": 0}]
        found = engine.reachable_versions(uri)
        assert {0, 2, 4} <= set(found)
        assert not {1, 3} & set(found)
    engine.vacuum(uri, dry_run=False)
    assert 2 not in engine.reachable_versions(uri)
    with pytest.raises(ConfigurationError, match="hold takes"), engine.hold("t"):
        pass


def test_a_full_vacuum_takes_what_no_commit_knows(engine, uri):
    orphan = uri / "orphan.parquet"
    orphan.write_bytes(b"left by a writer that died")
    old = time.time() - 30 * 86_400
    os.utime(orphan, (old, old))
    assert orphan.name not in str(engine.vacuum(uri).operation_metrics["files"])
    engine.vacuum(uri, dry_run=False, full=True)
    assert not orphan.exists()
    assert read(engine, uri, 4) == [{"n": 4}]


def test_properties_of_a_policy(engine, uri):
    policy = RetentionPolicy(min_retention=3600, log_retention=7200)
    engine.set_properties(uri, policy.properties(), allow_metadata_change=True)
    properties = engine.open_delta(uri).properties
    assert properties["delta.deletedFileRetentionDuration"] == "interval 3600 seconds"
    with pytest.raises(ConfigurationError):
        engine.vacuum(uri, retention=60)
    with pytest.raises(ConfigurationError):
        engine.cleanup_metadata(uri, log_retention=60)
