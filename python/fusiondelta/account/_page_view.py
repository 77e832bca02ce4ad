"""What the sections of a profile page share: the run, its tree, and ways to name an operator."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fusiondelta.account._account import RunAccount
from fusiondelta.account._advice import Problem, problems
from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._scans import Scan, scans
from fusiondelta.account._ways import Ways

#: Problems as headings, by name.
PROBLEM_TITLES = {
    "row_explosion": "Row explosion in a join",
    "spill": "Spill to disk",
    "scan_prunes_nothing": "Scan prunes nothing",
    "rows_read_in_vain": "Rows read in vain",
    "small_files": "Many small files",
    "skew": "Skewed partitions",
    "cold_cache": "Cold caches",
    "retries": "Failed requests",
    "memory_near_limit": "Memory near its limit",
    "waited_for_context": "Waited for its turn",
}

_KINDS = (
    ("join", re.compile("Join")),
    ("aggregate", re.compile("Aggregate|Window")),
    ("exchange", re.compile("Repartition|Coalesce|SortPreservingMerge|Union|Interleave")),
    ("sort", re.compile("Sort|TopK")),
    ("scan", re.compile("Source|Scan|Snapshot|Memory|Values|Empty")),
)
#: Kinds of operators, as their colours are named.
KINDS = (*(kind for kind, _ in _KINDS), "other")

#: Letters of a text that is shown in one place; what is longer is cut, and says so.
LONGEST = 2_000
#: Letters of what is a word or a name everywhere but in broken accounts.
SHORT = 60


def kind_of(node: PlanNode) -> str:
    """What an operator does: one of `KINDS`."""
    return next((kind for kind, name in _KINDS if name.search(node.operator)), "other")


def cut(text: str, limit: int = LONGEST) -> str:
    """Text, with its end left out where it is very long."""
    left = len(text) - limit
    return text if left <= 0 else f"{text[:limit]}… ({left:,} more characters)"


@dataclass(frozen=True, slots=True)
class View:
    """A run, prepared for its page.

    Attributes:
        account: The run.
        ways: Its tree.
        problems: What is wrong with it.
        scans: Scans of its plan.
    """

    account: RunAccount
    ways: Ways = field(init=False)
    problems: tuple[Problem, ...] = field(init=False)
    scans: tuple[Scan, ...] = field(init=False)
    _tables: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ways = Ways(self.account.tree)
        object.__setattr__(self, "ways", ways)
        object.__setattr__(self, "problems", problems(self.account))
        found = scans(self.account, ways)
        object.__setattr__(self, "scans", found)
        named = [(node.id, scan) for scan in found for node in (scan.node, *scan.readers)]
        tables = {node_id: cut(scan.name, 80) for node_id, scan in named if scan.aliases}
        object.__setattr__(self, "_tables", tables)

    def place(self, node: PlanNode) -> str | None:
        """Where an operator stands on the page, by its number: no text of the run gets into it.

        Of operators with one path, which broken accounts may have, only the last has a place.
        """
        number = self.ways.number(node.id)
        here = number is not None and self.ways.tree.nodes[number] is node
        return f"op-{number}" if here else None

    def table(self, node: PlanNode) -> str:
        """Name in the SQL of what a scan reads; empty of other operators."""
        return self._tables.get(node.id, "")

    def link(self, node_id: str) -> Node:
        """A link to an operator: name, table, path; its path alone where it is not there."""
        number = self.ways.number(node_id)
        if number is None:
            return h("code", node_id) if node_id else None
        node = self.ways.tree.nodes[number]
        return h(
            "a",
            f"{cut(node.operator, SHORT)} {self.table(node)}".strip(),
            " ",
            h("code", cut(node.id, 200)),
            href=f"#op-{number}",
            cls="oplink",
        )


def section(place: str, title: str, *children: Node | list[Element]) -> Element:
    """A part of the page with a heading."""
    return h(
        "section",
        h("h2", title, id=f"{place}-title"),
        *children,
        id=place,
        aria_labelledby=f"{place}-title",
    )


def table(
    heads: list[str],
    rows: list[list[Node]],
    *,
    numbers: frozenset[int] | set[int] = frozenset(),
    caption: str = "",
) -> Element:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        heads: Names of the columns.
        rows: A cell for each.
        numbers: Places of the columns of numbers.
        caption: What the table is, for those who do not see the heading above it.
    """

    def cells(tag: str, row: list[Node] | list[str], **more: str) -> list[Element]:
        return [
            h(tag, cell, cls="n" if place in numbers else None, **more)
            for place, cell in enumerate(row)
        ]

    whole = h(
        "table",
        h("caption", caption) if caption else None,
        h("thead", h("tr", cells("th", heads, scope="col"))),
        h("tbody", [h("tr", cells("td", row)) for row in rows]),
    )
    return h("div", whole, cls="scroll", tabindex="0", role="region", aria_label=caption or None)
