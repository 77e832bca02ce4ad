"""Differences in what two runs were given: the question, tables, settings, versions, machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fusiondelta.account._comparison import changed, unified
from fusiondelta.account._findings import GROWTH_RATIO, Finding, Pair, kept, moved, ratio_of
from fusiondelta.account._units import count, counted, size
from fusiondelta.account._wording import clean, shortened, value

#: Components that plan and execute; other versions hardly matter for speed.
_ENGINE = ("fusiondelta", "native.datafusion", "native.deltalake")

#: Setting that shows a limit rounded, of which there is a finding of its own.
_MEMORY_LIMIT = "datafusion.runtime.memory_limit"

#: Most that growth adds to the weight of a table, and what a doubling adds.
_GROWTH_MOST = 30.0
_GROWTH_DOUBLED = 10.0


def input_findings(pair: Pair) -> Iterator[Finding]:
    """All of them."""
    yield from _question(pair)
    yield from _memory_limit(pair)
    yield from _sources(pair)
    yield from _other_snapshots(pair)
    yield from _settings(pair)
    yield from _versions(pair)
    yield from _machine(pair)


def _question(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["query"] or {}, pair.b["query"] or {}
    before, after = a.get("sql"), b.get("sql")
    if before != after:
        spacing = (before or "").split() == (after or "").split()
        yield Finding(
            kind="sql",
            subject="sql",
            before=before,
            after=after,
            effect="the SQL is spaced differently" if spacing else "the SQL is another",
            weight=pair.weight("detail" if spacing else "sql"),
            lines=kept(unified(before or "", after or "")),
        )
    for name, (old, new) in changed(a.get("parameters", {}), b.get("parameters", {})).items():
        yield _changed(pair, "parameter", f"${name}", old, new, f"parameter ${clean(name)} is")


def _memory_limits(pair: Pair) -> tuple[int | None, int | None]:
    return pair.a["memory"]["limit_bytes"], pair.b["memory"]["limit_bytes"]


def _ran(document: Mapping[str, Any]) -> bool:
    return bool(document["status"] != "failed" or document["operators"])


def _memory_limit(pair: Pair) -> Iterator[Finding]:
    limits = _memory_limits(pair)
    # It is not known of what failed before it ran.
    if limits[0] == limits[1] or not all(map(_ran, (pair.a, pair.b))):
        return
    shown = ["none" if one is None else size(one) for one in limits]
    yield Finding(
        kind="memory_limit",
        subject="memory_limit",
        before=limits[0],
        after=limits[1],
        effect=f"the memory limit is {shown[1]} instead of {shown[0]}",
        weight=pair.weight("memory_limit"),
    )


def _changed(
    pair: Pair, kind: str, subject: str, before: Any, after: Any, start: str, *, weigh: str = ""
) -> Finding:
    return Finding(
        kind=kind,
        subject=subject,
        before=before,
        after=after,
        effect=f"{start} {value(after)} instead of {value(before)}",
        weight=pair.weight(weigh or kind),
    )


def _sources(pair: Pair) -> Iterator[Finding]:
    if any(one["status"] == "failed" and not one["sources"] for one in (pair.a, pair.b)):
        return  # it failed before they were found
    before = {one["alias"]: one for one in pair.a["sources"]}
    after = {one["alias"]: one for one in pair.b["sources"]}
    for alias in sorted({*before, *after}):
        a, b = before.get(alias), after.get(alias)
        if a is None or b is None:
            yield _lone_source(pair, alias, a, b)
        elif (a["kind"], a["uri"]) != (b["kind"], b["uri"]):
            yield Finding(
                kind="source",
                subject=alias,
                before=_brief(a),
                after=_brief(b),
                effect=f"{clean(alias)} is {_where(b)} instead of {_where(a)}{_growth(a, b)[0]}",
                weight=pair.weight("source"),
            )
        else:
            yield from _same_source(pair, alias, a, b)


def _lone_source(
    pair: Pair, alias: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None
) -> Finding:
    return Finding(
        kind="source",
        subject=alias,
        before=_brief(a),
        after=_brief(b),
        effect=f"only {'a' if b is None else 'b'} has a source {clean(alias)}",
        weight=pair.weight("source"),
    )


def _same_source(
    pair: Pair, alias: str, a: Mapping[str, Any], b: Mapping[str, Any]
) -> Iterator[Finding]:
    if a["options"] != b["options"]:
        names = ", ".join(clean(name) for name in changed(a["options"], b["options"]))
        yield Finding(
            kind="options",
            subject=alias,
            before=a["options"],
            after=b["options"],
            effect=f"{clean(alias)} is read with other options ({names})",
            weight=pair.weight("options"),
        )
    how = ""
    if a["version"] != b["version"]:
        back = "back " if (b["version"] or 0) < (a["version"] or 0) else ""
        how = f"table {clean(alias)} moved {back}from version {a['version']} to {b['version']}"
    elif pins := _pins(a, b):
        how = f"files of {clean(alias)} are others: {pins}"
    if how:
        growth, direction, more = _growth(a, b)
        yield Finding(
            kind="snapshot" if a["version"] != b["version"] else "files",
            subject=alias,
            before=_brief(a),
            after=_brief(b),
            effect=how + growth,
            # Whichever way the table went, it may be why the rows are others.
            weight=pair.weight("snapshot", 0 if pair.other_rows else direction, more=more),
        )


def _pins(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """What happened to the files of a source; empty where nothing did."""
    before, after = ({one["path"]: one for one in side["pins"]} for side in (a, b))
    added, removed = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    other = sum(1 for path in before.keys() & after.keys() if before[path] != after[path])
    counts = ((added, "added"), (removed, "removed"), (other, "changed"))
    return ", ".join(f"{number} {how}" for number, how in counts if number)


def _growth(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, float, float]:
    """How a source grew, as a clause; which way; and what that adds to a weight."""
    known = [
        (a[name], b[name])
        for name in ("files", "bytes", "rows")
        if a[name] is not None and b[name] is not None
    ]
    told = [one for one in known if moved(*one, floor=1, ratio=GROWTH_RATIO)]
    if not told:
        return "", 0.0, 0.0
    grew, shrank = any(x < y for x, y in told), any(x > y for x, y in told)
    verb = "went" if grew and shrank else "grew" if grew else "shrank"
    greatest = max(ratio_of(*one) for one in told)
    more = min(_GROWTH_MOST, _GROWTH_DOUBLED * math.log2(greatest))
    clause = f" and {verb} from {_extent(a)} to {_extent(b)}"
    return clause, float(grew - shrank), more


def _extent(source: Mapping[str, Any]) -> str:
    """How large a source is: ``12 files (1.2 GiB)``."""
    files, volume, rows = source["files"], source["bytes"], source["rows"]
    parts = [
        *([] if volume is None else [size(volume)]),
        *([] if rows is None else [counted(rows, "row")]),
    ]
    if files is None:
        return ", ".join(parts)
    return counted(files, "file") + (f" ({', '.join(parts)})" if parts else "")


def _brief(source: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if source is None:
        return None
    return {name: source[name] for name in ("kind", "uri", "version", "files", "bytes", "rows")}


def _where(source: Mapping[str, Any]) -> str:
    place = shortened(source["uri"], 120) if source["uri"] else "in memory"
    return f"{clean(source['kind'])} {place}"


def _other_snapshots(pair: Pair) -> Iterator[Finding]:
    """Tables that are no sources: the one that a write changed."""
    if pair.a["kind"] == "run":
        return
    known = {one["alias"] for side in (pair.a, pair.b) for one in side["sources"]}
    before, after = (
        {one["alias"]: one for one in side["snapshots"] if one["alias"] not in known}
        for side in (pair.a, pair.b)
    )
    for alias, (a, b) in changed(before, after).items():
        moves = a and b and a["uri"] == b["uri"]
        if moves:
            effect = f"table {clean(alias)} moved from version {a['version']} to {b['version']}"
        else:
            shown = ["nothing" if one is None else shortened(one["uri"], 120) for one in (b, a)]
            effect = f"table {clean(alias)} is {shown[0]} instead of {shown[1]}"
        yield Finding(
            kind="snapshot" if moves else "source",
            subject=alias,
            before=a,
            after=b,
            effect=effect,
            weight=pair.weight("snapshot" if moves else "source"),
        )


def _settings(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["plan"], pair.b["plan"]
    # What failed before it ran has none.
    if not a or not b or not a["settings"] or not b["settings"]:
        return
    keys = {*a["key_settings"], *b["key_settings"]}
    limits = _memory_limits(pair)
    for name, (before, after) in changed(a["settings"], b["settings"]).items():
        if name == _MEMORY_LIMIT and limits[0] != limits[1]:
            continue
        weigh = "setting" if name in keys and ".explain." not in name else "detail"
        yield _changed(
            pair, "setting", name, before, after, f"setting {clean(name)} is", weigh=weigh
        )


def _versions(pair: Pair) -> Iterator[Finding]:
    a, b = (
        side.get("versions") or (side["plan"] or {}).get("versions") for side in (pair.a, pair.b)
    )
    if not a or not b:
        return
    for name, (before, after) in changed(a, b).items():
        weigh = "version" if name in _ENGINE else "detail"
        yield _changed(pair, "version", name, before, after, f"{clean(name)} is", weigh=weigh)


def _machine(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["machine"], pair.b["machine"]
    for name, (before, after) in changed(a, b).items():
        if before is None or after is None:
            continue
        grew, weigh = 0.0, "detail"
        effect = f"the machine's {clean(name)} is {value(after)} instead of {value(before)}"
        if name == "cores":
            # Fewer of them take longer, and so with memory.
            grew, weigh = float(before - after), "machine"
            effect = f"the machine has {counted(after, 'core')} instead of {count(before)}"
        elif name == "memory_bytes":
            if not moved(before, after, floor=1, ratio=GROWTH_RATIO):
                continue
            grew = float(before - after)
            effect = f"the machine has {size(after)} of memory instead of {size(before)}"
        yield Finding(
            kind="machine",
            subject=name,
            before=before,
            after=after,
            effect=effect,
            weight=pair.weight(weigh, grew),
        )
