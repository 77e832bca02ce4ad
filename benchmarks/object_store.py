"""Delta on S3: fusiondelta against deltalake, Polars and Daft, on a MinIO that this program starts.

``python benchmarks/object_store.py --runs 3`` makes the tables, asks every engine the same
questions through one proxy that adds a latency to each request and counts them, and leaves JSON and
Markdown in ``benchmarks/results``. MinIO comes from ``scripts/servers``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa

from benchmarks.object_store_asked import ENGINES
from benchmarks.report import installed_versions
from fusiondelta.testing import FaultProxy, Latency, Rule
from tests.harness.servers import MinioServer

RESULTS = Path(__file__).resolve().with_name("results")
BUCKET = "benchmark"
ASKED = Path(__file__).resolve().with_name("object_store_asked.py")
LATENCIES = (0.0, 0.02)


@dataclass(frozen=True)
class Question:
    """One SQL text over one table, and its answer."""

    name: str
    table: str
    sql: str
    answer: float


@dataclass
class Cost:
    """Medians of an engine's cold or warm runs."""

    seconds: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    failure: str | None = None

    def median(self, name: str) -> float | None:
        values = getattr(self, name)
        return statistics.median(values) if values and self.failure is None else None


def tables(small_files: int) -> tuple[dict[str, Callable[[Path], None]], list[Question]]:
    """How each table is made, and what is asked of it."""
    rows = 100

    def small(folder: Path) -> None:
        copies(folder, small_files, rows)

    def wide(folder: Path) -> None:
        columns = {f"c{i}": pa.array(range(i, 50_000 + i)) for i in range(300)}
        write(folder, pa.table(columns))

    def parted(folder: Path) -> None:
        ids = list(range(1_000_000))
        write(
            folder,
            pa.table({"id": ids, "part": [f"p{i * 100 // len(ids):02}" for i in ids]}),
            partition_by=["part"],
        )

    def sorted_files(folder: Path) -> None:
        for n in range(50):
            start = n * 20_000
            ids = list(range(start, start + 20_000))
            write(folder, pa.table({"id": ids, "text": [f"row {i}" for i in ids]}))

    total = small_files * rows * (rows - 1) / 2
    makers = {"small": small, "wide": wide, "parted": parted, "sorted": sorted_files}
    questions = [
        Question("many small files", "small", "SELECT sum(id) AS s FROM t", total),
        Question(
            "2 of 300 columns",
            "wide",
            "SELECT sum(c7) + sum(c250) AS s FROM t",
            50_000 * 49_999 + 50_000 * 257,
        ),
        Question(
            "one partition of 100",
            "parted",
            "SELECT sum(id) AS s FROM t WHERE part = 'p42'",
            sum(range(420_000, 430_000)),
        ),
        Question(
            "one row by statistics",
            "sorted",
            "SELECT max(id) AS s FROM t WHERE id = 777777",
            777_777,
        ),
    ]
    return makers, questions


def write(folder: Path, data: pa.Table, **more: Any) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(folder), data, mode="append", **more)


def copies(folder: Path, files: int, rows: int) -> None:
    """A table of so many equal files in one commit."""
    write(folder, pa.table({"id": list(range(rows))}))
    log = folder / "_delta_log" / f"{0:020}.json"
    lines = log.read_text().splitlines()
    [add] = [line for line in lines if line.startswith('{"add"')]
    path = json.loads(add)["add"]["path"]
    data = (folder / path).read_bytes()
    kept = [line for line in lines if line != add]
    for n in range(files):
        name = f"part-{n:05}.parquet"
        (folder / name).write_bytes(data)
        kept.append(add.replace(path, name))
    (folder / path).unlink()
    log.write_text("\n".join(kept) + "\n")


def upload(folder: Path, table: str, server: MinioServer) -> int:
    """Put the folder's files into the bucket; their bytes."""
    raw = server.raw(BUCKET)
    files = [p for p in folder.rglob("*") if p.is_file()]
    with ThreadPoolExecutor(8) as pool:
        sizes = pool.map(
            lambda p: (
                raw.put(f"{table}/{p.relative_to(folder).as_posix()}", p.read_bytes()),
                p.stat().st_size,
            )[1],
            files,
        )
        return sum(sizes)


class Child:
    """An engine's process: a question that outlasts the limit ends it."""

    def __init__(self, name: str, proxy: FaultProxy, server: MinioServer, limit: float) -> None:
        self._limit = limit
        self._process = subprocess.Popen(
            [sys.executable, str(ASKED), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said = self._tell(
            {
                "endpoint": proxy.endpoint,
                "access_key_id": server.access_key_id,
                "secret_access_key": server.secret_access_key,
            }
        )

    def ask(self, question: Question) -> dict[str, Any]:
        if "failure" in self._said:
            return self._said
        return self._tell({"table": f"s3://{BUCKET}/{question.table}", "sql": question.sql})

    def _tell(self, value: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Timer(self._limit, self._process.kill)
        late.start()
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late.cancel()
        if line:
            said: dict[str, Any] = json.loads(line)
            return said
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return {"failure": f"no answer in {self._limit:.0f} s"}
        assert self._process.stderr is not None
        words = self._process.stderr.read().strip().splitlines() or [f"ended with {code}"]
        return {"failure": words[-1][:200]}

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def ask(child: Child, question: Question, proxy: FaultProxy, cost: Cost) -> None:
    """Ask once and note what it cost."""
    proxy.clear()
    said = child.ask(question)
    requests = proxy.requests
    cost.requests.append(len(requests))
    cost.bytes.append(sum(r.sent for r in requests))
    if "failure" in said:
        cost.failure = said["failure"]
    elif abs(said["answer"] - question.answer) > 1e-6 * abs(question.answer):
        cost.failure = f"answered {said['answer']}, not {question.answer}"
    else:
        cost.seconds.append(said["seconds"])


Costs = dict[str, dict[str, dict[str, dict[str, Cost]]]]


def measure(
    proxy: FaultProxy,
    server: MinioServer,
    questions: Sequence[Question],
    runs: int,
    engines: Sequence[str],
    latencies: Sequence[float],
    limit: float,
) -> Costs:
    """Costs by latency, question, engine, and cold or warm; engines take turns within a run."""
    found: Costs = {}
    for latency in latencies:
        rule = proxy.add(Rule(Latency(latency))) if latency else None
        for question in questions:
            by_engine = {name: {"cold": Cost(), "warm": Cost()} for name in engines}
            for run in range(runs):
                order = [*engines[run % len(engines) :], *engines[: run % len(engines)]]
                for name in order:
                    costs = by_engine[name]
                    if costs["cold"].failure:
                        continue
                    child = Child(name, proxy, server, limit)
                    try:
                        ask(child, question, proxy, costs["cold"])
                        ask(child, question, proxy, costs["warm"])
                    finally:
                        child.end()
                say(f"{latency * 1e3:.0f} ms, {question.name}: run {run + 1} of {runs}")
            found.setdefault(f"{latency * 1e3:.0f} ms", {})[question.name] = by_engine
        if rule is not None:
            proxy.remove(rule)
    return found


def markdown(costs: Costs, about: Mapping[str, Any]) -> str:
    """Tables of medians."""
    lines = ["# Delta tables on S3 (MinIO)", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if name != "versions"]
    lines += [f"- {', '.join(f'{n} {v}' for n, v in about['versions'].items())}", ""]
    for latency, by_question in costs.items():
        lines += [f"## {latency} added to each request", ""]
        lines.append(
            "| question | engine | cold (ms) | requests | KiB | warm (ms) | requests | KiB |"
        )
        lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
        for question, by_engine in by_question.items():
            for engine, states in by_engine.items():
                cells = []
                for cost in states.values():
                    if cost.failure:
                        cells += [f"failed: {cost.failure}", "", ""]
                        continue
                    seconds, requests, size = (
                        cost.median(n) or 0 for n in ("seconds", "requests", "bytes")
                    )
                    cells += [f"{seconds * 1e3:,.0f}", f"{requests:,.0f}", f"{size / 1024:,.0f}"]
                lines.append(f"| {question} | {engine} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of each question (default: 3)")
    parser.add_argument("--files", type=int, default=10_000, help="small files (default: 10,000)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which (default: all)")
    parser.add_argument(
        "--latencies",
        type=lambda text: [float(part) / 1e3 for part in text.split(",")],
        default=LATENCIES,
        help="milliseconds added to each request, each in turn (default: 0,20)",
    )
    parser.add_argument(
        "--limit", type=float, default=120, help="seconds for one answer (default: 120)"
    )
    parser.add_argument("--name", default=f"object-store-{dt.date.today()}")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    makers, questions = tables(chosen.files)
    with tempfile.TemporaryDirectory(prefix="fusiondelta-benchmark-") as folder:
        server = MinioServer.start(Path(folder))
        try:
            server.raw(BUCKET).make()
            for name, make in makers.items():
                made = Path(folder) / "made" / name
                make(made)
                say(f"{name}: {upload(made, name, server) / 2**20:,.1f} MiB")
            with FaultProxy(server.endpoint) as proxy:
                costs = measure(
                    proxy,
                    server,
                    questions,
                    chosen.runs,
                    chosen.engines.split(","),
                    chosen.latencies,
                    chosen.limit,
                )
        finally:
            server.stop()
    about = {
        "made": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "runs": chosen.runs,
        "limit of one answer (s)": chosen.limit,
        "small files": chosen.files,
        "versions": {
            name: version
            for name, version in installed_versions({}).items()
            if name in ("fusiondelta", "datafusion", "deltalake", "polars", "daft", "pyarrow")
        },
    }
    chosen.output.mkdir(parents=True, exist_ok=True)
    target = chosen.output / chosen.name
    plain = {
        latency: {
            question: {
                engine: {state: asdict(cost) for state, cost in states.items()}
                for engine, states in by_engine.items()
            }
            for question, by_engine in by_question.items()
        }
        for latency, by_question in costs.items()
    }
    target.with_suffix(".json").write_text(json.dumps({"about": about, "costs": plain}, indent=1))
    target.with_suffix(".md").write_text(markdown(costs, about))
    print(markdown(costs, about))
    return 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
