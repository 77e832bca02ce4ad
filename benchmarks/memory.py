"""What fits which memory limit: eight operators over two million rows, from 32 MiB to 2 GiB.

``python benchmarks/memory.py`` asks each query under each limit, in a process of its own, and notes
seconds, the most bytes that were reserved, the most that the process had resident, and what was
spilled; or what the query ended with. A query that fits a limit has to fit every larger one: the
program ends with code 1 where not. JSON and Markdown are left in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RESULTS = Path(__file__).resolve().with_name("results")
ROWS = 2_000_000
LIMITS = ("32MiB", "64MiB", "128MiB", "256MiB", "512MiB", "1GiB", "2GiB")
QUERIES = {
    "sort": "SELECT * FROM t ORDER BY s",
    "top 10": "SELECT * FROM t ORDER BY s LIMIT 10",
    "aggregate, as many groups as rows": "SELECT k, count(*), sum(x), max(s) FROM t GROUP BY k",
    "distinct": "SELECT DISTINCT k, s FROM t",
    "join, inner": "SELECT a.k, b.s FROM t a JOIN t b ON a.k = b.k",
    "join, left": "SELECT a.k, b.s FROM t a LEFT JOIN t b ON a.k = b.k + 1",
    "semi-join": "SELECT k FROM t WHERE k IN (SELECT k + 1 FROM t)",
    "window by group": "SELECT k, row_number() OVER (PARTITION BY g ORDER BY s) FROM t",
    "running window": "SELECT k, sum(x) OVER (ORDER BY k) FROM t",
    "count(DISTINCT)": "SELECT g, count(DISTINCT s) FROM t GROUP BY g",
}

CHILD = """
import json, sys, time
import fusiondelta
def resident():
    # What getrusage says of a new process may be its parent's.
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
uri, sql, limit, threads = sys.argv[1:]
profile = fusiondelta.EngineProfile(memory_limit=limit, target_partitions=int(threads))
with fusiondelta.FusionDeltaEngine(profile) as engine:
    began = time.perf_counter()
    result = engine.query(sql, sources={"t": uri})
    found = {}
    try:
        found["rows"] = sum(batch.num_rows for batch in result)
    except fusiondelta.ResourcesExhaustedError as error:
        found["failed"] = str(error)
    found["seconds"] = time.perf_counter() - began
    account = result.account()
    found["reserved"] = account.peak_memory
    found["spilled"] = sum(node.total("spilled_bytes") or 0 for node in account.tree)
    found["resident"] = resident()
print(json.dumps(found))
"""


def lay(folder: Path) -> str:
    """The table: a key in no order, a thousand groups, a number, a text of 21 characters."""
    import numpy as np
    import pyarrow as pa

    import fusiondelta

    random = np.random.default_rng(1)
    keys = random.permutation(ROWS)
    rows = pa.table(
        {
            "k": keys,
            "g": keys % 1000,
            "x": random.random(ROWS),
            "s": pa.array([f"text number {key * 7919 % ROWS:09d}" for key in keys.tolist()]),
        }
    )
    uri = str(folder / "t")
    with fusiondelta.FusionDeltaEngine() as engine:
        engine.write_delta(uri, rows)
    return uri


def measure(uri: str, threads: int) -> dict[str, dict[str, Any]]:
    """What came of each query under each limit."""
    found: dict[str, dict[str, Any]] = {}
    for name, sql in QUERIES.items():
        found[name] = {}
        for limit in LIMITS:
            done = subprocess.run(
                [sys.executable, "-c", CHILD, uri, sql, limit, str(threads)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                found[name][limit] = {"died": done.stderr[-2000:]}
            else:
                found[name][limit] = json.loads(done.stdout)
            print(name, limit, found[name][limit], file=sys.stderr, flush=True)
    return found


def worse(found: dict[str, dict[str, Any]]) -> list[str]:
    """Queries that fit a limit and not a larger one, or that died."""
    problems = []
    for name, limits in found.items():
        fits = [limit for limit, one in limits.items() if "rows" in one]
        for limit, one in limits.items():
            smaller = [other for other in fits if LIMITS.index(other) < LIMITS.index(limit)]
            if "died" in one or ("rows" not in one and smaller):
                problems.append(f"{name} at {limit}: {one}")
    return problems


def cell(one: dict[str, Any]) -> str:
    """A field of the table."""
    if "rows" not in one:
        return "no"
    spilled = f", {one['spilled'] / 2**20:.0f} spilled" if one["spilled"] else ""
    return (
        f"{one['seconds']:.1f} s, {one['reserved'] / 2**20:.0f} reserved{spilled}, "
        f"{one['resident'] / 2**20:.0f} resident"
    )


def markdown(result: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        "# Memory limits",
        "",
        f"{result['date']}, {result['machine']}, {result['threads']} partitions, "
        f"{ROWS:,} rows of about 45 bytes. Sizes in MiB; resident is the whole process.",
        "",
        "| | " + " | ".join(LIMITS) + " |",
        "|---" * (len(LIMITS) + 1) + "|",
    ]
    for name, limits in result["found"].items():
        lines.append(f"| {name} | " + " | ".join(cell(limits[one]) for one in LIMITS) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print and leave the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, help="where JSON and Markdown go")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(lay(Path(folder)), given.threads)
    result = {
        "date": dt.date.today().isoformat(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "threads": given.threads,
        "found": found,
    }
    print(markdown(result))
    place = given.output or RESULTS / f"memory-{result['date']}"
    place.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    place.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    problems = worse(found)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
