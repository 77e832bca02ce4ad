"""The commands that keep tables small and right; each prints what it would do until ``--run``."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import click

from fusiondelta.account._units import counted, size
from fusiondelta.cli._app import cli
from fusiondelta.cli._config import Config
from fusiondelta.cli._estimate import check_columns, estimate
from fusiondelta.cli._json import json_line
from fusiondelta.cli._options import (
    as_of_callback,
    config_option,
    duration_callback,
    filters_callback,
    json_option,
    progress_option,
    run_option,
    size_callback,
)
from fusiondelta.cli._session import bars_shown, opened
from fusiondelta.cli._tables import facts_table
from fusiondelta.cli._text import plain, say

#: Names of files that are printed; ``--json`` has all.
_FILES = 100


@cli.command()
@click.argument("uri")
@click.option(
    "--retention",
    metavar="DURATION",
    callback=duration_callback,
    help="Files that left the table less than this ago stay: 7d, 12h. Default and least: what the "
    "table and [retention] of --config say.",
)
@click.option("--full", is_flag=True, help="Also files that no commit knows.")
@click.option(
    "--keep-version",
    "keep",
    type=click.IntRange(min=0),
    multiple=True,
    help="Version whose files stay.",
)
@run_option
@json_option
@config_option
@progress_option
def vacuum(
    uri: str,
    retention: dt.timedelta | None,
    full: bool,
    keep: tuple[int, ...],
    is_run: bool,
    as_json: bool,
    config: Config,
    progress: bool | None,
) -> None:
    """Remove files from storage that no version within the retention needs."""
    with bars_shown(progress), opened(config, [uri]) as engine:
        result = engine.vacuum(
            uri, retention=retention, dry_run=not is_run, full=full, keep_versions=keep
        )
    metrics = result.operation_metrics
    files, freed = list(metrics["files"]), metrics.get("bytes")
    if as_json:
        facts = {"uri": uri, "dry_run": not is_run, "files": files, "bytes": freed}
        click.echo(json_line(facts), nl=False)
        return
    _say_files(files)
    of = "" if freed is None else f" of {size(freed)}"
    _say_outcome(f"{counted(len(files), 'file')}{of}", "removed", is_run)


@cli.command()
@click.argument("uri")
@click.option(
    "--z-order",
    metavar="COLUMN[,COLUMN]...",
    help="Columns whose values lie close together afterwards; without it files are only compacted.",
)
@click.option(
    "--where",
    metavar="COMPARISON",
    multiple=True,
    callback=filters_callback,
    help='Which partitions: "day >= 2024-05-01", "country in (DE, AT)". Several all have to hold.',
)
@click.option(
    "--target-size",
    metavar="SIZE",
    callback=size_callback,
    help="Size of a file, about: bytes, or 256MiB. Default: the table's, else 100 MiB.",
)
@run_option
@json_option
@config_option
@progress_option
def optimize(
    uri: str,
    z_order: str | None,
    where: list[tuple[str, str, Any]],
    target_size: int | None,
    is_run: bool,
    as_json: bool,
    config: Config,
    progress: bool | None,
) -> None:
    """Rewrite small files as larger ones, or all files in an order; no row changes."""
    columns = [name for one in (z_order or "").split(",") if (name := one.strip())]
    if z_order is not None and not columns:
        raise click.BadParameter("names no column", param_hint="--z-order")
    with bars_shown(progress), opened(config, [uri]) as engine:
        table = engine.open_delta(uri)
        partitions = table.detail()["partition_columns"]
        check_columns(partitions, where, columns)
        if is_run:
            result = engine.optimize(
                uri, z_order=columns, partition_filters=where, target_file_size=target_size
            )
            facts = _changed(uri, result)
            if as_json:
                facts["operation_metrics"] = dict(result.operation_metrics)
        else:
            found = estimate(
                table.files(),
                table.properties,
                partition_columns=partitions,
                where=where,
                z_order=columns,
                target_size=target_size,
            )
            facts = {
                "uri": uri,
                "dry_run": True,
                "version": table.snapshot.version,
                **dataclasses.asdict(found),
            }
    _say_facts(facts, as_json, is_run)


@cli.command()
@click.argument("uri")
@click.argument("to", metavar="VERSION|TIME", callback=as_of_callback)
@click.option(
    "--ignore-missing-files",
    is_flag=True,
    help="Leave out files that a vacuum removed; without it they fail the restore.",
)
@click.option(
    "--allow-metadata-change", is_flag=True, help="The protocol may be the older one again."
)
@run_option
@json_option
@config_option
@progress_option
def restore(
    uri: str,
    to: int | dt.datetime,
    ignore_missing_files: bool,
    allow_metadata_change: bool,
    is_run: bool,
    as_json: bool,
    config: Config,
    progress: bool | None,
) -> None:
    """Make a table what it was at a version or time, in a new commit."""
    with bars_shown(progress), opened(config, [uri]) as engine:
        goal = engine.open_delta(uri, as_of=to)
        version = goal.snapshot.version
        if is_run:
            result = engine.restore(
                uri,
                version,
                allow_metadata_change=allow_metadata_change,
                ignore_missing_files=ignore_missing_files,
            )
            facts = {**_changed(uri, result), "to_version": version}
        else:
            newest = engine.open_delta(uri)
            facts = {
                "uri": uri,
                "dry_run": True,
                "from_version": newest.snapshot.version,
                "to_version": version,
                **_exchanged(newest.files(), goal.files()),
                "is_readable": version in engine.reachable_versions(uri),
            }
    _say_facts(facts, as_json, is_run)


@cli.command()
@click.argument("uri")
@json_option
@config_option
def checkpoint(uri: str, as_json: bool, config: Config) -> None:
    """Write a checkpoint of a table's newest version, so that its log is read faster."""
    with opened(config, [uri]) as engine:
        key = engine.checkpoint(uri)
    if as_json:
        click.echo(json_line({"uri": uri, "version": key.version}), nl=False)
    else:
        say(f"checkpoint of version {key.version} written")


@cli.command("cleanup-metadata")
@click.argument("uri")
@click.option(
    "--retention",
    metavar="DURATION",
    callback=duration_callback,
    help="Entries younger than this stay: 30d, 12h. Default and least: what the table and "
    "[retention] of --config say.",
)
@run_option
@json_option
@config_option
def cleanup_metadata(
    uri: str, retention: dt.timedelta | None, is_run: bool, as_json: bool, config: Config
) -> None:
    """Remove entries of a table's log that no version within the retention needs."""
    with opened(config, [uri]) as engine:
        found = engine.cleanup_metadata(uri, log_retention=retention, dry_run=not is_run)
    files = list(found.removed)
    if as_json:
        facts = {"uri": uri, "dry_run": not is_run, "files": files, "oldest": found.oldest}
        click.echo(json_line(facts), nl=False)
        return
    _say_files(files)
    _say_outcome(counted(len(files), "file"), "removed from the log", is_run)


def _changed(uri: str, result: Any) -> dict[str, Any]:
    """What a change did."""
    return {
        "uri": uri,
        "dry_run": False,
        "outcome": result.outcome,
        "from_version": result.read_version,
        "version": result.snapshot.version,
        "files_removed": result.files_removed,
        "files_added": result.files_added,
        "bytes_added": result.bytes_written,
    }


def _exchanged(now: Any, then: Any) -> dict[str, int]:
    """How the files of a table change from one version to another."""
    before, after = _sizes(now), _sizes(then)
    added = [after[key] for key in after if key not in before]
    removed = [before[key] for key in before if key not in after]
    return {
        "files_added": len(added),
        "bytes_added": sum(added),
        "files_removed": len(removed),
        "bytes_removed": sum(removed),
    }


def _sizes(files: Any) -> dict[tuple[Any, ...], int]:
    """Sizes of files; a file with other deleted rows is another."""
    marks = [name for name in files.column_names if name.startswith("deletion_vector.")]
    columns = [files[name].to_pylist() for name in ("path", *marks)]
    return dict(zip(zip(*columns, strict=True), files["size_bytes"].to_pylist(), strict=True))


def _say_files(files: Sequence[str]) -> None:
    for name in files[:_FILES]:
        say(plain(name))
    if len(files) > _FILES:
        say(f"… and {counted(len(files) - _FILES, 'more', 'more')}; --json names all")


def _say_facts(facts: dict[str, Any], as_json: bool, is_run: bool) -> None:
    if as_json:
        click.echo(json_line(facts), nl=False)
        return
    told = {
        name: size(value) if name.startswith("bytes_") or name == "target_size" else value
        for name, value in facts.items()
        if value is not None
    }
    click.echo(facts_table(told), nl=False)
    if not is_run:
        say("nothing was changed; --run does it")


def _say_outcome(what: str, how: str, is_run: bool) -> None:
    say(f"{what} {how}" if is_run else f"{what} would be {how}; --run does it")
