"""The commands that work on manifests: diff, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fusiondelta.account import RunManifest
from fusiondelta.cli._app import cli, fails_with
from fusiondelta.cli._config import Config
from fusiondelta.cli._json import json_line
from fusiondelta.cli._options import config_option, json_option, progress_option
from fusiondelta.cli._session import bars_shown, opened
from fusiondelta.cli._text import say

_MANIFEST = click.Path(dir_okay=False, path_type=Path)


@cli.command()
@click.argument("first", metavar="A.json", type=_MANIFEST)
@click.argument("second", metavar="B.json", type=_MANIFEST)
@json_option
@click.pass_context
def diff(ctx: click.Context, first: Path, second: Path, as_json: bool) -> None:
    """Explain why the run of B is not what that of A was: slower, other rows, another plan.

    Exit code 0 where nothing differs, 1 where something does, 2 where they cannot be compared.
    """
    fails_with(2)
    found = RunManifest.from_file(first).diff(RunManifest.from_file(second))
    _tell(ctx, found, as_json)


@cli.command()
@click.argument("manifest", metavar="MANIFEST.json", type=_MANIFEST)
@json_option
@config_option
@progress_option
@click.pass_context
def replay(
    ctx: click.Context, manifest: Path, as_json: bool, config: Config, progress: bool | None
) -> None:
    """Run the query of a manifest again, on the versions it read, and compare.

    Exit code 0 where all is equal, 1 where something differs, 2 where it cannot be run again.
    """
    fails_with(2)
    found = RunManifest.from_file(manifest)
    document = found.to_dict()
    named = [*document["snapshots"], *document["sources"]]
    locations = [one["uri"] for one in named if one["uri"]]
    with bars_shown(progress), opened(config, locations) as engine:
        report = engine.replay(found)
    _tell(ctx, report, as_json)


def _tell(ctx: click.Context, report: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json_line(report.to_dict()), nl=False)
    else:
        say(report.to_text().rstrip("\n"))
    ctx.exit(0 if report.equal else 1)
