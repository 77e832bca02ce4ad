"""Delta tables that other engines wrote, read through the engine and compared with known answers.

The tables lie in the folder that `FUSIONDELTA_CONFORMANCE` names. No case may give wrong rows,
every refusal is one of ours, and what does not pass is listed in `known.toml` with its reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance import cases

if TYPE_CHECKING:
    import pyarrow as pa

    import fusiondelta

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.conformance

FOLDER = cases.folder()
CASES = cases.load(FOLDER) if FOLDER else []
LISTED: dict[str, dict[str, str]] = {
    entry["id"]: entry
    for entry in tomllib.loads((Path(__file__).parent / "known.toml").read_text("utf-8"))["case"]
}


class Adapter:
    """What the judge asks; keeps the error that a question ended in."""

    def __init__(self, engine: fusiondelta.FusionDeltaEngine) -> None:
        self.engine = engine
        self.error: BaseException | None = None

    def query(self, uri: str, version: int | None, sql: str) -> pa.Table:
        import fusiondelta

        try:
            source = fusiondelta.DeltaSource(uri, as_of=version)
            return self.engine.query(sql, sources={"t": source}).to_table()
        except BaseException as error:
            self.error = error
            raise

    def cdf(self, uri: str, start: int, end: int | None) -> pa.Table:
        try:
            return self.engine.changes(uri, start, end).to_table()
        except BaseException as error:
            self.error = error
            raise


@pytest.fixture(scope="session")
def engine() -> Iterator[fusiondelta.FusionDeltaEngine]:
    import fusiondelta

    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


@pytest.fixture(scope="session")
def judge() -> ModuleType:
    assert FOLDER is not None
    return cases.judge(FOLDER)


@pytest.fixture(scope="session")
def data() -> Path:
    assert FOLDER is not None
    return cases.unpacked(FOLDER)


def test_tables_are_there() -> None:
    if FOLDER is None and not os.environ.get("CI"):
        pytest.skip(f"{cases.VARIABLE} names no folder with {', '.join(cases.FILES)}")
    assert FOLDER is not None, f"{cases.VARIABLE} must name the conformance folder"
    assert len(CASES) > 800
    assert sum(c.get("op") == "cdf" for c in CASES) == 17
    ids = {c["id"] for c in CASES}
    assert len(ids) == len(CASES)
    assert LISTED.keys() <= ids
    assert {entry["verdict"] for entry in LISTED.values()} <= {"error", "noerror", "types"}
    assert all(entry["reason"] for entry in LISTED.values())


@pytest.mark.parametrize("case", CASES, ids=[c["id"] for c in CASES])
def test_case(
    case: dict[str, Any],
    engine: fusiondelta.FusionDeltaEngine,
    judge: ModuleType,
    data: Path,
) -> None:
    import fusiondelta

    adapter = Adapter(engine)
    verdict, message = judge.check(case, str(data), adapter)

    assert verdict != "rows", f"wrong rows: {message}"
    assert isinstance(adapter.error, fusiondelta.FusionDeltaError | None), message
    listed = LISTED.get(case["id"])
    if listed is None:
        assert verdict == "pass", message
        return
    assert verdict != "pass", f"passes now, remove it from known.toml ({listed['reason']})"
    assert verdict == listed["verdict"], message
    if "error" in listed:
        assert type(adapter.error).__name__ == listed["error"], message
