"""TPC-H over Delta: fusiondelta against datafusion with deltalake, Polars and DuckDB.

``python benchmarks/run.py --scale 1 --runs 5`` makes the data, runs everything interleaved in one
process, and leaves JSON, a Markdown table and a chart in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engines import BASELINE, ENGINES, Engine, Tables, fusiondelta_engine, pinned
from benchmarks.report import Repeated, Report, Timings, installed_versions
from benchmarks.tpch.compare import difference
from benchmarks.tpch.data import SMALLEST_SCALE, TpchDataError, generate, queries

RESULTS = Path(__file__).resolve().with_name("results")

# Engines round quotients and averages of decimals at different places.
TOLERANCE = 1e-6


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return benchmark(options)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was recorded.", file=sys.stderr)
        return 130
    except TpchDataError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=scale, default=1.0, help="TPC-H scale factor (default: 1)")
    parser.add_argument(
        "--runs", type=positive, default=5, help="recorded runs of each query (default: 5)"
    )
    parser.add_argument(
        "--engines",
        type=names,
        default=list(ENGINES),
        help=f"which engines, of {','.join(ENGINES)} (default: all)",
    )
    parser.add_argument(
        "--queries", type=numbers, default=list(queries()), help="as in 1,3,6 (default: all 22)"
    )
    parser.add_argument("--threads", type=positive, default=cores(), help="(default: all cores)")
    parser.add_argument(
        "--set",
        dest="settings",
        type=setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a DataFusion setting for fusiondelta's profile; may be repeated",
    )
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="for the data (default: %(default)s)"
    )
    parser.add_argument("--name", help="of the result files (default: tpch-sf<scale>-<date>)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="(default: %(default)s)")
    parser.add_argument(
        "--chart", action=argparse.BooleanOptionalAction, default=True, help="draw a chart (SVG)"
    )
    return parser.parse_args(arguments)


def scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(value) and value >= SMALLEST_SCALE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {SMALLEST_SCALE} upwards")
    return value


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 upwards")
    return int(text)


def names(text: str) -> list[str]:
    for name in (chosen := text.split(",")):
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"no engine {name!r}; there are {', '.join(ENGINES)}")
    return list(dict.fromkeys(chosen))


def numbers(text: str) -> list[int]:
    known = {str(number) for number in queries()}
    for number in (chosen := text.split(",")):
        if number not in known:
            raise argparse.ArgumentTypeError(f"no query {number!r}; there are 1 to {len(known)}")
    return sorted({int(number) for number in chosen})


def setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fusiondelta" / "benchmarks"


def benchmark(options: argparse.Namespace) -> int:
    # Must be set before Polars is first imported, by whomever.
    os.environ["POLARS_MAX_THREADS"] = str(options.threads)
    settings = dict(options.settings)
    say(f"TPC-H scale {options.scale:g}: preparing the tables")
    tables = prepare(options.folder, options.scale)
    report = Report(
        scale=options.scale,
        runs=options.runs,
        machine=machine(options.threads),
        versions=installed_versions({"python": platform.python_version()}),
        settings=settings,
        files={name: len(files) for name, files in tables.files.items()},
        engines=options.engines,
    )
    engines = start(options.engines, tables, options.threads, settings, report)
    measure(engines, options.queries, options.runs, report)
    for engine in engines.values():
        engine.close()
    if "fusiondelta" in engines:
        say("repeated queries")
        for number in options.queries:
            report.repeated[number] = repeat(number, tables, options.threads, settings)
    name = options.name or f"tpch-sf{options.scale:g}-{dt.date.today():%Y-%m-%d}"
    write(report, options.output, name, chart=options.chart)
    return 1 if report.failures() else 0


def prepare(folder: Path, factor: float) -> Tables:
    """Delta tables of the data, written once; and the files that each consists of."""
    from deltalake import DeltaTable, write_deltalake
    from pyarrow.parquet import ParquetFile

    uris, versions, files = {}, {}, {}
    for name, path in generate(folder / "parquet", factor).items():
        uri = str(folder / f"delta-sf{factor:g}" / name)
        if not DeltaTable.is_deltatable(uri):
            import pyarrow as pa

            with ParquetFile(path) as source:
                stream = pa.RecordBatchReader.from_batches(
                    source.schema_arrow, source.iter_batches()
                )
                write_deltalake(uri, stream)
        table = DeltaTable(uri)
        uris[name], versions[name], files[name] = uri, table.version(), table.file_uris()
    return Tables(uris, versions, files)


def start(
    chosen: Sequence[str],
    tables: Tables,
    threads: int,
    settings: Mapping[str, str],
    report: Report,
) -> dict[str, Engine]:
    engines = {}
    for name in chosen:
        try:
            engines[name] = ENGINES[name](tables, threads, settings)
        except Exception as error:
            report.unavailable[name] = describe(error)
            say(f"{name} is left out: {report.unavailable[name]}")
    return engines


def measure(
    engines: Mapping[str, Engine], chosen: Sequence[int], runs: int, report: Report
) -> None:
    """Every engine's time for every query: a first pass, then ``runs`` warm ones, interleaved."""
    report.timings = {name: {number: Timings() for number in chosen} for name in engines}
    for run in range(runs + 1):
        say(f"run {run} of {runs}" if run else "first run")
        for place, number in enumerate(chosen):
            answers = {}
            for name in rotated(list(engines), run + place):
                timing = report.timings[name][number]
                if timing.failure is not None:
                    continue
                gc.collect()
                try:
                    started = time.perf_counter()
                    answer = engines[name].answer(number)
                    spent = time.perf_counter() - started
                except Exception as error:
                    timing.failure = describe(error)
                    continue
                if run:
                    timing.warm.append(spent)
                else:
                    timing.first, timing.rows, answers[name] = spent, answer.num_rows, answer
            if not run:
                compare(number, answers, report)


def compare(number: int, answers: Mapping[str, object], report: Report) -> None:
    """A wrong answer is a failure, however fast."""
    judge = next((name for name in ("duckdb", BASELINE) if name in answers), None)
    for name, answer in answers.items():
        if judge is not None and name != judge:
            found = difference(answer, answers[judge], relative=TOLERANCE)
            if found is not None:
                report.timings[name][number].failure = f"differs from {judge}: {found}"


def repeat(number: int, tables: Tables, threads: int, settings: Mapping[str, str]) -> Repeated:
    """The requests of a query, and of the same query again, on an engine of its own."""
    account = Repeated()
    sql = queries()[number]
    try:
        with fusiondelta_engine(threads, settings) as engine:
            for counts in (account.first, account.second):
                with engine.query(sql, sources=pinned(sql, tables)) as result:
                    result.reader().read_all()
                    counts.update({str(k): int(v) for k, v in result.io.by_purpose.items()})
    except Exception as error:
        account.failure = describe(error)
    return account


def write(report: Report, folder: Path, name: str, *, chart: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = None
    if chart:
        try:
            report.chart(folder / f"{name}.svg")
            drawn = f"{name}.svg"
        except ImportError as error:
            say(f"no chart: {error} (pip install --group benchmark, or --no-chart)")
    text = report.as_markdown(f"TPC-H at scale {report.scale:g}", drawn)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    data = json.dumps(report.as_json(), indent=1)
    (folder / f"{name}.json").write_text(data + "\n", encoding="utf-8")
    say("", text, f"Written: {name}.md, {name}.json{f', {drawn}' if drawn else ''} in {folder}")


def rotated(items: list[str], by: int) -> list[str]:
    turn = by % len(items) if items else 0
    return items[turn:] + items[:turn]


def describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(threads: int) -> dict[str, str | int]:
    memory = 0
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": threads,
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
