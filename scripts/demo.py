"""Show fusiondelta at work: TPC-H over Delta tables, time travel, a streamed write, metrics.

Run it as ``python scripts/demo.py [--scale 0.1] [--folder FOLDER] [--queries 1,3,5]``.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tpch.data import SMALLEST_SCALE, TpchDataError, generate, queries

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta import FusionDeltaEngine, SnapshotKey

MARKER = "made-by-fusiondelta-demo"

JOIN = """
select c_name, o_orderkey, o_orderdate, l_linenumber, l_shipdate,
       l_extendedprice * (1 - l_discount) as revenue
from lineitem
join orders on l_orderkey = o_orderkey
join customer on o_custkey = c_custkey
where l_shipdate >= date '1997-01-01' and c_mktsegment = 'BUILDING'
"""


@dataclass
class Account:
    """What is kept of the queries: the snapshots they read, and the slowest of them."""

    snapshots: dict[str, SnapshotKey] = field(default_factory=dict)
    slowest: int = 0
    seconds: float = -1.0
    metrics: pa.Table | None = None
    bundle: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the code to exit with."""
    options = parse(arguments)
    try:
        return demo(options.scale, options.folder, options.queries)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; leave nothing to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (TpchDataError, DemoError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, or an exit with a message on what is wrong with them."""
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--scale", type=scale, default=0.1, help="TPC-H scale factor (default: %(default)s)"
    )
    parser.add_argument(
        "--folder",
        type=lambda text: Path(text).expanduser(),
        default=default_folder(),
        help="where data, tables and the plan bundle go (default: %(default)s)",
    )
    parser.add_argument(
        "--queries",
        type=query_numbers,
        default=list(queries()),
        help="which of the 22 queries to run, as in 1,3,6 (default: all)",
    )
    return parser.parse_args(arguments)


def default_folder() -> Path:
    """A folder among the user's caches."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fusiondelta" / "demo"


def scale(text: str) -> float:
    """A scale factor that data can be made for."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(value) and value >= SMALLEST_SCALE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {SMALLEST_SCALE} upwards")
    return value


def query_numbers(text: str) -> list[int]:
    """Numbers of queries that exist."""
    known = queries()
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, as in 1,3") from None
    for number in numbers:
        if number not in known:
            raise argparse.ArgumentTypeError(f"no query {number}; there are 1 to {len(known)}")
    return numbers


def demo(factor: float, folder: Path, numbers: Sequence[int]) -> int:
    """Every part in turn."""
    try:
        from fusiondelta import FusionDeltaEngine
    except ImportError as error:
        raise DemoError(f"fusiondelta is not installed here ({error}); run scripts/demo") from error

    say(f"TPC-H at scale {factor:g}")
    started = time.perf_counter()
    parquet = generate(folder / "parquet", factor)
    say(f"  Parquet files ready in {time.perf_counter() - started:.1f} s")

    target = fresh_folder(folder / f"delta-sf{factor:g}")
    with FusionDeltaEngine() as engine:
        tables = write_tables(engine, parquet, target)
        account = run_queries(engine, tables, numbers)
        show_snapshots(account.snapshots)
        travel_in_time(engine, tables["region"])
        stream_a_join(engine, tables, target / "late_building_orders")
        show_metrics(account)
        show_bundle(account, target)

    uri = tables["lineitem"]
    say("")
    say(
        "Try next: fusiondelta query "
        '"select l_shipmode, count(*) as lines from lineitem group by l_shipmode" '
        f"--source lineitem={uri}@0"
    )
    return 0


def fresh_folder(target: Path) -> Path:
    """An empty folder; one that an earlier demo left is emptied, any other is not touched."""
    if target.exists():
        if not (target / MARKER).is_file():
            raise DemoError(f"{target} exists and was not made by this demo; choose a --folder")
        shutil.rmtree(target)
    target.mkdir(parents=True)
    (target / MARKER).touch()
    return target


def write_tables(
    engine: FusionDeltaEngine, parquet: Mapping[str, Path], target: Path
) -> dict[str, str]:
    """One Delta table per Parquet file, written through the engine; their addresses."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    say("")
    say("Delta tables")
    rows = []
    tables = {}
    for name, path in parquet.items():
        uri = str(target / name)
        started = time.perf_counter()
        with pq.ParquetFile(path) as file:
            stream = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
            written = engine.write_delta(uri, stream, mode="overwrite")
        spent = time.perf_counter() - started
        rows.append(
            [
                name,
                f"{written.rows_written:,}",
                str(written.snapshot.version),
                f"{spent * 1e3:,.0f}",
            ]
        )
        tables[name] = uri
    show(["table", "rows written", "version", "time (ms)"], rows)
    return tables


def run_queries(
    engine: FusionDeltaEngine, tables: Mapping[str, str], numbers: Sequence[int]
) -> Account:
    """Run each query to its last row and print a line for it."""
    texts = queries()
    account = Account()
    rows = []
    total = 0.0
    say("")
    say(f"{len(numbers)} queries")
    for number in numbers:
        title = texts[number].splitlines()[0].removeprefix("--").split("(")[0].strip()
        started = time.perf_counter()
        with engine.query(texts[number], sources=dict(tables)) as result:
            count = sum(batch.num_rows for batch in result.reader())
            spent = time.perf_counter() - started
            account.snapshots.update(result.snapshots_by_alias)
            if spent > account.seconds:
                account.slowest, account.seconds = number, spent
                account.metrics, account.bundle = result.metrics(), result.plan.to_json()
        total += spent
        rows.append([str(number), title, f"{count:,}", f"{spent * 1e3:,.1f}"])
    rows.append(["", "all", "", f"{total * 1e3:,.1f}"])
    show(["query", "what", "rows", "time (ms)"], rows, left=(1,))
    return account


def show_snapshots(snapshots: Mapping[str, SnapshotKey]) -> None:
    """Which version of which table stood behind each alias."""
    say("")
    say("Snapshots these queries read")
    rows = [[alias, str(key.version), key.uri] for alias, key in sorted(snapshots.items())]
    show(["alias", "version", "table"], rows, left=(0, 2))


def travel_in_time(engine: FusionDeltaEngine, uri: str) -> None:
    """Append to a table, then count its rows at its first and its latest version."""
    import pyarrow as pa

    from fusiondelta import DeltaSource

    say("")
    say("Time travel: two regions are appended, and both versions stay readable")
    with engine.query("select * from region limit 0", sources={"region": uri}) as nothing:
        schema = nothing.reader().schema
    names = ["ATLANTIS", "LEMURIA"]
    more = [
        {"r_regionkey": 5 + i, "r_name": name, "r_comment": "only in the second version"}
        for i, name in enumerate(names)
    ]
    latest = engine.write_delta(uri, pa.Table.from_pylist(more, schema=schema)).snapshot.version
    rows = []
    for label, source in (("0", DeltaSource(uri, as_of=0)), ("latest", DeltaSource(uri))):
        with engine.query("select count(*) as n from region", sources={"region": source}) as result:
            count = result.reader().read_all().column("n")[0].as_py()
            rows.append([label, str(result.snapshots[0].version), str(count)])
    show(["as of", "version", "regions"], rows)
    if rows[1][1] != str(latest):
        raise DemoError(f"the latest version should be {latest}, not {rows[1][1]}")


def stream_a_join(engine: FusionDeltaEngine, tables: Mapping[str, str], target: Path) -> None:
    """Write the rows of a join as they come; they are never held all at once."""
    import pyarrow as pa

    say("")
    say("A filtered join, streamed batch by batch into a new Delta table")
    seen = [0, 0]

    def counted(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            seen[0] += 1
            seen[1] += batch.num_rows
            if seen[0] & (seen[0] - 1) == 0:
                say(f"  batch {seen[0]:>5,}: {seen[1]:>11,} rows so far")
            yield batch

    names = ("lineitem", "orders", "customer")
    with engine.query(JOIN, sources={name: tables[name] for name in names}) as result:
        reader = result.reader()
        stream = pa.RecordBatchReader.from_batches(reader.schema, counted(reader))
        written = engine.write_delta(str(target), stream, mode="overwrite")
    say(
        f"  {seen[0]:,} batches, {written.rows_written:,} rows in {written.snapshot.uri}"
        f" at version {written.snapshot.version}"
    )


def show_metrics(account: Account) -> None:
    """The operator of the slowest query that computed longest, and what it counted."""
    if account.metrics is None:
        return
    operators = by_operator(account.metrics)
    if not operators:
        return
    (node, name), metrics = max(operators.items(), key=lambda item: computing(item[1]))
    everything = sum(computing(each) for each in operators.values())
    share = computing(metrics) / everything if everything else 0.0
    say("")
    say(
        f"Query {account.slowest} was the slowest ({account.seconds * 1e3:,.1f} ms); "
        f"its dearest operator is {name} (node {node}), {share:.0%} of the computing time"
    )
    rows = [
        [metric, human(value, unit)]
        for (metric, unit), value in sorted(metrics.items())
        if value and "timestamp" not in metric
    ]
    show(["metric", "all partitions"], rows, left=(0,))


Metrics = dict[tuple[str, str], float]


def by_operator(table: pa.Table) -> dict[tuple[str, str], Metrics]:
    """The metrics of each plan node, partitions added up (ratios: their mean)."""
    values: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for row in table.to_pylist():
        node = values.setdefault((row["node_id"], row["operator"]), {})
        if row["metric_value"] is not None:
            metric = (row["metric_name"], row["unit"])
            node.setdefault(metric, []).append(float(row["metric_value"]))
    return {
        node: {
            metric: sum(each) / (len(each) if metric[1] == "ratio" else 1)
            for metric, each in metrics.items()
        }
        for node, metrics in values.items()
    }


def computing(metrics: Metrics) -> float:
    """Nanoseconds that an operator computed, its partitions added up."""
    return sum(value for (name, _), value in metrics.items() if name == "elapsed_compute")


def human(value: float, unit: str) -> str:
    """A metric's value with a unit that people read."""
    if unit == "ns":
        return f"{value / 1e6:,.2f} ms"
    if unit == "ratio":
        return f"{value:.3f}"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB"):
            if value < 1024:
                return f"{value:,.0f} {name}" if name == "B" else f"{value:,.1f} {name}"
            value /= 1024
        return f"{value:,.1f} GiB"
    return f"{value:,.0f}" + (" rows" if unit == "rows" else "")


def show_bundle(account: Account, folder: Path) -> None:
    """Write the plan bundle of the slowest query beside the tables."""
    path = folder / f"q{account.slowest:02}.plan.json"
    path.write_text(account.bundle, encoding="utf-8")
    say("")
    say(f"Plan bundle of query {account.slowest}: {path}")


def show(head: list[str], rows: list[list[str]], *, left: Sequence[int] = (0,)) -> None:
    """Print an aligned table; the columns in ``left`` stand to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say(("  " + "  ".join(cells)).rstrip())


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
