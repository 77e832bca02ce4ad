"""Changes of Delta tables: fusiondelta against deltalake, Polars and Daft; and commits on a MinIO.

``python benchmarks/writes.py --rows 5000000 --runs 3`` makes the data, asks every engine for the
same changes, each in a process of its own over a fresh copy, then times commits of one row, alone
and among other writers, and leaves JSON and Markdown in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import installed_versions
from benchmarks.writes_asked import ENGINES
from tests.harness.servers import MinioServer

RESULTS = Path(__file__).resolve().with_name("results")
ASKED = Path(__file__).resolve().with_name("writes_asked.py")
PARTITIONS = 10
MANY = 1000
#: What each change needs to be there; the rest of the folder is left out of the copy.
NEEDS = {
    "append": ["rows.parquet"],
    "partitioned append": ["rows.parquet"],
    "append to 1,000 partitions": ["many.parquet"],
    "overwrite from a query": ["t"],
    "merge of 1 %": ["t", "news.parquet"],
    "delete of 10 %": ["t"],
    "optimize": ["s"],
}
WRITERS = (1, 2, 8, 32)


def batch(start: int, rows: int, tag: str, partitions: int = PARTITIONS) -> pa.Table:
    ids = np.arange(start, start + rows)
    texts = pa.array([f"{tag} {i % 1000:04}" for i in range(min(rows, 1000))])
    return pa.table(
        {
            "id": ids,
            "part": pa.array([f"p{i:02}" for i in range(partitions)]).take(
                pa.array(ids % partitions)
            ),
            "price": np.random.default_rng(start).random(rows),
            "quantity": ids % 97,
            "text": texts.take(pa.array(np.arange(rows) % len(texts))),
        }
    )


def make(folder: Path, rows: int) -> None:
    """The rows, a table of them, what is merged into it, and a table of many small files."""
    from deltalake import write_deltalake

    step = 1_000_000
    for name, partitions in (("rows", PARTITIONS), ("many", MANY)):
        with pq.ParquetWriter(folder / f"{name}.parquet", batch(0, 1, "row").schema) as writer:
            for start in range(0, rows, step):
                writer.write_table(batch(start, min(step, rows - start), "row", partitions))
    news = rows // 100
    updated = batch(rows // 2, news // 2, "new")
    added = batch(rows, news - news // 2, "new")
    pq.write_table(pa.concat_tables([updated, added]), folder / "news.parquet")
    for start in range(0, rows, step):
        write_deltalake(
            str(folder / "t"), batch(start, min(step, rows - start), "row"), mode="append"
        )
    small = max(rows // 200, 1)
    for start in range(0, rows, small):
        write_deltalake(
            str(folder / "s"), batch(start, min(small, rows - start), "row"), mode="append"
        )


def rows_of(folder: Path, table: str) -> int:
    from deltalake import DeltaTable

    adds = pa.table(DeltaTable(str(folder / table)).get_add_actions(flatten=True))
    return sum(adds.column("num_records").to_pylist())


def ask(engine: str, change: str, folder: Path, limit: float) -> dict[str, Any]:
    command = [sys.executable, str(ASKED), engine, change, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failure": f"not done in {limit:.0f} s"}
    if done.returncode != 0:
        return {"failure": (done.stderr.strip().splitlines() or ["failed"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def expected(change: str, rows: int) -> tuple[str, int]:
    """The table that a change is made of, and its rows afterwards."""
    news = rows // 100
    return {
        "append": ("t", rows),
        "partitioned append": ("p", rows),
        "append to 1,000 partitions": ("p", rows),
        "overwrite from a query": ("o", rows // 2),
        "merge of 1 %": ("t", rows + news - news // 2),
        "delete of 10 %": ("t", rows - rows // PARTITIONS),
        "optimize": ("s", rows),
    }[change]


def changes(origin: Path, rows: int, runs: int, engines: Sequence[str], limit: float) -> Any:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for change, needs in NEEDS.items():
        by_engine: dict[str, Any] = {name: {"seconds": [], "peak": []} for name in engines}
        for run in range(runs):
            order = [*engines[run % len(engines) :], *engines[: run % len(engines)]]
            for name in order:
                cost = by_engine[name]
                if "failure" in cost:
                    continue
                with tempfile.TemporaryDirectory(prefix="fusiondelta-writes-") as scratch:
                    folder = Path(scratch)
                    for need in needs:
                        copy = shutil.copytree if (origin / need).is_dir() else shutil.copy
                        copy(origin / need, folder / need)
                    said = ask(name, change, folder, limit)
                    if "failure" not in said:
                        table, count = expected(change, rows)
                        there = rows_of(folder, table)
                        if there != count:
                            said = {"failure": f"left {there} rows, not {count}"}
                if "failure" in said:
                    cost["failure"] = said["failure"]
                else:
                    cost["seconds"].append(said["seconds"])
                    cost["peak"].append(said["peak"])
            say(f"{change}: run {run + 1} of {runs}")
        found[change] = by_engine
    return found


def committers(server: MinioServer) -> dict[str, Callable[[], Callable[[str, int], Any]]]:
    """How each engine commits one row, by a writer of its own."""

    def ours() -> Callable[[str, int], Any]:
        from fusiondelta import FusionDeltaEngine, StorageProfile

        engine = FusionDeltaEngine(
            storage=StorageProfile.s3(
                endpoint=server.endpoint,
                region="us-east-1",
                access_key_id=server.access_key_id,
                secret_access_key=server.secret_access_key,
                allow_http=True,
                write_safety="conditional_put",
                conditional_put_verified=True,
            )
        )
        return lambda uri, n: engine.write_delta(uri, pa.table({"id": [n]}))

    def deltalake_alone() -> Callable[[str, int], Any]:
        from deltalake import write_deltalake

        options = {**server.env(), "aws_conditional_put": "etag"}
        return lambda uri, n: write_deltalake(
            uri, pa.table({"id": [n]}), mode="append", storage_options=options
        )

    return {"fusiondelta": ours, "deltalake": deltalake_alone}


def commits(seconds: float) -> Any:
    """Commits a second, and how long one takes, by engine and number of writers."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fusiondelta-writes-") as folder:
        server = MinioServer.start(Path(folder))
        try:
            server.raw("benchmark").make()
            for name, make_writer in committers(server).items():
                for writers in WRITERS:
                    uri = f"s3://benchmark/{name}-{writers}"
                    found.setdefault(name, {})[str(writers)] = contend(
                        make_writer, uri, writers, seconds
                    )
                    say(f"{name}: {writers} writers")
        finally:
            server.stop()
    return found


def contend(make_writer: Callable[[], Any], uri: str, writers: int, seconds: float) -> Any:
    make_writer()(uri, 0)
    times: list[float] = []
    failures: list[str] = []
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        write = make_writer()
        n = 0
        while time.monotonic() < end:
            started = time.perf_counter()
            try:
                write(uri, number * 1_000_000 + n)
            except Exception as error:
                failures.append(f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
            else:
                times.append(time.perf_counter() - started)
            n += 1

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(n + 1,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    return {
        "commits": len(times),
        "seconds": took,
        "median": statistics.median(times) if times else None,
        "failures": len(failures),
        "first failure": failures[0] if failures else None,
    }


def markdown(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Tables of medians."""
    lines = ["# Changes of Delta tables", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if name != "versions"]
    lines += [f"- {', '.join(f'{n} {v}' for n, v in about['versions'].items())}", ""]
    lines += ["## On a disk", "", "| change | engine | s | million rows/s | peak MiB |"]
    lines.append("|---|---|---:|---:|---:|")
    for change, by_engine in found["changes"].items():
        for engine, cost in by_engine.items():
            if "failure" in cost:
                lines.append(f"| {change} | {engine} | {cost['failure']} | | |")
                continue
            seconds = statistics.median(cost["seconds"])
            peak = statistics.median(cost["peak"]) / 2**20
            rate = about["rows"] / seconds / 1e6
            lines.append(f"| {change} | {engine} | {seconds:.2f} | {rate:.2f} | {peak:,.0f} |")
    lines += ["", "## Commits of one row on MinIO", ""]
    lines.append("| writers | engine | commits/s | median ms | failed |")
    lines.append("|---:|---|---:|---:|---:|")
    for writers in WRITERS:
        for engine, by_writers in found["commits"].items():
            one = by_writers[str(writers)]
            rate = one["commits"] / one["seconds"]
            median = f"{one['median'] * 1e3:,.0f}" if one["median"] else ""
            lines.append(f"| {writers} | {engine} | {rate:.1f} | {median} | {one['failures']} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000, help="(default: 5,000,000)")
    parser.add_argument("--runs", type=int, default=3, help="of each change (default: 3)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which (default: all)")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one change")
    parser.add_argument(
        "--seconds", type=float, default=8, help="of commits for each number of writers"
    )
    parser.add_argument("--name", default=f"writes-{dt.date.today()}")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fusiondelta-writes-") as scratch:
        origin = Path(scratch)
        make(origin, chosen.rows)
        say("made")
        engines = chosen.engines.split(",")
        found = {"changes": changes(origin, chosen.rows, chosen.runs, engines, chosen.limit)}
    found["commits"] = commits(chosen.seconds)
    about = {
        "made": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": chosen.rows,
        "runs": chosen.runs,
        "versions": {
            name: version
            for name, version in installed_versions({}).items()
            if name in ("fusiondelta", "datafusion", "deltalake", "polars", "daft", "pyarrow")
        },
    }
    chosen.output.mkdir(parents=True, exist_ok=True)
    target = chosen.output / chosen.name
    target.with_suffix(".json").write_text(json.dumps({"about": about, **found}, indent=1))
    target.with_suffix(".md").write_text(markdown(found, about))
    print(markdown(found, about))
    return 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
