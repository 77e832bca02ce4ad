"""A failing test leaves what is known of its queries, and a passing one nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

pytestmark = pytest.mark.integration

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import gc
import logging
import weakref

import pytest

import fusiondelta


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


def test_fails(engine):
    result = engine.query("select 41 + 1 as answer")
    rows = result.to_pylist()
    engine.query("select 'let go'").to_pylist()
    with pytest.raises(fusiondelta.SqlError):
        engine.query("select nothing")
    logging.getLogger("x").warning("said before the end")
    assert rows == []


def test_fails_with_a_result_that_cannot_tell(engine):
    result = engine.query("select 2", capture_plan=False)
    result.metrics = None
    raise RuntimeError("no end")


def test_passes(engine):
    result = engine.query("select 3")
    gone = weakref.ref(result)
    del result
    gc.collect()
    assert gone() is None
"""


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    shutil.copy(CONFTEST, folder)
    (folder / "test_planted.py").write_text(TESTS, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={
            **os.environ,
            "FUSIONDELTA_TEST_ARTIFACTS": str(folder / "left"),
            # The plugins of the conftest are found from the root of the clone.
            "PYTHONPATH": str(CONFTEST.parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "no end" in done.stdout
    return folder / "left"


def test_a_failing_test_leaves_its_queries(left):
    assert sorted(path.name for path in left.iterdir()) == [
        "test_planted.py_test_fails",
        "test_planted.py_test_fails_with_a_result_that_cannot_tell",
    ]
    folder = left / "test_planted.py_test_fails"
    failure = (folder / "call.txt").read_text("utf-8")
    assert "assert rows == []" in failure
    assert "said before the end" in failure

    first, second, third = (folder / f"query-{n}" for n in range(3))
    assert (first / "query.sql").read_text("utf-8").startswith("select 41 + 1 as answer\n")
    assert json.loads((first / "manifest.json").read_text("utf-8"))["status"] == "finished"
    assert "datafusion.execution.batch_size" in (first / "settings.json").read_text("utf-8")
    assert pyarrow.parquet.read_table(first / "metrics.parquet").num_rows > 0
    assert [path.name for path in second.iterdir()] == ["query.sql"]
    assert "SqlError" in (third / "query.sql").read_text("utf-8")


def test_what_cannot_be_had_is_named(left):
    folder = left / "test_planted.py_test_fails_with_a_result_that_cannot_tell" / "query-0"
    assert (folder / "manifest.json").exists()
    assert "capture_plan" in (folder / "bundle.json.error").read_text("utf-8")
    assert "TypeError" in (folder / "metrics.parquet.error").read_text("utf-8")
