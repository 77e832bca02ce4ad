"""Commits whose answer is lost, for every kind of change: one commit, told as what it is."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from fusiondelta import CommitOutcomeUnknown, FusionDeltaEngine, IoPolicy, StorageError
from fusiondelta.testing import (
    DropAnswer,
    FaultProxy,
    Hang,
    Reset,
    ResetMidBody,
    Rule,
    Status,
    StatusAfter,
)
from tests.harness.steps import Steps
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

QUICK = IoPolicy(
    retries=2,
    first_backoff=0.01,
    longest_backoff=0.05,
    request_timeout=1.0,
    retry_budget=10,
)
FIRST = pa.table({"id": [1, 2, 3], "v": ["a", "b", "c"]})
#: The object of a commit.
COMMIT = r"_delta_log/\d{20}\.json"


def merge(engine, uri):
    source = pa.table({"id": [3, 9], "v": ["m", "m"]})
    made = engine.merge(uri, source, on=["id"])
    return made.when_matched_update_all().when_not_matched_insert_all().execute()


CHANGES = {
    "append": (
        lambda e, uri: e.write_delta(uri, pa.table({"id": [4], "v": ["d"]})),
        [(1, "a"), (2, "b"), (3, "c"), (4, "d")],
    ),
    "overwrite": (
        lambda e, uri: e.write_delta(uri, pa.table({"id": [4], "v": ["d"]}), mode="overwrite"),
        [(4, "d")],
    ),
    "delete": (lambda e, uri: e.delete(uri, "id = 2"), [(1, "a"), (3, "c")]),
    "update": (
        lambda e, uri: e.update(uri, {"v": "'z'"}, "id = 1"),
        [(1, "z"), (2, "b"), (3, "c")],
    ),
    "merge": (merge, [(1, "a"), (2, "b"), (3, "m"), (9, "m")]),
}
#: The same where rows are deleted by deletion vectors.
VECTORS = " with vectors"
CHANGES |= {name + VECTORS: CHANGES[name] for name in ("delete", "update", "merge")}
#: What takes effect although it does not look so.
TAKEN = {
    "answer dropped": DropAnswer(),
    "500 after storing": StatusAfter(500),
    "503 after storing": StatusAfter(503),
    "409 after storing": StatusAfter(409),
    "no answer after storing": Hang(through=True),
}
#: What takes no effect at first, and is tried again.
LOST = {
    "reset": Reset(),
    "reset in the middle of the body": ResetMidBody(64),
    "500": Status(500),
    "503": Status(503),
    "slow to the limit": Hang(),
}


@pytest.fixture
def proxy(store):
    with FaultProxy(store.server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def engine(store, proxy):
    profile = store.profile(endpoint=proxy.endpoint, io=QUICK, conditional_put_verified=True)
    with FusionDeltaEngine(storage=profile) as engine:
        yield engine


@pytest.fixture
def table(store, request):
    uri = store.uri("t")
    change = request.node.callspec.params.get("change", "")
    has_vectors = "true" if change.endswith(VECTORS) else "false"
    properties = {"delta.enableDeletionVectors": has_vectors}
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(uri, FIRST, properties=properties)
    return uri


def rows(store, uri):
    """What the table holds for somebody who was not there."""
    with FusionDeltaEngine(storage=store.profile()) as fresh:
        found = fresh.query("SELECT id, v FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    return [(row["id"], row["v"]) for row in found]


def commits(store):
    """Commit ids in the log, by version."""
    names = [name for name in store.raw_list("t/_delta_log/") if name.endswith(".json")]
    found = {}
    for name in names:
        lines = store.raw_get(name).decode().splitlines()
        infos = [json.loads(line) for line in lines if '"commitInfo"' in line]
        found[int(name.split("/")[-1][:20])] = infos[0]["commitInfo"]["fusiondelta.commit_id"]
    return found


def orphans(store):
    """Data files that no commit has added."""
    added = set()
    for name in store.raw_list("t/_delta_log/"):
        for line in store.raw_get(name).decode().splitlines():
            action = json.loads(line)
            if "add" in action:
                added.add("t/" + action["add"]["path"])
    return [
        name for name in store.raw_list("t/") if name.endswith(".parquet") and name not in added
    ]


def vectors(store):
    """Files with deletion vectors."""
    return [name for name in store.raw_list("t/") if name.endswith(".bin")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fault", [*TAKEN, *LOST])
def test_one_commit(engine, proxy, store, table, change, fault):
    make, expected = CHANGES[change]
    action = {**TAKEN, **LOST}[fault]
    proxy.add(Rule(action, method="PUT", target=COMMIT, first=1))
    result = make(engine, table)
    assert result.outcome == "COMMITTED"
    assert result.snapshot.version == 1
    assert rows(store, table) == expected
    found = commits(store)
    assert sorted(found) == [0, 1]
    assert found[1] == result.commit_id
    assert len(vectors(store)) == change.endswith(VECTORS)
    assert engine.commit_outcome(table, result.commit_id).snapshot == result.snapshot


@pytest.mark.parametrize("change", CHANGES)
def test_a_commit_that_the_store_refuses_is_not_made(engine, proxy, store, table, change):
    make, _ = CHANGES[change]
    proxy.add(Rule(Status(500), method="PUT", target=COMMIT))
    with pytest.raises(StorageError) as caught:
        make(engine, table)
    assert caught.value.details["outcome"] == "not_committed"
    assert rows(store, table) == [(1, "a"), (2, "b"), (3, "c")]
    assert orphans(store) == []
    assert vectors(store) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_commit_that_is_never_answered_is_in_doubt(engine, proxy, store, table, change):
    """Nothing is there, and what was sent may arrive yet: nobody can say more."""
    make, expected = CHANGES[change]
    rule = proxy.add(Rule(Hang(), method="PUT", target=COMMIT))
    with pytest.raises(CommitOutcomeUnknown) as caught:
        make(engine, table)
    proxy.remove(rule)
    commit_id = caught.value.commit_id
    assert engine.commit_outcome(table, commit_id).status == "NOT_COMMITTED"
    # Its files are kept: it may become a commit yet.
    if change.endswith(VECTORS):
        assert vectors(store) != []
    elif change != "delete":
        assert orphans(store) != []
    assert make(engine, table).outcome == "COMMITTED"
    assert rows(store, table) == expected


def in_the_dark(engine, proxy, work):
    """The commit takes effect, has no answer, and cannot be looked for."""
    with Steps(engine) as steps:
        held = steps.start(work)
        rules = [
            proxy.add(Rule(DropAnswer(), method="PUT", target=COMMIT)),
            proxy.add(Rule(Status(500), method="GET", target=COMMIT)),
            proxy.add(Rule(Status(500), method="GET", target="list-type")),
        ]
        outcome = held.finish()
    for rule in rules:
        proxy.remove(rule)
    return outcome


def test_a_commit_that_cannot_be_looked_for_is_in_doubt(engine, proxy, store, table):
    error = in_the_dark(engine, proxy, lambda: engine.write_delta(table, FIRST))
    assert isinstance(error, CommitOutcomeUnknown)
    assert "commit_outcome" in str(error)
    found = engine.commit_outcome(table, error.commit_id)
    assert found.status == "COMMITTED"
    assert found.snapshot.version == 1


@pytest.mark.parametrize("change", ["append", "merge", "delete"])
def test_a_key_makes_a_change_once_after_a_doubt(engine, proxy, store, table, change):
    """What a job does that got no answer: the same again, with the same key."""
    key = ("job", 1)
    new = pa.table({"id": [4], "v": ["d"]})
    make, expected = {
        "append": (
            lambda: engine.write_delta(table, new, idempotency_key=key),
            CHANGES["append"][1],
        ),
        "merge": (
            lambda: (
                engine.merge(table, new, on=["id"], idempotency_key=key)
                .when_not_matched_insert_all()
                .execute()
            ),
            CHANGES["append"][1],
        ),
        "delete": (
            lambda: engine.delete(table, "id = 2", idempotency_key=key),
            CHANGES["delete"][1],
        ),
    }[change]
    assert isinstance(in_the_dark(engine, proxy, make), CommitOutcomeUnknown)
    for _ in range(2):
        result = make()
        assert result.replayed
        assert result.snapshot.version == 1
    assert rows(store, table) == expected
    assert sorted(commits(store)) == [0, 1]
