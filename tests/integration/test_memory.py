"""Memory is bounded by the limit, not by the table: streams and writes of ten times the limit.

What is measured is the largest resident set of a child process, libraries included (an idle engine
has some 210 MiB of them).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

MIB = 2**20
LIMIT = 256 * MIB
ALLOWED = LIMIT + 300 * MIB
#: Encoders of several open files, with a dictionary for each column, beside the sort.
PARTITIONED = LIMIT + 450 * MIB
#: A sort works in memory up to its limit and spills the rest; a small one makes it spill often.
SORT_LIMIT = 64 * MIB
SORT_ALLOWED = SORT_LIMIT + 300 * MIB

# Run in a child of its own: the peak of a process says nothing once other tests have run in it.
CHILD = """
import json, os, sys
import pyarrow as pa
import fusiondelta

what, source, target, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rows, columns = 65_536, 8
schema = pa.schema([(f"c{i}", pa.int64()) for i in range(columns)])
batches = 10 * limit // (rows * columns * 8)


def largest():
    # Of this program alone: what getrusage tells began with the parent's.
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def generated():
    for _ in range(batches):
        buffers = [[None, pa.py_buffer(os.urandom(rows * 8))] for _ in range(columns)]
        values = [pa.Array.from_buffers(pa.int64(), rows, b) for b in buffers]
        yield pa.record_batch(values, schema=schema)


profile = fusiondelta.EngineProfile(memory_limit=limit, target_partitions=2)
if what == "sort":
    # The merges of two partitions at once do not always fit into so little.
    profile = fusiondelta.EngineProfile.low_memory().replace(
        memory_limit=limit, target_partitions=1
    )
with fusiondelta.FusionDeltaEngine(profile) as engine:
    engine.query("select 1").to_table()
    idle = largest()
    if what == "ingest":
        done = engine.write_delta(source, generated(), schema=schema).rows_written
    elif what == "partitions":
        many = pa.schema([("p", pa.int64()), *schema])

        def spread():
            for batch in generated():
                keys = pa.array([n % 1000 for n in range(rows)], pa.int64())
                yield pa.record_batch([keys, *batch.columns], schema=many)

        written = engine.write_delta(target, spread(), schema=many, partition_by=["p"])
        done = written.rows_written
    elif what == "read":
        with engine.query("select * from t", sources={"t": source}) as result:
            done = sum(batch.num_rows for batch in result.reader())
    elif what == "copy":
        result = engine.query("select * from t where c0 <> 0", sources={"t": source})
        done = engine.write_delta(target, result).rows_written
    elif what == "sort":
        with engine.query("select * from t order by c0", sources={"t": source}) as result:
            done = sum(batch.num_rows for batch in result.reader())
            spilled = result.metrics()
            names = spilled.column("metric_name").to_pylist()
            values = spilled.column("metric_value").to_pylist()
            assert any(n == "spill_count" and v > 0 for n, v in zip(names, values)), "no spill"
peak = largest()
print(json.dumps({"rows": done, "peak": peak, "grown": peak - idle}))
"""


def run(what: str, source: Path, target: Path, limit: int = LIMIT) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(source), str(target), str(limit)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def big() -> Iterator[tuple[Path, dict[str, int]]]:
    # Gigabytes, which the folders that pytest keeps are not for.
    with tempfile.TemporaryDirectory(prefix="fusiondelta-memory-") as folder:
        table = Path(folder) / "big"
        yield table, run("ingest", table, table)


ROWS = 10 * LIMIT // (65_536 * 8 * 8) * 65_536


def within(found: int, allowed: int) -> None:
    assert found <= allowed, f"{found / MIB:.0f} MiB of {allowed / MIB:.0f}"


def test_writing_a_generator(big: tuple[Path, dict[str, int]]) -> None:
    assert big[1]["rows"] == ROWS
    within(big[1]["peak"], ALLOWED)


@pytest.mark.parametrize("what", ["read", "copy"])
def test_streaming(big: tuple[Path, dict[str, int]], what: str) -> None:
    answer = run(what, big[0], big[0].parent / "copy")
    assert answer["rows"] == ROWS
    within(answer["peak"], ALLOWED)


def test_writing_a_thousand_partitions(tmp_path: Path) -> None:
    """Rows of all partitions in turn: those that have no open file are sorted on disk."""
    with tempfile.TemporaryDirectory(prefix="fusiondelta-memory-") as folder:
        answer = run("partitions", tmp_path, Path(folder) / "many")
    assert answer["rows"] == ROWS
    within(answer["peak"], PARTITIONED)


def test_sorting_spills(big: tuple[Path, dict[str, int]]) -> None:
    """Of forty times the limit; here it is the growth beyond the idle engine that is bounded."""
    answer = run("sort", big[0], big[0].parent / "copy", SORT_LIMIT)
    assert answer["rows"] == ROWS
    within(answer["grown"], SORT_ALLOWED)
