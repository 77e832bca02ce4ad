"""The examples run: those in docstrings, in the README and in the documentation."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusiondelta

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")

pytestmark = [pytest.mark.contracts, pytest.mark.integration]


def modules() -> list[str]:
    """All modules but those that run when they are imported."""
    found = pkgutil.walk_packages(fusiondelta.__path__, "fusiondelta.")
    return ["fusiondelta", *(m.name for m in found if not m.name.endswith(("_native", "__main__")))]


def examples(module: str) -> list[doctest.DocTest]:
    loaded = importlib.import_module(module)
    return [test for test in doctest.DocTestFinder().find(loaded) if test.examples]


def blocks(page: Path) -> str:
    """The Python blocks of a page as one program, with the line numbers of the page."""
    text = page.read_text("utf-8")
    program = ""
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(1))
        program += "\n" * (line - program.count("\n")) + found[1]
    return program


def run(program: str, page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, by itself, with every warning an error."""
    (folder / page).write_text(program, "utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", page],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("module", modules())
def test_docstring_examples(module):
    for test in examples(module):
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
        assert result.failed == 0, test.name


@pytest.mark.parametrize("page", [*filter(blocks, PAGES)], ids=lambda page: page.name)
def test_page_examples(page, tmp_path):
    done = run(blocks(page), page.stem + ".py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    targets = LINK.findall(page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_error_and_kind_is_in_the_documentation():
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    errors = [name for name in fusiondelta.__all__ if name.endswith("Error")]
    assert len(errors) >= 20
    missing = [name for name in [*errors, *fusiondelta.ErrorKind] if f"`{name}`" not in page]
    assert missing == []


def test_every_option_is_in_the_documentation():
    page = (ROOT / "docs" / "profiles.md").read_text("utf-8")
    options = [
        (name, field.name)
        for name in fusiondelta.profiles.__all__
        for field in dataclasses.fields(getattr(fusiondelta.profiles, name))
    ]
    assert len(options) >= 30
    assert [(c, f) for c, f in options if f"`{c}" not in page and f"## {c}" not in page] == []
    assert [(c, f) for c, f in options if f"| `{f}` |" not in page] == []


def test_every_column_of_the_metrics_is_in_the_documentation():
    page = (ROOT / "docs" / "account.md").read_text("utf-8")
    with fusiondelta.FusionDeltaEngine() as engine:
        result = engine.query("SELECT 1")
        result.to_table()
        names = result.metrics().column_names
    assert len(names) == 10
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_the_examples_are_found():
    assert sum(len(examples(module)) for module in modules()) >= 3
    assert sum(len(BLOCK.findall(page.read_text("utf-8"))) for page in PAGES) >= 20


def test_a_planted_failure_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n", "utf-8"
    )
    done = run(blocks(page), "page.py", tmp_path)
    assert done.returncode != 0
    assert "line 10" in done.stderr
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "planted", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda _: None).failed == 1
