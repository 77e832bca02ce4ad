"""TPC-H data as Parquet files, made once per scale with ``tpchgen-cli``, and the query texts."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")

# Below this some tables would have no rows, and the generator fails.
SMALLEST_SCALE = 0.001

_QUERIES = Path(__file__).with_name("queries")
_STAMP = "complete.json"


class TpchDataError(RuntimeError):
    """The data could not be made."""


def queries() -> dict[int, str]:
    """The 22 query texts by number."""
    return {int(p.stem[1:]): p.read_text(encoding="utf-8") for p in sorted(_QUERIES.glob("q*.sql"))}


def generate(folder: Path, scale: float) -> dict[str, Path]:
    """One Parquet file per table under ``folder/sf<scale>``; made only if not already there.

    The files appear all together or not at all: they are written beside their place and moved
    into it by one rename, so an interrupted run leaves nothing half done behind.
    """
    if not (math.isfinite(scale) and scale >= SMALLEST_SCALE):
        raise ValueError(f"scale must be a number of at least {SMALLEST_SCALE}, not {scale}")
    target = folder / f"sf{scale:.12g}"
    if not _complete(target, scale):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as parent:
            fresh = Path(parent) / "data"
            _run_generator(fresh, scale)
            sizes = {table: (fresh / f"{table}.parquet").stat().st_size for table in TABLES}
            stamp = {"scale": scale, "bytes": sizes}
            (fresh / _STAMP).write_text(json.dumps(stamp), encoding="utf-8")
            _put_in_place(fresh, target, scale)
    return {table: target / f"{table}.parquet" for table in TABLES}


def _complete(target: Path, scale: float) -> bool:
    try:
        stamp = json.loads((target / _STAMP).read_text(encoding="utf-8"))
        return bool(stamp["scale"] == scale) and all(
            (target / f"{table}.parquet").stat().st_size == stamp["bytes"][table]
            for table in TABLES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _put_in_place(fresh: Path, target: Path, scale: float) -> None:
    if target.exists() and not _complete(target, scale):
        shutil.rmtree(target)
    try:
        fresh.rename(target)
    except OSError:
        # Another process was quicker; its data is the same.
        if not _complete(target, scale):
            raise


def _generator() -> str:
    beside = Path(sysconfig.get_path("scripts"))
    found = shutil.which("tpchgen-cli", path=str(beside)) or shutil.which("tpchgen-cli")
    if found is None:
        raise TpchDataError("tpchgen-cli is not installed; `pip install tpchgen-cli` provides it")
    return found


def _run_generator(output: Path, scale: float) -> None:
    command = [_generator(), "parquet", "--scale-factor", f"{scale:.12g}", "--quiet"]
    # Row groups of a usual size (the tool's own 7 MiB suit generation, not reading), and no field
    # ids, which would travel into every schema made from these files.
    command += ["--row-group-bytes", "64MB", "--field-ids", "false"]
    command += ["--output-dir", os.fspath(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        why = next((line for line in said if line.startswith("Error")), "".join(said[-1:]))
        raise TpchDataError(f"tpchgen-cli failed with code {done.returncode}: {why}")
    missing = [table for table in TABLES if not (output / f"{table}.parquet").is_file()]
    if missing:
        raise TpchDataError(f"tpchgen-cli made no file for {', '.join(missing)}")
