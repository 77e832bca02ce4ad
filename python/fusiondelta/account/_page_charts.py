"""Bars and axes as SVG, in parts of a hundred so that they fit every width."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._units import tick

#: Per cent of the width: thinner bars could not be seen.
THINNEST = 0.15


#: Parts of the time from which a bar stands out.
WARM, HOT = 0.1, 0.3


def heat(share: float) -> str:
    """Colour of a part of the time."""
    return "hot" if share >= HOT else "warm" if share >= WARM else ""


def share_bar(share: float, cls: str = "") -> Element:
    """A bar that is filled in part, 0 to 1. What it says is written beside it."""
    filled = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return h(
        "svg",
        h("rect", width=f"{filled:.2f}%", height="100%", cls=f"fill {cls}".strip())
        if filled
        else None,
        cls="bar",
        aria_hidden="true",
    )


def span(
    start: float, end: float, whole: float, y: float, height: float, cls: str, title: str
) -> Element:
    """A bar from one moment to another, in seconds since the left end."""
    left = min(max(start / whole, 0.0), 1.0) * 100 if whole > 0 else 0.0
    width = max((min(end, whole) - max(start, 0.0)) / whole * 100 if whole > 0 else 0.0, THINNEST)
    left = min(left, 100 - THINNEST)
    return h(
        "rect",
        h("title", title) if title else None,
        x=f"{left:.2f}%",
        width=f"{min(width, 100 - left):.2f}%",
        y=f"{y:g}",
        height=f"{height:g}",
        cls=cls,
    )


def ticks(whole: float) -> list[float]:
    """Round moments for an axis, four to nine of them, from 0."""
    if not whole > 0 or not math.isfinite(whole):
        return [0.0]
    rough = whole / 6
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1, 2, 5, 10) if base * factor >= rough)
    return [step * number for number in range(int(whole / step + 1e-9) + 1)]


def axis(whole: float, height: float) -> list[Element]:
    """Lines and labels of time above bars, ``AXIS`` high."""
    found: list[Element] = []
    for at in ticks(whole):
        x = 100 * at / whole if whole > 0 else 0.0
        # A label at either end would be cut off in the middle.
        anchor = "start" if x < 3 else "end" if x > 96 else "middle"
        found.append(
            h("line", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1="16", y2=f"{height:g}", cls="grid")
        )
        found.append(h("text", tick(at), x=f"{x:.2f}%", y="11", text_anchor=anchor))
    return found


#: Height of what `axis` writes.
AXIS = 20


def chart(children: Iterable[Node], height: float, label: str) -> Element:
    """Bars as one picture.

    Args:
        children: Bars, lines, labels.
        height: In pixels; the width is that of the page.
        label: What the picture shows, for those who do not see it.
    """
    return h(
        "svg",
        children,
        width="100%",
        height=f"{height:g}",
        role="img",
        aria_label=label,
        cls="chart",
    )


def legend(entries: Iterable[tuple[str, str]]) -> Element:
    """What colours mean.

    Args:
        entries: Class of the colour, and its meaning.
    """
    return h(
        "ul",
        [
            h(
                "li",
                h("svg", h("rect", width="100%", height="100%", cls=cls), aria_hidden="true"),
                text,
            )
            for cls, text in entries
        ],
        cls="legend",
    )
