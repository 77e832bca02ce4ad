"""The file of ``--config``, as values."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

import fusiondelta
from fusiondelta.cli._arguments import SourceArgument, parse_duration, parse_location
from fusiondelta.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Config:
    """What the file of ``--config`` says.

    Attributes:
        profile: The engine's profile, None for its default.
        sources: Sources by name.
        storage: Storage profiles by URI prefix.
        retention: What vacuum has to leave, None for the engine's default.
    """

    profile: Any = None
    sources: Mapping[str, SourceArgument] = dataclasses.field(default_factory=dict)
    storage: Mapping[str, fusiondelta.StorageProfile] = dataclasses.field(default_factory=dict)
    retention: Any = None


def load_config(path: Path | None) -> Config:
    """Read a TOML file: ``[engine]``, ``[sources]``, ``[storage."PREFIX"]``, ``[retention]``.

    Raises:
        click.UsageError: The file cannot be read, or has a key or a value that does not belong.
    """
    if path is None:
        return Config()
    toml = _toml_module()
    try:
        document: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # errors of TOML and of UTF-8 are ValueErrors
        raise click.UsageError(f"{path}: {error}") from None
    names = ("engine", "sources", "storage", "retention")
    _refuse_unknown(path, "table", document, names)
    engine, sources, storage, retention = (_table(path, document, name) for name in names)
    return Config(
        _made(path, "engine", fusiondelta.EngineProfile, engine),
        _configured_sources(path, sources),
        _configured_storage(path, storage),
        _made(path, "retention", fusiondelta.RetentionPolicy, _with_durations(path, retention)),
    )


def _toml_module() -> Any:
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise click.UsageError(
        "--config on Python 3.10 needs tomli; install it with: pip install tomli"
    )


def _table(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise click.UsageError(f"{path}: {name} is a table, written [{name}]")
    return table


def _made(path: Path, name: str, kind: Any, given: Mapping[str, Any]) -> Any:
    """A value of the package from a table of the file, None where that is empty."""
    if not given:
        return None
    _refuse_unknown(path, f"key of [{name}]", given, inspect.signature(kind).parameters)
    try:
        return kind(**given)
    except (ConfigurationError, TypeError, ValueError) as error:
        raise click.UsageError(f"{path}: [{name}] {error}") from None


def _with_durations(path: Path, retention: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            key: parse_duration(value) if isinstance(value, str) else value
            for key, value in retention.items()
        }
    except click.BadParameter as error:
        raise click.UsageError(f"{path}: [retention] {error.message}") from None


def _configured_sources(path: Path, sources: Mapping[str, Any]) -> dict[str, SourceArgument]:
    for name, uri in sources.items():
        if not isinstance(uri, str) or not uri:
            raise click.UsageError(f"{path}: [sources] {name} is a URI in quotes, not {uri!r}")
    try:
        return {name: parse_location(uri) for name, uri in sources.items()}
    except click.BadParameter as error:
        raise click.UsageError(f"{path}: [sources] {error.message}") from None


def _configured_storage(
    path: Path, storage: Mapping[str, Any]
) -> dict[str, fusiondelta.StorageProfile]:
    profiles = {}
    for prefix, options in storage.items():
        if not isinstance(options, dict):
            raise click.UsageError(
                f'{path}: [storage] holds a table for each prefix, written [storage."s3://bucket"]'
            )
        try:
            kind = fusiondelta.StorageProfile.from_uri(prefix).kind
            profiles[prefix] = getattr(fusiondelta.StorageProfile, kind)(**options)
        except (ConfigurationError, TypeError) as error:
            raise click.UsageError(f"{path}: [storage.{prefix!r}] {error}") from None
    return profiles


def _refuse_unknown(path: Path, what: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for key in given:
        if key not in names:
            nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise click.UsageError(f"{path}: unknown {what}: {key!r}{hint}")
