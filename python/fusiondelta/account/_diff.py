"""Why one run was slower than another, or gave something else, by their manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fusiondelta.account._comparison import changed, digests_equal, plan_text, unified
from fusiondelta.account._diff_cost import cost_findings
from fusiondelta.account._diff_inputs import input_findings
from fusiondelta.account._diff_items import matched_items
from fusiondelta.account._diff_plan import plan_findings
from fusiondelta.account._findings import (
    SECONDS_FLOOR,
    TIME_RATIO,
    Finding,
    ManifestDiff,
    Pair,
    Side,
    kept,
    moved,
    ratio_of,
)
from fusiondelta.account._schema import check_manifest
from fusiondelta.account._units import count, counted
from fusiondelta.account._units import seconds as duration
from fusiondelta.account._wording import clean, shortened, times, value

#: What all items of a run have together: told once, of the run.
_OF_RUN = ("machine", "version")
#: What items that read the same tables have together: told once.
_SHARED = ("setting", "snapshot", "files")

__all__ = ["Finding", "ManifestDiff", "diff_manifests"]


def diff_manifests(a: Mapping[str, Any], b: Mapping[str, Any]) -> ManifestDiff:
    """What changed from one run to another, and what explains most of it.

    Args:
        a: The manifest of the first run, as `RunManifest.to_dict` gives it.
        b: The manifest of the second one.

    Raises:
        ConfigurationError: One of them is no manifest that this version reads.
    """
    check_manifest(a)
    check_manifest(b)
    found = sorted(_findings(a, b), key=lambda one: (-one.weight, one.kind, one.subject))
    return ManifestDiff(before=_side(a, b), after=_side(b, a), findings=tuple(found))


def _side(one: Mapping[str, Any], other: Mapping[str, Any]) -> Side:
    result = one["result"]
    return Side(
        run_id=one["run_id"],
        query_id=one["query_id"],
        status=one["status"],
        seconds=one["timing"]["seconds"],
        rows=result["rows"] if result else None,
        same_rows=digests_equal(_digest(one), _digest(other)),
    )


def _digest(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (document["result"] or {}).get("digest")
    return found


def _findings(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Finding]:
    pair = Pair(a, b, _shift(a, b), _gave_other_rows(a, b))
    if a["kind"] != b["kind"]:
        yield Finding(
            kind="kind",
            subject="kind",
            before=a["kind"],
            after=b["kind"],
            effect=f"a is a {a['kind']} and b is a {b['kind']}: they cannot be compared",
            weight=pair.weight("kind"),
        )
        return
    yield from _outcome(pair)
    yield from _time(pair)
    yield from input_findings(pair)
    if a["kind"] == "run":
        found = list(_items(pair))
        yield from found
        told = {one.kind for one in found}
        yield from (one for one in cost_findings(pair) if one.kind not in told)
        return
    yield from cost_findings(pair)
    yield from _write(pair)
    yield from _plan(pair)


def _shift(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Seconds that the second took more; 0 where that is noise or one of them did not finish."""
    before, after = a["timing"]["seconds"], b["timing"]["seconds"]
    told = moved(before, after, floor=SECONDS_FLOOR, ratio=TIME_RATIO)
    finished = a["status"] == b["status"] == "finished"
    return float(after - before) if told and finished else 0.0


def _gave_other_rows(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if not (a["status"] == b["status"] == "finished" and a["result"] and b["result"]):
        return False
    same = digests_equal(_digest(a), _digest(b))
    return same is False or bool(a["result"]["rows"] != b["result"]["rows"])


def _outcome(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a, pair.b
    before, after = _ended(a), _ended(b)
    if before != after:
        yield Finding(
            kind="status",
            subject="status",
            before={"status": a["status"], "error": a["error"]},
            after={"status": b["status"], "error": b["error"]},
            effect=f"a {before}, and b {after}",
            weight=pair.weight("status"),
        )
    elif a["status"] == "finished" and a["result"] and b["result"]:
        yield from _answer(pair)


def _ended(document: Mapping[str, Any]) -> str:
    status, error = document["status"], document["error"]
    if status == "failed" and error:
        said = shortened(error.get("message", ""), 200)
        return f"failed with {clean(error['class'])}{': ' + said if said else ''}"
    return {"finished": "finished", "failed": "failed", "cancelled": "was cancelled"}.get(
        status, f"is {status}"
    )


def _answer(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["result"], pair.b["result"]
    columns = [[[c["name"], c["type"]] for c in one["columns"]] for one in (a, b)]
    if pair.other_rows:
        what = "other rows"
        if a["rows"] != b["rows"]:
            what = f"{counted(b['rows'], 'row')} instead of {count(a['rows'])}"
        yield Finding(
            kind="answer",
            subject="rows",
            before={"rows": a["rows"], "digest": a["digest"]},
            after={"rows": b["rows"], "digest": b["digest"]},
            effect=f"b gave a different answer ({what})",
            weight=pair.weight("answer"),
        )
    if columns[0] != columns[1] and all(columns):
        lines = unified(*("\n".join(f"{n} {t}" for n, t in one) for one in columns))
        yield Finding(
            kind="answer",
            subject="columns",
            before=columns[0],
            after=columns[1],
            effect="b gave other columns",
            weight=pair.weight("answer"),
            lines=kept(lines),
        )


def _time(pair: Pair) -> Iterator[Finding]:
    if not pair.shift:
        return
    before, after = pair.a["timing"]["seconds"], pair.b["timing"]["seconds"]
    ratio = times(ratio_of(before, after))
    how = f"took {ratio} as long" if pair.shift > 0 else f"was {ratio} as fast"
    yield Finding(
        kind="time",
        subject="seconds",
        before=before,
        after=after,
        effect=f"b {how} ({duration(before)}, then {duration(after)})",
        weight=pair.weight("time"),
    )


def _plan(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["plan"], pair.b["plan"]
    asked = [(one["query"] or {}).get("sql") for one in (pair.a, pair.b)]
    named = list(plan_findings(pair)) if asked[0] == asked[1] else []
    yield from named
    lines = unified(plan_text(a), plan_text(b)) if a and b else ()
    if lines:
        changed_lines = sum(1 for line in lines if line.startswith(("+", "-")))
        because = "" if asked[0] == asked[1] else ", as the SQL does"
        yield Finding(
            kind="plan",
            subject="plan",
            before=a["fingerprint"],
            after=b["fingerprint"],
            effect=f"the plan differs in {counted(changed_lines, 'line')}{because}",
            # Where it is known what the lines mean, that explains more.
            weight=pair.weight("plan") / (1 if not (named or because) else 2),
            lines=kept(lines),
        )


def _write(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["write"], pair.b["write"]
    if not a or not b:
        return
    if pair.a["operation"] != pair.b["operation"]:
        yield _differs(pair, "operation", pair.a["operation"], pair.b["operation"])
    for name, (before, after) in changed(a["modes"], b["modes"]).items():
        yield _differs(pair, name, before, after)
    for name in ("outcome", "write_safety", "replayed", "rows_written"):
        if a[name] != b[name]:
            yield _differs(pair, name, a[name], b[name])
    for name in ("files_added", "files_removed", "bytes_written"):
        before, after = a[name] or 0, b[name] or 0
        if moved(before, after, floor=1, ratio=TIME_RATIO):
            yield _differs(pair, name, a[name], b[name], grew=after - before)
    tries = [len(one["attempts"]) for one in (a, b)]
    if tries[0] != tries[1]:
        conflicts = [
            clean(one["conflict"])
            for one in (b if tries[1] > tries[0] else a)["attempts"]
            if one.get("conflict")
        ]
        because = f" ({', '.join(dict.fromkeys(conflicts))})" if conflicts else ""
        yield Finding(
            kind="conflicts",
            subject="attempts",
            before=tries[0],
            after=tries[1],
            effect=f"the commit took {counted(tries[1], 'attempt')} instead of {tries[0]}{because}",
            weight=pair.weight("conflicts", tries[1] - tries[0]),
        )


def _differs(pair: Pair, name: str, before: Any, after: Any, grew: float = 0.0) -> Finding:
    called = clean(name).replace("_", " ")
    return Finding(
        kind="write",
        subject=name,
        before=before,
        after=after,
        effect=f"{called} is {value(after)} instead of {value(before)}",
        weight=pair.weight("write", grew),
    )


def _items(pair: Pair) -> Iterator[Finding]:
    """What differs between the queries and writes of two runs."""
    told: set[tuple[str, str, str]] = set()
    for number, before, after in matched_items(pair.a["items"], pair.b["items"]):
        if before is None or after is None:
            yield _lone_item(pair, number, before, after)
            continue
        share = pair.share(_shift(before, after))
        for one in _findings(before, after):
            if one.kind in _OF_RUN:
                continue
            if one.kind in _SHARED:
                key = one.kind, one.subject, repr((one.before, one.after))
                if key not in told:
                    told.add(key)
                    yield one
                continue
            heavy = one.kind in ("status", "answer")
            yield replace(
                one,
                item=number,
                effect=f"in item {number}, {one.effect}",
                # Items that the time did not change with explain little of it.
                weight=one.weight if heavy else one.weight * (0.4 + 0.6 * share),
            )


def _lone_item(
    pair: Pair, number: int, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Finding:
    item = after or before or {}
    what = shortened((item["query"] or {}).get("sql") or item["operation"])
    side = "b and not in a" if before is None else "a and not in b"
    return Finding(
        kind="item",
        subject=str(number),
        before=before and before["query_id"],
        after=after and after["query_id"],
        effect=f"item {number} ({what}) is in {side}",
        weight=pair.weight("item"),
        item=number,
    )
