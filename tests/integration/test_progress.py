"""Progress of queries and writes on an engine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import threading

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import progress

pytestmark = pytest.mark.integration

#: Seconds after which a test that waits is given up.
PATIENCE = 60

#: Takes hours.
ENDLESS = "SELECT sum(sin(value)) AS total FROM generate_series(1, 100000000000000)"


class Told:
    """A callback that remembers, and can be waited for."""

    def __init__(self):
        self.all = []
        self.came = threading.Event()
        self.ended = threading.Event()

    def __call__(self, value):
        self.all.append(value)
        self.came.set()
        if value.done:
            self.ended.set()


def watchers():
    return [one for one in threading.enumerate() if one.name == "fusiondelta-progress"]


def in_background(result):
    """Reads rows that do not come, until it is stopped."""

    def work():
        with contextlib.suppress(fusiondelta.QueryCancelledError):
            result.to_table()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def table(engine, uri):
    for n in range(4):
        engine.write_delta(uri, pa.table({"id": range(1000 * n, 1000 * n + 1000)}))
    return uri


def test_the_end_of_a_query_tells_all_of_it(engine, table):
    told = Told()
    result = engine.query("SELECT id FROM t", sources={"t": table}, progress=told)
    assert told.all == []
    assert result.to_table().num_rows == 4000
    assert told.ended.wait(PATIENCE)
    last = told.all[-1]
    assert last.done
    assert last.rows == 4000
    assert last.bytes_read == result.io.bytes_read > 0
    assert last.requests == sum(result.io.requests.values()) > 0
    assert (last.files_done, last.files_total, last.share) == (4, 4, 1.0)
    assert watchers() == []


def test_files_that_are_pruned_are_none_to_read(engine, table):
    told = Told()
    sql = "SELECT id FROM t WHERE id >= 3000"
    engine.query(sql, sources={"t": table}, progress=told).to_table()
    assert told.ended.wait(PATIENCE)
    assert (told.all[-1].rows, told.all[-1].files_total) == (1000, 1)


def test_a_query_is_told_of_while_it_runs_and_when_it_is_stopped(engine):
    told = Told()
    result = engine.query(ENDLESS, progress=told)
    reading = in_background(result)
    assert told.came.wait(PATIENCE)
    assert not told.all[0].done
    result.cancel()
    assert told.ended.wait(PATIENCE)
    reading.join(PATIENCE)
    assert not reading.is_alive()
    assert watchers() == []


def test_the_callback_may_stop_the_query(engine):
    made = []

    def tell(value):
        made[0].cancel()

    made.append(engine.query(ENDLESS, progress=tell))
    with pytest.raises(fusiondelta.QueryCancelledError):
        made[0].to_table()
    assert made[0].account().status == "cancelled"


def test_an_exception_of_the_callback_is_raised_at_the_end(engine, table):
    def broken(value):
        raise RuntimeError("of the callback")

    result = engine.query("SELECT id FROM t", sources={"t": table}, progress=broken)
    with pytest.raises(RuntimeError, match="of the callback"):
        result.to_table()
    assert result.account().status == "finished"
    assert engine.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_what_fails_is_told_to_have_ended(engine, table):
    told = Told()
    sql = "SELECT 1 / (id - id) AS x FROM t"
    with pytest.raises(fusiondelta.ExecutionError):
        engine.query(sql, sources={"t": table}, progress=told).to_table()
    assert told.ended.wait(PATIENCE)
    assert watchers() == []


@pytest.mark.parametrize("way", ["abandoned", "closed", "never read"])
def test_a_result_that_is_dropped_leaves_no_thread(engine, way):
    told = Told()
    result = engine.query("SELECT value FROM generate_series(1, 10000000000)", progress=told)
    if way != "never read":
        rows = result.stream()
        next(rows)
        if way == "closed":
            result.close()
        del rows
    del result
    gc.collect()
    if way == "never read":
        assert told.all == []
    else:
        assert told.ended.wait(PATIENCE)
    for one in watchers():
        one.join(PATIENCE)
    assert watchers() == []


async def read(result):
    return [batch async for batch in result]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda result: list(result.stream()), id="stream"),
        pytest.param(pa.table, id="capsule"),
        pytest.param(lambda result: result.reader().read_all(), id="reader"),
        pytest.param(lambda result: [r.read_all() for r in result.partitions()], id="partitions"),
        pytest.param(lambda result: asyncio.run(read(result)), id="asyncio"),
    ],
)
def test_each_way_to_read_is_told_of(engine, table, way):
    told = Told()
    way(engine.query("SELECT id FROM t", sources={"t": table}, progress=told))
    assert told.ended.wait(PATIENCE)
    assert told.all[-1].rows == 4000
    assert [one.done for one in told.all].count(True) == 1


def test_a_query_within_a_write_is_told_of_by_the_write(engine, table, tmp_path):
    of_query, of_write = Told(), Told()
    result = engine.query("SELECT id FROM t", sources={"t": table}, progress=of_query)
    engine.write_delta(tmp_path / "copy", result, progress=of_write)
    assert of_write.all[-1].done
    assert of_write.all[-1].bytes_written > 0


def test_a_vacuum_tells_how_far_it_is(engine, table):
    engine.optimize(table)
    policy = fusiondelta.RetentionPolicy(min_retention=0)
    told = Told()
    with fusiondelta.FusionDeltaEngine(retention=policy) as own:
        brief = {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
        own.set_properties(table, brief, allow_metadata_change=True)
        done = own.vacuum(table, dry_run=False, progress=told)
    assert len(done.operation_metrics["files"]) == 4
    assert told.all[-1].done
    assert told.all[-1].requests >= 4, "of each file that was removed"


def test_a_block_shows_bars_of_queries_and_writes(engine, table, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_SHORTEST", 0)
    file = io.StringIO()

    def slowly():
        # The bar appears with the first call, which comes while the rows do.
        while "B written" not in file.getvalue():
            yield pa.record_batch({"n": [1]})

    with progress.shown(file):
        engine.write_delta(tmp_path / "t", slowly(), schema=pa.schema([("n", pa.int64())]))
        result = engine.query(ENDLESS)
        reading = in_background(result)
        while "query [" not in file.getvalue() and reading.is_alive():
            reading.join(0.01)
        result.cancel()
        reading.join(PATIENCE)
    shown = file.getvalue()
    assert "write [" in shown
    assert "query [" in shown
    before = len(shown)
    engine.query("SELECT id FROM t", sources={"t": table}).to_table()
    assert len(file.getvalue()) == before
