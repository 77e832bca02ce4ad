"""The plan as a tree that can be read from the top, folded and searched."""

from __future__ import annotations

from collections.abc import Iterator

from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._page_charts import heat, share_bar
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import PROBLEM_TITLES, SHORT, View, cut, kind_of, section
from fusiondelta.account._units import UNKNOWN, count, counted, metric, part, seconds, size
from fusiondelta.account._ways import is_timed, memory_bytes, work_metric

#: Inputs within inputs, at most. Browsers stop at 512 elements within each other; what is deeper
#: stands at the last level, where its path still says what it belongs to.
DEEPEST = 40
#: Levels that are indented further.
INDENTED = 12

#: Operators: larger plans start with the branches folded that cost next to nothing.
LARGE_PLAN = 80
#: Part of the time, of all operators of a branch together.
CHEAP_BRANCH = 0.02

#: Tables that a branch is called by.
NAMED = 4

#: Joins whose first input is held in memory before the second is read.
_BUILD = frozenset(
    {"HashJoinExec", "NestedLoopJoinExec", "CrossJoinExec", "PiecewiseMergeJoinExec"}
)

#: What the panel of an operator shows per partition.
_SPREAD = ("output_rows", "output_bytes", "bytes_scanned", "spilled_bytes")


def plan(view: View) -> Element:
    """The section of the plan."""
    ways = view.ways
    if not len(view.account.tree):
        return section("plan", "Plan", h("p", "There is no plan to show.", cls="quiet"))
    tops = [item for top in ways.tops for item in _Branch(view).items(top, 0)]
    return section(
        "plan",
        "Plan",
        h(
            "p",
            "Rows flow upwards: each operator takes what the ones below it give. The bar is its "
            "part of the computing time, of all partitions together. Bytes are those read, of a "
            "scan, and those given, of others. Open an operator for its line of the plan and its "
            "metrics.",
            cls="quiet",
        ),
        _tools(len(view.account.tree)),
        h("div", _head(), h("ol", tops, cls="chain"), cls="plan"),
    )


def _tools(operators: int) -> Element:
    """What needs a script, and is not shown without one."""
    return h(
        "div",
        h("label", "Find ", h("input", type="search", id="find", placeholder="operator, column…")),
        h("button", "Unfold all", type="button", id="unfold"),
        h("button", "Fold cheap", type="button", id="fold"),
        h("span", counted(operators, "operator"), id="found", aria_live="polite", cls="quiet"),
        id="tools",
        cls="tools",
        hidden=True,
    )


def _head() -> Element:
    names = ("Rows in", "Rows out", "Bytes", "Memory", "Spill")
    return h(
        "div",
        h("span", "Operator"),
        h("span", "Time"),
        [h("span", name, cls="n") for name in names],
        cls="row head",
        aria_hidden="true",
    )


class _Branch:
    """Makes the items of a tree."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ways = view.ways
        self._large = len(view.account.tree) > LARGE_PLAN
        self._marks: dict[str, list[str]] = {}
        for problem in view.problems:
            if problem.node is not None:
                self._marks.setdefault(problem.node, []).append(problem.name)

    def items(self, node: PlanNode, level: int) -> Iterator[Element]:
        """An operator and those below it: side by side as long as each has one input."""
        here: PlanNode | None = node
        while here is not None:
            yield self._operator(here)
            inputs = self._ways.children(here)
            if len(inputs) > 1 and level >= DEEPEST:
                yield from map(self._operator, self._ways.below(here))
                return
            if len(inputs) > 1:
                yield self._inputs(here, inputs, level + 1)
                return
            here = inputs[0] if inputs else None

    def _inputs(self, node: PlanNode, inputs: tuple[PlanNode, ...], level: int) -> Element:
        return h(
            "li",
            [self._input(node, one, place, level) for place, one in enumerate(inputs)],
            cls="inputs" if level <= INDENTED else "inputs flat",
        )

    def _input(self, node: PlanNode, top: PlanNode, place: int, level: int) -> Element:
        branch = [top, *self._ways.below(top)]
        whole = self._ways.seconds
        share = sum(one.seconds for one in branch) / whole if whole else 0.0
        cheap = share < CHEAP_BRANCH and not any(one.id in self._marks for one in branch)
        rows = self._ways.rows_out(top)
        name = f"Input {place + 1}"
        if node.operator in _BUILD:
            name = ("Build side", "Probe side")[place] if place < 2 else name
        return h(
            "details",
            h(
                "summary",
                h("b", ": ".join(filter(None, (name, self._reads(branch))))),
                f" {counted(len(branch), 'operator')}, {part(share)} of the time"
                + ("" if rows is None else f", {counted(rows, 'row')}"),
            ),
            h("ol", self.items(top, level), cls="chain"),
            cls="input cheap" if cheap else "input",
            open=not (cheap and self._large),
        )

    def _reads(self, branch: list[PlanNode]) -> str:
        """Tables that a branch reads, the first few of them."""
        tables = [self._view.table(node) for node in branch]
        names = list(dict.fromkeys(filter(None, tables)))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return cut(", ".join(names[:NAMED]), 120) + more

    def _operator(self, node: PlanNode) -> Element:
        share, timed = self._ways.share(node), is_timed(node)
        marks = self._marks.get(node.id, [])
        return h(
            "li",
            h(
                "details",
                h(
                    "summary",
                    h(
                        "span",
                        h("span", cls=f"dot k-{kind_of(node)}"),
                        h("b", cut(node.operator, SHORT)),
                        [h("span", PROBLEM_TITLES[name], cls="mark") for name in marks],
                        h("span", f"{self._view.table(node)} {_short(node)}".strip(), cls="short"),
                        cls="who",
                    ),
                    h(
                        "span",
                        share_bar(share, heat(share)),
                        h("span", part(share) if timed else UNKNOWN, cls="n share"),
                        h("span", seconds(node.seconds if timed else None), cls="n"),
                        cls="time",
                    ),
                    self._numbers(node),
                    cls="row",
                ),
                _panel(self._view, node),
            ),
            id=self._view.place(node),
            cls="op",
        )

    def _numbers(self, node: PlanNode) -> list[Element]:
        spilled = node.totals.get("spilled_bytes")
        given = node.totals.get("bytes_scanned", node.totals.get("output_bytes"))
        cells = (
            ("in ", count(self._ways.rows_in(node))),
            ("out ", count(self._ways.rows_out(node))),
            ("bytes ", size(given)),
            ("memory ", size(memory_bytes(node))),
            ("spill ", size(spilled) if spilled else UNKNOWN),
        )
        return [
            h("span", h("i", name), value, cls="n none" if value == UNKNOWN else "n")
            for name, value in cells
        ]


def _short(node: PlanNode) -> str:
    """The line of an operator without its name, lists of files and statistics."""
    # Names may say how an operator works: SortExec(TopK).
    name, _, _ = node.operator.partition("(")
    text = node.detail.removeprefix(name).removeprefix(":").strip()
    start = text.find("file_groups={")
    end = text.find("]]}", start)
    if start >= 0 and end >= 0:
        text = text[:start] + text[end + 3 :].removeprefix(", ")
    return cut(text.partition(", statistics=[")[0], 240)


def _panel(view: View, node: PlanNode) -> Element:
    origin = view.account.submitted
    shown = sorted((name, value) for name, value in node.totals.items() if value)
    zero = sorted(name for name, value in node.totals.items() if not value)
    return h(
        "div",
        h("p", h("code", cut(node.id)), f" {counted(node.partitions, 'partition')}", cls="quiet"),
        h("pre", h("code", cut(node.detail))) if node.detail else None,
        h(
            "dl",
            [
                h(
                    "div",
                    h("dt", name),
                    h("dd", metric(name, value, node.units.get(name, ""), origin)),
                )
                for name, value in shown
            ],
            cls="metrics",
        )
        if shown
        else None,
        h("p", "Zero: ", ", ".join(zero), cls="quiet") if zero else None,
        _spread(node),
        cls="panel",
    )


def _spread(node: PlanNode) -> Node:
    rows = []
    for name in (work_metric(node), *_SPREAD):
        skew = node.skew(name)
        if skew is None or not skew.greatest:
            continue
        unit = node.units.get(name, "")
        values = (skew.least, skew.median, skew.greatest)
        cells = [h("td", metric(name, one, unit), cls="n") for one in values]
        rows.append(h("tr", h("th", name, scope="row"), cells))
    if not rows:
        return None
    heads = ("Per partition", "least", "middle", "greatest")
    return h(
        "table",
        h("thead", h("tr", [h("th", head, scope="col") for head in heads])),
        h("tbody", rows),
        cls="spread",
    )
