"""Mutated SQL ends in rows or an error of ours: no panic is printed, and the process lives.

`scripts/fuzz --seconds 3600 --seed 7` goes on for an hour, with another seed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATEMENTS = 1_500

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_or_an_error(seed, tmp_path):
    last = tmp_path / "last.sql"
    command = [sys.executable, "-m", "tests.fuzz", "--statements", str(STATEMENTS)]
    done = subprocess.run(
        [*command, "--seed", str(seed), "--last", str(last)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=500,
        check=False,
    )
    said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\nlast: {last.read_text('utf-8')!r}"
    assert done.returncode == 0, said
    assert "panicked" not in done.stderr, said
    assert "'rows': " in done.stdout, said
