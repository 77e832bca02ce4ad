"""One change of a Delta table by one engine, in a process of its own; asked by ``writes.py``.

``python benchmarks/writes_asked.py ENGINE CHANGE FOLDER`` makes the change in the folder, which has
what ``writes.py`` has put there, and prints one JSON object: ``seconds`` from the first call to the
end of the commit, ``processor`` seconds of all threads in that time, ``peak`` bytes of memory held
at once by the process, and ``before`` the change. Packages that an engine imports at its first use,
and frames that are held in memory, are there before the clock begins.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Change = Callable[[Path], Any]
#: Changes that read what they write before the clock begins, and give what is timed.
HELD = ("append of a frame",)
#: One row in a hundred of any file, and what a changed row is known by.
SEVENS = "id % 100 = 7"
MARK = "quantity < 0"


def ours() -> dict[str, Change]:
    import datafusion  # noqa: F401

    from fusiondelta import FusionDeltaEngine, ParquetSource

    engine = FusionDeltaEngine()

    def rows(folder: Path, name: str = "rows") -> Any:
        source = ParquetSource(folder / f"{name}.parquet")
        return engine.query("SELECT * FROM r", sources={"r": source})

    def merge(folder: Path, name: str = "t", source: str = "news") -> None:
        made = engine.merge(folder / name, rows(folder, source), on=["id"])
        made.when_matched_update_all().when_not_matched_insert_all().execute()

    def wide(name: str, ending: str = "") -> dict[str, Change]:
        return {
            f"delete of 1 % in 200 files{ending}": lambda f: engine.delete(f / name, SEVENS),
            f"update of 1 % in 200 files{ending}": lambda f: engine.update(
                f / name, {"quantity": "-1"}, SEVENS
            ),
            f"merge of 1 % in 200 files{ending}": lambda f: merge(f, name, "few"),
        }

    def append_frame(folder: Path) -> Callable[[], Any]:
        import polars as pl

        return partial(engine.write_delta, folder / "t", pl.read_parquet(folder / "rows.parquet"))

    return {
        "append": lambda f: engine.write_delta(f / "t", rows(f)),
        "append of a frame": append_frame,
        "partitioned append": lambda f: engine.write_delta(f / "p", rows(f), partition_by="part"),
        "append to 1,000 partitions": lambda f: engine.write_delta(
            f / "p", rows(f, "many"), partition_by="part"
        ),
        "overwrite from a query": lambda f: engine.write_delta(
            f / "o",
            engine.query("SELECT * FROM t WHERE id % 2 = 0", sources={"t": f / "t"}),
            mode="overwrite",
        ),
        "merge of 1 %": merge,
        "delete of 10 %": lambda f: engine.delete(f / "t", "part = 'p03'"),
        "optimize": lambda f: engine.optimize(f / "s"),
        **wide("w"),
        **wide("v", " with deletion vectors"),
    }


def deltalake_alone() -> dict[str, Change]:
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    from deltalake import DeltaTable, QueryBuilder, write_deltalake

    def rows(folder: Path, name: str = "rows") -> Any:
        return ds.dataset(folder / f"{name}.parquet").scanner().to_reader()

    def overwrite(folder: Path) -> None:
        table = DeltaTable(str(folder / "t"))
        found = QueryBuilder().register("t", table).execute("SELECT * FROM t WHERE id % 2 = 0")
        write_deltalake(str(folder / "o"), found, mode="overwrite")

    def merge(folder: Path, name: str = "t", source: str = "news") -> None:
        table = DeltaTable(str(folder / name))
        made = table.merge(rows(folder, source), "t.id = s.id", source_alias="s", target_alias="t")
        made.when_matched_update_all().when_not_matched_insert_all().execute()

    def append_frame(folder: Path) -> Callable[[], Any]:
        table = pq.read_table(folder / "rows.parquet")
        return partial(write_deltalake, str(folder / "t"), table, mode="append")

    return {
        "append": lambda f: write_deltalake(str(f / "t"), rows(f), mode="append"),
        "append of a frame": append_frame,
        "partitioned append": lambda f: write_deltalake(
            str(f / "p"), rows(f), mode="append", partition_by="part"
        ),
        "append to 1,000 partitions": lambda f: write_deltalake(
            str(f / "p"), rows(f, "many"), mode="append", partition_by="part"
        ),
        "overwrite from a query": overwrite,
        "merge of 1 %": merge,
        "delete of 10 %": lambda f: DeltaTable(str(f / "t")).delete("part = 'p03'"),
        "optimize": lambda f: DeltaTable(str(f / "s")).optimize.compact(),
        "delete of 1 % in 200 files": lambda f: DeltaTable(str(f / "w")).delete(SEVENS),
        "update of 1 % in 200 files": lambda f: DeltaTable(str(f / "w")).update(
            updates={"quantity": "-1"}, predicate=SEVENS
        ),
        "merge of 1 % in 200 files": lambda f: merge(f, "w", "few"),
    }


def polars_alone() -> dict[str, Change]:
    import deltalake  # noqa: F401
    import polars as pl

    def overwrite(folder: Path) -> None:
        frame = pl.scan_delta(str(folder / "t")).filter(pl.col("id") % 2 == 0)
        frame.sink_delta(str(folder / "o"), mode="overwrite")

    def merge(folder: Path, name: str = "t", source: str = "news") -> None:
        frame = pl.read_parquet(folder / f"{source}.parquet")
        options = {"predicate": "t.id = s.id", "source_alias": "s", "target_alias": "t"}
        made = frame.write_delta(str(folder / name), mode="merge", delta_merge_options=options)
        made.when_matched_update_all().when_not_matched_insert_all().execute()

    def append(folder: Path, name: str, source: str = "rows", **options: Any) -> None:
        frame = pl.scan_parquet(folder / f"{source}.parquet")
        frame.sink_delta(str(folder / name), mode="append", delta_write_options=options or None)

    def append_frame(folder: Path) -> Callable[[], Any]:
        frame = pl.read_parquet(folder / "rows.parquet")
        return partial(frame.write_delta, str(folder / "t"), mode="append")

    return {
        "append": lambda f: append(f, "t"),
        "append of a frame": append_frame,
        "partitioned append": lambda f: append(f, "p", partition_by="part"),
        "append to 1,000 partitions": lambda f: append(f, "p", "many", partition_by="part"),
        "overwrite from a query": overwrite,
        "merge of 1 %": merge,
        "merge of 1 % in 200 files": lambda f: merge(f, "w", "few"),
    }


def daft_alone() -> dict[str, Change]:
    import daft
    import deltalake  # noqa: F401

    def overwrite(folder: Path) -> None:
        frame = daft.read_deltalake(str(folder / "t"))
        frame = frame.where(frame["id"] % 2 == 0)
        frame.write_deltalake(str(folder / "o"), mode="overwrite")

    def append(folder: Path, name: str, source: str = "rows", **options: Any) -> None:
        frame = daft.read_parquet(str(folder / f"{source}.parquet"))
        frame.write_deltalake(str(folder / name), mode="append", **options)

    return {
        "append": lambda f: append(f, "t"),
        "partitioned append": lambda f: append(f, "p", partition_cols=["part"]),
        "append to 1,000 partitions": lambda f: append(f, "p", "many", partition_cols=["part"]),
        "overwrite from a query": overwrite,
    }


ENGINES: dict[str, Callable[[], dict[str, Change]]] = {
    "fusiondelta": ours,
    "deltalake": deltalake_alone,
    "polars": polars_alone,
    "daft": daft_alone,
}


def memory(field: str) -> int:
    """Bytes of this process, of ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def main(engine: str, change: str, folder: str) -> None:
    # An engine may print; what it says is not the answer.
    out, sys.stdout = sys.stdout, sys.stderr
    make = ENGINES[engine]().get(change)
    if make is None:
        print(json.dumps({"failure": "not offered"}), file=out)
        return
    timed = make(Path(folder)) if change in HELD else partial(make, Path(folder))
    before = memory("VmRSS")
    processor, started = time.process_time(), time.perf_counter()
    timed()
    found = {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "before": before,
        "peak": memory("VmHWM"),
    }
    print(json.dumps(found), file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
