"""Changes on the local file system: every operation, and what people do wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import (
    CommitConflict,
    ConfigurationError,
    ExecutionError,
    FusionDeltaEngine,
    RetryPolicy,
    SqlError,
    UnsupportedTableFeatureError,
)
from tests.harness.log_files import litter
from tests.harness.steps import Steps

pytestmark = pytest.mark.integration

ROWS = pa.table({"id": [1, 2, 3], "v": ["a", "b", "c"]})
MORE = pa.table({"id": [4], "v": ["d"]})
#: Quick, and as many as a test needs.
AGAIN = RetryPolicy(attempts=4, first_delay=0.001, longest_delay=0.01)


@pytest.fixture
def engine():
    with FusionDeltaEngine() as engine:
        yield engine


@pytest.fixture
def uri(engine, tmp_path):
    folder = tmp_path / "t"
    engine.write_delta(folder, ROWS)
    return folder


def rows(engine, uri):
    found = engine.query("SELECT id, v FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    return [(row["id"], row["v"]) for row in found]


# SQL of people


def test_a_typo_is_told(engine, uri):
    with pytest.raises(fusiondelta.FusionDeltaError, match="idd"):
        engine.delete(uri, "idd = 1")
    with pytest.raises((SqlError, fusiondelta.QueryError)):
        engine.delete(uri, "id = = 1")
    with pytest.raises(fusiondelta.FusionDeltaError, match="nope"):
        engine.update(uri, {"nope": "1"}, "id = 1")
    assert len(rows(engine, uri)) == 3
    assert litter(uri) == []


def test_constraints(engine, uri):
    with pytest.raises(ConfigurationError, match="allow_metadata_change"):
        engine.add_constraint(uri, "small", "id < 100")
    engine.add_constraint(uri, "small", "id < 100", allow_metadata_change=True)
    with pytest.raises(ExecutionError, match=r"rows break the constraint \"small\"") as caught:
        engine.write_delta(uri, pa.table({"id": [100], "v": ["z"]}))
    assert caught.value.details["outcome"] == "not_committed"
    with pytest.raises(fusiondelta.FusionDeltaError):
        engine.add_constraint(uri, "none", "id < 2", allow_metadata_change=True)
    engine.drop_constraint(uri, "small", allow_metadata_change=True)
    engine.drop_constraint(uri, "small", missing_ok=True, allow_metadata_change=True)
    engine.write_delta(uri, pa.table({"id": [100], "v": ["z"]}))
    assert litter(uri) == []


@pytest.mark.parametrize(
    "name", ["a b", "ü", 'quo"te', "semi;colon", "da-sh", "UPPER", "select", "pct%20"]
)
def test_odd_names_of_columns(engine, tmp_path, name):
    uri = tmp_path / "odd"
    engine.write_delta(uri, pa.table({name: [1, 2], "k": [1, 2]}))
    source = pa.table({name: [20, 30], "k": [2, 3]})
    engine.merge(uri, source, on=["k"]).when_matched_update_all().when_not_matched_insert_all()
    made = engine.merge(uri, source, on=["k"])
    made.when_matched_update_all().when_not_matched_insert_all().execute()
    engine.update(uri, {name: "k + 100"}, "k = 1")
    quoted = '"' + name.replace('"', '""') + '"'
    engine.delete(uri, f"{quoted} = 30")
    found = engine.query("SELECT * FROM t ORDER BY k", sources={"t": uri}).to_pylist()
    assert found == [{name: 101, "k": 1}, {name: 20, "k": 2}]


def test_a_merge_that_matches_twice_is_refused(engine, uri):
    source = pa.table({"id": [1, 1], "v": ["x", "y"]})
    with pytest.raises(fusiondelta.FusionDeltaError) as caught:
        engine.merge(uri, source, on=["id"]).when_matched_update_all().execute()
    assert caught.value.details["outcome"] == "not_committed"
    assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "c")]


def test_all_clauses_of_a_merge(engine, tmp_path):
    uri = tmp_path / "m"
    table = pa.table({"id": [1, 2, 3, 4, 5], "v": ["a", "b", "c", "d", "e"], "n": [1, 2, 3, 4, 5]})
    engine.write_delta(uri, table)
    source = pa.table({"id": [1, 2, 6, 7], "v": ["A", "B", "F", "G"], "n": [10, 20, 60, 70]})
    result = (
        engine.merge(uri, source, "s.id = t.id", source_alias="s", target_alias="t")
        .when_matched_delete("s.n = 20")
        .when_matched_update({"v": "s.v", "n": "t.n + s.n"})
        .when_not_matched_insert({"id": "s.id", "v": "s.v"}, "s.n < 65")
        .when_not_matched_by_source_update({"v": "upper(t.v)"}, "t.id = 3")
        .when_not_matched_by_source_delete("t.id = 5")
        .execute()
    )
    found = engine.query("SELECT * FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    assert found == [
        {"id": 1, "v": "A", "n": 11},
        {"id": 3, "v": "C", "n": 3},
        {"id": 4, "v": "d", "n": 4},
        {"id": 6, "v": "F", "n": None},
    ]
    metrics = result.operation_metrics
    assert metrics["num_target_rows_inserted"] == 1
    assert metrics["num_target_rows_updated"] == 2
    assert metrics["num_target_rows_deleted"] == 2
    with pytest.raises(ConfigurationError, match="no clause"):
        engine.merge(uri, source, on=["id"]).execute()


def test_a_merge_of_a_stream(engine, uri):
    source = pa.table({"id": [3, 4], "v": ["C", "D"]}).to_reader()
    made = engine.merge(uri, source, on=["id"])
    made.when_matched_update_all().when_not_matched_insert_all().execute()
    assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "C"), (4, "D")]


def test_a_merge_that_adds_columns(engine, uri):
    source = pa.table({"id": [3, 4], "v": ["C", "D"], "extra": [1, 2]})
    made = engine.merge(uri, source, on=["id"], merge_schema=True)
    made.when_matched_update_all().when_not_matched_insert_all().execute()
    found = engine.query("SELECT * FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    assert [row["extra"] for row in found] == [None, None, 1, 2]


def test_empty_writes(engine, uri):
    empty = ROWS.slice(0, 0)
    assert engine.write_delta(uri, empty).outcome == "UNCHANGED"
    assert engine.open_delta(uri).snapshot.version == 0
    assert engine.write_delta(uri, empty, idempotency_key=("e", 1)).outcome == "COMMITTED"
    assert engine.write_delta(uri, empty, mode="overwrite").outcome == "COMMITTED"
    assert rows(engine, uri) == []


def test_optimize_goes_on_where_it_was_stopped(engine, tmp_path):
    uri = tmp_path / "many"
    for n in range(8):
        data = pa.table({"id": [n], "p": [f"p{n % 4}"]})
        engine.write_delta(uri, data, partition_by="p")
    result = engine.optimize(uri, min_commit_interval=0.000001, max_concurrent_tasks=1)
    assert result.outcome == "COMMITTED"
    assert len(result.attempts[0].tried) > 1, "each partition was committed by itself"
    assert engine.optimize(uri).outcome == "UNCHANGED"
    assert result.operation_metrics["num_files_added"] == 4
    found = engine.query("SELECT count(*) AS n FROM t", sources={"t": uri}).to_pylist()
    assert found == [{"n": 8}]


def test_z_order(engine, tmp_path):
    uri = tmp_path / "z"
    for n in range(4):
        engine.write_delta(uri, pa.table({"a": list(range(n, 100, 4)), "b": [n] * 25}))
    result = engine.optimize(uri, z_order=["a", "b"])
    assert result.operation_metrics["num_files_added"] == 1
    found = engine.query("SELECT count(*) AS n, sum(a) AS s FROM t", sources={"t": uri})
    assert found.to_pylist() == [{"n": 100, "s": 4950}]


def test_changes(engine, tmp_path):
    uri = tmp_path / "c"
    engine.write_delta(uri, ROWS, properties={"delta.enableChangeDataFeed": "true"})
    engine.update(uri, {"v": "'x'"}, "id = 1")
    engine.delete(uri, "id = 2")
    found = engine.changes(uri, 1).to_pylist()
    seen = sorted((r["_commit_version"], r["_change_type"], r["id"], r["v"]) for r in found)
    assert seen == [
        (1, "update_postimage", 1, "x"),
        (1, "update_preimage", 1, "a"),
        (2, "delete", 2, "b"),
    ]
    feed = fusiondelta.DeltaChanges(uri, 0, 0)
    inserted = engine.query("SELECT count(*) AS n FROM c", sources={"c": feed}).to_pylist()
    assert inserted == [{"n": 3}]
    with pytest.raises(fusiondelta.SnapshotNotFoundError):
        engine.changes(uri, 9)
    other = tmp_path / "plain"
    engine.write_delta(other, ROWS)
    with pytest.raises(UnsupportedTableFeatureError, match="keeps no changes"):
        engine.changes(other, 0)


def test_many_writers_lose_no_row(tmp_path, engine):
    """Appends and updates of sixteen threads with engines of their own."""
    uri = tmp_path / "w"
    engine.write_delta(uri, pa.table({"id": [0], "v": ["0"]}))
    policy = RetryPolicy(attempts=50, first_delay=0.005, longest_delay=0.05)
    failures = []

    def work(n):
        try:
            with FusionDeltaEngine() as mine:
                mine.write_delta(uri, pa.table({"id": [n], "v": ["new"]}))
                mine.update(uri, {"v": f"'{n}'"}, f"id = {n}", retry=policy)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(engine, uri) == [(n, str(n)) for n in range(9)]
    assert litter(uri) == []


HINDERED = """
    import os, resource, sys
    import pyarrow as pa
    import fusiondelta
    from fusiondelta import FusionDeltaEngine

    uri, how, warm = sys.argv[1:]
    engine = FusionDeltaEngine()
    rows = pa.table({"id": list(range(200_000)), "v": [f"{i * 7919:032x}" for i in range(200_000)]})
    # Everything is loaded before this process may do less.
    engine.write_delta(warm, rows.slice(0, 10))
    engine.merge(warm, rows.slice(0, 2), on=["id"]).when_matched_delete().execute()
    if how == "full":
        # What a full disk does to a file, without one: it cannot grow any more.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    elif os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    for work in (
        lambda: engine.write_delta(uri, rows),
        lambda: engine.write_delta(uri, rows, mode="overwrite"),
        lambda: engine.merge(uri, rows, on=["id"])
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute(),
    ):
        try:
            work()
        except fusiondelta.FusionDeltaError as error:
            print(type(error).__name__, error.details["outcome"])
"""


@pytest.fixture
def open_folder():
    """A folder that anybody may read, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="fusiondelta-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize("how", ["full", "forbidden"])
def test_a_disk_that_takes_no_more(engine, open_folder, tmp_path, how):
    """Each change fails with an error of ours, and the table is as it was."""
    uri = open_folder / "t"
    engine.write_delta(uri, ROWS)
    script = tmp_path / "hindered.py"
    script.write_text(textwrap.dedent(HINDERED))
    before = rows(engine, uri)
    there = sorted(path.name for path in uri.rglob("*"))
    (tmp_path / "warm").mkdir()
    if os.geteuid() != 0 and how == "forbidden":
        for folder in (uri, uri / "_delta_log"):
            folder.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, str(script), str(uri), how, str(tmp_path / "warm" / "t")],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        for folder in (uri, uri / "_delta_log"):
            folder.chmod(0o755)
    said = done.stdout.splitlines()
    assert len(said) == 3, done.stderr
    assert {line.split()[1] for line in said} == {"not_committed"}
    assert rows(engine, uri) == before
    assert sorted(path.name for path in uri.rglob("*")) == there


@pytest.mark.parametrize("name", ["with space", "ünïcode", "per%cent", "per%20cent", "a+b&c"])
def test_odd_folders(engine, tmp_path, name):
    uri = tmp_path / name / "t"
    engine.write_delta(uri, ROWS, partition_by="v")
    engine.update(uri, {"id": "id + 10"}, "v = 'a'")
    engine.merge(uri, MORE, on=["id"]).when_not_matched_insert_all().execute()
    engine.optimize(uri)
    assert rows(engine, uri) == [(2, "b"), (3, "c"), (4, "d"), (11, "a")]
    assert engine.vacuum(uri).operation_metrics["dry_run"] is True


def test_a_link_to_a_table(engine, uri, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(uri, target_is_directory=True)
    engine.write_delta(link, MORE)
    assert len(rows(engine, uri)) == 4
    assert engine.open_delta(link).snapshot == engine.open_delta(uri).snapshot


def test_a_clock_that_jumps(engine, uri):
    """Commits are ordered by version; a file from the future does no harm."""
    log = uri / "_delta_log" / f"{0:020}.json"
    future = time.time() + 86_400
    os.utime(log, (future, future))
    engine.write_delta(uri, MORE)
    engine.delete(uri, "id = 1")
    assert rows(engine, uri) == [(2, "b"), (3, "c"), (4, "d")]


def test_two_who_make_one_table(tmp_path, engine):
    """Both find nothing there."""
    uri = tmp_path / "new"
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(uri, ROWS))
        engine.write_delta(uri, MORE)
        outcome = held.finish()
    assert isinstance(outcome, CommitConflict) or outcome.outcome == "COMMITTED"
    expected = {(4, "d")}
    if not isinstance(outcome, CommitConflict):
        expected |= {(1, "a"), (2, "b"), (3, "c")}
    assert set(rows(engine, uri)) == expected
    assert litter(uri) == []


def test_replaced_partitions(engine, tmp_path):
    uri = tmp_path / "p"
    first = pa.table({"p": ["a", "a", "b", None], "v": [1, 2, 3, 4]})
    engine.write_delta(uri, first, partition_by="p")
    new = pa.table({"p": ["a", None, "c"], "v": [10, 40, 50]})
    engine.write_delta(uri, new, mode="overwrite", replace_partitions=True)
    found = engine.query("SELECT * FROM t ORDER BY v", sources={"t": uri}).to_pylist()
    assert found == [
        {"p": "b", "v": 3},
        {"p": "a", "v": 10},
        {"p": None, "v": 40},
        {"p": "c", "v": 50},
    ]
    query = engine.query("SELECT 'b' AS p, v + 100 AS v FROM n", sources={"n": new})
    engine.write_delta(uri, query, mode="overwrite", replace_partitions=True)
    found = engine.query("SELECT v FROM t WHERE p = 'b' ORDER BY v", sources={"t": uri})
    assert [row["v"] for row in found.to_pylist()] == [110, 140, 150]
    assert (
        engine.write_delta(uri, new.slice(0, 0), mode="overwrite", replace_partitions=True).outcome
        == "UNCHANGED"
    )
    with pytest.raises(ConfigurationError, match="replace_partitions"):
        engine.write_delta(uri, new, replace_partitions=True)
    plain = tmp_path / "plain"
    engine.write_delta(plain, new)
    with pytest.raises(ConfigurationError, match="no partitions"):
        engine.write_delta(plain, new, mode="overwrite", replace_partitions=True)


def test_progress(engine, tmp_path):
    told = []

    def slowly():
        for n in range(12):
            time.sleep(0.1)
            yield pa.record_batch({"n": [n]})

    engine.write_delta(
        tmp_path / "t", slowly(), schema=pa.schema([("n", pa.int64())]), progress=told.append
    )
    assert len(told) >= 3
    assert [one.done for one in told] == [False] * (len(told) - 1) + [True]
    assert told[-1].bytes_written > 0
    assert told[-1].requests > 0
    assert [one.seconds for one in told] == sorted(one.seconds for one in told)

    def broken(_):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        engine.write_delta(tmp_path / "t", pa.table({"n": [1]}), progress=broken)
    found = engine.query("SELECT count(*) AS n FROM t", sources={"t": tmp_path / "t"})
    assert found.to_pylist() == [{"n": 13}], "the change itself was made"


def test_optimize_refuses_filters_on_what_is_no_partition(engine, tmp_path):
    uri = tmp_path / "parts"
    engine.write_delta(uri, pa.table({"p": ["a", "b"], "id": [1, 2]}), partition_by="p")
    with pytest.raises(ConfigurationError, match=r'"id".*partitioned by: p'):
        engine.optimize(uri, partition_filters=[("id", "=", "1")])
