"""Rows on their way: read once, in every way, stopped by whoever may, and what they hold."""

from __future__ import annotations

import datetime as dt
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fusiondelta import (
    EngineClosedError,
    ExecutionError,
    QueryCancelledError,
    QueryTimeoutError,
    StreamConsumedError,
    as_reader,
)
from tests.integration.feeds import ENDLESS, FLOWING, SCHEMA, SOON, busy, eventually, idle

pytestmark = pytest.mark.integration

ROWS = 200_000
PLENTY = f"SELECT value AS n FROM generate_series(1, {ROWS})"


def total(batches):
    return sum(batch.num_rows for batch in batches)


# reading


def test_nothing_runs_before_the_first_pull(engine, feed):
    source = feed(3)
    result = engine.query("SELECT n FROM f", sources={"f": source.reader()})
    reader = result.reader()
    stream = engine.query("SELECT 1 AS n").stream()
    assert reader.schema == result.schema == SCHEMA
    assert source.pulled == 0
    assert engine.debug.pool()["in_use"] == busy(engine) == 0
    assert result.manifest().to_dict()["status"] == "planned"
    assert reader.read_all().num_rows == 3
    assert source.pulled == 3
    assert total(stream) == 1


WAYS = {
    "iteration": lambda r: list(r),
    "stream": lambda r: list(r.stream()),
    "reader": lambda r: list(r.reader()),
    "as_reader": lambda r: list(as_reader(r)),
    "capsule": lambda r: list(pa.RecordBatchReader.from_stream(r)),
    "table": lambda r: r.to_table().to_batches(),
    "pandas": lambda r: [pa.RecordBatch.from_pandas(r.to_pandas())],
    "polars": lambda r: r.to_polars().to_arrow().to_batches(),
    "partitions": lambda r: [b for part in r.partitions() for b in part],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading_gives_all_rows_and_gives_the_slot_back(engine, way):
    result = engine.query(PLENTY)
    batches = WAYS[way](result)
    assert total(batches) == ROWS
    assert sum(pc.sum(batch["n"]).as_py() for batch in batches) == ROWS * (ROWS + 1) // 2
    assert idle(engine)
    assert result.manifest().to_dict()["status"] == "finished" or way in ("capsule", "partitions")


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("second", ["reader", "stream", "partitions", "table", "capsule"])
def test_a_second_consumer_is_refused(engine, first, second):
    result = engine.query("SELECT 1 AS n")
    WAYS[first](result)
    with pytest.raises(StreamConsumedError):
        WAYS[second](result)


def test_a_result_that_another_query_uses_is_consumed(engine):
    result = engine.query("SELECT 1 AS n")
    assert engine.query("SELECT n + 1 AS m FROM r", sources={"r": result}).to_pylist() == [{"m": 2}]
    with pytest.raises(StreamConsumedError):
        result.to_table()
    with pytest.raises(StreamConsumedError):
        engine.query("SELECT * FROM r", sources={"r": result})


def test_a_stream_that_a_query_reads_twice_is_refused(engine, feed):
    result = engine.query(
        "SELECT * FROM f a JOIN f b ON a.n = b.n", sources={"f": feed(3).reader()}
    )
    with pytest.raises(StreamConsumedError, match="stream f can be read once"):
        result.to_table()
    assert idle(engine)


def test_partitions_are_read_by_threads_at_once(engine):
    batches = pa.table({"n": range(1000)}).to_batches(max_chunksize=100)
    sources = {"t": pa.Table.from_batches(batches)}
    parts = engine.query("SELECT n FROM t", sources=sources).partitions()
    with ThreadPoolExecutor(len(parts)) as threads:
        assert sum(threads.map(total, parts)) == 1000
    assert len(parts) == engine.debug.partitions("SELECT n FROM t", sources=sources)
    assert idle(engine)


# giving back


def partly_read(engine):
    result = engine.query(FLOWING)
    stream = iter(result)
    assert next(stream).num_rows > 0
    assert busy(engine) == 1
    return result, stream


def test_close_gives_the_slot_back(engine):
    result, stream = partly_read(engine)
    result.close()
    assert idle(engine)
    result.close()
    with pytest.raises(QueryCancelledError):
        next(stream)
    assert result.manifest().to_dict()["status"] == "cancelled"


def test_leaving_a_with_block_gives_the_slot_back(engine):
    with engine.query(FLOWING) as result:
        stream = iter(result)
        next(stream)
        assert busy(engine) == 1
    assert idle(engine)


def test_leaving_a_loop_gives_the_slot_back(engine):
    for _ in engine.query(FLOWING):
        break
    gc.collect()
    assert idle(engine)


@pytest.mark.parametrize("way", ["stream", "reader", "capsule", "partitions"])
def test_garbage_collection_gives_the_slot_back(engine, way):
    opened = {
        "stream": lambda r: r.stream(),
        "reader": lambda r: r.reader(),
        "capsule": pa.RecordBatchReader.from_stream,
        "partitions": lambda r: r.partitions()[0],
    }[way](engine.query(FLOWING))
    next(opened) if way == "stream" else opened.read_next_batch()
    assert busy(engine) == 1
    del opened
    gc.collect()
    assert idle(engine)


def test_closing_the_result_stops_its_readers(engine):
    result = engine.query(FLOWING)
    reader = result.reader()
    reader.read_next_batch()
    result.close()
    assert idle(engine)
    with pytest.raises(QueryCancelledError):
        reader.read_next_batch()


def test_unread_results_hold_nothing(engine):
    results = [engine.query(FLOWING) for _ in range(20)]
    assert idle(engine, within=0)
    for result in results:
        result.close()


def test_an_error_gives_the_slot_back(engine, feed):
    result = engine.query("SELECT n FROM f", sources={"f": feed(5, fail_at=3).reader()})
    with pytest.raises(ExecutionError, match="the feed broke"):
        result.to_table()
    assert idle(engine)
    manifest = result.manifest().to_dict()
    assert manifest["status"] == "failed"
    assert manifest["error"]["class"] == "ExecutionError"


def test_a_guard_gives_the_slot_back(engine):
    with pytest.raises(MemoryError):
        engine.query(FLOWING).to_table(max_rows=10)
    assert idle(engine)


def test_memory_is_given_back_with_the_slot(engine):
    joined = "SELECT a.value AS n FROM generate_series(1, 300000) a, generate_series(1, 1000000) b"
    result = engine.query(joined)
    stream = iter(result)
    next(stream)
    assert engine.debug.pool()["memory_reserved"] > 0
    result.close()
    assert eventually(lambda: engine.debug.pool()["memory_reserved"] == 0), engine.debug.pool()


def test_a_reader_that_stops_pulling_stops_the_scan(engine, feed):
    source = feed(1000, rows=8192)
    stream = iter(engine.query("SELECT n + 1 AS m FROM f", sources={"f": source.reader()}))
    first = next(stream).num_rows
    time.sleep(0.2)
    ahead = source.pulled
    assert ahead < 30
    time.sleep(0.1)
    assert source.pulled == ahead, "it came to rest"
    second = next(stream).num_rows
    assert first + second + total(stream) == 1000 * 8192


# stopping


def consume(result, outcome):
    try:
        outcome.append(total(result))
    except BaseException as error:
        outcome.append(error)


@pytest.mark.parametrize("query", [ENDLESS, FLOWING])
@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_cancelled_from_another_thread_it_is_never_a_clean_end(engine, query, stop):
    result = engine.query(query)
    outcome = []
    reader = threading.Thread(target=consume, args=(result, outcome))
    reader.start()
    assert eventually(lambda: busy(engine) == 1)
    getattr(result, stop)()
    reader.join(SOON)
    assert not reader.is_alive()
    assert isinstance(outcome[0], QueryCancelledError), outcome
    assert idle(engine)


def test_cancelled_while_it_waits_for_a_source_that_blocks(engine, feed):
    source = feed(5, wait_at=2)
    result = engine.query("SELECT n FROM f", sources={"f": source.reader()})
    outcome = []
    reader = threading.Thread(target=consume, args=(result, outcome))
    reader.start()
    assert source.waiting.wait(SOON)
    result.cancel()
    reader.join(SOON)
    assert not reader.is_alive()
    assert isinstance(outcome[0], QueryCancelledError), outcome
    assert idle(engine)


@pytest.mark.parametrize("timeout", [0.2, dt.timedelta(milliseconds=200)])
def test_the_deadline_ends_a_query_that_runs(engine, timeout):
    started = time.monotonic()
    with pytest.raises(QueryTimeoutError):
        engine.query(ENDLESS, timeout=timeout).to_table()
    assert time.monotonic() - started < SOON
    assert idle(engine)


def test_the_deadline_ends_a_blocked_read(engine, feed):
    source = feed(5, wait_at=2)
    result = engine.query("SELECT n FROM f", sources={"f": source.reader()}, timeout=0.3)
    with pytest.raises(QueryTimeoutError):
        list(result)
    assert source.waiting.is_set()
    assert idle(engine)


def test_the_deadline_counts_while_nobody_reads(engine):
    stream = iter(engine.query(FLOWING, timeout=0.3))
    next(stream)
    time.sleep(0.35)
    assert idle(engine)
    with pytest.raises(QueryTimeoutError):
        for _ in stream:
            pass


def test_closing_the_engine_cancels_what_runs_and_refuses_what_comes(engine, uri):
    _, stream = partly_read(engine)
    planned = engine.query("SELECT 1")
    engine.close()
    with pytest.raises((QueryCancelledError, EngineClosedError)):
        for _ in stream:
            pass
    with pytest.raises((QueryCancelledError, EngineClosedError)):
        planned.to_table()
    for refused in (
        lambda: engine.query("SELECT 1"),
        lambda: engine.write_delta(uri, pa.table({"n": [1]})),
        lambda: engine.open_delta(uri),
        lambda: engine.session().__enter__(),
    ):
        with pytest.raises(EngineClosedError):
            refused()
    engine.close()
