"""What telemetry and manifests cost: TPC-H without them, with them, and with all of it.

``python benchmarks/telemetry.py --scale 1 --runs 10`` lets five engines in one process take turns:
one goes through the 22 queries and then waits until its spans and manifests are out of its hands,
then the next does, in another order each time. After each turn nothing happens for a while:
exporters send every five seconds, and what they take of the processor counts for whose turn it was.
Ratios are to the mean of two engines without telemetry, and show how much these differ by
themselves. The receiver of spans has a process of its own. JSON and Markdown are left in
``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.server
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engines import pinned
from benchmarks.report import installed_versions, table
from benchmarks.run import prepare
from benchmarks.tpch.data import queries
from fusiondelta import EngineProfile, FusionDeltaEngine, TelemetryConfig

RESULTS = Path(__file__).resolve().with_name("results")
#: Engines without telemetry.
OFF = ("off", "off again")
#: Seconds after which what waited was sent: OTEL_BSP_SCHEDULE_DELAY is 5 s.
EXPORTED = 6


def engines(threads: int, endpoint: str, folder: Path) -> dict[str, FusionDeltaEngine]:
    """The same engine with more and more told of it; sampling and rates as they come."""
    profile = EngineProfile(target_partitions=threads)
    config = TelemetryConfig.otlp(endpoint)
    return {
        **{name: FusionDeltaEngine(profile) for name in OFF},
        "spans and metrics": FusionDeltaEngine(profile, telemetry=config),
        "manifests": FusionDeltaEngine(profile, artifacts=folder / "one"),
        "all": FusionDeltaEngine(profile, telemetry=config, artifacts=folder / "two"),
    }


def turn(engine: FusionDeltaEngine, tables: Any) -> dict[str, Any]:
    """One time through the queries: seconds of each, seconds and processor seconds of all."""
    took = {}
    started, worked = time.perf_counter(), time.process_time()
    for number, sql in queries().items():
        began = time.perf_counter()
        with engine.query(sql, sources=pinned(sql, tables)) as result:
            result.reader().read_all()
        took[str(number)] = time.perf_counter() - began
    if not engine.flush(60):
        raise RuntimeError("spans and manifests were not out after 60 s")
    seconds = time.perf_counter() - started
    time.sleep(EXPORTED)
    return {
        "queries": took,
        "seconds": seconds,
        "processor": time.process_time() - worked,
    }


def measure(made: dict[str, FusionDeltaEngine], tables: Any, runs: int) -> dict[str, Any]:
    """Turns by engine; the first of each is not recorded."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in made}
    names = list(made)
    for run in range(runs + 1):
        turned = run // 2 % len(names)
        order = names[turned:] + names[:turned]
        for name in order[:: 1 if run % 2 else -1]:
            one = turn(made[name], tables)
            if run:
                found[name].append(one)
        print(f"run {run} of {runs}", file=sys.stderr, flush=True)
    return found


def markdown(found: dict[str, Any], about: dict[str, Any]) -> str:
    """The report."""
    names = list(found)

    def medians(what: Callable[[dict[str, Any]], float]) -> dict[str, float]:
        return {name: statistics.median(map(what, found[name])) for name in names}

    def ratios(what: Callable[[dict[str, Any]], float]) -> dict[str, float]:
        # Of turns of the same run, which were near in time: a machine is not as fast all day.
        off = [
            statistics.mean(map(what, both)) for both in zip(*(found[n] for n in OFF), strict=True)
        ]
        return {
            name: statistics.median(
                what(one) / base for one, base in zip(found[name], off, strict=True)
            )
            for name in names
        }

    rows = []
    for label, part in (("seconds", "seconds"), ("processor seconds", "processor")):
        amount, share = medians(itemgetter(part)), ratios(itemgetter(part))
        rows.append([label, *(f"{amount[name]:.2f}" for name in names)])
        rows.append([f"{label}, to off", *(f"{share[name]:.3f}" for name in names)])
    queries_of = []
    for number in found[OFF[0]][0]["queries"]:
        amount = medians(lambda one, number=number: one["queries"][number])
        queries_of.append([number, *(f"{amount[name] * 1e3:.1f}" for name in names)])
    lines = ["# What telemetry and manifests cost", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", "Turns of 22 queries: medians, and the median of the ratios of each run.", ""]
    lines += [table(["", *names], rows), "", "Milliseconds until the last row, medians.", ""]
    lines += [table(["query", *names], queries_of), ""]
    return "\n".join(lines)


def receive(pipe: Connection) -> None:
    """Receive spans in this process until told to stop, then tell how many there were.

    They are looked at in the end only: a receiver is another machine as a rule, and here it takes
    its time from the queries.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies: list[bytes] = []

    class Keeper(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Keeper) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        pipe.send(f"http://127.0.0.1:{server.server_address[1]}")
        pipe.recv()
        server.shutdown()
        thread.join()
    requests = map(ExportTraceServiceRequest.FromString, bodies)
    scopes = (scope for one in requests for r in one.resource_spans for scope in r.scope_spans)
    pipe.send(sum(len(scope.spans) for scope in scopes))


@contextlib.contextmanager
def receiving() -> Iterator[tuple[str, Callable[[], int]]]:
    """Endpoint of a receiver in another process, and how to stop it and count its spans."""
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=receive, args=(there,), daemon=True)
    other.start()

    def stop() -> int:
        here.send(None)
        return int(here.recv())

    try:
        yield str(here.recv()), stop
    finally:
        other.terminate()
        other.join()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor")
    parser.add_argument("--runs", type=int, default=10, help="recorded turns of each engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=RESULTS.with_name("data"))
    parser.add_argument("--name", default=f"telemetry-{dt.date.today()}")
    chosen = parser.parse_args(arguments)
    tables = prepare(chosen.folder, chosen.scale)
    with (
        tempfile.TemporaryDirectory(prefix="fusiondelta-telemetry-") as scratch,
        receiving() as (endpoint, stop),
    ):
        made = engines(chosen.threads, endpoint, Path(scratch))
        try:
            found = measure(made, tables, chosen.runs)
        finally:
            for engine in made.values():
                engine.close()
        spans = stop()
    versions = installed_versions({})
    kept = ("fusiondelta", "datafusion", "opentelemetry-sdk")
    about = {
        "made": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "scale": chosen.scale,
        "runs": chosen.runs,
        "threads": chosen.threads,
        "spans received": spans,
        "versions": ", ".join(f"{name} {versions[name]}" for name in kept if name in versions),
    }
    text = markdown(found, about)
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / chosen.name
    target.with_suffix(".json").write_text(json.dumps({"about": about, "turns": found}, indent=1))
    target.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
