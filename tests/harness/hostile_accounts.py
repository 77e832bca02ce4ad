"""Accounts that mean harm: text that ends whatever it stands in, in every field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._nodes import PlanNode
from fusiondelta.snapshots import SnapshotKey
from tests.harness.accounts import troubled
from tests.harness.plans import requests

#: Text that ends whatever it stands in, for HTML, attributes, scripts, styles, SVG and CDATA.
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><svg onload=alert(1)>",
    "</iframe><iframe srcdoc='<script>alert(1)</script>'>",
    "]]><![CDATA[<script>",
    "<!--<script>",
    "-->",
    "javascript:alert(1)",
    "&lt;script&gt; &amp;quot; &#39; &nosemi",
    "{{7*7}} ${7*7} <%= 7 %>",
    "line\u2028separator\u2029paragraph",
    "\u202egnp.exe\u2066",
    "\x00\x07\x1b[31m\x7f",
    "\ud800 alone",
    "\ufeff\u200b",
    "`onload=alert(1)`",
    "\\u003cscript\\u003e",
    "Grüße 日本語 \U0001f600",
)


def hostile(text: str, place: str = "after") -> RunAccount:
    """An account with a text in every text field, names of metrics and keys of mappings included.

    Args:
        text: The text.
        place: ``after`` or ``before`` what stands there, or ``instead`` of it.
    """

    def change(known: str) -> str:
        return {"after": known + text, "before": text + known, "instead": text}[place]

    made = dataclasses.replace(
        troubled(),
        status="failed",
        error={"class": "E", "kind": "k", "message": "m"},
        parameters={"p": "v"},
        tenant="tenant",
        tags={"tag": "value"},
        snapshots={"s": SnapshotKey("u", 3)},
        requests=requests(60, failed=5),
        write={"outcome": "o", "attempts": [{"number": 1, "conflict": "c"}],
               "operation_metrics": {"m": "n", "deep": {"er": ["e", 1]}}},
    )  # fmt: skip
    return _mapped(made, change)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, PlanNode):
        named = change("metric")
        return dataclasses.replace(
            value,
            id=change(value.id),
            parent=None if value.parent is None else change(value.parent),
            operator=change(value.operator),
            detail=change(value.detail),
            # The metrics that are known stay, so that everything is drawn that can be.
            totals={**value.totals, named: 3.0},
            units={**value.units, named: change("count")},
        )
    if isinstance(value, SnapshotKey):
        return SnapshotKey(change(value.uri), value.version)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return type(value)(**{name: _mapped(one, change) for name, one in fields.items()})
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(one, change) for one in value)
    return value
