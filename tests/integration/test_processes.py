"""Ctrl-C wherever a call may block, and `fork`: in child processes, which do it and tell of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.integration.feeds import SOON

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name == "nt", reason="signals and fork are POSIX"),
]

ROOT = Path(__file__).parents[2]

#: Every child says READY when the signal may come, and in the end that the engine still works.
PREAMBLE = """
import gc, os, sys, threading, time
import pyarrow as pa
import fusiondelta
from fusiondelta import FusionDeltaEngine
from tests.integration.feeds import ENDLESS, FLOWING, Feed, idle

engine = FusionDeltaEngine()

def ready():
    print("READY", flush=True)

def soon():
    threading.Timer(0.2, ready).start()

def interrupted(call):
    try:
        call()
    except KeyboardInterrupt:
        print("INTERRUPTED", flush=True)
    else:
        sys.exit("the call came to an end of its own")
    gc.collect()
    assert idle(engine), engine.debug.pool()
    assert engine.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]
    print("USABLE", flush=True)

def say_when_blocked(feed):
    def watch():
        feed.waiting.wait(30)
        soon()
    threading.Thread(target=watch, daemon=True).start()
    return {"f": feed.reader()}

folder = sys.argv[1]
"""

#: Wait in every kind of call that may block.
BLOCKED = {
    "planning: a wide query": """
        columns = ", ".join(f"value * {i} AS c{i}" for i in range(600))
        wide = f"SELECT {columns} FROM generate_series(1, 3)"
        sql = " UNION ALL ".join([wide] * 150)
        soon()
        interrupted(lambda: engine.query(sql))
    """,
    "planning: a log that does not answer": """
        FusionDeltaEngine().write_delta(f"{folder}/t", pa.table({"n": [1]}))
        os.mkfifo(f"{folder}/t/_delta_log/_last_checkpoint")
        soon()
        interrupted(lambda: engine.query("SELECT * FROM t", sources={"t": f"{folder}/t"}))
    """,
    "planning: a file that does not answer": """
        os.mkfifo(f"{folder}/t.csv")
        soon()
        interrupted(lambda: engine.query("SELECT * FROM t", sources={"t": f"{folder}/t.csv"}))
    """,
    "planning: no free context": """
        from datafusion import SessionContext
        foreign = {"d": SessionContext().from_arrow(pa.table({"x": [1]})).into_view()}
        engine = FusionDeltaEngine(pool_size=1)
        with engine.session():
            soon()
            try:
                engine.query("SELECT x FROM d", sources=foreign)
            except KeyboardInterrupt:
                print("INTERRUPTED", flush=True)
        assert idle(engine)
        engine.query("SELECT 1").to_table()
        print("USABLE", flush=True)
    """,
    "opening a table": """
        FusionDeltaEngine().write_delta(f"{folder}/t", pa.table({"n": [1]}))
        os.mkfifo(f"{folder}/t/_delta_log/_last_checkpoint")
        soon()
        interrupted(lambda: engine.open_delta(f"{folder}/t"))
    """,
    "execution: to_table": """
        soon()
        interrupted(lambda: engine.query(ENDLESS).to_table())
    """,
    "execution: iteration": """
        soon()
        interrupted(lambda: list(engine.query(ENDLESS)))
    """,
    "execution: a reader": """
        soon()
        interrupted(lambda: engine.query(ENDLESS).reader().read_all())
    """,
    "execution: rows that flow": """
        def read():
            for batch in engine.query(FLOWING):
                pass
        soon()
        interrupted(read)
    """,
    "execution: a partition": """
        soon()
        interrupted(lambda: [p.read_all() for p in engine.query(ENDLESS).partitions()])
    """,
    "execution: another library reads": """
        def read():
            try:
                pa.table(engine.query(ENDLESS))
            except pa.ArrowInvalid:
                # Errors are text in the C interface; the interrupt follows that of the library.
                for _ in range(500):
                    time.sleep(0.01)

        soon()
        interrupted(read)
    """,
    "execution: a table of another library": """
        import pyarrow.dataset
        foreign = {"d": pa.dataset.dataset(pa.table({"x": list(range(50))}))}
        sql = ", ".join(f"d AS d{i}" for i in range(6))
        result = engine.query(f"SELECT count(*) AS n FROM {sql} WHERE d0.x + d5.x <> d1.x * d4.x",
                              sources=foreign)
        soon()
        interrupted(result.to_table)
    """,
    "blocked read: a source that waits": """
        sources = say_when_blocked(Feed(5, wait_at=2))
        interrupted(lambda: list(engine.query("SELECT n FROM f", sources=sources)))
    """,
    "blocked read: through a reader": """
        sources = say_when_blocked(Feed(5, wait_at=2))
        interrupted(lambda: engine.query("SELECT n FROM f", sources=sources).reader().read_all())
    """,
    "blocked read: no free slot": """
        engine = FusionDeltaEngine(pool_size=1)
        running = engine.query(FLOWING)
        stream = iter(running)
        next(stream)
        soon()
        try:
            engine.query("SELECT 1").to_table()
        except KeyboardInterrupt:
            print("INTERRUPTED", flush=True)
        running.close()
        assert idle(engine)
        engine.query("SELECT 1").to_table()
        print("USABLE", flush=True)
    """,
    "writing a query": """
        soon()
        interrupted(lambda: engine.write_delta(f"{folder}/t", engine.query(FLOWING)))
        assert not os.path.exists(f"{folder}/t/_delta_log/{0:020}.json")
    """,
    "writing a source that waits": """
        feed = Feed(5, wait_at=2)
        reader = say_when_blocked(feed)["f"]
        interrupted(lambda: engine.write_delta(f"{folder}/t", reader))
        assert not os.path.exists(f"{folder}/t/_delta_log/{0:020}.json")
    """,
}


def start(body, folder):
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(body), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("call", BLOCKED)
def test_an_interrupt_is_honoured_at_once(tmp_path, call):
    with start(BLOCKED[call], tmp_path) as child:
        try:
            assert child.stdout.readline() == "READY\n", child.communicate(timeout=30)
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "INTERRUPTED\n", child.communicate(timeout=30)
            took = time.monotonic() - sent
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert took < SOON
    assert (out, child.returncode) == ("USABLE\n", 0), err


def test_an_interrupt_ends_an_asyncio_program(tmp_path):
    body = """
        import asyncio
        async def main():
            async for _ in await engine.aquery(ENDLESS):
                pass
        soon()
        interrupted(lambda: asyncio.run(main()))
    """
    with start(body, tmp_path) as child:
        try:
            assert child.stdout.readline() == "READY\n"
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "INTERRUPTED\n", child.communicate(timeout=30)
            assert time.monotonic() - sent < SOON
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert (out, child.returncode) == ("USABLE\n", 0), err


def run(body, folder):
    with start(body, folder) as child:
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0, err
    return out.splitlines()


def test_a_process_ends_while_queries_run(tmp_path):
    body = """
        kept = iter(engine.query(FLOWING))
        next(kept)
        blocked = engine.query("SELECT n FROM f", sources={"f": Feed(5, wait_at=1).reader()})
        threading.Thread(target=lambda: list(blocked), daemon=True).start()
        time.sleep(0.1)
        print("BYE", flush=True)
    """
    started = time.monotonic()
    with start(body, tmp_path) as child:
        try:
            assert child.stdout.readline() == "BYE\n"
            said = time.monotonic()
            _, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 0, err
    assert time.monotonic() - said < SOON, time.monotonic() - started


@pytest.mark.parametrize("registered", ["arrow", "datafusion"])
@pytest.mark.parametrize("where", ["planning", "running", "behind"])
def test_a_process_ends_while_functions_are_called(tmp_path, registered, where):
    """A thread that is in Python as the interpreter is torn down takes the process with it."""
    body = f"""
        import contextlib
        from datafusion import udf
        begun = threading.Event()
        def spins(n):
            begun.set()
            count = 0
            while True:
                count += 1
        int64 = pa.int64()
        volatility = "immutable" if {where == "planning"} else "volatile"
        if {registered == "arrow"}:
            engine.register_function("spins", spins, [int64], int64, volatility=volatility)
        else:
            engine.register_udf(udf(spins, [int64], int64, volatility, "spins"))
        def ask(**options):
            engine.query("SELECT spins(1), spins(2)", **options).to_table()
        def behind():
            with contextlib.suppress(fusiondelta.FusionDeltaError):
                ask()
        if {where == "behind"}:
            threading.Thread(target=behind, daemon=True).start()
            begun.wait(30)
        else:
            try:
                ask(timeout=1)
            except fusiondelta.QueryTimeoutError:
                pass
        print("BYE", flush=True)
    """
    with start(body, tmp_path) as child:
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (out, err, child.returncode) == ("BYE\n", "", 0)


FORK = """
import pickle, signal
def child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            work()
        except BaseException as error:
            import traceback
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def refused(call):
    try:
        call()
    except fusiondelta.EngineForkedError as error:
        assert "respawn" in str(error)
        return
    raise AssertionError("was not refused")
"""


def test_an_engine_is_refused_in_a_forked_child_and_lives_on_in_the_parent(tmp_path):
    body = FORK + textwrap.dedent(
        """
        uri = f"{folder}/t"
        engine.write_delta(uri, pa.table({"n": [1, 2, 3]}))
        engine.register("t", uri)
        source = engine.open_delta(uri)
        planned = engine.query("SELECT n FROM t")
        running = engine.query(FLOWING)
        stream = iter(running)
        next(stream)

        def work():
            refused(lambda: engine.query("SELECT 1"))
            refused(lambda: engine.write_delta(uri, pa.table({"n": [4]})))
            refused(lambda: engine.open_delta(uri))
            refused(lambda: engine.session().__enter__())
            refused(lambda: engine.reachable_versions(uri))
            print("REFUSED", flush=True)

        assert child(work) == 0
        next(stream)
        running.close()
        assert planned.to_table().num_rows == 3
        assert engine.write_delta(uri, pa.table({"n": [4]})).snapshot.version == 1
        print("PARENT", flush=True)
        """
    )
    assert run(body, tmp_path) == ["REFUSED", "PARENT"]


def test_a_result_that_was_planned_before_a_fork_is_refused_in_the_child(tmp_path):
    body = FORK + textwrap.dedent(
        """
        planned = engine.query("SELECT 1 AS n")
        other = engine.query("SELECT 1 AS n")

        def work():
            refused(planned.to_table)
            refused(lambda: other.reader().read_all())
            print("REFUSED", flush=True)

        assert child(work) == 0
        assert planned.to_pylist() == [{"n": 1}]
        print("PARENT", flush=True)
        """
    )
    assert run(body, tmp_path) == ["REFUSED", "PARENT"]


def test_a_stream_that_was_begun_before_a_fork_is_refused_in_the_child(tmp_path):
    body = FORK + textwrap.dedent(
        """
        result = engine.query(FLOWING)
        stream = iter(result)
        next(stream)

        def work():
            signal.alarm(5)
            refused(lambda: [next(stream) for _ in range(10)])
            print("REFUSED", flush=True)

        status = child(work)
        next(stream)
        result.close()
        print("PARENT", flush=True)
        sys.exit(f"the child ended with {status}" if status else 0)
        """
    )
    assert run(body, tmp_path) == ["REFUSED", "PARENT"]


def test_respawn_makes_an_engine_that_works_in_the_child(tmp_path):
    body = FORK + textwrap.dedent(
        """
        uri = f"{folder}/t"
        engine.write_delta(uri, pa.table({"n": [1, 2, 3]}))
        engine.register("t", uri)
        engine.query("SELECT n FROM t").to_table()

        def work():
            with engine.respawn() as mine:
                assert mine.profile == engine.profile
                assert mine.query("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 3}]
                assert mine.write_delta(uri, pa.table({"n": [4]})).snapshot.version == 1
                rows = mine.query("SELECT value AS n FROM generate_series(1, 1000000)")
                assert rows.to_table().num_rows == 1000000
            print("CHILD", flush=True)

        assert child(work) == 0
        assert engine.query("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 4}]
        assert child(work_again := lambda: engine.respawn().query("SELECT 1").to_table()) == 0
        print("PARENT", flush=True)
        """
    )
    assert run(body, tmp_path) == ["CHILD", "PARENT"]
