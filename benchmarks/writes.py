"""Changes of Delta tables: fusiondelta against deltalake, Polars and Daft; and commits on a MinIO.

``python benchmarks/writes.py --rows 5000000 --runs 3`` makes the data, asks every engine for the
same changes, each in a process of its own over a fresh copy, then times commits of one row, alone
and among other writers, and leaves JSON and Markdown in ``benchmarks/results``. ``--only NAME``
chooses a part of that; ``--only "*in 200 files*"`` is the changes of one row in a hundred.
"""

from __future__ import annotations

import argparse
import datetime as dt
import fnmatch
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import installed_versions
from benchmarks.writes_asked import ENGINES, MARK, SEVENS
from tests.harness.servers import MinioServer

RESULTS = Path(__file__).resolve().with_name("results")
ASKED = Path(__file__).resolve().with_name("writes_asked.py")
PARTITIONS = 10
MANY = 1000
FILES = 200
VECTORS = " with deletion vectors"
#: The part that is no change on a disk.
COMMITS = "commits"
WRITERS = (1, 2, 8, 32)


#: What a change of ours may take of another's time: change, to which change of whom, at most.
BOUNDS = (
    *(
        (f"{kind} of 1 % in 200 files{VECTORS}", f"{kind} of 1 % in 200 files", "fusiondelta", 0.3)
        for kind in ("delete", "update", "merge")
    ),
    ("merge of 1 % in 200 files", "merge of 1 % in 200 files", "deltalake", 0.7),
    ("merge of 1 % in 200 files", "merge of 1 % in 200 files", "polars", None),
    ("append", "append", "polars", 1),
    ("append of a frame", "append of a frame", "polars", 1),
)
#: MiB that our process may hold at once in the changes of one row in a hundred.
PEAK = 512


@dataclass(frozen=True)
class Change:
    """What has to be there for a change, the table that it is made of, and what that then holds."""

    needs: Sequence[str]
    table: str
    rows: int
    mark: str = "false"
    marked: int = 0
    #: Rows that deletion vectors of the commit take away.
    gone: int = 0

    def look(self, folder: Path) -> str | None:
        """What is not as it should be."""
        from deltalake import DeltaTable, QueryBuilder

        table = DeltaTable(str(folder / self.table))
        counts = f"SELECT count(*), count(*) FILTER (WHERE {self.mark}) FROM t"
        answer = pa.table(QueryBuilder().register("t", table).execute(counts).read_all())
        rows, marked = (column[0].as_py() for column in answer.columns)
        newest = folder / self.table / "_delta_log" / f"{table.version():020}.json"
        adds = (json.loads(line).get("add") or {} for line in newest.read_text().splitlines())
        gone = sum((add.get("deletionVector") or {}).get("cardinality", 0) for add in adds)
        if (rows, marked, gone) == (self.rows, self.marked, self.gone):
            return None
        return (
            f"left {rows} rows, not {self.rows}; {marked} of {self.mark}, not {self.marked}; "
            f"{gone} gone by vectors, not {self.gone}"
        )


def all_changes(rows: int, wide: int) -> dict[str, Change]:
    """The changes by name, of tables of so many rows."""
    news = rows // 100
    found = {
        "append": Change(["rows.parquet"], "t", rows),
        "append of a frame": Change(["rows.parquet"], "t", rows),
        "partitioned append": Change(["rows.parquet"], "p", rows),
        "append to 1,000 partitions": Change(["many.parquet"], "p", rows),
        "overwrite from a query": Change(["t"], "o", (rows + 1) // 2),
        "merge of 1 %": Change(["t", "news.parquet"], "t", rows + news - news // 2),
        "delete of 10 %": Change(["t"], "t", rows - len(range(3, rows, PARTITIONS))),
        "optimize": Change(["s"], "s", rows),
    }
    sevens, matched, added = len(range(7, wide, 100)), wide // 100, wide // 1000
    for table, ending in (("w", ""), ("v", VECTORS)):
        for kind, needs, left, mark, marked, gone in (
            ("delete", [], wide - sevens, SEVENS, 0, sevens),
            ("update", [], wide, MARK, sevens, sevens),
            ("merge", ["few.parquet"], wide + added, MARK, matched + added, matched),
        ):
            found[f"{kind} of 1 % in 200 files{ending}"] = Change(
                [table, *needs], table, left, mark, marked, gone if ending else 0
            )
    return found


def batch(ids: np.ndarray, tag: str, partitions: int = PARTITIONS) -> pa.Table:
    rows = len(ids)
    texts = pa.array([f"{tag} {i % 1000:04}" for i in range(min(rows, 1000))])
    return pa.table(
        {
            "id": ids,
            "part": pa.array([f"p{i:02}" for i in range(partitions)]).take(
                pa.array(ids % partitions)
            ),
            "price": np.random.default_rng(int(ids[0])).random(rows),
            "quantity": ids % 97,
            "text": texts.take(pa.array(np.arange(rows) % len(texts))),
        }
    )


class Maker:
    """Makes what the changes need: rows, tables of them, and what is merged into these."""

    def __init__(self, folder: Path, rows: int, wide: int, order: str) -> None:
        self.folder, self.rows, self.wide, self.order = folder, rows, wide, order

    def make(self, needs: Sequence[str]) -> None:
        makers: dict[str, Callable[[], None]] = {
            "rows.parquet": lambda: self.source("rows.parquet", PARTITIONS),
            "many.parquet": lambda: self.source("many.parquet", MANY),
            "news.parquet": self.news,
            "few.parquet": self.few,
            "t": lambda: self.table("t", np.arange(self.rows), -(-self.rows // 1_000_000)),
            "s": lambda: self.table("s", np.arange(self.rows), FILES),
            "w": lambda: self.table("w", self.ids(), FILES),
            "v": self.vectors,
        }
        for name in [*needs, *(["w"] if "v" in needs and "w" not in needs else [])]:
            if not (self.folder / name).exists():
                makers[name]()
        os.sync()

    def ids(self) -> np.ndarray:
        """Of the table in 200 files."""
        if self.order == "contiguous":
            return np.arange(self.wide)
        return np.random.default_rng(0).permutation(self.wide)

    def source(self, name: str, partitions: int) -> None:
        step = 1_000_000
        schema = batch(np.arange(1), "row").schema
        with pq.ParquetWriter(self.folder / name, schema) as writer:
            for start in range(0, self.rows, step):
                ids = np.arange(start, min(start + step, self.rows))
                writer.write_table(batch(ids, "row", partitions))

    def news(self) -> None:
        """One row in a hundred, half of them new, the others next to each other."""
        news, half = self.rows // 100, self.rows // 2
        updated = batch(np.arange(half, half + news // 2), "new")
        added = batch(np.arange(self.rows, self.rows + news - news // 2), "new")
        pq.write_table(pa.concat_tables([updated, added]), self.folder / "news.parquet")

    def few(self) -> None:
        """One row in a hundred, from anywhere, and a tenth as many new ones, in no order."""
        chance = np.random.default_rng(1)
        there = chance.choice(self.wide, self.wide // 100, replace=False)
        added = np.arange(self.wide, self.wide + self.wide // 1000)
        rows = batch(chance.permutation(np.concatenate([there, added])), "new")
        marked = pa.array(np.full(len(rows), -1))
        rows = rows.set_column(rows.column_names.index("quantity"), "quantity", marked)
        pq.write_table(rows, self.folder / "few.parquet")

    def table(self, name: str, ids: np.ndarray, files: int) -> None:
        from deltalake import DeltaTable, write_deltalake

        uri = str(self.folder / name)
        for part in np.array_split(ids, files):
            write_deltalake(uri, batch(part, "row"), mode="append")
        table = DeltaTable(uri)
        table.create_checkpoint()
        assert len(table.file_uris()) == files, f"{name} has {len(table.file_uris())} files"

    def vectors(self) -> None:
        """The same files, as a table whose changes write deletion vectors."""
        from fusiondelta import FusionDeltaEngine

        self.make(["w"])
        lay(self.folder / "w", self.folder / "v")
        with FusionDeltaEngine() as engine:
            wanted = {"delta.enableDeletionVectors": "true"}
            engine.set_properties(self.folder / "v", wanted, allow_metadata_change=True)


def lay(origin: Path, target: Path) -> None:
    """The same again: data files, which nobody changes, as links; the log as a copy."""

    def one(source: str, target: str) -> None:
        if "_delta_log" not in Path(source).parts:
            try:
                os.link(source, target)
                return
            except OSError:  # Another file system, or one without links.
                pass
        shutil.copy2(source, target)

    if origin.is_dir():
        shutil.copytree(origin, target, copy_function=one)
    else:
        one(str(origin), str(target))


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


def changes(
    origin: Path, chosen: Mapping[str, Change], runs: int, engines: Sequence[str], limit: float
) -> Any:
    """Each change by each engine; with and without deletion vectors take turns."""
    found: dict[str, dict[str, dict[str, Any]]] = {
        name: {engine: {} for engine in engines} for name in chosen
    }
    for plain in dict.fromkeys(name.removesuffix(VECTORS) for name in chosen):
        pair = [name for name in (plain, plain + VECTORS) if name in chosen]
        turns = [(name, engine) for engine in engines for name in pair]
        for run in range(runs):
            first = run % len(turns)
            for name, engine in [*turns[first:], *turns[:first]]:
                cost = found[name][engine]
                if "failure" in cost:
                    continue
                said = once(origin, name, chosen[name], engine, limit)
                if "failure" in said:
                    cost["failure"] = said["failure"]
                    continue
                for key, value in said.items():
                    cost.setdefault(key, []).append(value)
            say(f"{plain}: run {run + 1} of {runs}")
    return found


def once(origin: Path, name: str, change: Change, engine: str, limit: float) -> dict[str, Any]:
    """One change over a fresh copy."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=origin) as scratch:
        folder = Path(scratch)
        for need in change.needs:
            lay(origin / need, folder / need)
        said = ask(engine, name, folder, limit)
        wrong = None if "failure" in said else change.look(folder)
    return said if wrong is None else {"failure": wrong}


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


def median(cost: Mapping[str, Any], key: str) -> float | None:
    return statistics.median(cost[key]) if cost.get(key) and "failure" not in cost else None


def against_bounds(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was measured of the bounds, as lines of a table."""
    lines = []

    def line(what: str, value: str, bound: float | None, met: bool) -> None:
        verdict = "" if bound is None else "met" if met else "missed"
        lines.append(f"| {what} | {value} | {'' if bound is None else bound} | {verdict} |")

    for change, other, engine, bound in BOUNDS:
        ours = median(found.get(change, {}).get("fusiondelta", {}), "seconds")
        theirs = median(found.get(other, {}).get(engine, {}), "seconds")
        if ours and theirs:
            to = engine if change == other else f"{other}, {engine}"
            ratio = ours / theirs
            line(f"{change}, to {to}", f"{ratio:.2f}", bound, bound is None or ratio <= bound)
    for change, by_engine in found.items():
        cost = by_engine.get("fusiondelta", {})
        if "in 200 files" in change and median(cost, "peak"):
            peak = max(cost["peak"]) / 2**20
            line(f"{change}, largest peak (MiB)", f"{peak:,.0f}", PEAK, peak <= PEAK)
    return lines


def markdown(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Tables of medians."""
    lines = ["# Changes of Delta tables", ""]
    lines += [f"- {name}: {value}" for name, value in about.items() if name != "versions"]
    lines += [f"- {', '.join(f'{n} {v}' for n, v in about['versions'].items())}", ""]
    if found["changes"]:
        lines += ["## On a disk", ""]
        lines.append("| change | engine | s | million rows/s | processor s | MiB before | peak |")
        lines.append("|---|---|---:|---:|---:|---:|---:|")
    for change, by_engine in found["changes"].items():
        rows = about["rows in 200 files" if "in 200 files" in change else "rows"]
        for engine, cost in by_engine.items():
            if "failure" in cost:
                lines.append(f"| {change} | {engine} | {cost['failure']} | | | | |")
                continue
            seconds, processor, before, peak = (
                statistics.median(cost[key]) for key in ("seconds", "processor", "before", "peak")
            )
            lines.append(
                f"| {change} | {engine} | {seconds:.2f} | {rows / seconds / 1e6:.2f} | "
                f"{processor:.2f} | {before / 2**20:,.0f} | {peak / 2**20:,.0f} |"
            )
    bounds = against_bounds(found["changes"])
    if bounds:
        lines += ["", "## Against the bounds", "", "| fusiondelta | | at most | |"]
        lines += ["|---|---:|---:|---|", *bounds]
    if COMMITS not in found:
        return "\n".join([*lines, ""])
    lines += ["", "## Commits of one row on MinIO", ""]
    lines.append("| writers | engine | commits/s | median ms | failed |")
    lines.append("|---:|---|---:|---:|---:|")
    for writers in WRITERS:
        for engine, by_writers in found[COMMITS].items():
            one = by_writers[str(writers)]
            rate = one["commits"] / one["seconds"]
            middle = f"{one['median'] * 1e3:,.0f}" if one["median"] else ""
            lines.append(f"| {writers} | {engine} | {rate:.1f} | {middle} | {one['failures']} |")
    return "\n".join([*lines, ""])


def choose(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that any pattern means; all without patterns."""
    if not patterns:
        return list(names)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SystemExit(f"{pattern!r} is none of: {'; '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000, help="(default: 5,000,000)")
    parser.add_argument(
        "--wide-rows",
        type=int,
        default=20_000_000,
        help="of the table in 200 files (default: 20,000,000)",
    )
    parser.add_argument(
        "--wide-ids",
        choices=("random", "contiguous"),
        default="random",
        help="how ids lie in the table in 200 files (default: random)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"this change, or '{COMMITS}'; with * and ?; may be given again (default: all)",
    )
    parser.add_argument("--runs", type=int, default=3, help="of each change (default: 3)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which (default: all)")
    parser.add_argument("--limit", type=float, default=120, help="seconds of one change")
    parser.add_argument(
        "--seconds", type=float, default=8, help="of commits for each number of writers"
    )
    parser.add_argument("--name", default=f"writes-{dt.date.today()}")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    offered = all_changes(chosen.rows, chosen.wide_rows)
    names = choose(chosen.only, [*offered, COMMITS])
    wanted = {name: offered[name] for name in names if name != COMMITS}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fusiondelta-writes-") as scratch:
        origin = Path(scratch)
        maker = Maker(origin, chosen.rows, chosen.wide_rows, chosen.wide_ids)
        maker.make([need for change in wanted.values() for need in change.needs])
        say("made")
        engines = chosen.engines.split(",")
        found["changes"] = changes(origin, wanted, chosen.runs, engines, chosen.limit)
    if COMMITS in names:
        found[COMMITS] = commits(chosen.seconds)
    about = {
        "made": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": chosen.rows,
        "rows in 200 files": chosen.wide_rows,
        "ids in 200 files": chosen.wide_ids,
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
