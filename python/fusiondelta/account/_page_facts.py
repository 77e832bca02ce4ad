"""What a run read, what a write did, and the settings, versions and machine it ran with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fusiondelta.account._bundle import _KEY_SETTINGS
from fusiondelta.account._page_header import definitions
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import SHORT, View, cut, section, table
from fusiondelta.account._units import UNKNOWN, count, size


def plain(value: Any) -> str:
    """Any plain value as text."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    return cut(json.dumps(value, ensure_ascii=False, default=str))


def sources(view: View) -> Element | None:
    """What each alias stood for."""
    account = view.account
    rows: list[list[Node]] = [
        [
            h("code", one.alias),
            cut(one.kind, SHORT),
            h("code", cut(one.uri, 300)),
            UNKNOWN if one.version is None else str(one.version),
            count(one.files),
            size(one.bytes),
            count(one.rows),
        ]
        for one in account.sources
    ]
    named = {one.alias for one in account.sources}
    for alias, key in account.snapshots.items():
        if alias not in named:
            uri = h("code", cut(key.uri, 300))
            unknown: list[Node] = [UNKNOWN] * 3
            rows.append([h("code", alias), "delta", uri, str(key.version), *unknown])
    if not rows:
        return None
    heads = ["Name", "Kind", "Location", "Version", "Files", "Bytes", "Rows"]
    return section(
        "sources",
        "Tables and snapshots",
        table(heads, rows, numbers={3, 4, 5, 6}, caption="Tables and snapshots"),
    )


def write(view: View) -> Element | None:
    """What a write did, and its attempts."""
    found = view.account.write
    if not found:
        return None
    attempts = found.get("attempts")
    facts: list[tuple[str, Node]] = [
        (name.replace("_", " "), size(value) if _is_size(name, value) else plain(value))
        for name, value in found.items()
        if name not in ("attempts", "operation_metrics")
    ]
    metrics = found.get("operation_metrics")
    return section(
        "write",
        "Commit",
        definitions(facts, cls="facts"),
        _attempts(attempts) if isinstance(attempts, list | tuple) and attempts else None,
        _mapping("What the operation says of its work", metrics)
        if isinstance(metrics, Mapping)
        else None,
    )


def _is_size(name: str, value: Any) -> bool:
    return "bytes" in name and isinstance(value, int) and not isinstance(value, bool)


def _attempts(attempts: list[Any] | tuple[Any, ...]) -> Element:
    known = [one for one in attempts if isinstance(one, Mapping)]
    heads = list(dict.fromkeys(str(name) for one in known for name in one))
    rows: list[list[Node]] = [[plain(one.get(name)) for name in heads] for one in known]
    return table([head.replace("_", " ") for head in heads], rows, caption="Attempts")


def _mapping(title: str, found: Mapping[str, Any]) -> Node:
    if not found:
        return None
    rows: list[list[Node]] = [
        [h("code", str(name)), plain(value)] for name, value in sorted(found.items())
    ]
    return h(
        "details", h("summary", title), table(["Name", "Value"], rows, caption=title), cls="fold"
    )


def environment(view: View) -> Element | None:
    """Key settings, versions and machine, folded."""
    account = view.account
    key = {name: value for name, value in account.settings.items() if _KEY_SETTINGS.match(name)}
    machine = {
        name: size(value) if _is_size(name, value) else value
        for name, value in account.machine.items()
    }
    parts = [
        _mapping("Key settings", key),
        _mapping("Versions", account.versions),
        _mapping("Machine", machine),
    ]
    if not any(parts):
        return None
    return section("environment", "Settings and versions", *parts)
