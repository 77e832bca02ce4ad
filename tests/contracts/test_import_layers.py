"""Imports go one way, and the large libraries are named in few places."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "fusiondelta"

#: Parts of the package from the bottom up; each may import itself and what stands in lower layers.
LAYERS = [
    {"_native", "_ids", "_lazy", "_weak", "errors", "typing"},
    {"profiles"},
    {"storage"},
    {"retry"},  # a second door to a profile
    {"snapshots"},
    {"sources", "sessions", "account"},
    {"queries"},
    {"writes"},
    {"results"},  # a second door to what these give back
    {"debug", "progress"},
    {"engine"},
    {"__init__"},
    {"cli", "testing"},
]
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}

#: Which parts may name a large library while they run (a type checker may see them anywhere).
MAY_IMPORT = {
    "datafusion": {"sessions", "queries", "testing"},
    "deltalake": {"account"},
    "pyarrow": {"sources", "sessions", "account", "queries", "writes", "cli", "testing"},
    "polars": {"queries"},
    "pandas": set(),
    "click": {"cli"},
    "opentelemetry": {"account"},
    "pytest": {"testing"},
}
#: Parts that may load one when they are imported; elsewhere the import stands inside a function.
AT_IMPORT = {"cli": {"click", "pyarrow"}, "testing": {"pytest"}}

pytestmark = pytest.mark.contracts


@dataclass(frozen=True)
class Import:
    """One imported module: where, what, and whether it happens when the file is imported."""

    file: str
    part: str
    line: int
    module: str
    at_import: bool


def part_of(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


def imports(source: str, file: str) -> Iterator[Import]:
    """Imports of a file that take place when it runs."""

    def walk(nodes: Iterable[ast.AST], at_import: bool) -> Iterator[Import]:
        for node in nodes:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                yield from walk(node.orelse, at_import)
                continue
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "fusiondelta":
                names = [f"fusiondelta.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                yield Import(file, part_of(file), node.lineno, name, at_import)
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(ast.iter_child_nodes(node), at_import and not is_function)

    yield from walk(ast.parse(source).body, True)


def all_imports() -> list[Import]:
    return [
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in imports(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    ]


def problems(found: list[Import]) -> list[str]:
    """Everything that is wrong with the imports, a line each."""
    wrong = []
    for one in found:
        at = f"{one.file}:{one.line}"
        top, _, rest = one.module.partition(".")
        if top == "fusiondelta":
            target = rest.partition(".")[0] or "__init__"
            if target not in HEIGHT:
                # ``from fusiondelta import FusionDeltaEngine``: a name of the package itself.
                target = "__init__"
            if target != one.part and HEIGHT[target] >= HEIGHT[one.part]:
                wrong.append(f"{at} {one.part} imports {target}, which is not below it")
        elif top in MAY_IMPORT:
            if one.part not in MAY_IMPORT[top]:
                wrong.append(f"{at} {one.part} imports {top}")
            elif one.at_import and top not in AT_IMPORT.get(one.part, ()):
                wrong.append(f"{at} imports {top} when it is imported itself")
    return wrong


def test_every_part_has_a_layer():
    parts = {part_of(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")}
    assert parts | {"_native"} == set(HEIGHT)


def test_imports_go_one_way():
    found = all_imports()
    ours = [one for one in found if one.module.startswith("fusiondelta")]
    assert len(ours) >= 100
    assert len([one for one in found if one.module.startswith("pyarrow")]) >= 10
    assert problems(found) == []


def test_pytest_is_for_its_plugin_alone():
    assert {one.file for one in all_imports() if one.module.partition(".")[0] == "pytest"} == {
        "testing/plugin.py"
    }


@pytest.mark.parametrize(
    ("file", "source", "says"),
    [
        ("profiles/_a.py", "from fusiondelta.engine import x", "profiles imports engine"),
        ("errors.py", "import fusiondelta.profiles", "errors imports profiles"),
        ("queries/_a.py", "from fusiondelta.writes import x", "queries imports writes"),
        ("debug.py", "from fusiondelta import FusionDeltaEngine", "debug imports __init__"),
        ("sources/_a.py", "def f():\n    from fusiondelta.queries import x", "sources imports"),
        ("engine.py", "from fusiondelta.testing import x", "engine imports testing"),
        ("testing/_a.py", "import pyarrow as pa", "imports pyarrow when it is imported"),
        ("profiles/_a.py", "def f():\n    import pyarrow as pa", "profiles imports pyarrow"),
        ("engine.py", "from datafusion.expr import Expr", "engine imports datafusion"),
        ("queries/_a.py", "import pyarrow.compute", "imports pyarrow when it is imported"),
        ("queries/_a.py", "try:\n    import pyarrow\nexcept ImportError: ...", "when it is imp"),
        ("engine.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import click", "engine imports cl"),
    ],
)
def test_a_planted_violation_is_found(file, source, says):
    assert any(says in line for line in problems(list(imports(source, file))))


def test_what_a_type_checker_sees_is_free():
    assert list(imports("if TYPE_CHECKING:\n    import pyarrow as pa", "profiles/_a.py")) == []
