"""How long small things take: a tiny query over a pinned table, the first of a process, an import.

``python benchmarks/latency.py`` gives each engine a process of its own and lets them take turns:
blocks of warm queries, in another order each time; then processes that import the package, or
import it and ask one query. Of a block the median counts, of blocks and processes likewise. The
table is a Delta table of one file with 1,000 rows; the query filters and aggregates it. DuckDB
reads it by `delta_scan` where its extension is installed (``duckdb-extension-delta``, of the same
version as `duckdb`; ``--python duckdb=PATH`` names an environment that has both), else by its
Parquet file. JSON and Markdown are left in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RESULTS = Path(__file__).resolve().with_name("results")
SQL = "SELECT g, count(*) AS n, sum(x) AS s FROM t WHERE k >= 500 GROUP BY g"
ROWS = 1_000

#: What each process does: ``prepare`` is done once, ``ask`` each time.
PREPARE = {
    "fusiondelta": """
import fusiondelta
engine = fusiondelta.FusionDeltaEngine(fusiondelta.EngineProfile(target_partitions=THREADS))
def ask():
    source = fusiondelta.DeltaSource(URI, 0)
    return engine.query(SQL, sources={"t": source}).to_table()
""",
    "datafusion+deltalake": """
import datafusion, deltalake
config = datafusion.SessionConfig().with_target_partitions(THREADS)
def ask():
    context = datafusion.SessionContext(config)
    context.register_table("t", deltalake.DeltaTable(URI, version=0))
    return context.sql(SQL).to_arrow_table()
""",
    "polars": """
import os
os.environ["POLARS_MAX_THREADS"] = str(THREADS)
import polars as pl
def ask():
    frame = pl.scan_delta(URI, version=0).filter(pl.col("k") >= 500)
    frame = frame.group_by("g").agg(pl.len().alias("n"), pl.col("x").sum().alias("s"))
    return frame.collect().to_arrow()
""",
    "duckdb": """
import duckdb, pathlib
connection = duckdb.connect(config={"threads": THREADS})
try:
    import duckdb_extension_delta
    [file] = pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension")
    connection.load_extension(str(file))
    table = f"delta_scan('{URI}', version => 0)"
except ImportError:
    table = f"read_parquet('{URI}/*.parquet')"
def ask():
    return connection.sql(SQL.replace("FROM t", f"FROM {table} t")).to_arrow_table()
""",
}
IMPORTS = {
    "fusiondelta": "import fusiondelta",
    "datafusion+deltalake": "import datafusion, deltalake",
    "polars": "import polars",
    "duckdb": "import duckdb",
}

#: Answers a line `N` with the seconds of N queries.
LOOP = """
import json, sys, time
assert ask().num_rows == 2
for line in sys.stdin:
    took = []
    for _ in range(int(line)):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    print(json.dumps(took), flush=True)
"""


def lay(folder: Path) -> str:
    """The table, as deltalake writes it."""
    import pyarrow as pa
    from deltalake import write_deltalake

    uri = str(folder / "t")
    rows = pa.table(
        {
            "k": pa.array(range(ROWS), pa.int64()),
            "g": ["a", "b"] * (ROWS // 2),
            "x": [float(n) for n in range(ROWS)],
        }
    )
    write_deltalake(uri, rows)
    return uri


def program(name: str, uri: str, threads: int) -> str:
    """What a process of an engine begins with."""
    return f"SQL = {SQL!r}\nURI = {uri!r}\nTHREADS = {threads}\n{PREPARE[name]}"


class Worker:
    """A process that asks queries when it is told to."""

    def __init__(self, python: str, text: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", text + LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def block(self, count: int) -> float:
        """The median seconds of so many queries."""
        given, taken = self._pipes()
        given.write(f"{count}\n")
        given.flush()
        return statistics.median(json.loads(taken.readline()))

    def close(self) -> None:
        """End the process."""
        self._pipes()[0].close()
        self._process.wait(30)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        return self._process.stdin, self._process.stdout


def whole(python: str, text: str) -> float:
    """Seconds of a process from its start to its end."""
    began = time.perf_counter()
    subprocess.run([python, "-c", text], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(
    uri: str, pythons: dict[str, str], *, threads: int, blocks: int, count: int, starts: int
) -> dict[str, Any]:
    """Seconds of everything, by engine."""
    order = random.Random(7)  # noqa: S311 - the order of turns
    names = list(PREPARE)
    found: dict[str, Any] = {name: {"warm": [], "import": [], "first": []} for name in names}
    workers = {name: Worker(pythons[name], program(name, uri, threads)) for name in names}
    try:
        for round_ in range(blocks + 1):
            for name in order.sample(names, len(names)):
                took = workers[name].block(count)
                if round_:  # the first one warms up
                    found[name]["warm"].append(took)
    finally:
        for worker in workers.values():
            worker.close()
    for round_ in range(starts + 1):
        for name in order.sample(names, len(names)):
            python = pythons[name]
            empty = whole(python, "pass")
            imported = whole(python, IMPORTS[name]) - empty
            first = whole(python, program(name, uri, threads) + "\nask()\n")
            if round_:
                found[name]["import"].append(imported)
                found[name]["first"].append(first)
    return found


def markdown(result: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        "# Small things",
        "",
        f"{result['date']}, {result['machine']}, {result['threads']} threads. "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        + ". Medians in milliseconds; in brackets the smallest and the largest.",
        "",
        "| | warm query | first query, with the start of the process | import |",
        "|---|---|---|---|",
    ]
    for name, kinds in result["seconds"].items():
        cells = [
            f"{statistics.median(took) * 1000:.2f} ({min(took) * 1000:.2f} to "
            f"{max(took) * 1000:.2f})"
            for took in (kinds["warm"], kinds["first"], kinds["import"])
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def versions(pythons: dict[str, str]) -> dict[str, str]:
    """Versions of the packages, in the environments they run in."""
    packages = {
        "fusiondelta": "fusiondelta",
        "datafusion": "fusiondelta",
        "deltalake": "fusiondelta",
        "polars": "polars",
        "duckdb": "duckdb",
    }
    text = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    found = {}
    for package, engine in packages.items():
        command = [pythons[engine], "-c", text, package]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[package] = done.stdout.strip()
    return found


def main() -> None:
    """Measure, print and leave the figures."""
    import os
    import platform

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--count", type=int, default=100, help="queries of a block")
    parser.add_argument("--starts", type=int, default=9, help="processes of each kind")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--output", type=Path, help="where JSON and Markdown go")
    given = parser.parse_args()
    pythons = dict.fromkeys(PREPARE, sys.executable)
    pythons.update(one.split("=", 1) for one in given.python)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(
            lay(Path(folder)),
            pythons,
            threads=given.threads,
            blocks=given.blocks,
            count=given.count,
            starts=given.starts,
        )
    result = {
        "date": dt.date.today().isoformat(),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "threads": given.threads,
        "versions": versions(pythons),
        "seconds": seconds,
    }
    print(markdown(result))
    place = given.output or RESULTS / f"latency-{result['date']}"
    place.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    place.with_suffix(".md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
