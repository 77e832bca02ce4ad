"""The commands that try out what is there: probe, lock-table, doctor, versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import Any

import click

from fusiondelta.account._doctor import DoctorReport
from fusiondelta.cli._app import cli
from fusiondelta.cli._config import Config
from fusiondelta.cli._json import json_line
from fusiondelta.cli._options import config_option, json_option
from fusiondelta.cli._session import opened
from fusiondelta.cli._text import plain, say
from fusiondelta.errors import FusionDeltaError
from fusiondelta.storage import ProbeCheck


@cli.command()
@click.argument("uri")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30, help="Seconds a request."
)
@config_option
@click.pass_context
def probe(ctx: click.Context, uri: str, as_json: bool, timeout: float, config: Config) -> None:
    """Try out what a location allows; leaves nothing behind. Exit code 1 where a check fails."""
    with opened(config, [uri]) as engine:
        report = engine.probe(uri, timeout=timeout)
    _tell(ctx, report, as_json)


@cli.command()
@click.argument("uris", metavar="[URI]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a check.")
@config_option
@click.pass_context
def doctor(ctx: click.Context, uris: tuple[str, ...], as_json: bool, config: Config) -> None:
    """Check this installation, machine and environment, and locations. Exit code 1 if one fails."""
    try:
        with opened(config, uris) as engine:
            report = engine.debug.doctor(list(uris))
    except (FusionDeltaError, ImportError) as error:
        # An engine that cannot be made is what doctors are asked about.
        fix = "install fusiondelta again" if isinstance(error, ImportError) else ""
        report = DoctorReport((ProbeCheck("engine", "fail", 0.0, str(error), fix),))
    _tell(ctx, report, as_json)


def _tell(ctx: click.Context, report: Any, as_json: bool) -> None:
    if as_json:
        lines = (json_line(dataclasses.asdict(check)) for check in report.checks)
        click.echo("".join(lines), nl=False)
    else:
        say(report)
    ctx.exit(0 if report.ok else 1)


@cli.command("lock-table")
@click.argument("what", type=click.Choice(["create", "check"]))
@click.argument("uri")
@config_option
def lock_table(what: str, uri: str, config: Config) -> None:
    """Make or check the DynamoDB table of locks that commits to URI go through (aws_s3_locked)."""
    with opened(config, [uri]) as engine:
        engine.lock_table(uri, create=what == "create")
    say(f"the table of locks for {plain(uri)} is as it has to be")


@cli.command()
@json_option
def versions(as_json: bool) -> None:
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
    if as_json:
        click.echo(json_line(known), nl=False)
        return
    width = max(map(len, known))
    for name, version in known.items():
        say(f"{name.ljust(width)}  {version}")
