"""DataFusion's own SQL logic tests: what a plain context answers, the engine answers the same.

Each file runs in a session of its own. Statements run on the lent context; each query is answered
by that context first and by the engine straight after, over the same tables and under the same
settings. An error, or other rows or types, where the context answers is a failure; a query that
the engine refuses, as no encoding carries its plan, is counted. `known.toml` holds the totals.

A query whose subquery `datafusion` may rewrite to other rows is asked as a text, over the tables of
the session.

With `FUSIONDELTA_SQLLOGIC_RUNNER=plain` a plain context stands in for the engine. With `texts`
every query is asked as a text: what differs then has to be of the session (other catalogs, its
settings, orders and keys of its tables), or in docs/correctness.md.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.sqllogic import filerun, runners, source, tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KNOWN = tomllib.loads((Path(__file__).parent / "known.toml").read_text(encoding="utf-8"))
RUNNER = runners.chosen()
pytestmark = pytest.mark.sqllogic


@dataclasses.dataclass
class Totals:
    """What all files together came to."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    files: set[str] = dataclasses.field(default_factory=set)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{len(self.files)} files in {self.seconds:.0f} s, side under test: {RUNNER.name}"]
        lines += [f"{n:>7,}  {what}" for what, n in sorted(self.counts.items())]
        lines += [f"{n:>7,}  refused: {why}" for why, n in self.reasons.most_common()]
        return "\n".join(lines)


TOTALS = Totals()
PROBLEM = ""
FOLDERS: dict[str, Path] = {}
try:
    FOLDERS = source.crate_folders()
except source.FilesMissingError as problem:
    PROBLEM = str(problem)
FILES = source.slt_files(FOLDERS[source.CRATE]) if FOLDERS else []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source.workspace(FOLDERS, tmp_path_factory.mktemp("sqllogic"))


def test_files_are_there() -> None:
    if PROBLEM and not os.environ.get("CI"):
        pytest.skip(f"DataFusion's SQL logic tests are not at hand: {PROBLEM}")
    assert not PROBLEM
    assert len(FILES) > 500


@pytest.mark.parametrize("file", FILES)
def test_file(file: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    scratch = place / "test_files" / "scratch" / Path(file).stem
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    began = time.monotonic()
    with RUNNER.session() as lease:
        tables.register(lease.ctx, file, scratch)
        run = filerun.FileRun(file, lease, scratch, KNOWN.get("mismatch", ()))
        run.all(FOLDERS[source.CRATE] / "test_files")
    TOTALS.seconds += time.monotonic() - began
    TOTALS.files.add(file)
    TOTALS.counts.update(run.counts)
    TOTALS.reasons.update(run.reasons)
    stale = [k["sql"] for k in run.listed if k["sql"] not in run.met and RUNNER.name == "native"]
    assert not run.failures, "\n\n".join(run.failures)
    assert not stale, f"listed in known.toml but not differing, remove: {stale}"


def test_totals(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs last: enough was compared, and enough of it ran natively."""
    with capsys.disabled():
        print(f"\n{TOTALS}")
    if set(FILES) != TOTALS.files or not FILES:
        pytest.skip(f"{len(TOTALS.files)} of {len(FILES)} files ran: the totals say nothing")
    counts = TOTALS.counts
    same = counts["same"] + counts["same on repetition"] + counts["explain answered"]
    assert same >= KNOWN["floor"]["compared"]
    assert counts["of them native"] >= KNOWN["floor"]["native"]
    assert counts["nullability or metadata differ"] <= KNOWN["ceiling"]["nullability_or_metadata"]
    assert counts["same on repetition"] <= KNOWN["ceiling"]["repetition"]
