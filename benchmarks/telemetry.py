"""What telemetry and manifests cost: TPC-H without them, with them, and with all of it.

``python benchmarks/telemetry.py --scale 1 --runs 5`` runs the 22 queries on three engines in one
process, one query after the other on each, and leaves JSON and Markdown in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engines import pinned
from benchmarks.report import geometric_mean, installed_versions, table
from benchmarks.run import prepare
from benchmarks.tpch.data import queries
from fusiondelta import EngineProfile, FusionDeltaEngine, TelemetryConfig
from tests.harness.otlp import HttpReceiver

RESULTS = Path(__file__).resolve().with_name("results")
OFF = "off"


def engines(threads: int, endpoint: str, folder: Path) -> dict[str, FusionDeltaEngine]:
    """The same engine with more and more told of it; sampling and rates as they come."""
    profile = EngineProfile(target_partitions=threads)
    config = TelemetryConfig.otlp(endpoint)
    return {
        OFF: FusionDeltaEngine(profile),
        "spans and metrics": FusionDeltaEngine(profile, telemetry=config),
        "manifests": FusionDeltaEngine(profile, artifacts=folder / "one"),
        "all": FusionDeltaEngine(profile, telemetry=config, artifacts=folder / "two"),
    }


def measure(made: dict[str, FusionDeltaEngine], tables: Any, runs: int) -> dict[str, Any]:
    """Seconds by query and engine; the first run is not recorded."""
    found: dict[str, dict[str, list[float]]] = {}
    names = list(made)
    for run in range(runs + 1):
        for number, sql in queries().items():
            order = names[run % len(names) :] + names[: run % len(names)]
            for name in order:
                started = time.perf_counter()
                with made[name].query(sql, sources=pinned(sql, tables)) as result:
                    result.reader().read_all()
                took = time.perf_counter() - started
                if run:
                    found.setdefault(str(number), {}).setdefault(name, []).append(took)
        print(f"run {run} of {runs}", file=sys.stderr, flush=True)
    return found


def markdown(found: dict[str, Any], names: Sequence[str], about: dict[str, Any]) -> str:
    medians = {
        number: {name: statistics.median(one[name]) for name in names}
        for number, one in found.items()
    }
    rows = [
        [number, *(f"{medians[number][name] * 1e3:.1f}" for name in names)] for number in medians
    ]
    means = {
        name: geometric_mean(one[name] / one[OFF] for one in medians.values()) for name in names
    }
    sums = {name: sum(one[name] for one in medians.values()) for name in names}
    rows.append(["all together", *(f"{sums[name] * 1e3:.1f}" for name in names)])
    rows.append(["to off, geometric mean", *(f"{means[name]:.3f}" for name in names)])
    rows.append(["to off, all together", *(f"{sums[name] / sums[OFF]:.3f}" for name in names)])
    lines = ["# What telemetry and manifests cost", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", "Milliseconds of each query, medians.", "", table(["query", *names], rows), ""]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor")
    parser.add_argument("--runs", type=int, default=5, help="recorded runs of each query")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=RESULTS.with_name("data"))
    parser.add_argument("--name", default=f"telemetry-{dt.date.today()}")
    chosen = parser.parse_args(arguments)
    tables = prepare(chosen.folder, chosen.scale)
    with (
        tempfile.TemporaryDirectory(prefix="fusiondelta-telemetry-") as scratch,
        HttpReceiver() as receiver,
    ):
        made = engines(chosen.threads, receiver.endpoint, Path(scratch))
        try:
            found = measure(made, tables, chosen.runs)
        finally:
            for engine in made.values():
                engine.close()
        spans = len(receiver.spans)
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
    names = list(made)
    text = markdown(found, names, about)
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / chosen.name
    target.with_suffix(".json").write_text(json.dumps({"about": about, "queries": found}, indent=1))
    target.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
