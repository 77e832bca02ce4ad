"""What is kept between queries: for whom, how much, and for how long."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import CacheProfile, DeltaSource, EngineProfile, FusionDeltaEngine, ParquetSource
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

ROWS = pa.table({"id": list(range(100))})
NAMES = ("snapshot_cache", "metadata_cache", "list_files_cache", "statistics_cache")


@pytest.fixture
def table(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(store.uri("t"), ROWS)
    return store.uri("t")


def engine_with(store, **cache):
    profile = EngineProfile(cache=CacheProfile(**cache))
    return FusionDeltaEngine(profile, storage=store.profile())


def cost(engine, source, **options):
    result = engine.query("SELECT sum(id) AS s FROM t", sources={"t": source}, **options)
    assert result.to_pylist() == [{"s": 4950}]
    return {name: n for name, n in result.io.by_purpose.items() if n}


def test_a_tenant_never_hits_what_another_loaded(store, table):
    source = DeltaSource(table, 0)
    with engine_with(store, by_tenant=True) as engine:
        alone = cost(engine, source, tenant="a")
        assert alone["footer"] == 1
        assert cost(engine, source, tenant="a") == {"data": 1}
        assert cost(engine, source, tenant="b") == alone
        assert cost(engine, source, tenant="b") == {"data": 1}
        assert cost(engine, source) == alone, "a query of no tenant is a tenant of its own"
    with engine_with(store) as engine:
        assert cost(engine, source, tenant="a") == alone
        assert cost(engine, source, tenant="b") == {"data": 1}, "shared where not told otherwise"


def test_without_caches_each_query_pays_alike(store, table):
    profile = EngineProfile(cache=CacheProfile.multi_tenant_no_caches())
    with FusionDeltaEngine(profile, storage=store.profile()) as engine:
        source = DeltaSource(table, 0)
        first = cost(engine, source)
        assert first["footer"] == 1
        assert cost(engine, source) == first


def test_every_cache_can_be_looked_into_and_emptied(store, table):
    sink = pa.BufferOutputStream()
    pq.write_table(ROWS, sink)
    store.raw_put("p/a.parquet", sink.getvalue().to_pybytes())
    with engine_with(store, listings="1MiB") as engine:
        for _ in range(2):
            cost(engine, DeltaSource(table, 0))
            cost(engine, ParquetSource(store.uri("p/")))
        caches = engine.debug.caches()
        assert set(caches) == set(NAMES)
        for name in NAMES:
            assert caches[name]["entries"], name
            assert caches[name]["limit"] > 0
            assert caches[name]["evictions"] == 0
            assert all(entry[-1] > 0 for entry in caches[name]["entries"]), "bytes"
        assert caches["metadata_cache"]["hits"] > 0
        assert caches["snapshot_cache"]["hits"] > 0
        engine.debug.clear_caches()
        assert not any(cache["entries"] for cache in engine.debug.caches().values())
        assert cost(engine, DeltaSource(table, 0))["footer"] == 1


def test_a_full_cache_lets_go(store):
    with engine_with(store, metadata="4KiB") as engine:
        for n in range(6):
            engine.write_delta(store.uri(f"t{n}"), ROWS)
            cost(engine, store.uri(f"t{n}"))
        cache = engine.debug.caches()["metadata_cache"]
        assert sum(size for _, size in cache["entries"]) <= 4096
        assert cache["evictions"] > 0


def test_listings_are_made_anew_unless_they_may_be_old(store):
    sink = pa.BufferOutputStream()
    pq.write_table(ROWS, sink)
    data = sink.getvalue().to_pybytes()
    store.raw_put("p/a.parquet", data)
    source = ParquetSource(store.uri("p/"))
    sql = "SELECT count(*) AS n FROM t"
    with (
        engine_with(store) as fresh,
        FusionDeltaEngine(
            EngineProfile(cache=CacheProfile.remote_fast_stale()), storage=store.profile()
        ) as stale,
    ):
        for engine in (fresh, stale):
            assert engine.query(sql, sources={"t": source}).to_pylist() == [{"n": 100}]
        store.raw_put("p/b.parquet", data)
        assert fresh.query(sql, sources={"t": source}).to_pylist() == [{"n": 200}]
        assert stale.query(sql, sources={"t": source}).to_pylist() == [{"n": 100}]


def test_the_newest_version_may_be_as_old_as_is_allowed(store, table):
    with engine_with(store, max_staleness=60) as engine:
        assert cost(engine, table)
        with FusionDeltaEngine(storage=store.profile()) as other:
            other.write_delta(table, ROWS.slice(0, 1))
        assert cost(engine, table) == {"data": 1}, "nothing is asked of the log"
        assert engine.query("SELECT 1 FROM t", sources={"t": table}).snapshots[0].version == 0
