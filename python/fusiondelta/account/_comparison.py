"""What comparing manifests and replays share: digests, plans, what changed in a mapping."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from fusiondelta.account._bundle import normalize

#: What an operator's line says of the rows that came by, not of the plan.
_PASSING = (
    (re.compile(r"DynamicFilter \[ .*? \]"), "DynamicFilter [<filter>]"),
    (re.compile(r"(TopK\([^)]*\).*?), filter=\[.*?\](?=,|$)", re.M), r"\1"),
)
#: Made of the filter while it runs, where that is a dynamic one.
_DERIVED = re.compile(r", (?:pruning_predicate|required_guarantees)=.*?(?=, [a-z_]+=|$)", re.M)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values by name that are not the same, before and after; None where there is none."""
    names = sorted({*before, *after})
    return {
        name: [before.get(name), after.get(name)]
        for name in names
        if before.get(name) != after.get(name)
    }


def steady(text: str) -> str:
    """Plan text without what differs from run to run: see `normalize`; and dynamic filters."""
    for pattern, replacement in _PASSING:
        text = pattern.sub(replacement, text)
    lines = [
        _DERIVED.sub("", line) if "DynamicFilter [" in line else line
        for line in normalize(text).splitlines()
    ]
    return "\n".join(lines)


def plan_text(plan: Mapping[str, Any] | None) -> str:
    """The plans of a bundle as text that is the same on every machine; empty without one."""
    if not plan:
        return ""
    return (
        f"-- logical\n{steady(plan['optimized_plan'])}\n"
        f"-- physical\n{steady(plan['physical_plan'])}"
    )


def unified(before: str, after: str) -> tuple[str, ...]:
    """Lines that differ, as a unified diff without the names of files."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return tuple(lines)[2:]


def digests_equal(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> bool | None:
    """Whether two digests are of the same rows, floats rounded; None where that cannot be said."""
    if not before or not after or before["algorithm"] != after["algorithm"]:
        return None
    same: bool = before["value"] == after["value"] and before["rows"] == after["rows"]
    return same


def only_rounded(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> bool:
    """Whether the rows are equal up to the rounding of floats, and not bit by bit."""
    return (
        digests_equal(before, after) is True
        and before is not None
        and after is not None
        and before["exact"] != after["exact"]
    )
