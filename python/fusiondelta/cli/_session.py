"""The engine and the queries of a command, closed on every way out."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fusiondelta
from fusiondelta.cli._config import Config
from fusiondelta.cli._options import Asked
from fusiondelta.cli._storage import profiles_for
from fusiondelta.errors import FusionDeltaError
from fusiondelta.progress import Bar, bar, shown


@contextlib.contextmanager
def opened(
    config: Config, locations: Iterable[str], artifacts: Path | None = None
) -> Iterator[Any]:
    """An engine that reaches the locations.

    Args:
        config: Of ``--config``.
        locations: URIs and paths of the command.
        artifacts: Folder for the accounts of its queries.
    """
    storage = profiles_for(locations, config.storage)
    options: dict[str, Any] = {}
    if config.retention is not None:
        options["retention"] = config.retention
    if artifacts is not None:
        options["artifacts"] = artifacts
    with contextlib.closing(
        fusiondelta.FusionDeltaEngine(config.profile, storage, **options)
    ) as engine:
        yield engine


@contextlib.contextmanager
def queried(asked: Asked, shown: Bar | None, **options: Any) -> Iterator[Any]:
    """The result of a query; its manifest is written once it is closed, also of one that failed.

    Args:
        asked: The query.
        shown: Its bar.
        options: More of ``engine.query``.
    """
    given = {**asked.config.sources, **asked.sources}
    wanted = {
        "timeout": asked.timeout,
        "memory_limit": asked.memory_limit,
        "max_scan_bytes": asked.max_scan_bytes,
        "tags": asked.tags or None,
        "progress": shown,
    }
    options.update({name: value for name, value in wanted.items() if value is not None})
    with opened(asked.config, [at.uri for at in given.values()], asked.artifacts) as engine:
        result = engine.query(
            asked.sql,
            sources={name: at.to_source() for name, at in given.items()} or None,
            param_values=asked.params,
            **options,
        )
        try:
            with contextlib.closing(result):
                yield result
        except BaseException:
            # What went wrong first is what is told.
            with contextlib.suppress(FusionDeltaError):
                _keep_manifest(result, asked.manifest)
            raise
        _keep_manifest(result, asked.manifest)


def _keep_manifest(result: Any, path: Path | None) -> None:
    if path is not None:
        result.manifest().write(path)


@contextlib.contextmanager
def bar_shown(progress: bool | None) -> Iterator[Bar | None]:
    """A bar on standard error for one query of the block, or None.

    Args:
        progress: Whether there is one; where that is a terminal and can show one where None.

    Raises:
        ConfigurationError: There has to be one, and tqdm is not installed.
    """
    if not _has_bars(progress):
        yield None
        return
    made = bar(file=sys.stderr, leave=False)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def bars_shown(progress: bool | None) -> Iterator[None]:
    """A bar on standard error for every query and change of the block; see `bar_shown`."""
    with shown(file=sys.stderr, leave=False) if _has_bars(progress) else contextlib.nullcontext():
        yield


def _has_bars(progress: bool | None) -> bool:
    if progress is not None:
        return progress
    if sys.stderr is None or not sys.stderr.isatty():
        return False
    return importlib.util.find_spec("tqdm") is not None
