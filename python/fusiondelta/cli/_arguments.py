"""What is written on the command line and in the file of ``--config``, as values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

import fusiondelta
from fusiondelta.errors import ConfigurationError

#: Endings of files that are given to the library as they are; it decides what they are.
_FILE_ENDINGS = (".parquet", ".csv", ".json", ".arrow")

_VERSION = re.compile(r"-?[0-9]{1,18}")
_INSTANT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,](?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


@dataclasses.dataclass(frozen=True)
class SourceArgument:
    """A source as the command line names it.

    Attributes:
        uri: Where it is.
        as_of: Version or instant, None for the newest.
    """

    uri: str
    as_of: int | dt.datetime | None = None

    def to_source(self) -> Any:
        """What ``sources={name: …}`` takes: a `DeltaSource`, or a file's path as it is."""
        if self.as_of is None and self.uri.lower().endswith(_FILE_ENDINGS):
            return self.uri
        return fusiondelta.DeltaSource(self.uri, as_of=self.as_of)


def parse_as_of(text: str) -> int | dt.datetime | None:
    """A version or an ISO 8601 time; None where the text is neither.

    A time without a zone means UTC.

    Raises:
        click.BadParameter: It is a negative version.
    """
    if _VERSION.fullmatch(text):
        version = int(text)
        if version < 0:
            raise click.BadParameter(f"a version is an integer from 0, not {text}")
        return version
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    # Python 3.10 reads neither Z, nor +0200, nor fractions of other than three or six digits.
    iso = f"{match['date']}T{match['time'] or '00:00'}"
    if match["fraction"]:
        if iso.count(":") < 2:
            return None
        iso += f".{match['fraction'][:6].ljust(6, '0')}"
    zone = (match["zone"] or "Z").replace(":", "")
    iso += "+00:00" if zone in "Zz" else f"{zone[:3]}:{zone[3:] or '00'}"
    try:
        return dt.datetime.fromisoformat(iso)
    except ValueError:
        return None


def parse_location(text: str) -> SourceArgument:
    """``URI[@VERSION|@TIME]``; what follows an ``@`` and is neither belongs to the URI."""
    uri, at, suffix = text.rpartition("@")
    as_of = parse_as_of(suffix) if at else None
    if as_of is None:
        return SourceArgument(text)
    if not uri:
        raise click.BadParameter(f"{text!r} has a version and no URI")
    return SourceArgument(uri, as_of)


def parse_sources(arguments: Iterable[str]) -> dict[str, SourceArgument]:
    """The values of ``--source NAME=URI[@VERSION|@TIME]``, by name.

    Raises:
        click.BadParameter: One is of another form, or two have one name.
    """
    sources: dict[str, SourceArgument] = {}
    for argument in arguments:
        name, equals, location = argument.partition("=")
        if not (equals and name and location):
            raise click.BadParameter(f"{argument!r} is not NAME=URI[@VERSION|@TIME]")
        if name in sources:
            raise click.BadParameter(f"the source {name!r} is named twice")
        sources[name] = parse_location(location)
    return sources


def parse_params(arguments: Iterable[str]) -> dict[str, Any] | list[Any] | None:
    """The values of ``--param N=V``: by name, or a list where each N is a position from 1.

    Raises:
        click.BadParameter: One is of another form, one is named twice, positions leave a gap, or
            names and positions are mixed.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        position = re.fullmatch(r"[1-9][0-9]{0,5}", name)
        if not equals or not (position or name.isidentifier()):
            raise click.BadParameter(
                f"{argument!r} is not N=VALUE with a name or a position from 1 as N"
            )
        if name in values:
            raise click.BadParameter(f"the parameter {name} is given twice")
        values[name] = parse_value(text)
    positions = sorted(int(name) for name in values if name.isdigit())
    if not positions:
        return values or None
    if len(positions) != len(values):
        raise click.BadParameter("parameters are all named or all numbered, not mixed")
    if positions != list(range(1, len(positions) + 1)):
        missing = min(set(range(1, positions[-1])) - set(positions))
        raise click.BadParameter(f"position {missing} has no value, and {positions[-1]} has one")
    return [values[str(position)] for position in positions]


def parse_value(text: str) -> Any:
    """A JSON scalar where the text is one, else the text."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, (dict, list)) else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the file of ``--config`` says.

    Attributes:
        profile: The engine's profile, None for its default.
        sources: Sources by name.
        storage: Storage profiles by URI prefix.
    """

    profile: Any = None
    sources: Mapping[str, SourceArgument] = dataclasses.field(default_factory=dict)
    storage: Mapping[str, fusiondelta.StorageProfile] = dataclasses.field(default_factory=dict)


def load_config(path: Path | None) -> Config:
    """Read a TOML file with the tables ``[engine]``, ``[sources]`` and ``[storage."PREFIX"]``.

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
    names = ("engine", "sources", "storage")
    _refuse_unknown(path, "table", document, names)
    engine, sources, storage = (_table(path, document, name) for name in names)
    return Config(
        _profile(path, engine),
        _configured_sources(path, sources),
        _configured_storage(path, storage),
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


def _profile(path: Path, engine: Mapping[str, Any]) -> Any:
    if not engine:
        return None
    profile = fusiondelta.EngineProfile
    _refuse_unknown(path, "key of [engine]", engine, inspect.signature(profile).parameters)
    try:
        return profile(**engine)
    except (ConfigurationError, TypeError, ValueError) as error:
        raise click.UsageError(f"{path}: [engine] {error}") from None


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
