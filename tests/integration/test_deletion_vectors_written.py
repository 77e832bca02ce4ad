"""Deletion vectors that changes write: in the log, on disk, to other readers, to what follows.

A file is rewritten once more than half of its rows are deleted.
"""

from __future__ import annotations

import json

import deltalake
import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import DeltaSource, ExecutionError, FusionDeltaEngine, RetentionPolicy
from tests.harness import vectors
from tests.harness.changes import FEED, VECTORS, column, files, make, refused
from tests.harness.log_files import actions, active, newest
from tests.harness.readers import by_engine, read_back

pytestmark = pytest.mark.integration

N = 100
NOTHING_KEPT = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
}


def numbers(start, stop):
    ids = range(start, stop)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "p": [f"p{one % 2}" for one in ids],
            "v": [float(one) for one in ids],
        }
    )


@pytest.fixture
def table(engine, tmp_path):
    """One file of a hundred rows."""
    return make(engine, tmp_path / "t", numbers(0, N), properties=VECTORS)


def committed(uri, kind):
    """The actions of one kind in the newest commit."""
    return [action[kind] for action in actions(newest(uri)) if kind in action]


def deleted(uri):
    """Positions that are deleted, by file that has a vector."""
    return {
        path: vectors.deleted(uri, add["deletionVector"])
        for path, add in active(uri).items()
        if add.get("deletionVector")
    }


def bins(uri):
    return {name for name in files(uri) if name.endswith(".bin")}


def referred(uri):
    """Files of the vectors of the newest version."""
    there = (add.get("deletionVector") for add in active(uri).values())
    return {vectors.file_of(uri, one).relative_to(uri).as_posix() for one in there if one}


def but(*gone):
    return [one for one in range(N) if one not in gone]


# The log


def test_a_delete_writes_a_vector(engine, table):
    (before,) = active(table).values()
    done = engine.delete(table, "id < 5 OR id = 77")
    (add,), (remove,) = committed(table, "add"), committed(table, "remove")
    assert add["path"] == remove["path"] == before["path"]
    assert remove.get("deletionVector") is None
    assert add["dataChange"] is remove["dataChange"] is True
    assert (add["size"], add["partitionValues"]) == (before["size"], {})
    vector = add["deletionVector"]
    assert vector["storageType"] == "u"
    assert vector["cardinality"] == 6
    assert vectors.deleted(table, vector) == {0, 1, 2, 3, 4, 77}
    stats, old = json.loads(add["stats"]), json.loads(before["stats"])
    assert stats.pop("tightBounds") is False
    old.pop("tightBounds", None)
    assert stats == old
    assert stats["numRecords"] == N
    assert (table / add["path"]).exists()
    assert column(engine, table) == but(0, 1, 2, 3, 4, 77)
    assert done.operation_metrics["num_deleted_rows"] == 6


def test_the_protocol_names_the_feature(engine, table):
    protocol = deltalake.DeltaTable(str(table)).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (3, 7)
    assert "deletionVectors" in protocol.reader_features
    assert "deletionVectors" in protocol.writer_features


def test_what_matches_nothing_writes_nothing(engine, table):
    before = files(table)
    assert engine.delete(table, "id = -1").outcome == "UNCHANGED"
    assert engine.update(table, {"v": "0"}, "v IS NULL").outcome == "UNCHANGED"
    assert files(table) == before


def test_a_change_that_fails_leaves_no_vector(engine, table):
    engine.add_constraint(table, "c", "v < 1000", allow_metadata_change=True)
    twice = pa.table({"id": [1, 1]})
    for change in (
        lambda: engine.update(table, {"v": "v + 950"}, "id > 40 AND id < 60"),
        lambda: engine.delete(table, "1 / (id - 99) < 0"),
        lambda: engine.merge(table, twice, ["id"]).when_matched_update({"v": "1"}).execute(),
    ):
        with refused(table, ExecutionError):
            change()
    assert column(engine, table) == but()


def test_deletes_of_one_file_add_up(engine, table):
    gone = set()
    for text, more in [("id < 3", {0, 1, 2}), ("id < 5", {3, 4}), ("v = 50", {50})]:
        previous = [add.get("deletionVector") for add in active(table).values()]
        done = engine.delete(table, text)
        gone |= more
        assert done.operation_metrics["num_deleted_rows"] == len(more)
        assert list(deleted(table).values()) == [gone]
        assert [one.get("deletionVector") for one in committed(table, "remove")] == previous
        assert column(engine, table) == but(*gone)
    assert engine.delete(table, "id < 5").outcome == "UNCHANGED"


def test_a_file_without_rows_is_removed(engine, tmp_path):
    uri = make(engine, tmp_path / "t", numbers(0, N), files=4, properties=VECTORS)
    engine.delete(uri, "id < 25 OR id = 30")
    assert len(committed(uri, "remove")) == 2
    (add,) = committed(uri, "add")
    assert add["deletionVector"]["cardinality"] == 1
    # The rest of a file of which some rows are deleted.
    engine.delete(uri, "id >= 25 AND id < 50")
    assert committed(uri, "add") == []
    (remove,) = committed(uri, "remove")
    assert remove["deletionVector"] == add["deletionVector"]
    assert column(engine, uri) == list(range(50, 100))
    engine.delete(uri)
    assert active(uri) == {}
    assert column(engine, uri) == []


@pytest.mark.parametrize(
    ("steps", "rewritten"),
    [
        (["id < 50"], False),
        (["id < 51"], True),
        (["id < 25", "id < 50"], False),
        (["id < 25", "id < 51"], True),
        (["id >= 2"], True),
    ],
)
def test_a_file_is_rewritten_once_more_than_half_is_deleted(engine, table, steps, rewritten):
    (path,) = active(table)
    for text in steps:
        done = engine.delete(table, text)
    (add,) = committed(table, "add")
    assert (add["path"] != path) is rewritten
    assert bool(add.get("deletionVector")) is not rewritten
    left = column(engine, table)
    if rewritten:
        assert json.loads(add["stats"])["numRecords"] == len(left)
        assert json.loads(add["stats"]).get("tightBounds", True) is True
        assert done.rows_written == done.operation_metrics["num_copied_rows"] == len(left)


CHANGES = {
    "update": lambda e, uri, text, _: e.update(uri, {"v": "-v - 1"}, text),
    "merge": lambda e, uri, text, rows: (
        e.merge(uri, rows, f"target.id = source.id AND target.{text}")
        .when_matched_update({"v": "-target.v - 1"})
        .execute()
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("count", [1, 50, 51, N])
def test_rows_that_change_move_to_another_file(engine, table, change, count):
    (path,) = active(table)
    CHANGES[change](engine, table, f"id < {count}", numbers(0, N))
    adds, removes = committed(table, "add"), committed(table, "remove")
    assert [one["path"] for one in removes] == [path]
    kept = [one for one in adds if one["path"] == path]
    assert len(kept) == (count <= N // 2)
    if kept:
        assert list(deleted(table).values()) == [set(range(count))]
    written = sum(json.loads(one["stats"])["numRecords"] for one in adds if one["path"] != path)
    assert written == (count if kept else N)
    found = {row["id"]: row["v"] for row in read_back(engine, table)}
    assert found == {one: -one - 1.0 if one < count else float(one) for one in range(N)}


def test_all_clauses_of_a_merge(engine, table):
    engine.delete(table, "id = 7")
    source = pa.table({"id": [1, 2, 7, 200], "v": [10.0, 20.0, 70.0, 2000.0]})
    done = (
        engine.merge(table, source, ["id"])
        .when_matched_delete("source.v = 20")
        .when_matched_update({"v": "source.v"})
        .when_not_matched_insert({"id": "source.id", "v": "source.v"})
        .when_not_matched_by_source_delete("target.id = 99")
        .when_not_matched_by_source_update({"v": "-1"}, "target.id = 98")
        .execute()
    )
    assert list(deleted(table).values()) == [{1, 2, 7, 98, 99}]
    found = {row["id"]: row["v"] for row in read_back(engine, table)}
    expected = {one: float(one) for one in but(2, 99)} | {1: 10.0, 7: 70.0, 98: -1.0, 200: 2000.0}
    assert found == expected
    metrics = done.operation_metrics
    assert metrics["num_target_rows_inserted"] == 2
    assert metrics["num_target_rows_updated"] == 2
    assert metrics["num_target_rows_deleted"] == 2


def test_several_files_and_partitions(engine, tmp_path):
    uri = make(engine, tmp_path / "t", numbers(0, N), files=2, by="p", properties=VECTORS)
    engine.delete(uri, "id % 50 < 4")
    assert [len(one) for one in deleted(uri).values()] == [2, 2, 2, 2]
    # What the partition values decide removes whole files.
    engine.delete(uri, "p = 'p0'")
    assert committed(uri, "add") == []
    assert len(committed(uri, "remove")) == 2
    assert column(engine, uri) == [one for one in range(N) if one % 2 and one % 50 >= 4]


def test_positions_go_beyond_one_container(engine, tmp_path):
    """Row groups and batches end elsewhere than the bitmaps' containers of 65,536."""
    rows = 200_000
    data = pa.table({"id": pa.array(range(rows), pa.int64())})
    uri = tmp_path / "t"
    groups = fusiondelta.WriterProperties(max_row_group_rows=30_000)
    engine.write_delta(uri, data, properties=VECTORS, writer_properties=groups)
    gone = {one for one in range(rows) if one % 3 == 0 or 70_000 <= one < 90_000 or one == 199_999}
    engine.delete(uri, "id % 3 = 0 OR (id >= 70000 AND id < 90000) OR id = 199999")
    assert list(deleted(uri).values()) == [gone]
    engine.delete(uri, "id = 1 OR id = 131072 OR id = 131074")
    gone |= {1, 131_072, 131_074}
    assert list(deleted(uri).values()) == [gone]
    for text, wanted in [
        ("true", set(range(rows)) - gone),
        ("id > 65530 AND id < 65545", set(range(65_531, 65_545)) - gone),
        ("id >= 199990", set(range(199_990, rows)) - gone),
    ]:
        totals = "count(*) AS n, sum(id) AS s, min(id) AS least, max(id) AS most"
        sql = f"SELECT {totals} FROM t WHERE {text}"
        (found,) = engine.query(sql, sources={"t": uri}).to_pylist()
        assert found == {
            "n": len(wanted),
            "s": sum(wanted),
            "least": min(wanted),
            "most": max(wanted),
        }


def test_whether_vectors_are_written_can_be_said(engine, table):
    engine.delete(table, "id = 1", deletion_vectors=False)
    assert deleted(table) == {}
    engine.delete(table, "id = 2")
    assert len(deleted(table)) == 1
    # A file that is rewritten takes what its vector says into account.
    engine.update(table, {"v": "-1"}, "id = 3", deletion_vectors=False)
    assert deleted(table) == {}
    assert column(engine, table) == but(1, 2)
    merge = engine.merge(table, pa.table({"id": [4]}), ["id"], deletion_vectors=False)
    merge.when_matched_delete().execute()
    assert deleted(table) == {}
    engine.set_properties(
        table, {"delta.enableDeletionVectors": "false"}, allow_metadata_change=True
    )
    engine.delete(table, "id = 5")
    assert deleted(table) == {}
    # The protocol has the feature, so that no metadata changes by it.
    engine.delete(table, "id = 6", deletion_vectors=True)
    assert [len(one) for one in deleted(table).values()] == [1]
    assert column(engine, table) == but(1, 2, 4, 5, 6)


def test_a_table_without_the_feature_gets_none(engine, tmp_path):
    uri = make(engine, tmp_path / "t", numbers(0, N))
    engine.delete(uri, "id = 1")
    assert deleted(uri) == {}
    with refused(uri, (fusiondelta.ConfigurationError, fusiondelta.UnsupportedTableFeatureError)):
        engine.delete(uri, "id = 2", deletion_vectors=True)


# Reading


@pytest.fixture
def changed(engine, table):
    """Five rows deleted at each end, one in the middle updated."""
    engine.delete(table, "id < 5 OR id >= 95")
    engine.update(table, {"v": "-1"}, "id = 50")
    return table


def test_live_rows_are_counted(engine, changed):
    assert engine.open_delta(changed).detail()["num_rows"] == 90
    count = engine.query("SELECT count(*) AS n FROM t", sources={"t": changed}).to_pylist()
    assert count == [{"n": 90}]
    # A new engine knows no more than the log says.
    with FusionDeltaEngine() as other:
        assert other.open_delta(changed).detail()["num_rows"] == 90


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT min(id) AS a, max(id) AS b, min(v) AS c FROM t", [{"a": 5, "b": 94, "c": -1.0}]),
        ("SELECT count(v) AS n FROM t WHERE id < 10", [{"n": 5}]),
        ("SELECT id FROM t ORDER BY id LIMIT 2", [{"id": 5}, {"id": 6}]),
        ("SELECT id FROM t ORDER BY id DESC LIMIT 1", [{"id": 94}]),
        ("SELECT count(*) AS n FROM (SELECT * FROM t LIMIT 95)", [{"n": 90}]),
        ("SELECT id FROM t WHERE id = 4 OR id = 95", []),
        ("SELECT v FROM t WHERE id = 50", [{"v": -1.0}]),
        ("SELECT a.id FROM t a JOIN t b ON a.id = b.id - 1 WHERE a.id > 92", [{"id": 93}]),
    ],
)
def test_queries_see_live_rows(engine, changed, sql, rows):
    assert engine.query(sql, sources={"t": changed}).to_pylist() == rows


def test_other_readers_see_live_rows(engine, changed):
    assert column(engine, changed) == list(range(5, 95))
    sql = "SELECT count(*) AS n, sum(v) AS s FROM t"
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(changed)))
    found = pa.table(query.execute(sql)).to_pylist()
    assert found == [{"n": 90, "s": float(sum(range(5, 95)) - 51)}]


def test_a_checkpoint_keeps_vectors(engine, changed):
    before = by_engine(engine, changed)
    engine.checkpoint(changed)
    with FusionDeltaEngine() as other:
        assert by_engine(other, changed) == before
        other.delete(changed, "id = 10")
        assert len(by_engine(other, changed)) == 89
        (vector,) = committed(changed, "add")
        assert vector["deletionVector"]["cardinality"] == 12


def test_every_version_is_what_it_was(engine, table):
    for n in range(4):
        engine.delete(table, f"id = {n}")
    engine.delete(table, "id < 80")
    for version, left in enumerate([100, 99, 98, 97, 96, 20]):
        source = DeltaSource(table, version)
        assert len(by_engine(engine, source)) == left
        assert engine.open_delta(table, version).detail()["num_rows"] == left


def test_a_repeated_delete_with_a_key_is_made_once(engine, table):
    key = ("vectors", 1)
    first = engine.delete(table, "id < 3", idempotency_key=key)
    again = engine.delete(table, "id < 3", idempotency_key=key)
    assert again.replayed
    assert again.snapshot == first.snapshot


def test_replaced_rows(engine, changed):
    new = numbers(0, 10)
    engine.write_delta(changed, new, mode="overwrite", replace_where="id < 20")
    assert column(engine, changed) == [*range(10), *range(20, 95)]
    engine.write_delta(changed, new)
    engine.write_delta(changed, new.slice(0, 1), mode="overwrite")
    assert column(engine, changed) == [0]


# Upkeep


@pytest.mark.parametrize("order", [(), ("id",)], ids=["compact", "z-order"])
@pytest.mark.parametrize("count", [1, 3])
def test_optimize_purges_vectors(engine, tmp_path, order, count):
    uri = make(engine, tmp_path / "t", numbers(0, N), files=count, properties=VECTORS)
    engine.delete(uri, "id % 10 = 0")
    assert len(deleted(uri)) == count
    before = read_back(engine, uri)
    engine.optimize(uri, z_order=order)
    assert deleted(uri) == {}
    assert {one["dataChange"] for one in committed(uri, "add")} == {False}
    assert all(one["deletionVector"] for one in committed(uri, "remove"))
    assert sum(json.loads(add["stats"])["numRecords"] for add in active(uri).values()) == 90
    assert read_back(engine, uri) == before
    if not order:
        assert engine.optimize(uri).outcome == "UNCHANGED"
    # What was before it is there as long as nothing is vacuumed.
    engine.restore(uri, count)
    assert len(deleted(uri)) == count
    assert read_back(engine, uri) == before


def test_restore_before_and_after(engine, table):
    (path,) = active(table)
    states = {0: read_back(engine, table)}
    for version, text in enumerate(["id < 10", "id < 20", "id < 80"], 1):
        engine.delete(table, text)
        states[version] = read_back(engine, table)
    for version, there in [(0, None), (1, 10), (2, 20), (3, None), (2, 20), (0, None), (1, 10)]:
        engine.restore(table, version)
        assert read_back(engine, table) == states[version]
        (add,) = active(table).values()
        vector = add.get("deletionVector")
        assert (vector and vector["cardinality"]) == there
        assert (add["path"] == path) is (version < 3)
    # And goes on from there.
    engine.delete(table, "id = 99")
    assert list(deleted(table).values()) == [{*range(10), 99}]


@pytest.mark.parametrize("full", [False, True])
def test_vacuum_keeps_the_vectors_that_are_referred_to(tmp_path, full):
    with FusionDeltaEngine(retention=RetentionPolicy(min_retention=0)) as engine:
        uri = make(
            engine, tmp_path / "t", numbers(0, N), files=2, properties=VECTORS | NOTHING_KEPT
        )
        for n in (1, 51, 2):
            engine.delete(uri, f"id = {n}")
        old = bins(uri) - referred(uri)
        assert old, "the first vector of the first file is out of use"
        expected = read_back(engine, uri)
        trial = engine.vacuum(uri, full=full)
        named = str(trial.operation_metrics["files"])
        # Vectors out of use go with all files that no version names.
        assert all(name in named for name in old) == full
        assert not any(name in named for name in referred(uri))
        engine.vacuum(uri, dry_run=False, full=full)
        assert bins(uri) == referred(uri) or not full
        assert read_back(engine, uri) == expected
        engine.optimize(uri)
        engine.vacuum(uri, dry_run=False, full=full)
        assert bins(uri) == set() or not full
        assert {name for name in files(uri) if name.endswith(".parquet")} == {*active(uri)}
        assert column(engine, uri) == but(1, 2, 51)


def test_vacuum_keeps_the_vectors_of_versions_that_are_promised(tmp_path):
    policy = RetentionPolicy(min_retention=0, keep_versions=2)
    with FusionDeltaEngine(retention=policy) as engine:
        uri = make(engine, tmp_path / "t", numbers(0, N), properties=VECTORS | NOTHING_KEPT)
        for n in range(4):
            engine.delete(uri, f"id = {n}")
        engine.vacuum(uri, dry_run=False)
        assert len(by_engine(engine, DeltaSource(uri, 3))) == 97
        assert column(engine, uri) == but(0, 1, 2, 3)


def test_vacuum_takes_vectors_that_no_commit_knows(tmp_path):
    with FusionDeltaEngine(retention=RetentionPolicy(min_retention=0)) as engine:
        uri = make(engine, tmp_path / "t", numbers(0, N), properties=VECTORS | NOTHING_KEPT)
        engine.delete(uri, "id = 1")
        orphan = uri / "deletion_vector_00000000-0000-4000-8000-000000000000.bin"
        orphan.write_bytes(b"\x01")
        engine.vacuum(uri, dry_run=False, full=True)
        assert not orphan.exists()
        assert column(engine, uri) == but(1)


# What is told of it


def feed(engine, uri, start):
    rows = engine.changes(uri, start).to_pylist()
    return sorted(
        (row["_commit_version"], row["_change_type"], row["id"], row["v"]) for row in rows
    )


def test_the_change_feed(engine, tmp_path):
    uri = make(engine, tmp_path / "t", numbers(0, 10), properties=VECTORS | FEED)
    engine.delete(uri, "id = 1")
    engine.update(uri, {"v": "-1"}, "id <= 2")
    source = pa.table({"id": [3, 4, 20], "v": [30.0, 40.0, 200.0], "p": ["x"] * 3})
    merge = engine.merge(uri, source, ["id"]).when_matched_delete("source.v = 40")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    engine.delete(uri, "id < 9")
    engine.delete(uri, "id = 9")
    first = [
        (1, "delete", 1, 1.0),
        (2, "update_postimage", 0, -1.0),
        (2, "update_postimage", 2, -1.0),
        (2, "update_preimage", 0, 0.0),
        (2, "update_preimage", 2, 2.0),
        (3, "delete", 4, 4.0),
        (3, "insert", 20, 200.0),
        (3, "update_postimage", 3, 30.0),
        (3, "update_preimage", 3, 3.0),
    ]
    rest = [
        *((4, "delete", one, -1.0) for one in (0, 2)),
        (4, "delete", 3, 30.0),
        *((4, "delete", one, float(one)) for one in (5, 6, 7, 8)),
        (5, "delete", 9, 9.0),
    ]
    assert feed(engine, uri, 1) == sorted(first + rest)
    assert column(engine, uri) == [20]
    # Moving rows to other files is no change of them.
    engine.optimize(uri)
    assert feed(engine, uri, 1) == sorted(first + rest)


def test_metrics_and_history(engine, table):
    done = engine.delete(table, "id < 10")
    metrics = done.operation_metrics
    assert metrics["num_deleted_rows"] == 10
    assert metrics["num_copied_rows"] == 0
    assert metrics["num_deletion_vectors_added"] == 1
    # A file that only gets a vector is not written.
    assert (done.rows_written, done.bytes_written) == (0, 0)
    history = engine.open_delta(table).history(1)[0]
    assert history["operation"] == "DELETE"
    assert history["operationMetrics"]["num_deleted_rows"] == 10
    assert history["operationMetrics"]["num_deletion_vectors_added"] == 1
    updated = engine.update(table, {"v": "0"}, "id < 15")
    assert updated.operation_metrics["num_updated_rows"] == 5
    assert updated.operation_metrics["num_copied_rows"] == 0
    assert updated.rows_written == 5
    merge = engine.merge(table, numbers(15, 17), ["id"]).when_matched_update_all()
    merged = merge.execute().operation_metrics
    assert merged["num_target_rows_updated"] == 2
    assert merged["num_target_rows_copied"] == 0
    assert merged["num_source_rows"] == merged["num_output_rows"] == 2
