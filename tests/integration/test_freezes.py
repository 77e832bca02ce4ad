"""Deadlines and Ctrl-C reach the caller whatever an operator computes, and for however long.

Each in a process of its own, which is killed afterwards: what is no join computes on for a while.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.integration.feeds import SOON

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

SERIES = "generate_series(1, 300000)"
#: Operators that compute for minutes without giving their thread back.
KEEPS_ITS_THREAD = {
    "cross join": f"SELECT sum(a.value * b.value) FROM {SERIES} a CROSS JOIN {SERIES} b",
    "nested loop join": f"SELECT count(*) FROM {SERIES} a JOIN {SERIES} b "
    "ON a.value * 7 < b.value - 10000000",
    "outer nested loop join": f"SELECT count(*) FROM {SERIES} a LEFT JOIN {SERIES} b "
    "ON a.value * 7 < b.value - 10000000",
    "hash join on one key": f"SELECT sum(a.value) FROM (SELECT value, 1 AS k FROM {SERIES}) a "
    f"JOIN (SELECT value, 1 AS k FROM {SERIES}) b ON a.k = b.k",
    "unnest": "SELECT count(*) FROM (SELECT unnest(range(0, 1000)) FROM "
    "generate_series(1, 100000000))",
    "large values while it is planned": "SELECT length(repeat('x', 2000000000))",
    "window over whole frames": "SELECT count(m) FROM (SELECT median(value) OVER (ORDER BY value) "
    "AS m FROM generate_series(1, 300000))",
    "window": "SELECT count(s) FROM (SELECT sum(value) OVER (ORDER BY value ROWS BETWEEN 100000 "
    "PRECEDING AND 100000 FOLLOWING) AS s FROM generate_series(1, 30000000))",
}

CHILD = """
import sys, time
import fusiondelta
engine = fusiondelta.FusionDeltaEngine()
engine.query("SELECT 1").to_table()
print("READY", flush=True)
started = time.monotonic()
try:
    engine.query(sys.argv[1], timeout=float(sys.argv[2])).to_table()
except fusiondelta.QueryTimeoutError:
    print("TIMEOUT", time.monotonic() - started, flush=True)
    engine.query("SELECT 1", timeout=30).to_table()
    ended, before = time.monotonic(), time.process_time()
    while time.monotonic() - ended < 30:
        time.sleep(0.25)
        before, used = time.process_time(), time.process_time() - before
        if used < 0.1:
            break
    print("IDLE", time.monotonic() - ended, flush=True)
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
time.sleep(60)
"""


def start(sql, timeout):
    command = [sys.executable, "-c", textwrap.dedent(CHILD), sql, str(timeout)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sql", KEEPS_ITS_THREAD.values(), ids=KEEPS_ITS_THREAD)
def test_the_deadline_is_kept(sql):
    with start(sql, 1) as child:
        try:
            assert child.stdout.readline() == "READY\n"
            word, took = child.stdout.readline().split()
        finally:
            child.kill()
    assert word == "TIMEOUT"
    assert float(took) < 1 + SOON


@pytest.mark.parametrize("sql", KEEPS_ITS_THREAD.values(), ids=KEEPS_ITS_THREAD)
def test_an_interrupt_is_honoured(sql):
    with start(sql, 600) as child:
        try:
            assert child.stdout.readline() == "READY\n"
            time.sleep(0.5)
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "INTERRUPTED\n"
            took = time.monotonic() - sent
        finally:
            child.kill()
    assert took < SOON


ENDS = [name for name in KEEPS_ITS_THREAD if "join" in name or "window" in name]


@pytest.mark.parametrize("name", ENDS)
def test_nothing_computes_on_after_the_deadline(name):
    """Another query runs, and the processor is idle long before the operator would have ended."""
    with start(KEEPS_ITS_THREAD[name], 1) as child:
        try:
            assert child.stdout.readline() == "READY\n"
            assert child.stdout.readline().startswith("TIMEOUT")
            word, took = child.stdout.readline().split()
        finally:
            child.kill()
    assert word == "IDLE"
    assert float(took) < 10


MANY_JOINS = """
import sys
import pyarrow as pa
import fusiondelta
joins = "".join(f" JOIN t t{n} ON t{n}.a = t{n - 1}.a" for n in range(1, int(sys.argv[1]) + 1))
with fusiondelta.FusionDeltaEngine() as engine:
    sql = f"SELECT count(*) AS n FROM t t0{joins}"
    rows = engine.query(sql, sources={"t": pa.table({"a": [1, 2, 3]})}, timeout=100).to_pylist()
    print(rows)
"""


@pytest.mark.parametrize("count", [127, 140, 250])
def test_many_joins_come_to_an_end(count):
    command = [sys.executable, "-c", MANY_JOINS, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, "[{'n': 3}]\n"), done.stderr[-500:]
