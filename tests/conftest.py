"""What every test runs with: Hypothesis profiles, and what is kept of a test that fails.

A failing test leaves a folder beneath ``$FUSIONDELTA_TEST_ARTIFACTS`` (default: ``artifacts`` in
pytest's temporary folder) with the failure and its log, and for each query of the test the
statement, how it ended, its plan bundle, settings, metrics and manifest. Results are remembered
weakly: of one that is gone when the test fails only the statement is known.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import reprlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.harness.layers", "tests.harness.store_fixtures"]

settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("fast", settings.get_profile("ci"), max_examples=10)
settings.load_profile("ci")  # another one: pytest --hypothesis-profile=fast

FOLDER = pytest.StashKey[Path]()


@dataclass
class Asked:
    """A query of the running test."""

    sql: str
    options: str
    result: Callable[[], Any] = lambda: None
    error: str = ""


_asked: list[Asked] = []


def _remembering(query: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(query)
    def remembered(engine: Any, asked: Any, **options: Any) -> Any:
        # A DataFrame shows itself by running.
        text = asked if isinstance(asked, str) else getattr(asked, "sql", type(asked).__name__)
        kept = Asked(text, _short(options))
        _asked.append(kept)
        try:
            result = query(engine, asked, **options)
        except BaseException as error:
            kept.error = f"{type(error).__name__}: {error}"
            raise
        kept.result = weakref.ref(result)
        return result

    return remembered


def _short(options: dict[str, Any]) -> str:
    try:
        sources = options.get("sources") or {}
        kinds = {name: _location(value) for name, value in sources.items()}
        return reprlib.repr({**options, "sources": kinds})
    except Exception as error:
        return f"not shown: {error}"


def _location(source: Any) -> str:
    return source if isinstance(source, str) else type(source).__name__


@pytest.fixture(scope="session", autouse=True)
def _artifacts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator:
    """Remember queries, and where to put what is known of them."""
    folder = os.environ.get("FUSIONDELTA_TEST_ARTIFACTS")
    request.config.stash[FOLDER] = (
        Path(folder) if folder else tmp_path_factory.getbasetemp() / "artifacts"
    )
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError):  # tests of the repository itself need no extension
            from fusiondelta import FusionDeltaEngine

            patch.setattr(FusionDeltaEngine, "query", _remembering(FusionDeltaEngine.query))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator:
    _asked.clear()
    try:
        return (yield)
    finally:
        _asked.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator:
    report = yield
    if report.failed and FOLDER in item.config.stash:
        with contextlib.suppress(Exception):
            name = re.sub(r"[^\w.\[\]-]+", "_", item.nodeid)[-150:]
            _keep(item.config.stash[FOLDER] / name, report)
    return report


def _keep(folder: Path, report: pytest.TestReport) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sections = [f"\n--- {title}\n{text}" for title, text in report.sections]
    failure = "".join([report.longreprtext, "\n", *sections])
    (folder / f"{report.when}.txt").write_text(failure, "utf-8")
    for number, asked in enumerate(list(_asked)):
        at = folder / f"query-{number}"
        at.mkdir(exist_ok=True)
        about = f"{asked.sql}\n\n-- {asked.options}\n-- {asked.error or 'planned'}\n"
        (at / "query.sql").write_text(about, "utf-8")
        result = asked.result()
        if result is not None:
            _keep_result(at, result)


def _keep_result(at: Path, result: Any) -> None:
    def metrics(path: Path) -> None:
        from pyarrow import parquet

        parquet.write_table(result.metrics(), path)

    def text(make: Callable[[], str]) -> Callable[[Path], None]:
        return lambda path: path.write_text(make(), "utf-8") and None

    parts = {
        "manifest.json": text(lambda: result.manifest().to_json()),
        "bundle.json": text(lambda: result.plan.to_json()),
        "settings.json": text(lambda: json.dumps(dict(result.plan.settings), indent=2)),
        "metrics.parquet": metrics,
    }
    for name, write in parts.items():
        try:
            write(at / name)
        except Exception as error:
            (at / f"{name}.error").write_text(f"{type(error).__name__}: {error}\n", "utf-8")
