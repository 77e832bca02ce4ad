"""Differences in what two runs cost besides time: requests, bytes, memory; and planning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fusiondelta.account._findings import (
    BYTES_FLOOR,
    MEMORY_FLOOR,
    MEMORY_RATIO,
    REQUESTS_FLOOR,
    RETRIES_FLOOR,
    SECONDS_FLOOR,
    TIME_RATIO,
    TRAFFIC_RATIO,
    Finding,
    Pair,
    moved,
)
from fusiondelta.account._units import count, counted, size
from fusiondelta.account._units import seconds as duration
from fusiondelta.account._wording import clean

#: Purposes of requests that caches answer when a version is read again.
_CACHED = ("log", "checkpoint", "footer")

#: Most that its share of the change in time adds to the weight of planning.
_SHARE_MOST = 35.0

_PHASES = {"wait": "waiting for a free context", "resolve": "finding the snapshots"}


def cost_findings(pair: Pair) -> Iterator[Finding]:
    """All of them."""
    yield from _requests(pair)
    yield from _traffic(pair)
    yield from _memory(pair)
    if pair.a["kind"] == "query":
        yield from _planning(pair)
    else:
        yield from _slowest_phase(pair)


def _requests(pair: Pair) -> Iterator[Finding]:
    a, b = pair.a["io"]["by_purpose"], pair.b["io"]["by_purpose"]
    before, after = (sum(one.get(name, 0) for name in _CACHED) for one in (a, b))
    if moved(before, after, floor=REQUESTS_FLOOR, ratio=TRAFFIC_RATIO):
        cold = ": the cache was warm in a and cold in b" if not before else ""
        warm = ": the cache was cold in a and warm in b" if not after else ""
        yield pair.grown(
            "cache",
            "logs, checkpoints and footers",
            before,
            after,
            f"logs, checkpoints and footers took {counted(after, 'request')} instead of "
            f"{count(before)}{cold or warm}",
        )
    before, after = (sum(v for k, v in one.items() if k not in _CACHED) for one in (a, b))
    if moved(before, after, floor=REQUESTS_FLOOR, ratio=TRAFFIC_RATIO):
        yield pair.grown(
            "requests",
            "data",
            before,
            after,
            f"data took {counted(after, 'request')} instead of {count(before)}",
        )
    before, after = pair.a["io"]["retries"], pair.b["io"]["retries"]
    if moved(before, after, floor=RETRIES_FLOOR, ratio=TRAFFIC_RATIO):
        yield pair.grown(
            "retries",
            "retries",
            before,
            after,
            f"storage made {counted(after, 'request')} repeat instead of {count(before)}",
        )


def _traffic(pair: Pair) -> Iterator[Finding]:
    for name, verb in (("bytes_read", "read"), ("bytes_written", "wrote")):
        before, after = pair.a["io"][name], pair.b["io"][name]
        if moved(before, after, floor=BYTES_FLOOR, ratio=TRAFFIC_RATIO):
            yield pair.grown(
                name, name, before, after, f"b {verb} {size(after)} instead of {size(before)}"
            )


def _memory(pair: Pair) -> Iterator[Finding]:
    before, after = pair.a["memory"]["peak_bytes"], pair.b["memory"]["peak_bytes"]
    if moved(before, after, floor=MEMORY_FLOOR, ratio=MEMORY_RATIO):
        yield pair.grown(
            "memory",
            "peak_bytes",
            before,
            after,
            f"b reserved up to {size(after)} of memory instead of {size(before)}",
        )


def _planning(pair: Pair) -> Iterator[Finding]:
    before, after = (one["timing"]["planning_seconds"] for one in (pair.a, pair.b))
    if not moved(before, after, floor=SECONDS_FLOOR, ratio=TIME_RATIO):
        return
    inner = ""
    if found := _most_moved(pair, after - before):
        name, old, new = found
        called = _PHASES.get(name, clean(name))
        inner = f", most of it {called} ({duration(old)}, then {duration(new)})"
    yield pair.grown(
        "planning",
        "planning",
        before,
        after,
        f"planning took {duration(after)} instead of {duration(before)}{inner}",
        more=_SHARE_MOST * pair.share(after - before),
    )


def _slowest_phase(pair: Pair) -> Iterator[Finding]:
    """The step of a write whose time changed most."""
    for way in (1.0, -1.0):
        found = _most_moved(pair, way)
        if not found or not moved(*found[1:], floor=SECONDS_FLOOR, ratio=TIME_RATIO):
            continue
        name, before, after = found
        called = _PHASES.get(name, clean(name))
        yield pair.grown(
            "phase",
            name,
            before,
            after,
            f"{called} took {duration(after)} instead of {duration(before)}",
            more=_SHARE_MOST * pair.share(after - before),
        )


def _most_moved(pair: Pair, way: float) -> tuple[str, float, float] | None:
    """The phase that changed most in one direction, with its seconds before and after."""
    before, after = _phases(pair.a), _phases(pair.b)
    names = [
        name
        for name in {**before, **after}
        if (after.get(name, 0.0) - before.get(name, 0.0)) * way > 0
    ]
    if not names:
        return None
    most = max(names, key=lambda name: abs(after.get(name, 0.0) - before.get(name, 0.0)))
    return most, before.get(most, 0.0), after.get(most, 0.0)


def _phases(document: Mapping[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    for one in document["timing"]["phases"]:
        out[one["name"]] = out.get(one["name"], 0.0) + one["seconds"]
    return out
