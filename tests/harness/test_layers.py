"""The report of layers: what ran, what could not and why, and what that does to the run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.integration

TESTS = """
import pytest
from tests.harness.layers import missing

@pytest.fixture(scope="session")
def absent(request):
    missing(request.config, "minio", "minio is not installed\\nand more")

@pytest.mark.unit
def test_plain(): pass

@pytest.mark.unit
@pytest.mark.parametrize("n", [1, 2])
def test_skipped(n): pytest.skip("no reason")

@pytest.mark.minio
def test_stored(absent): pass

@pytest.mark.minio
def test_stored_too(absent): pass

@pytest.mark.packaging
@pytest.mark.skipif(True, reason="no maturin here")
def test_built(): pass
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "test_some.py").write_text(TESTS, "utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    unit\n    minio\n    packaging\n", "utf-8"
    )

    def run(*arguments, **environment):
        inherited = {name: value for name, value in os.environ.items() if name != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "tests.harness.layers", *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def layers(said):
    """The lines of the report, which is neither missing nor the end."""
    (report,) = re.findall(r"^=+ layers =+\n(.*?)^=", said, re.M | re.S)
    last = said.splitlines()[-1]
    assert re.search(r"\d+ (passed|skipped|deselected)", last), last
    return report.splitlines()


def test_what_could_not_run_is_skipped_with_its_reason(run):
    status, said = run()
    assert status == 0
    report = layers(said)
    assert report[:3] == [
        "unit         ran: 1 passed, 2 skipped",
        "packaging    could not run: no maturin here",
        "minio        could not run: minio is not installed",
    ]
    assert re.fullmatch(r"not selected: property, .*, gcs", report[3])


def test_what_could_not_run_fails_under_ci(run):
    status, said = run(CI="1")
    assert status == 1
    assert "minio        could not run: minio is not installed" in layers(said)
    assert "the layer minio could not run: minio is not installed\nand more" in said
    assert "2 errors" in said.splitlines()[-1]


def test_a_layer_of_skips_alone_fails_under_ci(run):
    status, said = run("-m", "packaging", CI="1")
    assert status == 1
    assert layers(said)[0] == "packaging    could not run: no maturin here"


def test_what_was_not_selected_fails_nothing(run):
    status, said = run("-m", "unit", CI="1")
    assert status == 0
    assert layers(said)[0] == "unit         ran: 1 passed, 2 skipped"
