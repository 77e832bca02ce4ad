"""Rules of the extension's sources that no lint knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

MAY_NAME_PYO3 = re.compile(r"lib\.rs|error\.rs|runtime\.rs|py/.*")
MAY_BE_UNSAFE = {"py/capsules.rs", "py/interruptible.rs", "py/query.rs", "runtime.rs"}

PYCLASS = re.compile(r"#\[pyclass(?:\(([^\]]*)\))?\]")
UNSAFE = re.compile(r"\bunsafe\s*(?:\{|fn\b|impl\b|extern\b|trait\b)|\ballow\(unsafe_code\)")

pytestmark = pytest.mark.contracts


def code(text: str) -> str:
    """Rust without comments and without the module of tests that ends a file."""
    text = re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", "", text, flags=re.S)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"(?m)(?<![:\"])//.*$", "", text)


def problems(name: str, text: str) -> list[str]:
    """Everything that is wrong with one file, a line each."""
    text = code(text)
    found = []
    if re.search(r"\bpyo3\b", text) and not MAY_NAME_PYO3.fullmatch(name):
        found.append(f"{name} names pyo3")
    if UNSAFE.search(text) and name not in MAY_BE_UNSAFE:
        found.append(f"{name} is unsafe")
    found += [
        f"{name} has a pyclass that is not frozen"
        for options in PYCLASS.findall(text)
        if "frozen" not in re.split(r"\W+", options)
    ]
    if re.search(r"\.unwrap\(\)", text):
        found.append(f"{name} unwraps")
    return found


def sources() -> dict[str, str]:
    return {p.relative_to(SRC).as_posix(): p.read_text("utf-8") for p in SRC.rglob("*.rs")}


def test_the_sources_keep_the_rules():
    assert [line for name, text in sources().items() for line in problems(name, text)] == []


def test_there_is_something_to_keep_rules_in():
    found = {name: code(text) for name, text in sources().items()}
    assert len(found) >= 20
    assert sum(len(PYCLASS.findall(text)) for text in found.values()) >= 8
    assert {name for name, text in found.items() if UNSAFE.search(text)} == MAY_BE_UNSAFE
    assert "#![deny(unsafe_code)]" in found["lib.rs"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("exec/a.rs", "use pyo3::prelude::*;", "names pyo3"),
        ("py/a.rs", "fn f() { unsafe { g() } }", "is unsafe"),
        ("py/a.rs", "#[allow(unsafe_code)]", "is unsafe"),
        ("py/a.rs", '#[pyclass(module = "x")]\nstruct A;', "not frozen"),
        ("py/a.rs", "#[pyclass]\nstruct A;", "not frozen"),
        ("exec/a.rs", "let x = y.unwrap();", "unwraps"),
    ],
)
def test_a_planted_violation_is_found(name, text, says):
    assert any(says in line for line in problems(name, text))


def test_comments_and_tests_are_free():
    text = "// pyo3 .unwrap()\nfn f() {}\n#[cfg(test)]\nmod tests {\n fn g() { x.unwrap() }\n}\n"
    assert problems("exec/a.rs", text) == []
