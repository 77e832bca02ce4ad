"""Commits on the local file system: attempts, keys, what is refused a second try, what is left."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import (
    CommitConflict,
    ConfigurationError,
    FusionDeltaEngine,
    QueryTimeoutError,
    RetryPolicy,
    TablePolicy,
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


# attempts


def test_what_reads_is_made_again_from_the_newest_version(engine, uri):
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.update(uri, {"v": "v || '!'"}, "id = 1", retry=AGAIN))
        engine.update(uri, {"v": "'x'"}, "id = 1")
        result = held.finish()
    assert rows(engine, uri)[0] == (1, "x!"), "the other's value is what was changed"
    assert [one.conflict for one in result.attempts] == ["ConcurrentAppend", None]
    assert result.attempts[0].winning_version == 1
    assert result.attempts[1].tried == ((2, "committed"),)
    assert result.read_version == 1
    assert result.manifest().to_dict()["write"]["attempts"][0]["conflict"] is not None
    assert litter(uri) == []


def test_an_append_goes_on_behind_others_without_another_try(engine, uri):
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(uri, MORE))
        engine.update(uri, {"v": "'x'"}, "id = 1")
        result = held.finish()
    [attempt] = result.attempts
    assert attempt.tried == ((1, "taken"), (2, "committed"))


def test_attempts_are_bounded(engine, uri):
    """Every try loses against another, until there are no more."""
    lost = []

    def other(name, version):
        if name == "commit" and threading.current_thread() is not threading.main_thread():
            lost.append(version)

    # The other writer has no hook, and comes between each read and its commit.
    with FusionDeltaEngine() as rival:
        import dataclasses

        def hook(name, version):
            if name == "commit":
                rival.update(uri, {"v": "'r'"}, "id = 1")

        engine._committer = dataclasses.replace(engine._committer, hook=hook)
        with pytest.raises(CommitConflict, match="all 3 attempts") as caught:
            engine.delete(uri, "id = 1", retry=AGAIN.replace(attempts=3))
    assert caught.value.details["attempts"] == "3"
    assert caught.value.details["outcome"] == "not_committed"
    assert caught.value.winning_version == caught.value.read_version + 1
    assert rows(engine, uri)[0] == (1, "r")
    assert litter(uri) == []


def test_the_budget_ends_attempts(engine, uri):
    with Steps(engine) as steps:
        policy = RetryPolicy(first_delay=1, longest_delay=1, budget=0.5)
        held = steps.start(lambda: engine.delete(uri, "id = 1", retry=policy))
        engine.update(uri, {"v": "'x'"}, "id = 1")
        error = held.finish()
    assert isinstance(error, CommitConflict)
    assert "budget" in error.details["not_retried"]


def lose(engine, uri, work):
    """The change loses against an update of its rows once."""
    with Steps(engine) as steps:
        held = steps.start(work)
        engine.update(uri, {"v": "'x'"}, "id = 1")
        return held.finish()


def replaced(engine, uri, data, **more):
    where = "id < 100"
    return lambda: engine.write_delta(
        uri, data, mode="overwrite", replace_where=where, retry=AGAIN, **more
    )


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        ROWS.to_batches()[0],
        ROWS.to_pandas(),
        ROWS.to_batches(),
        lambda: ROWS.to_reader(),
        lambda: iter(ROWS.to_batches()),
    ],
    ids=["table", "batch", "pandas", "list", "callable", "callable of an iterator"],
)
def test_rows_that_can_be_had_again_are(engine, uri, data):
    result = lose(engine, uri, replaced(engine, uri, data, schema=ROWS.schema))
    assert not isinstance(result, BaseException), result
    assert len(result.attempts) == 2
    assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("make", [lambda: ROWS.to_reader(), lambda: iter(ROWS.to_batches())])
def test_a_stream_is_refused_a_second_try(engine, uri, make):
    error = lose(engine, uri, replaced(engine, uri, make(), schema=ROWS.schema))
    assert isinstance(error, CommitConflict)
    assert "gives its rows once" in error.details["not_retried"]
    assert "spool" in error.details["not_retried"]


def test_a_stream_is_kept_in_a_file_where_that_is_asked_for(tmp_path, uri):
    profile = fusiondelta.EngineProfile(spill_dir=tmp_path / "spill")
    (tmp_path / "spill").mkdir()
    with FusionDeltaEngine(profile) as engine:
        policy = AGAIN.replace(spool=True)
        work = lambda: engine.write_delta(  # noqa: E731
            uri, ROWS.to_reader(), mode="overwrite", replace_where="id < 100", retry=policy
        )
        result = lose(engine, uri, work)
        assert len(result.attempts) == 2
        assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "c")]
        assert not list((tmp_path / "spill").glob("fusiondelta-spool-*")), "the file is gone"


def test_a_query_of_another_table_is_run_again(engine, uri, tmp_path):
    other = tmp_path / "other"
    engine.write_delta(other, ROWS)
    query = engine.query("SELECT * FROM o", sources={"o": other})
    result = lose(engine, uri, replaced(engine, uri, query))
    assert len(result.attempts) == 2
    assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "c")]


def test_a_query_of_a_stream_is_not(engine, uri):
    query = engine.query("SELECT * FROM s", sources={"s": ROWS.to_reader()})
    error = lose(engine, uri, replaced(engine, uri, query))
    assert "reads the stream 's'" in error.details["not_retried"]


def test_a_query_with_random_values_is_not_unless_it_is_let(engine, uri, tmp_path):
    other = tmp_path / "other"
    engine.write_delta(other, ROWS)

    def work(policy):
        query = engine.query(
            "SELECT id, CAST(random() AS VARCHAR) AS v FROM o", sources={"o": other}
        )
        return lambda: engine.write_delta(
            uri, query, mode="overwrite", replace_where="id < 100", retry=policy
        )

    error = lose(engine, uri, work(AGAIN))
    assert "random()" in error.details["not_retried"]
    result = lose(engine, uri, work(AGAIN.replace(allow_volatile=True)))
    assert len(result.attempts) == 2


# a table that is rewritten from itself


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_rows_of_the_table_itself_that_are_out_of_date_are_not_written(engine, uri, mode):
    """The query has read version 0; what came after it must not be lost, or doubled."""
    query = engine.query("SELECT id, v FROM t WHERE id > 1", sources={"t": uri})
    engine.write_delta(uri, MORE)
    with pytest.raises(CommitConflict, match="the same table as it was") as caught:
        engine.write_delta(uri, query, mode=mode)
    assert caught.value.conflict == "ConcurrentAppend"
    assert caught.value.winning_version == 1
    assert rows(engine, uri) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert litter(uri) == []


def test_rows_of_the_table_itself_are_written_where_nothing_came_between(engine, uri):
    engine.optimize(uri)
    query = engine.query("SELECT id, v FROM t WHERE id > 1", sources={"t": uri})
    engine.write_delta(uri, query, mode="overwrite")
    assert rows(engine, uri) == [(2, "b"), (3, "c")]


def test_a_callable_queries_the_table_anew(engine, uri):
    def kept():
        return engine.query("SELECT id, v FROM t WHERE id > 1", sources={"t": uri})

    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(uri, kept, mode="overwrite", retry=AGAIN))
        engine.write_delta(uri, MORE)
        result = held.finish()
    assert len(result.attempts) == 2
    assert rows(engine, uri) == [(2, "b"), (3, "c"), (4, "d")]


# keys


def test_a_key_is_taken_once(engine, uri):
    key = ("job", 7)
    first = engine.write_delta(uri, MORE, idempotency_key=key, metadata={"batch": "7"})
    assert not first.replayed
    for _ in range(3):
        again = engine.write_delta(uri, MORE, idempotency_key=key)
        assert again.replayed
        assert again.snapshot == first.snapshot
        assert again.commit_id == first.commit_id
        assert again.rows_written == first.rows_written == 1
    assert rows(engine, uri)[-1] == (4, "d")
    assert len(rows(engine, uri)) == 4
    # An older one was there before, as far as anybody can tell.
    assert engine.write_delta(uri, MORE, idempotency_key=("job", 6)).replayed
    assert not engine.write_delta(uri, MORE, idempotency_key=("job", 8)).replayed
    assert not engine.write_delta(uri, MORE, idempotency_key=("other", 1)).replayed


def test_a_key_is_looked_for_within_the_commit(engine, uri):
    """Both have read the table before either has committed."""
    key = ("job", 1)
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(uri, MORE, idempotency_key=key))
        first = engine.write_delta(uri, MORE, idempotency_key=key)
        second = held.finish()
    assert not first.replayed
    assert second.replayed
    assert second.snapshot == first.snapshot
    assert len(rows(engine, uri)) == 4
    assert litter(uri) == []


def test_many_threads_with_one_key_commit_once(engine, uri):
    results = []

    def work():
        results.append(engine.write_delta(uri, MORE, idempotency_key=("job", 1)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.snapshot for result in results}) == 1
    assert [result.replayed for result in results].count(False) == 1
    assert len(rows(engine, uri)) == 4


@pytest.mark.parametrize(
    "key", ["job", ("job",), ("", 1), ("job", -1), ("job", True), ("job", 1.5)]
)
def test_what_is_no_key(engine, uri, key):
    with pytest.raises(ConfigurationError, match="idempotency_key is"):
        engine.write_delta(uri, MORE, idempotency_key=key)


def test_keys_of_merges_and_deletes(engine, uri):
    merge = engine.merge(uri, MORE, on=["id"], idempotency_key=("m", 1))
    assert not merge.when_not_matched_insert_all().execute().replayed
    assert merge.when_not_matched_insert_all().execute().replayed
    assert not engine.delete(uri, "id = 1", idempotency_key=("d", 1)).replayed
    assert engine.delete(uri, "id = 2", idempotency_key=("d", 1)).replayed
    assert rows(engine, uri) == [(2, "b"), (3, "c"), (4, "d")]


# ends


def test_a_deadline_before_the_commit_leaves_nothing(engine, uri):
    def slowly():
        for batch in MORE.to_batches() * 100:
            time.sleep(0.05)
            yield batch

    with pytest.raises(QueryTimeoutError) as caught:
        engine.write_delta(uri, slowly(), schema=MORE.schema, timeout=0.3)
    assert caught.value.details["outcome"] == "not_committed"
    assert len(rows(engine, uri)) == 3
    assert litter(uri) == []


def test_a_deadline_while_the_commit_is_on_its_way_tells_its_outcome(engine, uri):
    """It is waited for, and is no failure where it succeeded."""
    import dataclasses

    def late(name, version):
        if name == "answered":
            time.sleep(1.5)

    engine._committer = dataclasses.replace(engine._committer, hook=late)
    result = engine.write_delta(uri, MORE, timeout=1.0)
    assert result.outcome == "COMMITTED"


def test_closing_the_engine_stops_what_has_not_begun_to_commit(uri):
    engine = FusionDeltaEngine()
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(uri, MORE), at="read")
        engine.close()
        error = held.finish()
    assert isinstance(error, fusiondelta.FusionDeltaError)
    with FusionDeltaEngine() as other:
        assert len(rows(other, uri)) == 3


INTERRUPTED = """
    import os, signal, sys, threading, time
    import pyarrow as pa
    from fusiondelta import FusionDeltaEngine

    def slowly():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        for _ in range(200):
            time.sleep(0.05)
            yield pa.record_batch({"id": [9], "v": ["z"]})

    schema = pa.schema([("id", pa.int64()), ("v", pa.string())])
    engine = FusionDeltaEngine()
    started = time.monotonic()
    try:
        engine.write_delta(sys.argv[1], slowly(), schema=schema)
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - started < 2.5)
"""


def test_ctrl_c_leaves_nothing(engine, uri, tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    done = subprocess.run(
        [sys.executable, str(script), str(uri)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["interrupted", "True"], done.stderr
    assert len(rows(engine, uri)) == 3
    assert litter(uri) == []


KILLED = """
    import os, sys
    import pyarrow as pa
    from fusiondelta import FusionDeltaEngine
    import dataclasses

    engine = FusionDeltaEngine()

    def hook(name, version):
        if name == sys.argv[2]:
            os._exit(9)

    engine._committer = dataclasses.replace(engine._committer, hook=hook)
    engine.merge(sys.argv[1], pa.table({"id": [1, 9], "v": ["k", "k"]}), on=["id"]) \\
        .when_matched_update_all().when_not_matched_insert_all().execute()
"""


@pytest.mark.parametrize(("step", "made"), [("read", False), ("commit", False), ("answered", True)])
def test_a_process_that_dies_leaves_a_whole_table(engine, uri, tmp_path, step, made):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    done = subprocess.run([sys.executable, str(script), str(uri), step], timeout=60)
    assert done.returncode == 9
    expected = [(1, "k"), (2, "b"), (3, "c"), (9, "k")] if made else [(1, "a"), (2, "b"), (3, "c")]
    assert rows(engine, uri) == expected
    # What is left is taken by a full vacuum once it is old enough.
    assert bool(litter(uri)) == (step == "commit")


# what is refused


def test_a_policy_of_appends(uri, tmp_path):
    policies = {str(tmp_path): TablePolicy(writers="append_only")}
    with FusionDeltaEngine(tables=policies) as engine:
        engine.write_delta(uri, MORE)
        for work in (
            lambda: engine.delete(uri),
            lambda: engine.update(uri, {"v": "''"}),
            lambda: engine.merge(uri, MORE, on=["id"]).when_matched_delete().execute(),
            lambda: engine.optimize(uri),
            lambda: engine.write_delta(uri, MORE, mode="overwrite"),
        ):
            with pytest.raises(UnsupportedTableFeatureError, match="append_only"):
                work()
        assert len(rows(engine, uri)) == 4
        made = tmp_path / "made"
        engine.write_delta(made, MORE)
        assert engine.open_delta(made).properties["delta.appendOnly"] == "true"
    with (
        FusionDeltaEngine() as other,
        pytest.raises(UnsupportedTableFeatureError, match="append-only"),
    ):
        other.delete(made)


@pytest.mark.parametrize(
    "features",
    [["rowTracking", "domainMetadata"], ["clustering", "domainMetadata"], ["catalogManaged"]],
    ids=lambda names: names[0],
)
def test_features_that_cannot_be_written(engine, uri, features):
    """A made-up protocol: what matters is that nothing is written."""
    log = uri / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            line["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [name for name in features if name == "catalogManaged"],
                "writerFeatures": features,
            }
    log.write_text("\n".join(json.dumps(line) for line in lines))
    before = sorted(p.name for p in uri.rglob("*"))
    for work in (
        lambda: engine.write_delta(uri, MORE),
        lambda: engine.delete(uri, "id = 1"),
        lambda: engine.optimize(uri),
    ):
        with pytest.raises(UnsupportedTableFeatureError) as caught:
            work()
        assert features[0] in str(caught.value)
        assert "/t" in str(caught.value)
    assert sorted(p.name for p in uri.rglob("*")) == before


def test_capabilities(engine, uri):
    found = engine.capabilities(uri)
    assert all(found.allows(name) for name in found.obstacles)
    engine.set_properties(uri, {"delta.appendOnly": "true"}, allow_metadata_change=True)
    found = engine.capabilities(uri)
    assert found.allows("append")
    assert not found.allows("delete")
    assert "append-only" in found.obstacles["merge"]


def test_schema_plan(engine, uri):
    same = engine.schema_plan(uri, ROWS)
    assert same.schema_mode is None
    wider = engine.schema_plan(uri, ROWS.append_column("n", pa.array([1, 2, 3])))
    assert wider.schema_mode == "merge"
    assert list(wider.added) == ["n"]
    other = engine.schema_plan(uri, pa.schema([("id", pa.string())]))
    assert other.schema_mode == "overwrite"
    assert other.changed["id"] == (pa.int64(), pa.string())
    assert list(other.missing) == ["v"]
