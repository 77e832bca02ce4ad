"""Where DataFusion's SQL logic tests come from, and a place to run them in.

The crate is named in Cargo.toml and Cargo.lock beside this file and brought by cargo itself.
Nothing of it is compiled; nothing is written where cargo keeps it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CRATE = "datafusion-sqllogictest"
# Crates whose test data the files refer to as `../<folder>/tests/data`.
NEIGHBOURS = {
    "datafusion-datasource-arrow": "datasource-arrow",
    "datafusion-datasource-avro": "datasource-avro",
    "datafusion": "core",
}


class FilesMissingError(RuntimeError):
    """The crate could not be had: no cargo, or no registry."""


def crate_folders() -> dict[str, Path]:
    """Name → folder of every crate in the lock, fetched where it is not there yet."""
    if shutil.which("cargo") is None:
        raise FilesMissingError("cargo is not on the path")
    host = _output("rustc", "-vV").split("host: ")[1].split()[0]
    text = _output(
        "cargo", "metadata", "--locked", "--format-version=1",
        f"--filter-platform={host}", f"--manifest-path={HERE / 'Cargo.toml'}",
    )  # fmt: skip
    return {p["name"]: Path(p["manifest_path"]).parent for p in json.loads(text)["packages"]}


def slt_files(crate: Path) -> list[str]:
    """Paths of the `.slt` files relative to `test_files`, in one order everywhere."""
    root = crate / "test_files"
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.slt"))


def workspace(folders: dict[str, Path], at: Path) -> Path:
    """A copy of what the files read and write by relative path; the folder to run in."""
    here = at / "datafusion" / "sqllogictest"
    (here / "test_files" / "scratch").mkdir(parents=True)
    shutil.copytree(folders[CRATE] / "data", here / "data")
    for crate, folder in NEIGHBOURS.items():
        data = folders.get(crate, Path(os.devnull)) / "tests" / "data"
        if data.is_dir():
            shutil.copytree(data, here.parent / folder / "tests" / "data")
    return here


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise FilesMissingError(f"{command[0]} {command[1]}: {done.stderr.strip()[-600:]}")
    return done.stdout
