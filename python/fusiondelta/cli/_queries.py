"""The commands that run SQL: query, explain, profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fusiondelta.cli._app import cli
from fusiondelta.cli._json import json_line
from fusiondelta.cli._options import Asked, json_option, query_options
from fusiondelta.cli._session import bar_shown, queried
from fusiondelta.cli._text import say

_FORMATS = ("table", "csv", "json", "parquet", "arrow")
_BINARY_FORMATS = ("parquet", "arrow")


@cli.command()
@query_options
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
@click.option(
    "--digest", is_flag=True, help="Keep a digest of the rows, whatever their order, for replay."
)
def query(
    asked: Asked, format_: str | None, output: Path | None, limit_rows: int | None, digest: bool
) -> None:
    """Print the rows that SQL gives ("-" reads it from standard input)."""
    if output == Path("-"):
        output = None
    format_ = format_ or _format_of(output)
    if format_ in _BINARY_FORMATS and output is None and sys.stdout.isatty():
        raise click.UsageError(f"--format {format_} needs --output or a redirected standard output")
    if digest and not asked.is_accounted:
        raise click.UsageError("--digest needs --manifest or --artifacts, which keep it")

    from fusiondelta.cli import _output

    options = {"digest": True} if digest else {}
    with (
        bar_shown(asked.progress) as bar,
        _output.open_sink(output, None if bar is None else bar.close) as sink,
        queried(asked, bar, **options) as result,
    ):
        _output.write(result.reader(), format_, sink, limit_rows, whole=asked.is_accounted)


def _format_of(output: Path | None) -> str:
    ending = output.suffix[1:].lower() if output else ""
    return ending if ending in _FORMATS else "table"


@cli.command()
@query_options
@click.option("--analyze", is_flag=True, help="Run it, drop its rows and show what it measured.")
@click.option("--verbose", is_flag=True, help="Show the logical plans too.")
@json_option
def explain(asked: Asked, analyze: bool, verbose: bool, as_json: bool) -> None:
    """Print how SQL would be run ("-" reads it from standard input)."""
    with bar_shown(asked.progress) as bar, queried(asked, bar) as result:
        if analyze or asked.is_accounted:
            _run(result)
        if as_json:
            operators = [node.to_dict() for node in result.account().tree] if analyze else None
            told = json_line({"plan": result.plan.to_dict(), "operators": operators})
        else:
            told = _explained(result, analyze, verbose)
    if as_json:
        click.echo(told, nl=False)
    else:
        say(told)


def _explained(result: Any, analyze: bool, verbose: bool) -> str:
    physical = str(result.explain(analyze=analyze))
    if not verbose:
        return physical
    plan = result.plan
    return (
        f"-- logical\n{plan.logical_plan}\n\n-- optimized\n{plan.optimized_plan}\n\n"
        f"-- physical\n{physical}"
    )


@cli.command()
@query_options
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that gets the page; without it a summary is printed.",
)
@json_option
def profile(asked: Asked, html: Path | None, as_json: bool) -> None:
    """Run SQL, drop its rows, and tell what they cost ("-" reads it from standard input)."""
    from fusiondelta.cli import _profile

    with bar_shown(asked.progress) as bar, queried(asked, bar) as result:
        _run(result)
        account = result.account()
        if html is not None:
            result.profile().to_html(html)
    if as_json:
        click.echo(json_line(_profile.facts(account)), nl=False)
    elif html is None:
        say(_profile.summary(account))


def _run(result: Any) -> None:
    from fusiondelta.cli import _output

    _output.drain(result.reader())
