"""A `SnapshotKey` means the same schema, files and rows, whoever asks, whenever, and how often."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import deltalake
import pyarrow as pa
import pytest

from fusiondelta import DeltaSource, FusionDeltaEngine

pytestmark = pytest.mark.integration

THREADS = 16

#: Prints the identity of a table at a version; what another process runs.
SCRIPT = """
import json, sys
from fusiondelta import FusionDeltaEngine
from tests.integration.test_snapshot_identity import identity
with FusionDeltaEngine() as engine:
    print(json.dumps(identity(engine, sys.argv[1], int(sys.argv[2]))))
"""


def identity(engine, uri, version):
    """Key, schema, add actions and rows, each in a form that can be compared."""
    source = engine.open_delta(uri, version)
    result = engine.query("SELECT * FROM t", sources={"t": source})
    assert result.snapshots == (source.snapshot,)
    rows = sorted(repr(tuple(row.values())) for row in result.to_pylist())
    return {
        "key": str(source.snapshot),
        "schema": str(source.schema),
        "files": sorted(json.dumps(f, default=str) for f in source.files().to_pylist()),
        "rows": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
    }


def batch(first, count=100):
    ids = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "part": [f"p{n % 3}" for n in ids],
            "value": [n / 7 for n in ids],
        }
    )


@pytest.fixture
def table(engine, uri):
    """A table at version 2."""
    for first in (0, 100, 200):
        engine.write_delta(uri, batch(first), partition_by="part" if not first else None)
    return uri


def change_much(uri):
    """Everything other writers do to a table, in another engine."""
    deltalake.write_deltalake(uri, batch(300), mode="append")
    deltalake.DeltaTable(uri).delete("id % 2 = 0")
    deltalake.DeltaTable(uri).update({"value": "0.0"}, predicate="part = 'p1'")
    deltalake.DeltaTable(uri).optimize.compact()
    deltalake.DeltaTable(uri).create_checkpoint()
    extended = batch(400).append_column("extra", pa.array(["x"] * 100))
    deltalake.write_deltalake(uri, extended, mode="append", schema_mode="merge")
    deltalake.write_deltalake(
        uri, pa.table({"other": [1]}), mode="overwrite", schema_mode="overwrite", partition_by=[]
    )


def test_a_version_stays_what_it_was(engine, table):
    before = identity(engine, table, 2)
    change_much(table)

    latest = engine.open_delta(table).snapshot.version
    assert latest == deltalake.DeltaTable(table).version() > 5
    assert identity(engine, table, 2) == before, "from the cache"
    with FusionDeltaEngine() as fresh:
        assert identity(fresh, table, 2) == before, "read anew from the log"
        assert identity(fresh, table, latest) != before
    engine.open_delta(table)
    assert identity(engine, table, 2) == before, "after the cache has moved on"


def test_versions_differ_where_they_should(engine, table):
    found = [identity(engine, table, version) for version in range(3)]
    for part in ("key", "files", "rows"):
        assert len({str(one[part]) for one in found}) == 3, part
    assert len({one["schema"] for one in found}) == 1


def test_a_source_that_was_opened_keeps_its_version_under_way(engine, table):
    source = engine.open_delta(table)
    planned = engine.query("SELECT count(*) AS n FROM t", sources={"t": source})
    latest = engine.query("SELECT count(*) AS n FROM t", sources={"t": table})
    change_much(table)
    assert planned.to_pylist() == latest.to_pylist() == [{"n": 300}]
    assert latest.snapshots[0].version == 2, "pinned when it was planned"


def test_threads_at_once_see_one_snapshot_that_is_loaded_once(table):
    expected = None
    with FusionDeltaEngine(pool_size=THREADS) as engine:
        start = Barrier(THREADS)

        def ask(_):
            start.wait(timeout=60)
            return identity(engine, table, 1)

        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(ask, range(THREADS)))
        cache = engine.debug.caches()["snapshot_cache"]
        expected = identity(engine, table, 1)

    assert all(one == expected for one in found)
    assert cache["misses"] == 1
    assert cache["hits"] + cache["misses"] <= THREADS
    assert [entry[1] for entry in cache["entries"]] == [1]


def test_threads_at_once_resolve_latest_to_one_version(table):
    with FusionDeltaEngine(pool_size=THREADS) as engine:
        start = Barrier(THREADS)

        def ask(_):
            start.wait(timeout=60)
            result = engine.query("SELECT sum(id) AS s FROM t", sources={"t": table})
            return result.snapshots, result.to_pylist()

        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(ask, range(THREADS)))
    assert {snapshots[0].version for snapshots, _ in found} == {2}
    assert {rows[0]["s"] for _, rows in found} == {sum(range(300))}


def test_threads_that_read_while_others_write_see_whole_versions(engine, uri):
    engine.write_delta(uri, batch(0))
    commits = 6

    def write():
        for n in range(1, commits):
            engine.write_delta(uri, batch(100 * n))

    def read(_):
        seen = []
        while not seen or seen[-1][0] < commits - 1:
            result = engine.query("SELECT count(*) AS n FROM t", sources={"t": uri})
            seen.append((result.snapshots[0].version, result.to_pylist()[0]["n"]))
        return seen

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, n) for n in range(3)]
        threads.submit(write).result(timeout=60)
        for reader in readers:
            seen = reader.result(timeout=60)
            assert all(count == 100 * (version + 1) for version, count in seen)
            assert seen == sorted(seen), "latest never goes back"


def test_another_process_finds_the_same(engine, table):
    before = identity(engine, table, 1)
    change_much(table)
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, table, "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=120,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == before


# what it costs


def purposes(result):
    return {purpose: n for purpose, n in result.io.by_purpose.items() if n}


def test_a_repeated_query_on_a_pinned_snapshot_reads_data_alone(engine, table):
    deltalake.DeltaTable(table).create_checkpoint()
    with FusionDeltaEngine() as cold:
        source = cold.open_delta(table, 2)
        query = "SELECT part, sum(value) AS s FROM t WHERE id > 50 GROUP BY part ORDER BY part"
        first = cold.query(query, sources={"t": source})
        expected = first.to_table()
        assert first.io.by_purpose["footer"] > 0

        for again in (source, DeltaSource(table, 2)):
            repeated = cold.query(query, sources={"t": again})
            assert repeated.to_table() == expected
            assert set(purposes(repeated)) == {"data"}, purposes(repeated)
            assert repeated.io.requests["list"] == repeated.io.requests["head"] == 0


def test_planning_on_a_pinned_snapshot_asks_the_store_nothing(engine, table):
    source = engine.open_delta(table, 2)
    engine.query("SELECT * FROM t", sources={"t": source}).to_table()
    before = engine.debug.io()
    with engine.query("SELECT * FROM t", sources={"t": source}) as result:
        assert purposes(result) == {}
    assert engine.debug.io() == before


def test_latest_costs_one_listing_where_nothing_is_new(engine, table):
    engine.query("SELECT * FROM t", sources={"t": table}).to_table()
    with engine.query("SELECT * FROM t", sources={"t": table}) as result:
        assert purposes(result) == {"log": 1}
        assert result.io.requests["list"] == 1


def test_queries_at_once_count_their_own_requests(engine, tmp_path):
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    engine.write_delta(small, batch(0))
    for n in range(5):
        engine.write_delta(large, batch(100 * n))
    sources = {uri: engine.open_delta(uri) for uri in (small, large)}

    def cost(uri):
        result = engine.query("SELECT * FROM t", sources={"t": sources[uri]})
        result.to_table()
        return result.io

    for uri in sources:
        cost(uri)  # footers are cached from here on
    alone = {uri: cost(uri) for uri in sources}
    assert alone[large].requests["get"] == 5 * alone[small].requests["get"]
    assert alone[large].bytes_read > alone[small].bytes_read > 0

    before = engine.debug.io()
    wanted = [small, large] * 8
    start = Barrier(2)

    def work(uris):
        start.wait(timeout=60)
        return [(uri, cost(uri)) for uri in uris]

    with ThreadPoolExecutor(2) as threads:
        found = [one for some in threads.map(work, (wanted, wanted[::-1])) for one in some]
    after = engine.debug.io()

    assert all(io == alone[uri] for uri, io in found)
    spent = sum(io.requests["get"] for _, io in found)
    assert after.requests["get"] - before.requests["get"] == spent, "the engine counts the sum"
    assert after.bytes_read - before.bytes_read == sum(io.bytes_read for _, io in found)


def test_streams_of_one_engine_interleaved_count_their_own_requests(engine, tmp_path):
    uris = [str(tmp_path / name) for name in "ab"]
    for uri in uris:
        for n in range(4):
            engine.write_delta(uri, batch(100 * n))
    results = [
        engine.query("SELECT * FROM t", sources={"t": engine.open_delta(uri)}) for uri in uris
    ]
    streams = [iter(result) for result in results]
    for batches in zip(*streams, strict=False):
        assert all(b.num_rows for b in batches)
    for stream in streams:
        list(stream)
    assert results[0].io.requests["get"] == results[1].io.requests["get"] > 0
