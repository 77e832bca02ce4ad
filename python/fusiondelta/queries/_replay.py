"""A query that a manifest tells of, once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from fusiondelta.account import ReplayReport, RunManifest
from fusiondelta.account._replay import ReplayInputs, ReplaySource, compare_replay, replay_inputs
from fusiondelta.errors import SourceError
from fusiondelta.queries._result import QueryResult
from fusiondelta.sources import DeltaChanges, DeltaSource, Source
from fusiondelta.sources._files import files_of_recipe

#: Plans a query, as `FusionDeltaEngine.query` does.
Ask = Callable[..., QueryResult]


def replay(
    manifest: RunManifest,
    asking_with: Callable[[Mapping[str, str]], AbstractContextManager[Ask]],
    options: Mapping[str, Any],
) -> ReplayReport:
    """Run the query again, and compare.

    Args:
        manifest: What ran.
        asking_with: What plans a query under these settings, for the block.
        options: Over what the manifest says: ``timeout``, ``memory_limit``, ``progress``.

    Raises:
        QueryError: It cannot be run again.
        SourceError: A file is gone, or is another one now.
    """
    recorded = manifest.to_dict()
    inputs = replay_inputs(recorded)
    with asking_with(inputs.settings) as ask, _ask(ask, inputs, options) as result:
        _check_files(inputs, result)
        for _ in result:
            pass
        return compare_replay(recorded, result.manifest().to_dict())


def _ask(ask: Ask, inputs: ReplayInputs, options: Mapping[str, Any]) -> QueryResult:
    asked = {
        "sources": {source.alias: _source(source) for source in inputs.sources} or None,
        "param_values": dict(inputs.parameters) or None,
        "memory_limit": inputs.memory_limit,
        "digest": inputs.digest,
    }
    return ask(inputs.sql, **{**asked, **options})


def _source(source: ReplaySource) -> Source:
    if source.kind == "delta":
        return DeltaSource(source.uri, source.version)
    if source.kind == "changes":
        return DeltaChanges(source.uri, source.options["start"], source.options["end"])
    return files_of_recipe(source.kind, source.options)


def _check_files(inputs: ReplayInputs, result: QueryResult) -> None:
    """Refuse files that are others now: a replay of them would show nothing.

    Modification times are left out where there is an entity tag: a copy of a file has a new time.
    """
    now = {one.alias: one.files for one in result._planned.asked.sources}
    for source in inputs.sources:
        if not source.pins:
            continue
        before = {path: (size, tag or modified) for path, size, modified, tag in source.pins}
        files = {pin.path: (pin.size, pin.e_tag or pin.modified_ms) for pin in now[source.alias]}
        differ = sorted(path for path in {*before, *files} if before.get(path) != files.get(path))
        if differ:
            raise SourceError(
                f"the files of {source.alias!r} are not those of the manifest: {differ[0]!r} "
                f"{'is gone' if differ[0] not in files else 'is new or has changed'}"
                + (f", and {len(differ) - 1} more" if len(differ) > 1 else "")
            )
