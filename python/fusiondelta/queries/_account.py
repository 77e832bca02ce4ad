"""From what is known of a query, here and in the extension, to its account."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fusiondelta.account import Phase, Request, SourceAccount

if TYPE_CHECKING:
    from fusiondelta._native import NativeIo, NativeQuery
    from fusiondelta.sources import Resolved

#: Properties of a table that say how long its versions are readable.
_RETENTION = (
    "delta.deletedFileRetentionDuration",
    "delta.logRetentionDuration",
    "delta.enableExpiredLogCleanup",
)


def source_account(source: Resolved) -> SourceAccount:
    """What an alias stood for."""
    facts: dict[str, Any] = {
        "alias": source.alias,
        "kind": source.kind,
        "uri": source.uri,
        "options": dict(source.options),
    }
    if source.delta is not None and source.snapshot is not None:
        detail = json.loads(source.delta.detail_json())
        properties = detail["properties"] or {}
        facts.update(
            version=source.snapshot.version,
            files=detail["num_files"],
            bytes=detail["size_bytes"],
            rows=detail["num_rows"],
            properties={name: properties[name] for name in _RETENTION if name in properties},
        )
    elif source.files:
        facts.update(
            files=len(source.files),
            bytes=sum(pin.size for pin in source.files),
            pins=tuple((pin.path, pin.size, pin.modified_ms, pin.e_tag) for pin in source.files),
        )
    return SourceAccount(**facts)


def requests_of(io: NativeIo, nodes: Mapping[int, str]) -> tuple[tuple[Request, ...], int]:
    """The first requests one by one, in the order they began, and how many more there were.

    Args:
        io: Counters of the query.
        nodes: Paths of operators by the number of their scan.
    """
    traced, dropped = io.trace()
    found = [
        Request(
            operation=operation,
            purpose=purpose,
            location=location,
            started=started,
            seconds=nanos / 1e9,
            bytes=size,
            retry=retry,
            failure=failure,
            node="" if scan is None else nodes.get(scan, ""),
        )
        for operation, purpose, location, started, nanos, size, retry, failure, scan in traced
    ]
    return tuple(sorted(found, key=lambda request: request.started)), dropped


def phases_of(native: NativeQuery | None, own: Iterable[Phase]) -> tuple[Phase, ...]:
    """Steps of planning, on this side and the extension's, in the order they began."""
    found = list(own)
    if native is not None:
        steps = native.course()["phases"]
        found += [Phase(name, started, nanos / 1e9) for name, started, nanos in steps]
    return tuple(sorted(found, key=lambda phase: phase.started))
