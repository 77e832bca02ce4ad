"""What `import fusiondelta` gives, and what it costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

import fusiondelta

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "golden" / "public_api.txt"

#: Where the names may be imported from too.
PLACES = {
    "fusiondelta.engine": ["FusionDeltaEngine"],
    "fusiondelta.profiles": [
        "CacheProfile",
        "EngineProfile",
        "IoPolicy",
        "MaterializeLimits",
        "RetentionPolicy",
        "RetryPolicy",
        "StorageProfile",
        "TablePolicy",
        "TelemetryConfig",
    ],
    "fusiondelta.snapshots": ["SnapshotKey", "SnapshotSpec"],
    "fusiondelta.sources": [
        "ArrowSource",
        "CsvSource",
        "DeltaSource",
        "JsonSource",
        "ParquetSource",
        "ProviderSource",
        "Source",
        "as_reader",
    ],
    "fusiondelta.results": ["PlanBundle", "QueryResult", "RunManifest", "WriteResult"],
    "fusiondelta.retry": ["RetryPolicy"],
}
HEAVY = [
    "pyarrow",
    "asyncio",
    "datafusion",
    "deltalake",
    "opentelemetry",
    "click",
    "polars",
    "pandas",
]

pytestmark = pytest.mark.contracts


def leaks(module: types.ModuleType) -> set[str]:
    """Public names that are there and not in ``__all__``; submodules come with their import."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    } - set(module.__all__)


def loaded_by(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()} & set(HEAVY)


def test_all_is_what_there_is():
    assert sorted(fusiondelta.__all__) == fusiondelta.__all__
    assert len(set(fusiondelta.__all__)) == len(fusiondelta.__all__) >= 50
    assert [name for name in fusiondelta.__all__ if not hasattr(fusiondelta, name)] == []
    assert leaks(fusiondelta) == set()


def test_the_surface_is_the_golden_one():
    # A name more or less is a change users see: change the file by hand, and the change log too.
    assert GOLDEN.read_text("utf-8").split() == fusiondelta.__all__


@pytest.mark.parametrize("place", PLACES)
def test_names_are_the_same_objects_elsewhere(place):
    module = importlib.import_module(place)
    for name in PLACES[place]:
        assert getattr(module, name) is getattr(fusiondelta, name)


def test_every_name_has_a_docstring():
    bare = [n for n in fusiondelta.__all__ if not (getattr(fusiondelta, n).__doc__ or "").strip()]
    assert bare == []


def test_import_is_light():
    assert loaded_by("import fusiondelta") == set()
    assert loaded_by("import " + ", ".join(PLACES)) == set()


@pytest.mark.parametrize("package", ["fusiondelta", "fusiondelta.account"])
def test_names_that_are_imported_late_are_those_that_checkers_see(package):
    """The block for type checkers and the table of places say the same."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (one.module, alias.name)
        for one in ast.walk(block)
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }
    [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    places = ast.literal_eval(call.args[1])
    late = {(place, name) for place, names in places.items() for name in names}
    assert late == seen
    assert {name for _, name in late} | {"errors"} >= set(module.__all__)
    for place, name in late:
        assert getattr(module, name) is getattr(importlib.import_module(place), name)
    assert set(dir(module)) >= set(module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_a_planted_violation_is_found():
    planted = types.ModuleType("planted")
    planted.__all__ = ["shown"]
    planted.shown = planted.forgotten = planted._private = 1
    assert leaks(planted) == {"forgotten"}
    assert loaded_by("import fusiondelta, pyarrow") == {"pyarrow"}
