"""How many requests things cost, on a real server. docs/storage.md says why so few are needed."""

from __future__ import annotations

import os
import threading

import deltalake
import pyarrow as pa
import pytest

from fusiondelta import DeltaSource, EngineProfile, FusionDeltaEngine, WriterProperties
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

COMMITS = 1_000
CHECKPOINT = 990


@pytest.fixture
def log(tmp_path_factory, store):
    """A table of a thousand commits with a checkpoint ten before the newest."""
    folder = tmp_path_factory.getbasetemp() / "thousand-commits"
    if not folder.exists():
        make(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.raw_put(f"t/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return store.uri("t")


def make(folder):
    row = pa.table({"id": [1]})
    with FusionDeltaEngine() as engine:
        engine.write_delta(folder, row, properties={"delta.checkpointInterval": "100000"})
        commit = folder / "_delta_log" / f"{0:020}.json"
        first = commit.read_text()
        add = next(line for line in first.splitlines() if line.startswith('{"add"'))
        path = add.split('"path":"')[1].split('"')[0]
        data = (folder / path).read_bytes()
        for version in range(1, COMMITS):
            name = f"part-{version:05}.parquet"
            (folder / name).write_bytes(data)
            entry = add.replace(path, name)
            (folder / "_delta_log" / f"{version:020}.json").write_text(entry + "\n")
    deltalake.DeltaTable(str(folder), version=CHECKPOINT).create_checkpoint()


@pytest.fixture
def engine(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        yield engine


def spent(engine, work):
    """Requests that `work` made, by purpose and operation."""
    before = engine.debug.io()
    work()
    after = engine.debug.io()
    return (
        {
            k: n - before.by_purpose[k]
            for k, n in after.by_purpose.items()
            if n > before.by_purpose[k]
        },
        {k: n - before.requests[k] for k, n in after.requests.items() if n > before.requests[k]},
    )


def test_opening(engine, log, store):
    # One listing, the pointer to the checkpoint, the checkpoint whole, each later commit once.
    purposes, requests = spent(engine, lambda: engine.open_delta(log, as_of=995))
    assert purposes == {"log": 1 + 5, "checkpoint": 2}
    assert requests == {"list": 1, "get": 7}
    # Again: nothing.
    assert spent(engine, lambda: engine.open_delta(log, as_of=995)) == ({}, {})
    purposes, requests = spent(engine, lambda: engine.open_delta(log))
    assert purposes == {"log": 1 + 9, "checkpoint": 2}
    assert requests == {"list": 1, "get": 11}
    # The newest once more: one listing, from the newest version known.
    purposes, requests = spent(engine, lambda: engine.open_delta(log))
    assert purposes == {"log": 1}
    assert requests == {"list": 1}
    # One commit more: a listing and the commit.
    entry = store.raw_get(f"t/_delta_log/{COMMITS - 1:020}.json")
    store.raw_put(f"t/_delta_log/{COMMITS:020}.json", entry.replace(b"part-00999", b"part-00001x"))
    purposes, requests = spent(engine, lambda: engine.open_delta(log))
    assert purposes == {"log": 2}
    assert requests == {"list": 1, "get": 1}
    assert engine.open_delta(log).snapshot.version == COMMITS


def test_queries(engine, log):
    """A repeated query of a pinned snapshot asks for its data and for nothing else."""
    sql = "SELECT count(id) AS n FROM t"
    results = []
    for _ in range(2):
        result = engine.query(sql, sources={"t": DeltaSource(log, 40)})
        assert result.to_pylist() == [{"n": 41}]
        results.append(result)
    first, second = (r.io for r in results)
    # Two pages: a page has a thousand names, and no listing ends before the last of them.
    assert first.requests["list"] == 2
    assert first.by_purpose["log"] == 2 + 41, "a listing, and each commit once"
    assert first.by_purpose["footer"] == 41, "each file in one request, its footer with it"
    assert first.by_purpose["data"] == 0
    assert {k: n for k, n in second.by_purpose.items() if n} == {"data": second.requests["get"]}
    assert second.requests["get"] <= 41
    assert second.requests["list"] == second.requests["head"] == 0


def test_many_threads_open_one_table_with_one_load(engine, log):
    tables = []

    def opens():
        threads = [
            threading.Thread(target=lambda: tables.append(engine.open_delta(log, as_of=995)))
            for _ in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    purposes, _ = spent(engine, opens)
    assert len(tables) == 32
    assert purposes == {"log": 6, "checkpoint": 2}


def test_many_threads_open_the_newest_version_with_one_load(engine, log):
    def opens():
        threads = [threading.Thread(target=engine.open_delta, args=(log,)) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # One load, and a listing for each wave of those who asked after the one before had begun.
    purposes, requests = spent(engine, opens)
    assert purposes["checkpoint"] == 2
    assert requests["get"] == 2 + 9
    assert requests["list"] < 16


def test_a_file_read_in_parts_gives_its_footer_once(store):
    """The parts of a scan that begin with one file at the same moment share its footer."""
    uri = store.uri("parts")
    # Incompressible, so that it is much larger than what comes with a footer.
    data = pa.table({"v": [os.urandom(64) for _ in range(200_000)]})
    with FusionDeltaEngine(storage=store.profile()) as engine:
        properties = WriterProperties(max_row_group_rows=20_000)
        engine.write_delta(uri, data, writer_properties=properties)
    profile = EngineProfile(target_partitions=4)
    with FusionDeltaEngine(profile, storage=store.profile()) as engine:
        result = engine.query("SELECT count(DISTINCT v) AS n FROM t", sources={"t": uri})
        assert result.to_pylist() == [{"n": 200_000}]
        assert result.io.by_purpose["footer"] == 1
        assert result.io.by_purpose["data"] >= 4


def test_a_page_index_is_read_once(store):
    """It comes with the footer, and is kept with it."""
    uri = store.uri("indexed")
    data = pa.table({"id": range(100_000), "v": [os.urandom(8).hex() for _ in range(100_000)]})
    properties = WriterProperties(dictionary=False, compression="uncompressed")
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(uri, data, writer_properties=properties)
    with FusionDeltaEngine(storage=store.profile()) as engine:
        results = []
        for _ in range(2):
            result = engine.query("SELECT id FROM t WHERE id = 70000", sources={"t": uri})
            assert result.to_pylist() == [{"id": 70_000}]
            assert result.account().tree.total("page_index_pages_pruned_pruned") > 0
            results.append(result.io.by_purpose)
    first, second = results
    assert (first["footer"], second["footer"]) == (1, 0)
    assert first["data"] == second["data"] > 0
