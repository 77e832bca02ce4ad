"""What a manifest says has to run again, and how what ran again compares with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.account._comparison import (
    changed,
    digests_equal,
    only_rounded,
    plan_text,
    unified,
)
from fusiondelta.account._parameters import decode_parameters
from fusiondelta.account._schema import check_manifest
from fusiondelta.account._units import count
from fusiondelta.account._wording import clean, shortened, value
from fusiondelta.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

#: Kinds of sources that can be read again by what a manifest holds, where they have a place.
REPLAYABLE = ("delta", "parquet", "csv", "json", "ipc", "changes")

#: Belongs to the engine and its machine, not to the query.
_OF_ENGINE = "datafusion.runtime."

#: Functions that give something else each time.
_VOLATILE = re.compile(
    r"\b(current_(?:timestamp|date|time)|(?:now|today|random|uuid)(?=\s*\())\b", re.I
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySource:
    """A source that a replay reads.

    Attributes:
        alias: Name in the SQL.
        kind: ``delta``, ``parquet``, ``csv``, ``json``, ``ipc`` or ``changes``.
        uri: Where it is.
        version: Version of a Delta table, None of others.
        options: What makes the source again, besides these.
        pins: Files of a file source as they were: path, bytes, modified (milliseconds since 1970),
            etag.
    """

    alias: str
    kind: str
    uri: str
    version: int | None
    options: Mapping[str, Any]
    pins: tuple[tuple[str, int, int, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayInputs:
    """What has to run to repeat a query.

    Attributes:
        sql: Text of the query.
        parameters: ``pyarrow.Scalar`` by placeholder name.
        readonly: Always true: nothing else is replayed.
        consistent_at: Instant that tables without a version of their own were pinned to, ISO 8601.
            The sources have the versions that came of it.
        memory_limit: Bytes the query may reserve; None where it had no limit of its own.
        settings: Settings of the session that plans depend on, without those of the engine
            (``datafusion.runtime.*``); empty where they were not recorded.
        sources: What it reads.
        digest: Whether the recorded result has a digest, and one is needed to compare.
    """

    sql: str
    parameters: Mapping[str, pa.Scalar]
    readonly: bool
    consistent_at: str | None
    memory_limit: int | None
    settings: Mapping[str, str]
    sources: tuple[ReplaySource, ...]
    digest: bool


def replay_inputs(document: Mapping[str, Any]) -> ReplayInputs:
    """What has to run to repeat the query of a manifest.

    Args:
        document: As `RunManifest.to_dict` gives it.

    Raises:
        ConfigurationError: It is no manifest that this version reads, or its parameters are broken.
        QueryError: What ran cannot be repeated; the message says why and what to do.
    """
    check_manifest(document)
    query = _replayable(document)
    plan = document["plan"] or {"key_settings": {}}
    return ReplayInputs(
        sql=query["sql"],
        parameters=decode_parameters(query),
        readonly=True,
        consistent_at=query["consistent_at"],
        memory_limit=None if query["memory_limit"] is None else int(query["memory_limit"]),
        settings={
            name: setting
            for name, setting in plan["key_settings"].items()
            if setting is not None and not name.startswith(_OF_ENGINE)
        },
        sources=tuple(_source(one) for one in document["sources"]),
        digest=bool((document["result"] or {}).get("digest")),
    )


def _replayable(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The query of a manifest, where it can be repeated."""
    called = f"{document['kind']} {document['query_id'] or document['run_id']}"
    query: Mapping[str, Any] | None = document["query"]
    why = ""
    if document["kind"] == "write":
        why = "it is a write, which would change the table again; compare two writes with diff"
    elif document["kind"] == "run":
        number = len(document["items"])
        why = (
            f"it is a run of {number}; replay its queries one by one, "
            "RunManifest.from_dict(document['items'][0]) for one"
        )
    elif query is None or query["sql"] is None:
        why = "it was made as a DataFrame and has no SQL; make it again by its code and use diff"
    elif document["status"] == "failed" and document["plan"] is None:
        error = document["error"] or {}
        said = f" ({clean(error['class'])})" if error else ""
        why = f"it failed before it had a plan{said}; run it again with engine.query()"
    elif not query["readonly"]:
        why = "it was allowed to make changes (readonly=False); run it again with engine.query()"
    if why or query is None:
        raise QueryError(f"{shortened(called)} cannot be replayed: {why}")
    return query


def _source(source: Mapping[str, Any]) -> ReplaySource:
    alias, kind, version = source["alias"], source["kind"], source["version"]
    if kind not in REPLAYABLE or not source["uri"]:
        raise QueryError(
            f"source {alias!r} cannot be read again: it was {shortened(kind)!r} data of the "
            "process; write it to a table or a file and query that"
        )
    if (version if kind == "delta" else source["options"].get("end", 0)) is None:
        raise QueryError(
            f"source {alias!r} cannot be read again: the manifest does not say up to which version "
            f"of {shortened(source['uri'], 200)} it was read; give it one in the query"
        )
    return ReplaySource(
        alias=alias,
        kind=kind,
        uri=source["uri"],
        version=None if version is None else int(version),
        options=dict(source["options"]),
        pins=tuple(
            (one["path"], int(one["bytes"]), int(one["modified_ms"]), one["etag"])
            for one in source["pins"]
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """How a query that ran again compares with its manifest.

    Attributes:
        equal: Whether the same snapshots gave the same rows: by digest, or by their number where a
            digest is missing. Of queries that failed: whether both failed with the same error.
        plan_diff: Lines that differ between the normalised plans, as a unified diff.
        settings_diff: Settings that differ, by name: ``[before, after]``.
        versions_diff: Versions of components that differ.
        machine_diff: Cores, memory in bytes, operating system and Python that differ.
        digest: ``recorded`` and ``replayed`` digest, None where there is none, and ``equal``: True,
            False, or None where one is missing. Equal up to the rounding of floats counts as equal.
        rows: ``recorded`` and ``replayed`` number of rows, None where there is no result.
        snapshots: ``recorded`` and ``replayed`` Delta tables and pinned files, and ``equal``.
        status: ``recorded`` and ``replayed`` status.
        seconds: ``recorded`` and ``replayed`` time of planning and execution.
        notes: What else there is to say, a sentence each.
    """

    equal: bool
    plan_diff: tuple[str, ...]
    settings_diff: Mapping[str, list[str | None]]
    versions_diff: Mapping[str, list[str | None]]
    machine_diff: Mapping[str, list[Any]]
    digest: Mapping[str, Any]
    rows: Mapping[str, int | None]
    snapshots: Mapping[str, Any]
    status: Mapping[str, str]
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "equal": self.equal,
            "plan_diff": list(self.plan_diff),
            "settings_diff": dict(self.settings_diff),
            "versions_diff": dict(self.versions_diff),
            "machine_diff": dict(self.machine_diff),
            "digest": dict(self.digest),
            "rows": dict(self.rows),
            "snapshots": dict(self.snapshots),
            "status": dict(self.status),
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Lines for a terminal: whether it is equal, then all that differs."""
        lines = ["the replay is equal" if self.equal else "the replay is not equal"]
        lines.extend(f"  {clean(note)}" for note in self.notes)
        for called, differences in (
            ("settings", self.settings_diff),
            ("versions", self.versions_diff),
            ("machine", self.machine_diff),
        ):
            lines.extend([f"  {called}:"] if differences else [])
            lines.extend(
                f"    {clean(name)}: {value(before)}, then {value(after)}"
                for name, (before, after) in differences.items()
            )
        lines.extend(["  plan:"] if self.plan_diff else [])
        lines.extend(f"    {clean(line)}" for line in self.plan_diff)
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_text()


def compare_replay(recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> ReplayReport:
    """How a query that ran again compares with its manifest.

    Args:
        recorded: The manifest it was made from, as `RunManifest.to_dict` gives it.
        replayed: The manifest of the query that ran again.

    Raises:
        ConfigurationError: One of them is no manifest that this version reads.
    """
    check_manifest(recorded)
    check_manifest(replayed)
    both = recorded, replayed
    results = [one["result"] or {} for one in both]
    digests = [one.get("digest") for one in results]
    rows = [one.get("rows") for one in results]
    snapshots = [_pinned(one) for one in both]
    plans = [one["plan"] or {} for one in both]
    same_rows = digests_equal(digests[0], digests[1])
    settings = [one.get("settings") or {} for one in plans]
    return ReplayReport(
        equal=snapshots[0] == snapshots[1] and _same_outcome(recorded, replayed, same_rows),
        plan_diff=unified(*map(plan_text, plans)) if all(plans) else (),
        settings_diff=changed(*settings) if all(settings) else {},
        versions_diff=changed(*map(_versions, both)),
        machine_diff=changed(recorded["machine"], replayed["machine"]),
        digest={"recorded": digests[0], "replayed": digests[1], "equal": same_rows},
        rows={"recorded": rows[0], "replayed": rows[1]},
        snapshots={
            "recorded": snapshots[0],
            "replayed": snapshots[1],
            "equal": snapshots[0] == snapshots[1],
        },
        status={"recorded": recorded["status"], "replayed": replayed["status"]},
        seconds={
            "recorded": recorded["timing"]["seconds"],
            "replayed": replayed["timing"]["seconds"],
        },
        notes=tuple(_notes(recorded, replayed, snapshots[0] == snapshots[1], same_rows)),
    )


def _versions(document: Mapping[str, Any]) -> Mapping[str, str]:
    versions: Mapping[str, str] = (
        document.get("versions") or (document["plan"] or {}).get("versions") or {}
    )
    return versions


def _pinned(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a query read, in one order: Delta tables by version, files by how they were."""
    tables = [
        {"alias": one["alias"], "uri": one["uri"], "version": one["version"]}
        for one in document["snapshots"]
    ]
    files = [
        {
            "alias": one["alias"],
            "uri": one["uri"],
            "files": sorted(
                ([f["path"], f["bytes"], f["etag"] or f["modified_ms"]] for f in one["pins"]),
                key=repr,
            ),
        }
        for one in document["sources"]
        if one["pins"]
    ]
    return sorted([*tables, *files], key=lambda one: (str(one["alias"]), str(one["uri"])))


def _same_outcome(
    recorded: Mapping[str, Any], replayed: Mapping[str, Any], same_rows: bool | None
) -> bool:
    statuses = recorded["status"], replayed["status"]
    if statuses == ("failed", "failed"):
        errors = [one["error"] or {} for one in (recorded, replayed)]
        return all(errors[0].get(name) == errors[1].get(name) for name in ("class", "kind"))
    if statuses != ("finished", "finished"):
        return False
    if same_rows is not None:
        return same_rows
    results = recorded["result"], replayed["result"]
    return all(results) and bool(results[0]["rows"] == results[1]["rows"])


def _notes(
    recorded: Mapping[str, Any],
    replayed: Mapping[str, Any],
    same_snapshots: bool,
    same_rows: bool | None,
) -> Iterator[str]:
    if not same_snapshots:
        yield "it read other snapshots or files than were recorded"
    statuses = recorded["status"], replayed["status"]
    if statuses == ("finished", "finished"):
        yield from _about_rows(recorded, replayed, same_rows)
    elif statuses[0] not in ("finished", "failed"):
        yield (
            f"the recorded query was not read to its end (it is {statuses[0]}), so its rows say "
            "nothing"
        )
    for called, one in (("recorded", recorded), ("replayed", replayed)):
        if error := one["error"]:
            said = shortened(error.get("message", ""), 200)
            yield f"the {called} query failed with {error['class']}{': ' + said if said else ''}"
    if recorded["plan"] is None:
        yield "the plan was not recorded, so plans and settings are not compared"


def _about_rows(
    recorded: Mapping[str, Any], replayed: Mapping[str, Any], same_rows: bool | None
) -> Iterator[str]:
    a, b = recorded["result"] or {}, replayed["result"] or {}
    before, after = a.get("rows"), b.get("rows")
    if before is None or after is None:
        yield "there is no result to compare"
        return
    if same_rows is None:
        both = a.get("digest") and b.get("digest")
        why = "the digests are of two algorithms" if both else "there is no digest to compare"
        yield f"{why}, only the number of rows: {count(before)}, then {count(after)}"
    elif only_rounded(a.get("digest"), b.get("digest")):
        yield "the rows are equal up to the rounding of floats"
    elif same_rows:
        yield f"the {count(after)} rows have the same digest"
    else:
        yield f"the rows are others: {count(before)}, then {count(after)}"
    sql = (recorded["query"] or {}).get("sql") or ""
    if same_rows is False and (found := _VOLATILE.search(sql)):
        yield f"the SQL says {found[1]}, which is something else each time"
