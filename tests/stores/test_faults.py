"""A store that fails: right rows or a typed error, within the policy's budget, and never a hang.

Between the library and MinIO stands a proxy that delays, refuses, cuts and drops. Times are
compared with what the policy allows, never with what is usual.
"""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from fusiondelta import (
    AuthenticationError,
    FusionDeltaEngine,
    FusionDeltaError,
    IoPolicy,
    StorageError,
    StorageTimeoutError,
    ThrottledError,
)
from fusiondelta.testing import (
    DropAnswer,
    ExpiredCredentials,
    FaultProxy,
    Hang,
    Latency,
    Permanent,
    Reset,
    ResetMidBody,
    Rule,
    SlowBody,
    Status,
    StatusAfter,
    Throttle,
    Truncate,
    WrongContentLength,
)
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

ROWS = pa.table({"id": list(range(50_000)), "text": [f"row {i}" for i in range(50_000)]})
SUM = sum(range(50_000))

PATIENT = IoPolicy(
    connect_timeout=1,
    request_timeout=1,
    retries=4,
    first_backoff=0.01,
    longest_backoff=0.05,
    retry_budget=6,
)
#: Longest that one request may take with its retries: budget, one more try, and waits.
BUDGET = 6 + 1 + 0.05

DATA = r"\.parquet$"
LOG = r"_delta_log/\d+\.json"


@pytest.fixture
def proxy(store):
    with FaultProxy(store.server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def table(store):
    """A table written without faults."""
    uri = store.uri("t")
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(uri, ROWS)
        engine.write_delta(uri, ROWS.slice(0, 1))
    return uri


@pytest.fixture
def engine(store, proxy):
    """An engine that reaches the store through the proxy."""
    with FusionDeltaEngine(storage=store.profile(endpoint=proxy.endpoint, io=PATIENT)) as engine:
        yield engine


def total(engine, uri):
    result = engine.query("SELECT sum(id) AS s, count(text) AS n FROM t", sources={"t": uri})
    [row] = result.to_pylist()
    return row, result.io


PASSING = {
    "latency": [Rule(Latency(0.05))],
    "first requests fail with 500": [Rule(Status(500), first=3)],
    "first requests fail with 503": [Rule(Status(503), first=3)],
    "throttled": [Rule(Throttle(429, retry_after=1), first=2)],
    "throttled data": [Rule(Throttle(), target=DATA, first=2)],
    "reset": [Rule(Reset(), every=3, method="GET")],
    "data reset within": [Rule(ResetMidBody(1_000), target=DATA, method="GET", first=2)],
    "log reset within": [Rule(ResetMidBody(10), target=LOG, first=2)],
    "data cut off": [Rule(Truncate(1_000), target=DATA, method="GET", first=2)],
    "log cut off": [Rule(Truncate(10), target=LOG, first=2)],
    "a hang": [Rule(Hang(), target=LOG, first=1)],
    "a hang over data": [Rule(Hang(), target=DATA, method="GET", first=1)],
    "a dropped answer": [Rule(DropAnswer(), method="GET", every=4)],
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_leaves_right_rows(engine, proxy, table, fault):
    for rule in PASSING[fault]:
        proxy.add(rule)
    row, io = total(engine, table)
    assert row == {"s": SUM, "n": 50_001}
    assert any(r.fault is not None for r in proxy.requests) or fault == "latency"
    if fault != "latency":
        assert io.retries + engine.debug.io().retries > 0
    assert (
        engine.debug.io().requests["get"]
        == sum(r.method == "GET" for r in proxy.requests) - (engine.debug.io().requests["list"])
    )


LASTING = {
    "500": (Permanent(500), StorageError),
    "503": (Throttle(503, retry_after=None), ThrottledError),
    "429": (Throttle(429, retry_after=None), ThrottledError),
    "403": (Permanent(403), AuthenticationError),
    "expired": (Status(403, "ExpiredToken"), AuthenticationError),
    "reset": (Reset(), StorageError),
    "hang": (Hang(), StorageTimeoutError),
    "cut off": (Truncate(10), StorageError),
    "wrong length": (WrongContentLength(50), StorageError),
}


@pytest.mark.parametrize("where", [LOG, DATA])
@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_ends_in_its_error_within_the_budget(engine, proxy, table, fault, where):
    action, expected = LASTING[fault]
    proxy.add(Rule(action, target=where, method="GET"))
    started = time.monotonic()
    with pytest.raises(expected) as caught:
        total(engine, table)
    # A load may need a few requests one after the other; each has its own budget.
    assert time.monotonic() - started < 3 * BUDGET
    assert str(caught.value)
    proxy.remove(proxy.rules[0])
    assert total(engine, table)[0]["s"] == SUM, "the engine is as good as new"


def test_a_server_that_is_not_there(store, proxy, table):
    with FusionDeltaEngine(storage=store.profile(endpoint=proxy.endpoint, io=PATIENT)) as engine:
        proxy.stop()
        with pytest.raises(StorageError, match="connection"):
            engine.open_delta(table)
        proxy.start()
        assert total(engine, table)[0]["s"] == SUM


def test_a_slow_store_is_waited_for_no_longer_than_the_query_may_take(engine, proxy, table):
    proxy.add(Rule(SlowBody(500), target=DATA, method="GET"))
    result = engine.query("SELECT sum(id) AS s FROM t", sources={"t": table}, timeout=0.5)
    with pytest.raises(FusionDeltaError) as caught:
        result.to_table()
    assert caught.value.kind in ("query_timeout", "storage_timeout")


COMMIT_DOUBTS = {
    "answer dropped": DropAnswer(),
    "500 after storing": StatusAfter(500),
    "503 after storing": StatusAfter(503),
    "409 after storing": StatusAfter(409),
    "reset before": Reset(),
    "500 before": Status(500),
    "409 before": Status(409),
    "hang after storing": Hang(through=True),
}


@pytest.mark.parametrize("fault", COMMIT_DOUBTS)
def test_a_doubtful_commit_is_made_once_and_reported_as_made(engine, proxy, table, store, fault):
    proxy.add(Rule(COMMIT_DOUBTS[fault], method="PUT", target=LOG, nth=1))
    written = engine.write_delta(table, ROWS.slice(0, 2))
    assert written.snapshot.version == 2
    assert written.outcome == "COMMITTED"
    with FusionDeltaEngine(storage=store.profile()) as other:
        assert other.reachable_versions(table) == range(3)
        row, _ = total(other, table)
        assert row == {"s": SUM + 1, "n": 50_003}


def test_a_commit_that_cannot_be_made_is_not_made(engine, proxy, table, store):
    proxy.add(Rule(Permanent(500), method="PUT", target=LOG))
    with pytest.raises(StorageError) as caught:
        engine.write_delta(table, ROWS.slice(0, 2))
    assert caught.value.details["outcome"] == "not_committed"
    with FusionDeltaEngine(storage=store.profile()) as other:
        assert other.reachable_versions(table) == range(2)


def test_a_conditional_put_is_never_sent_twice_blindly(engine, proxy, table):
    """Between two puts of a commit the log is looked at."""
    proxy.add(Rule(Status(500), method="PUT", target=LOG, first=2))
    proxy.clear()
    engine.write_delta(table, ROWS.slice(0, 2))
    commit = [r.method for r in proxy.requests if r.path.endswith("00000000000000000002.json")]
    assert commit[:5] == ["PUT", "GET", "PUT", "GET", "PUT"]


def test_the_budget_of_expired_keys(engine, proxy, table):
    expired = {proxy_key(proxy, engine, table)}
    proxy.add(Rule(ExpiredCredentials(expired=expired)))
    with pytest.raises(AuthenticationError):
        engine.open_delta(table)


def proxy_key(proxy, engine, table):
    engine.open_delta(table)
    return proxy.requests[-1].key_id
