"""When each partition of the operators that cost most was at work, and which these are."""

from __future__ import annotations

from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._page_charts import AXIS, axis, chart, heat, legend, share_bar, span
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import KINDS, View, kind_of, section, table
from fusiondelta.account._units import UNKNOWN, count, counted, part, seconds, size, times
from fusiondelta.account._ways import memory_bytes, output_skew

#: Operators in the table.
EXPENSIVE = 10
#: Operators in the timeline, those that computed longest.
OPERATORS = 12
#: Partitions of one operator: more than a machine has cores look like these.
PARTITIONS = 32
#: Bars of all of them.
BARS = 500

_LANE = 5


def expensive(view: View) -> Element | None:
    """Operators that computed longest."""
    nodes = sorted(view.account.tree, key=lambda node: node.seconds, reverse=True)[:EXPENSIVE]
    nodes = [node for node in nodes if node.seconds > 0]
    if not nodes:
        return None
    rows: list[list[Node]] = []
    for node in nodes:
        skew, share = output_skew(node), view.ways.share(node)
        bytes_ = node.totals.get("bytes_scanned", node.totals.get("output_bytes"))
        spilled = node.total("spilled_bytes")
        rows.append(
            [
                view.link(node.id),
                h("span", share_bar(share, heat(share)), part(share), cls="with-bar"),
                seconds(node.seconds),
                count(node.rows),
                size(bytes_),
                size(memory_bytes(node)),
                size(spilled) if spilled else UNKNOWN,
                times(skew.ratio) if skew is not None else UNKNOWN,
            ]
        )
    heads = ["Operator", "Share", "Time", "Rows out", "Bytes", "Memory", "Spill", "Skew"]
    return section(
        "expensive",
        "Most expensive operators",
        table(heads, rows, numbers=set(range(2, 8)), caption="Operators that computed longest"),
        h(
            "p",
            "Skew is the slowest partition against the middle one; ∞ where most had nothing.",
            cls="quiet",
        ),
    )


def timeline(view: View) -> Element | None:
    """Partitions of operators over time."""
    spans = {node.id: _spans(node) for node in view.account.tree}
    known = [node for node in view.account.tree if spans[node.id]]
    if not known:
        return None
    chosen = sorted(known, key=lambda node: node.seconds, reverse=True)[:OPERATORS]
    places = {node.id for node in chosen}
    chosen = [node for node in known if node.id in places]
    origin = min(start for node in chosen for _, start, _ in spans[node.id])
    whole = max(end for node in chosen for _, _, end in spans[node.id]) - origin
    lines: list[Element] = []
    bars = 0
    for node in chosen:
        drawn = spans[node.id][: max(min(PARTITIONS, BARS - bars), 1)]
        bars += len(drawn)
        lines.append(_line(view, node, drawn, len(spans[node.id]), origin, whole))
    kinds = [kind for kind in KINDS if any(kind_of(node) == kind for node in chosen)]
    left = len(known) - len(chosen)
    return section(
        "timeline",
        "Partitions over time",
        h(
            "p",
            "Each line is a partition, from its first work to its last; most of them wait in "
            "between.",
            f" The {count(len(chosen))} operators that computed longest are shown, "
            f"{count(left)} are left out."
            if left
            else None,
            cls="quiet",
        ),
        legend([(f"k-{kind}", kind) for kind in kinds]),
        h("div", h("div", h("span"), _scale(whole), cls="op-line"), lines, cls="timeline"),
    )


def _spans(node: PlanNode) -> list[tuple[int, float, float]]:
    """Partition, start and end in seconds, of those that ran."""
    starts = node.by_partition.get("start_timestamp", {})
    ends = node.by_partition.get("end_timestamp", {})
    return [
        (place, starts[place] / 1e9, ends[place] / 1e9)
        for place in sorted(starts)
        if place in ends and ends[place] >= starts[place] > 0
    ]


def _scale(whole: float) -> Element:
    return chart(axis(whole, AXIS - 4), AXIS - 4, f"From 0 to {seconds(whole)}")


def _line(
    view: View,
    node: PlanNode,
    drawn: list[tuple[int, float, float]],
    there: int,
    origin: float,
    whole: float,
) -> Element:
    height = _LANE * len(drawn) + 2
    bars = [
        span(
            start - origin,
            end - origin,
            whole,
            _LANE * lane + 1,
            _LANE - 1,
            f"k-{kind_of(node)}",
            f"partition {partition}: +{seconds(start - origin)} to +{seconds(end - origin)}",
        )
        for lane, (partition, start, end) in enumerate(drawn)
    ]
    first = min(start for _, start, _ in drawn) - origin
    last = max(end for _, _, end in drawn) - origin
    label = (
        f"{node.operator}: {counted(there, 'partition')} from +{seconds(first)} to +{seconds(last)}"
    )
    left = there - len(drawn)
    return h(
        "div",
        h(
            "span",
            view.link(node.id),
            h("span", f"{count(left)} more partitions", cls="quiet") if left else None,
        ),
        chart(bars, height, label),
        cls="op-line",
    )
