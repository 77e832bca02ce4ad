"""The commands that tell what a table is: history, detail."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from fusiondelta.cli._app import cli
from fusiondelta.cli._config import Config
from fusiondelta.cli._json import json_line
from fusiondelta.cli._options import as_of_callback, config_option
from fusiondelta.cli._session import opened
from fusiondelta.cli._table import render_table

_COLUMNS = ("version", "timestamp", "operation", "operationParameters")


@cli.command()
@click.argument("uri")
@click.option("--limit", type=click.IntRange(min=1), help="Commits at most, newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with every field.")
@config_option
def history(uri: str, limit: int | None, as_json: bool, config: Config) -> None:
    """Print the commits of a table."""
    with opened(config, [uri]) as engine:
        commits = engine.open_delta(uri).history(limit)
    if as_json:
        click.echo("".join(map(json_line, commits)), nl=False)
        return
    shown = [name for name in _COLUMNS if any(name in commit for commit in commits)]
    rows = [[readable(name, commit.get(name)) for name in shown] for commit in commits]
    click.echo(render_table(shown, rows) if shown else "no commits\n", nl=False)


@cli.command()
@click.argument("uri")
@click.option(
    "--version",
    "as_of",
    metavar="VERSION|TIME",
    callback=as_of_callback,
    help="Default: the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def detail(uri: str, as_of: int | dt.datetime | None, as_json: bool, config: Config) -> None:
    """Print what a table is: its version, schema, properties and size."""
    with opened(config, [uri]) as engine:
        facts = engine.open_delta(uri, as_of=as_of).detail()
    if as_json:
        click.echo(json_line(facts), nl=False)
    else:
        click.echo(facts_table(facts), nl=False)


def facts_table(facts: dict[str, Any]) -> str:
    """Names and values, one line each."""
    rows = [[name, readable(name, value)] for name, value in facts.items()]
    return render_table(("name", "value"), rows)


def readable(name: str, value: Any) -> Any:
    """A fact for people: milliseconds since the epoch as a time, times in ISO 8601."""
    if name in ("timestamp", "createdAt", "created_time") and type(value) is int:
        value = dt.datetime.fromtimestamp(value / 1000, dt.timezone.utc)
    return value.isoformat() if isinstance(value, (dt.datetime, dt.date)) else value
