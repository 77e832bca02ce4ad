"""The stub of the extension says what the extension has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = ROOT / "tests" / "contracts" / "stubtest_allowlist.txt"
STUB = ROOT / "python" / "fusiondelta" / "_native.pyi"


def unexplained(text: str) -> list[str]:
    """Entries of an allow-list without a comment of their own above them."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if line and not line.startswith("#") and not re.match(r"#\s*\w", above)
    ]


def stubtest(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run from the root, on the stub beneath a folder."""
    command = [sys.executable, "-m", "mypy.stubtest", "fusiondelta._native"]
    command += ["--mypy-config-file", "pyproject.toml", "--allowlist", str(ALLOWED)]
    environment = {**os.environ, "MYPYPATH": str(folder)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_stub_matches():
    assert STUB.read_text("utf-8").count("def ") >= 30
    done = stubtest(ROOT / "python")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exception_has_a_reason():
    assert unexplained(ALLOWED.read_text("utf-8")) == []


def test_a_planted_violation_is_found(tmp_path):
    planted = tmp_path / "fusiondelta"
    planted.mkdir()
    (planted / "__init__.pyi").touch()
    stub = STUB.read_text("utf-8").replace("def error_kinds()", "def eror_kinds()")
    (planted / "_native.pyi").write_text(stub, "utf-8")
    done = stubtest(tmp_path)
    assert done.returncode != 0
    assert "eror_kinds" in done.stdout


def test_a_planted_entry_without_a_reason_is_found():
    assert unexplained("# why\none\n\ntwo\n") == ["two"]
    assert unexplained("one\ntwo\n") == ["one", "two"]
