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
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa

from benchmarks.report import installed_versions
from tests.harness.faults import Latency, Rule
from tests.harness.proxy import FaultProxy
from tests.harness.servers import MinioServer

RESULTS = Path(__file__).resolve().with_name("results")
BUCKET = "benchmark"
LATENCIES = (0.0, 0.02)


@dataclass(frozen=True)
class Question:
    """One SQL text over one table, and its answer."""

    name: str
    table: str
    sql: str
    answer: float


class Asked(Protocol):
    """One engine in one state: asked again, it is warm."""

    def ask(self, question: Question) -> float:
        """The answer."""


class Ours:
    """fusiondelta."""

    def __init__(self, endpoint: str, server: MinioServer) -> None:
        from fusiondelta import FusionDeltaEngine, StorageProfile

        profile = StorageProfile.s3(
            endpoint=endpoint,
            region="us-east-1",
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            allow_http=True,
        )
        self._engine = FusionDeltaEngine(storage=profile)

    def ask(self, question: Question) -> float:
        with self._engine.query(question.sql, sources={"t": uri(question)}) as result:
            return result.to_table().column(0)[0].as_py()


class DeltaLake:
    """deltalake's own SQL (`QueryBuilder`): plain datafusion cannot scan its tables on S3."""

    def __init__(self, endpoint: str, server: MinioServer) -> None:
        self._options = options(endpoint, server)
        self._tables: dict[str, Any] = {}

    def ask(self, question: Question) -> float:
        from deltalake import DeltaTable, QueryBuilder

        table = self._tables.get(question.table)
        if table is None:
            table = DeltaTable(uri(question), storage_options=self._options)
            self._tables[question.table] = table
        else:
            table.update_incremental()
        rows = pa.table(QueryBuilder().register("t", table).execute(question.sql).read_all())
        return rows.column(0)[0].as_py()


class Polars:
    """Polars' `scan_delta` and its SQL."""

    def __init__(self, endpoint: str, server: MinioServer) -> None:
        self._options = options(endpoint, server)

    def ask(self, question: Question) -> float:
        import polars as pl

        frame = pl.scan_delta(uri(question), storage_options=self._options)
        return pl.SQLContext(t=frame).execute(question.sql, eager=True).item()


class Daft:
    """Daft's `read_deltalake` and its SQL."""

    def __init__(self, endpoint: str, server: MinioServer) -> None:
        import daft

        self._io = daft.io.IOConfig(
            s3=daft.io.S3Config(
                endpoint_url=endpoint,
                region_name="us-east-1",
                key_id=server.access_key_id,
                access_key=server.secret_access_key,
                use_ssl=False,
            )
        )

    def ask(self, question: Question) -> float:
        import daft

        frame = daft.read_deltalake(uri(question), io_config=self._io)
        return daft.sql(question.sql, t=frame).to_arrow().column(0)[0].as_py()


ENGINES: dict[str, Callable[[str, MinioServer], Asked]] = {
    "fusiondelta": Ours,
    "deltalake": DeltaLake,
    "polars": Polars,
    "daft": Daft,
}


def uri(question: Question) -> str:
    return f"s3://{BUCKET}/{question.table}"


def options(endpoint: str, server: MinioServer) -> dict[str, str]:
    return {
        "aws_endpoint_url": endpoint,
        "aws_region": "us-east-1",
        "aws_access_key_id": server.access_key_id,
        "aws_secret_access_key": server.secret_access_key,
        "aws_allow_http": "true",
    }


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


def ask(engine: Asked, question: Question, proxy: FaultProxy, cost: Cost) -> None:
    """Ask once and note what it cost."""
    proxy.clear()
    started = time.perf_counter()
    try:
        answer = engine.ask(question)
    except Exception as error:
        cost.failure = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return
    cost.seconds.append(time.perf_counter() - started)
    requests = proxy.requests
    cost.requests.append(len(requests))
    cost.bytes.append(sum(r.sent for r in requests))
    if abs(answer - question.answer) > 1e-6 * abs(question.answer):
        cost.failure = f"answered {answer}, not {question.answer}"


Costs = dict[str, dict[str, dict[str, dict[str, Cost]]]]


def measure(
    proxy: FaultProxy,
    server: MinioServer,
    questions: Sequence[Question],
    runs: int,
    engines: Sequence[str],
    latencies: Sequence[float],
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
                    try:
                        engine = ENGINES[name](proxy.endpoint, server)
                    except ImportError as error:
                        costs["cold"].failure = costs["warm"].failure = str(error)
                        continue
                    ask(engine, question, proxy, costs["cold"])
                    ask(engine, question, proxy, costs["warm"])
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
                )
        finally:
            server.stop()
    about = {
        "made": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "runs": chosen.runs,
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
