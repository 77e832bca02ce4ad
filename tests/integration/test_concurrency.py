"""Threads and tasks on one engine, results inside other work, and functions written in Python."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest
from datafusion import Accumulator, SessionContext, udaf, udf, udwf
from datafusion.user_defined import WindowEvaluator

from fusiondelta import (
    EngineProfile,
    ExecutionError,
    FusionDeltaEngine,
    PoolTimeoutError,
    QueryTimeoutError,
)
from tests.integration.feeds import ENDLESS, FLOWING, SOON, busy, eventually, idle

pytestmark = pytest.mark.integration

#: A table of another library, which a query needs a context for.
FOREIGN = {"d": SessionContext().from_arrow(pa.table({"x": [1], "name": ["x"]})).into_view()}


@pytest.fixture
def one():
    """An engine that runs one query at a time, and does not wait for long."""
    with FusionDeltaEngine(EngineProfile(pool_size=1, queue_timeout=0.2)) as engine:
        yield engine


# threads


def test_threads_query_one_engine_at_once(engine, feed):
    first, second = feed(2, wait_at=1), feed(2, wait_at=1)

    def read(source):
        return engine.query("SELECT sum(n) AS s FROM f", sources={"f": source.reader()}).to_pylist()

    with ThreadPoolExecutor(2) as threads:
        results = [threads.submit(read, source) for source in (first, second)]
        assert first.waiting.wait(SOON)
        assert second.waiting.wait(SOON)
        assert busy(engine) == 2, "both run"
        for source in (first, second):
            source.released.set()
        assert [result.result(SOON) for result in results] == [[{"s": 1}], [{"s": 1}]]
    assert idle(engine)


def test_many_threads_on_few_slots_all_get_their_turn():
    with FusionDeltaEngine(pool_size=2) as engine:

        def ask(n):
            return engine.query("SELECT $n AS n", param_values={"n": n}).to_pylist()[0]["n"]

        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(ask, range(100))) == list(range(100))
        assert engine.debug.pool()["slots"] == 2
        assert idle(engine)


def test_more_queries_than_slots_wait_and_time_out(one):
    with one.query(FLOWING) as running:
        stream = iter(running)
        next(stream)
        waiting = one.query("SELECT 1 AS n")
        with pytest.raises(PoolTimeoutError, match="all 1 execution slots"):
            waiting.to_table()
    assert one.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_waiting_query_runs_when_the_slot_is_free():
    with FusionDeltaEngine(EngineProfile(pool_size=1, queue_timeout=30)) as engine:
        running = engine.query(FLOWING)
        stream = iter(running)
        next(stream)
        outcome = []
        waiting = threading.Thread(
            target=lambda: outcome.extend(engine.query("SELECT 1 AS n").to_pylist())
        )
        waiting.start()
        waiting.join(0.1)
        assert outcome == []
        running.close()
        waiting.join(SOON)
        assert outcome == [{"n": 1}]


# results inside other work, with one slot


@pytest.mark.parametrize(
    ("query", "sources"),
    [("SELECT 1 AS n", {}), ("SELECT name FROM d", FOREIGN)],
    ids=["own", "foreign"],
)
def test_an_open_unread_result_does_not_block_planning(one, query, sources):
    unread = one.query(query, sources=sources)
    assert one.debug.pool()["in_use"] == 0
    assert one.query("SELECT 2 AS n").to_pylist() == [{"n": 2}]
    assert one.query("SELECT name FROM d", sources=FOREIGN).to_table().num_rows == 1
    assert unread.to_table().num_rows == 1


def test_an_open_read_result_does_not_block_planning(one):
    with one.query(FLOWING) as running:
        stream = iter(running)
        next(stream)
        planned = one.query("SELECT 2 AS n")
        assert planned.schema.names == ["n"]
        assert "2" in planned.explain()
    assert planned.to_pylist() == [{"n": 2}]


@pytest.mark.parametrize(
    ("query", "sources"),
    [("SELECT 'x' AS name", {}), ("SELECT name FROM d", FOREIGN)],
    ids=["own", "foreign"],
)
def test_a_result_inside_queries_and_writes_shares_the_slot(one, uri, query, sources):
    for _ in range(2):
        inner = one.query(query, sources=sources)
        middle = one.query("SELECT upper(name) AS name FROM r", sources={"r": inner})
        outer = one.query("SELECT m.name || '!' AS name FROM m", sources={"m": middle})
        assert one.write_delta(uri, outer).rows_written == 1
        assert one.write_delta(uri, one.query(query, sources=sources)).rows_written == 1
    read = one.query("SELECT count(*) AS n FROM t", sources={"t": uri})
    assert one.query("SELECT n FROM r", sources={"r": read}).to_pylist() == [{"n": 4}]
    assert idle(one)


def foreign(engine, name):
    """A query over a table that is not ours, which has to ask its context when it is planned."""
    if name == "dataset":
        table = pa.table({"n": pa.array([1, 2, 3], pa.int64())})
        return engine.query("SELECT n FROM t", sources={"t": pa.dataset.dataset(table)})
    return engine.query("SELECT value AS n FROM generate_series(1, 3)")


@pytest.mark.parametrize("name", ["dataset", "table function"])
def test_foreign_tables_inside_results_inside_queries_and_writes(one, uri, name):
    inner = foreign(one, name)
    outer = one.query("SELECT sum(n) AS s FROM r", sources={"r": inner})
    del inner
    gc.collect()
    assert outer.to_pylist() == [{"s": 6}]
    assert one.write_delta(uri, foreign(one, name)).rows_written == 3
    nested = one.query("SELECT n FROM r", sources={"r": foreign(one, name)})
    assert one.write_delta(uri, nested).rows_written == 3


def test_a_table_is_rewritten_from_itself(one, uri):
    one.write_delta(uri, pa.table({"n": [1, 2, 3]}))
    kept = one.query("SELECT n * 10 AS n FROM t WHERE n > 1", sources={"t": uri})
    one.write_delta(uri, kept, mode="overwrite")
    read = one.query("SELECT n FROM t ORDER BY n", sources={"t": uri})
    assert read.to_pylist() == [{"n": 20}, {"n": 30}]
    assert read.snapshots[0].version == 1


# lent sessions


def test_a_lent_session_holds_the_only_context(one):
    with one.session() as ctx:
        with pytest.raises(PoolTimeoutError, match="all 1 contexts"):
            one.query("SELECT x FROM d", sources=FOREIGN)
        assert one.query("SELECT 1 AS n").to_pylist() == [{"n": 1}], "what needs none goes on"
        assert one.query(ctx.sql("SELECT 2 AS n")).to_pylist() == [{"n": 2}], "its own frames run"
    assert one.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_timeout_shortens_the_wait_for_a_context():
    profile = EngineProfile(pool_size=1, queue_timeout=60)
    with FusionDeltaEngine(profile) as engine, engine.session():
        started = time.monotonic()
        with pytest.raises((PoolTimeoutError, QueryTimeoutError)):
            engine.query("SELECT x FROM d", sources=FOREIGN, timeout=0.1)
        assert time.monotonic() - started < SOON


def test_what_is_put_on_a_lent_session_goes_with_it(one):
    with one.session() as ctx:
        ctx.from_pydict({"n": [1]}, name="mine")
        ctx.sql("SET datafusion.execution.batch_size = 7").collect()
        result = one.query(ctx.sql("SELECT n FROM mine"))
        assert result.plan.settings["datafusion.execution.batch_size"] == "7"
        assert result.to_pylist() == [{"n": 1}]
    with one.session() as ctx:
        assert not ctx.table_exist("mine")
        settings = one.query(ctx.sql("SELECT 1 AS n")).plan.settings
        assert settings["datafusion.execution.batch_size"] != "7"


# tasks


def test_tasks_at_once_each_get_their_rows(engine):
    async def ask(n):
        result = await engine.aquery("SELECT $n AS n", param_values={"n": n})
        return [row async for batch in result for row in batch["n"].to_pylist()]

    async def main():
        return await asyncio.gather(*(ask(n) for n in range(50)))

    assert asyncio.run(main()) == [[n] for n in range(50)]
    assert idle(engine)


def test_the_event_loop_goes_on_while_a_query_runs(engine, feed):
    source = feed(2, wait_at=1)

    async def read():
        result = await engine.aquery("SELECT n FROM f", sources={"f": source.reader()})
        return [n async for batch in result for n in batch["n"].to_pylist()]

    async def main():
        reading = asyncio.create_task(read())
        while not source.waiting.is_set():
            await asyncio.sleep(0.001)
        source.released.set()
        return await reading

    assert asyncio.run(asyncio.wait_for(main(), 30)) == [0, 1]


@pytest.mark.parametrize("query", [ENDLESS, FLOWING])
def test_cancelling_a_task_cancels_its_query(engine, query):
    results = []

    async def read():
        results.append(await engine.aquery(query))
        async for _ in results[0]:
            pass

    async def main():
        reading = asyncio.create_task(read())
        while busy(engine) == 0:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(asyncio.wait_for(main(), 30))
    assert idle(engine)
    assert results[0].manifest().to_dict()["status"] == "cancelled"


def test_cancelling_a_task_that_waits_for_a_context():
    with FusionDeltaEngine(EngineProfile(pool_size=1, queue_timeout=0.5)) as engine:

        async def main():
            with engine.session():
                asking = asyncio.create_task(engine.aquery("SELECT x FROM d", sources=FOREIGN))
                while engine.debug.pool()["waiting"] == 0:
                    await asyncio.sleep(0.001)
                asking.cancel()
                started = time.monotonic()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                assert time.monotonic() - started < SOON

        asyncio.run(main())
        assert idle(engine)


def test_leaving_an_async_loop_gives_the_slot_back(engine):
    async def main():
        result = await engine.aquery(FLOWING)
        async for _ in result:
            break
        result.close()
        return await asyncio.to_thread(idle, engine)

    assert asyncio.run(main())


def test_errors_and_deadlines_reach_the_task(engine, feed):
    async def read(sql, **options):
        async for _ in await engine.aquery(sql, **options):
            pass

    broken = feed(5, fail_at=3)
    with pytest.raises(ExecutionError, match="the feed broke"):
        asyncio.run(read("SELECT n FROM f", sources={"f": broken.reader()}))
    with pytest.raises(QueryTimeoutError):
        asyncio.run(read(ENDLESS, timeout=0.2))
    with pytest.raises(ValueError, match="no table"):
        asyncio.run(read("SELECT * FROM nowhere"))
    assert idle(engine)


# functions in Python


class Total(Accumulator):
    def __init__(self):
        self.total = 0

    def update(self, values):
        if pc.max(values).as_py() == 13:
            raise ValueError("unlucky total")
        self.total += pc.sum(values).as_py() or 0

    def merge(self, states):
        self.total += pc.sum(states[0]).as_py() or 0

    def state(self):
        return [pa.scalar(self.total, pa.int64())]

    def evaluate(self):
        return pa.scalar(self.total, pa.int64())


class Reversed(WindowEvaluator):
    def evaluate_all(self, values, num_rows):
        numbers = values[0].to_pylist()
        if 13 in numbers:
            raise ValueError("unlucky window")
        return pa.array(numbers[::-1], pa.int64())


def double(values):
    if 13 in values.to_pylist():
        raise ValueError("unlucky number")
    return pc.multiply(values, 2)


INT = pa.int64()
CALLS = {
    "scalar": ("my_double(n)", [2, 4, 6]),
    "aggregate": ("my_total(n)", [6]),
    "window": ("my_reversed(n) OVER (ORDER BY n)", [1, 2, 3]),
}


@pytest.fixture
def functions(engine):
    engine.register_udf(udf(double, [INT], INT, "immutable", name="my_double"))
    engine.register_udf(udaf(Total, INT, INT, [INT], "immutable", name="my_total"))
    engine.register_udf(udwf(Reversed, INT, INT, "immutable", name="my_reversed"))
    return engine


@pytest.mark.parametrize("kind", CALLS)
def test_functions_in_python_run_natively(functions, kind):
    call, expected = CALLS[kind]
    sources = {"t": pa.table({"n": pa.array([1, 2, 3], INT)})}
    result = functions.query(f"SELECT {call} AS v FROM t", sources=sources)
    assert sorted(row["v"] for row in result.to_pylist()) == expected


@pytest.mark.parametrize("kind", CALLS)
def test_an_exception_inside_a_function_is_an_execution_error(functions, kind):
    sources = {"t": pa.table({"n": pa.array([1, 13, 3], INT)})}
    result = functions.query(f"SELECT {CALLS[kind][0]} AS v FROM t", sources=sources)
    with pytest.raises(ExecutionError, match="unlucky"):
        result.to_table()
    assert idle(functions)
    assert eventually(lambda: functions.query("SELECT my_double(2) AS v").to_pylist() == [{"v": 4}])


def test_functions_in_python_run_in_writes_and_threads(functions, uri):
    numbers = pa.table({"n": pa.array(range(14, 1014), INT)})

    def ask(_):
        result = functions.query("SELECT sum(my_double(n)) AS s FROM t", sources={"t": numbers})
        return result.to_pylist()[0]["s"]

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(8))) == {2 * sum(range(14, 1014))}
    doubled = functions.query("SELECT my_double(n) AS n FROM t", sources={"t": numbers})
    assert functions.write_delta(uri, doubled).rows_written == 1000
