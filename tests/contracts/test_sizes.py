"""No file grows beyond what one sitting can read."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600
FOLDERS = {
    "python/fusiondelta": (".py", ".pyi"),
    "src": (".rs",),
    "tests": (".py",),
    "scripts": (".py",),
    "benchmarks": (".py",),
}

pytestmark = pytest.mark.contracts


def sizes(folder: Path, endings: tuple[str, ...]) -> dict[str, int]:
    """Lines by file, build products apart."""
    return {
        path.relative_to(folder).as_posix(): len(path.read_bytes().splitlines())
        for path in folder.rglob("*")
        if path.suffix in endings and not {"target", "data", "__pycache__"} & {*path.parts}
    }


def too_long(found: dict[str, int]) -> list[str]:
    return [f"{name}: {lines} lines" for name, lines in sorted(found.items()) if lines > LIMIT]


@pytest.mark.parametrize(("folder", "endings"), FOLDERS.items())
def test_no_file_is_too_long(folder, endings):
    assert too_long(sizes(ROOT / folder, endings)) == []


def test_the_files_are_found():
    assert len(sizes(ROOT / "python/fusiondelta", (".py", ".pyi"))) >= 40
    assert len(sizes(ROOT / "src", (".rs",))) >= 20


def test_a_planted_violation_is_found(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "long.py").write_text("x = 1\n" * (LIMIT + 1), "utf-8")
    (tmp_path / "fits.py").write_text("x = 1\n" * LIMIT, "utf-8")
    assert too_long(sizes(tmp_path, (".py",))) == [f"inner/long.py: {LIMIT + 1} lines"]
