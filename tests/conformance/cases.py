"""The conformance folder: real Delta tables, questions about them, the judge of the answers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "FUSIONDELTA_CONFORMANCE"
FILES = ("cases.jsonl", "run_golden.py", "tables.tar.xz")

Case = dict[str, Any]


def folder() -> Path | None:
    """Where the environment says the tables are; None where it says nothing or nothing is there."""
    named = os.environ.get(VARIABLE)
    if not named or not all((Path(named) / f).is_file() for f in FILES):
        return None
    return Path(named)


def load(at: Path) -> list[Case]:
    lines = (at / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def judge(at: Path) -> ModuleType:
    """`run_golden.py` as a module; its `check` gives a verdict and a message for a case."""
    spec = importlib.util.spec_from_file_location("conformance_run_golden", at / "run_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpacked(at: Path) -> Path:
    """The folder the tables are unpacked in, once for each archive; whole or not there at all."""
    archive = at / "tables.tar.xz"
    name = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "fusiondelta" / "conformance"
    if (home / name).is_dir():
        return home / name
    home.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=home, prefix=f"{name}."))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(fresh, filter="tar")
        fresh.rename(home / name)
    except OSError:
        if not (home / name).is_dir():  # another run was not quicker: a fault
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return home / name
