"""What several commands are told alike."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from fusiondelta.cli import _arguments
from fusiondelta.cli._config import Config, load_config
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import parse_bytes

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A query as the command line asks for it.

    Attributes:
        sql: Its text.
        sources: What it reads, by name.
        params: Its parameters.
        config: Of ``--config``.
        tags: Free text by name.
        timeout: Seconds until the last row; no limit where None.
        memory_limit: Bytes it may reserve; the engine's own limit where None.
        max_scan_bytes: Bytes of files that its plan may hold; no limit where None.
        artifacts: Folder that gets its account; none where None.
        manifest: File that gets its manifest; none where None.
        progress: Whether a bar is shown; on a terminal where None.
    """

    sql: str
    sources: Mapping[str, _arguments.SourceArgument]
    params: dict[str, Any] | list[Any] | None
    config: Config
    tags: Mapping[str, str]
    timeout: float | None
    memory_limit: int | None
    max_scan_bytes: int | None
    artifacts: Path | None
    manifest: Path | None
    progress: bool | None

    @property
    def is_accounted(self) -> bool:
        """Whether its account is kept, so that it has to be run to its end."""
        return self.artifacts is not None or self.manifest is not None


def _by(parse: Callable[[Any], Any]) -> Callable[..., Any]:
    """A callback of click that parses what was given."""

    def callback(_: click.Context, __: click.Parameter, value: Any) -> Any:
        return None if value is None else parse(value)

    return callback


def _parse_sql(argument: str) -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig") if argument == "-" else argument
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the SQL on standard input is not UTF-8: {error}") from None
    if not text.strip():
        raise click.UsageError("the SQL is empty")
    return text


def _parse_size(text: str) -> int:
    try:
        return parse_bytes("a size", text)
    except ConfigurationError as error:
        raise click.BadParameter(error.message) from None


def _parse_instant(text: str) -> int | dt.datetime:
    as_of = _arguments.parse_as_of(text)
    if as_of is None:
        raise click.BadParameter(f"{text!r} is neither a version nor an ISO 8601 time")
    return as_of


as_of_callback = _by(_parse_instant)
filters_callback = _by(_arguments.parse_filters)
duration_callback = _by(_arguments.parse_duration)
size_callback = _by(_parse_size)

config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=lambda _, __, value: load_config(value),
    help="TOML file: [engine] with keys of EngineProfile, [sources] with name = uri, "
    '[storage."s3://bucket"] with arguments of StorageProfile.s3, .gcs or .azure, [retention] '
    "with keys of RetentionPolicy. Object stores that it does not name are reached as the "
    "environment says.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

progress_option = click.option(
    "--progress/--no-progress",
    default=None,
    help="A bar on standard error. Default: where that is a terminal.",
)

run_option = click.option(
    "--run", "is_run", is_flag=True, help="Do it. Without it, only what would be done is printed."
)

_QUERY = (
    click.argument("sql", callback=_by(_parse_sql)),
    click.option(
        "--source",
        "sources",
        metavar="NAME=URI[@VERSION|@TIME]",
        multiple=True,
        callback=_by(_arguments.parse_sources),
        help="Table or file that the SQL calls NAME.",
    ),
    click.option(
        "--param",
        "params",
        metavar="N=V",
        multiple=True,
        callback=_by(_arguments.parse_params),
        help="Value of $N, a name or a position from 1. A JSON scalar, else text.",
    ),
    config_option,
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="Time to the last row.",
    ),
    click.option(
        "--memory-limit",
        metavar="SIZE",
        callback=size_callback,
        help="Memory the query may reserve: bytes, or 512MiB.",
    ),
    click.option(
        "--max-scan-bytes",
        metavar="SIZE",
        callback=size_callback,
        help="Fail before anything is read where the plan holds more of files than this.",
    ),
    click.option(
        "--tag",
        "tags",
        metavar="NAME=TEXT",
        multiple=True,
        callback=_by(_arguments.parse_tags),
        help="Kept in the manifest.",
    ),
    click.option(
        "--artifacts",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder that gets the manifest of the run; the query is run to its end.",
    ),
    click.option(
        "--manifest",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File that gets the manifest, for diff and replay; the query is run to its end.",
    ),
    progress_option,
)


def query_options(command: _F) -> _F:
    """The argument and the options that say what is asked; the command gets an `Asked`."""

    @functools.wraps(command)
    def with_asked(**given: Any) -> Any:
        names = [one.name for one in dataclasses.fields(Asked)]
        asked = Asked(**{name: given.pop(name) for name in names})
        return command(asked=asked, **given)

    for decorate in reversed(_QUERY):
        with_asked = decorate(with_asked)
    return with_asked  # type: ignore[return-value]
