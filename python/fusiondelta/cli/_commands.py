"""The commands: from arguments to calls of the engine."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

import fusiondelta
from fusiondelta.cli import _arguments, _interrupt
from fusiondelta.cli._storage import profiles_for
from fusiondelta.errors import FusionDeltaError

_FORMATS = ("table", "csv", "json", "parquet", "arrow")
_BINARY_FORMATS = ("parquet", "arrow")

_F = TypeVar("_F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Says what went wrong in one line, and with the exit code: 1 failed, 130 interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FusionDeltaError as error:
            _fail(ctx, f"error[{error.kind}]: {error}")
        except KeyboardInterrupt:
            ctx.exit(130)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(1)
        except OSError as error:
            _fail(ctx, f"error: {error}")


def _fail(ctx: click.Context, message: str) -> None:
    # The reader of our standard error may be gone too.
    with contextlib.suppress(BrokenPipeError):
        click.echo(message, err=True)
    ctx.exit(1)


def _forget_stdout() -> None:
    # What is still buffered for a closed pipe would raise again when Python exits.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def main() -> None:
    """Run the command line of this process and exit."""
    _interrupt.install()
    cli(prog_name="fusiondelta")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """SQL over Delta Lake."""


def _sources(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> Any:
    return _arguments.parse_sources(value)


def _params(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> Any:
    return _arguments.parse_params(value)


def _as_of(_: click.Context, __: click.Parameter, value: str | None) -> int | dt.datetime | None:
    if value is None:
        return None
    as_of = _arguments.parse_as_of(value)
    if as_of is None:
        raise click.BadParameter(f"{value!r} is neither a version nor an ISO 8601 time")
    return as_of


_config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file: [engine] with keys of EngineProfile, [sources] with name = uri, "
    '[storage."s3://bucket"] with arguments of StorageProfile.s3, .gcs or .azure. '
    "Object stores that it does not name are reached as the environment says.",
)


def _query_options(command: _F) -> _F:
    """The argument and the options that say what is asked."""
    for decorate in (
        _config_option,
        click.option(
            "--param",
            "params",
            metavar="N=V",
            multiple=True,
            callback=_params,
            help="Value of $N, a name or a position from 1. A JSON scalar, else text.",
        ),
        click.option(
            "--source",
            "sources",
            metavar="NAME=URI[@VERSION|@TIME]",
            multiple=True,
            callback=_sources,
            help="Table or file that the SQL calls NAME.",
        ),
        click.argument("sql"),
    ):
        command = decorate(command)
    return command


@cli.command()
@_query_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    help="Default: what the ending of --output names, else table.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File that gets the rows, once they are all there.",
)
@click.option(
    "--limit-rows",
    type=click.IntRange(min=0),
    help="Rows at most. Default: 100 for table, all for other formats.",
)
def query(
    sql: str,
    sources: Mapping[str, _arguments.SourceArgument],
    params: dict[str, Any] | list[Any] | None,
    config: Path | None,
    format_: str | None,
    output: Path | None,
    limit_rows: int | None,
) -> None:
    """Print the rows that SQL gives ("-" reads it from standard input)."""
    if output == Path("-"):
        output = None
    format_ = format_ or _format_of(output)
    if format_ in _BINARY_FORMATS and output is None and sys.stdout.isatty():
        raise click.UsageError(f"--format {format_} needs --output or a redirected standard output")
    text, settings = _sql(sql), _arguments.load_config(config)

    from fusiondelta.cli import _output

    with _output.open_sink(output) as sink, _result(text, sources, params, settings) as result:
        _output.write(result.reader(), format_, sink, limit_rows)


@cli.command()
@_query_options
def explain(
    sql: str,
    sources: Mapping[str, _arguments.SourceArgument],
    params: dict[str, Any] | list[Any] | None,
    config: Path | None,
) -> None:
    """Print how SQL would be run ("-" reads it from standard input)."""
    with _result(_sql(sql), sources, params, _arguments.load_config(config)) as result:
        click.echo(str(result.explain()))


@cli.command()
@click.argument("uri")
@click.option("--limit", type=click.IntRange(min=1), help="Commits at most, newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with every field.")
@_config_option
def history(uri: str, limit: int | None, as_json: bool, config: Path | None) -> None:
    """Print the commits of a table."""
    from fusiondelta.cli import _output

    with _engine(_arguments.load_config(config), [uri]) as engine:
        commits = engine.open_delta(uri).history(limit)
    if as_json:
        click.echo("".join(map(_output.json_line, commits)), nl=False)
        return
    columns = ("version", "timestamp", "operation", "operationParameters")
    shown = [name for name in columns if any(name in commit for commit in commits)]
    rows = [[_readable(name, commit.get(name)) for name in shown] for commit in commits]
    click.echo(_output.render_table(shown, rows) if shown else "no commits\n", nl=False)


@cli.command()
@click.argument("uri")
@click.option(
    "--version",
    "as_of",
    metavar="VERSION|TIME",
    callback=_as_of,
    help="Default: the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_config_option
def detail(uri: str, as_of: int | dt.datetime | None, as_json: bool, config: Path | None) -> None:
    """Print what a table is: its version, schema, properties and size."""
    from fusiondelta.cli import _output

    with _engine(_arguments.load_config(config), [uri]) as engine:
        facts = engine.open_delta(uri, as_of=as_of).detail()
    if as_json:
        click.echo(_output.json_line(facts), nl=False)
        return
    rows = [[name, _readable(name, value)] for name, value in facts.items()]
    click.echo(_output.render_table(("name", "value"), rows), nl=False)


@cli.command()
@click.argument("uri")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30, help="Seconds a request."
)
@_config_option
@click.pass_context
def probe(ctx: click.Context, uri: str, as_json: bool, timeout: float, config: Path | None) -> None:
    """Try out what a location allows; leaves nothing behind. Exit code 1 where a check fails."""
    from fusiondelta.cli import _output

    with _engine(_arguments.load_config(config), [uri]) as engine:
        report = engine.probe(uri, timeout=timeout)
    if as_json:
        lines = (_output.json_line(dataclasses.asdict(check)) for check in report.checks)
        click.echo("".join(lines), nl=False)
    else:
        click.echo(str(report))
    ctx.exit(0 if report.ok else 1)


@cli.command("lock-table")
@click.argument("what", type=click.Choice(["create", "check"]))
@click.argument("uri")
@_config_option
def lock_table(what: str, uri: str, config: Path | None) -> None:
    """Make or check the DynamoDB table of locks that commits to URI go through (aws_s3_locked)."""
    with _engine(_arguments.load_config(config), [uri]) as engine:
        engine.lock_table(uri, create=what == "create")
    click.echo(f"the table of locks for {uri} is as it has to be")


@cli.command()
def versions() -> None:
    """Print the versions of this package and of what it stands on."""
    known = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("fusiondelta", "datafusion", "deltalake", "pyarrow", "click"):
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            known[name] = "not installed"
    try:
        from fusiondelta import _native
    except ImportError:
        known["native"] = "not built"
    else:
        known.update((f"native {name}", version) for name, version in _native.versions())
    width = max(map(len, known))
    for name, version in known.items():
        click.echo(f"{name.ljust(width)}  {version}")


def _sql(argument: str) -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig") if argument == "-" else argument
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the SQL on standard input is not UTF-8: {error}") from None
    if not text.strip():
        raise click.UsageError("the SQL is empty")
    return text


def _format_of(output: Path | None) -> str:
    ending = output.suffix[1:].lower() if output else ""
    return ending if ending in _FORMATS else "table"


@contextlib.contextmanager
def _engine(config: _arguments.Config, locations: Iterable[str]) -> Iterator[Any]:
    storage = profiles_for(locations, config.storage)
    engine = fusiondelta.FusionDeltaEngine(config.profile, storage)
    with contextlib.closing(engine):
        yield engine


@contextlib.contextmanager
def _result(
    sql: str,
    sources: Mapping[str, _arguments.SourceArgument],
    params: dict[str, Any] | list[Any] | None,
    config: _arguments.Config,
) -> Iterator[Any]:
    given = {**config.sources, **sources}
    named = {name: at.to_source() for name, at in given.items()}
    with (
        _engine(config, [at.uri for at in given.values()]) as engine,
        contextlib.closing(engine.query(sql, sources=named or None, param_values=params)) as result,
    ):
        yield result


def _readable(name: str, value: Any) -> Any:
    """A fact for people: milliseconds since the epoch as a time, times in ISO 8601."""
    if name in ("timestamp", "createdAt", "created_time") and type(value) is int:
        value = dt.datetime.fromtimestamp(value / 1000, dt.timezone.utc)
    return value.isoformat() if isinstance(value, (dt.datetime, dt.date)) else value
