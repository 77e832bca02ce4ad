"""Many writers of one table on a real store: no row is lost, none is there twice."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from fusiondelta import FusionDeltaEngine, RetryPolicy
from tests.stores import kinds

pytestmark = pytest.mark.stores

WRITERS = 8
EACH = 4
PATIENT = RetryPolicy(attempts=60, first_delay=0.01, longest_delay=0.3, budget=120)


@pytest.mark.parametrize("store", kinds.ALL, indirect=True)
def test_appends_and_changes(store):
    uri = store.uri("t")
    profile = store.profile()
    with FusionDeltaEngine(storage=profile) as engine:
        engine.write_delta(uri, pa.table({"id": [0], "v": [0]}))
    failures = []

    def work(number):
        try:
            with FusionDeltaEngine(storage=profile) as mine:
                for n in range(EACH):
                    row = pa.table({"id": [100 * number + n], "v": [0]})
                    mine.write_delta(uri, row, idempotency_key=(f"writer-{number}", n))
                # Each reads what the others change: one after the other, whatever comes first.
                mine.update(uri, {"v": "v + 1"}, "id = 0", retry=PATIENT)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, WRITERS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with FusionDeltaEngine(storage=profile) as engine:
        found = engine.query("SELECT id, v FROM t ORDER BY id", sources={"t": uri}).to_pylist()
        assert engine.open_delta(uri).snapshot.version == WRITERS * (EACH + 1)
    ids = [100 * number + n for number in range(1, WRITERS + 1) for n in range(EACH)]
    assert [(row["id"], row["v"]) for row in found] == [(0, WRITERS), *((i, 0) for i in ids)]
