"""The page of two runs side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._page import document
from fusiondelta.account._page_charts import share_bar
from fusiondelta.account._page_facts import plain
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import PROBLEM_TITLES, SHORT, View, cut, section, table
from fusiondelta.account._units import UNKNOWN, count, moment, part, seconds, size, times
from fusiondelta.account._ways import memory_bytes

#: Operators shown at once, those whose time changed most; the others are folded.
OPERATORS = 25

#: Changes that are smaller are the noise of every machine.
_NOISE = 0.05

_Writer = Callable[[float | None], str]


def comparison_page(first: RunAccount, second: RunAccount) -> str:
    """The page of two runs, A and B."""
    a, b = View(first), View(second)
    sections = [
        _totals(a, b),
        _problems(a, b),
        _operators(a, b),
        _only(a, b),
        _requests(a, b),
        _snapshots(a, b),
        _differences("settings", "Settings that differ", first.settings, second.settings),
        _differences("versions", "Versions that differ", first.versions, second.versions),
        _differences("machine", "Machines that differ", first.machine, second.machine),
        _statements(a, b),
    ]
    return document(f"{first.query_id} and {second.query_id}: comparison", _header(a, b), sections)


def _header(a: View, b: View) -> Element:
    def side(letter: str, view: View) -> Element:
        account = view.account
        return h(
            "div",
            h("dt", letter),
            h(
                "dd",
                f"{cut(account.operation, SHORT)}, {cut(account.status, SHORT)}, "
                f"{moment(account.submitted)} ",
                h("code", account.query_id),
            ),
        )

    return h(
        "header",
        h("p", "fusiondelta comparison of profiles", cls="brand"),
        h("h1", "Two runs side by side"),
        h("dl", side("A", a), side("B", b), cls="facts sides"),
    )


def _totals(a: View, b: View) -> Element:
    rows: list[list[Node]] = []
    for name, value, write in _TOTALS:
        first, second = value(a), value(b)
        if first or second:
            cost = name not in _NO_COST
            rows.append([name, write(first), write(second), _change(first, second, cost=cost)])
    heads = ["", "A", "B", "B against A"]
    whole = table(heads, rows, numbers={1, 2, 3}, caption="Totals of both runs")
    return section("totals", "Totals", h("div", whole, cls="narrow"))


#: What the runs are compared by: name, value, how it is written.
_TOTALS: tuple[tuple[str, Callable[[View], float], _Writer], ...] = (
    ("Time", lambda view: view.account.seconds, seconds),
    ("Planning", lambda view: view.account.planning_seconds, seconds),
    ("Execution", lambda view: view.account.execution_seconds, seconds),
    ("Computing, all partitions together", lambda view: view.ways.seconds, seconds),
    ("Rows given", lambda view: view.account.rows, count),
    ("Rows written", lambda view: _of_write(view, "rows_written"), count),
    ("Files added", lambda view: _of_write(view, "files_added"), count),
    ("Bytes read", lambda view: view.account.io.bytes_read, size),
    ("Bytes written", lambda view: view.account.io.bytes_written, size),
    ("Requests", lambda view: sum(view.account.io.requests.values()), count),
    ("Requests repeated", lambda view: view.account.io.retries, count),
    ("Peak memory", lambda view: view.account.peak_memory, size),
    ("Spilled", lambda view: view.account.tree.total("spilled_bytes"), size),
    ("Operators", lambda view: len(view.account.tree), count),
)

#: Of these more is neither better nor worse.
_NO_COST = frozenset({"Rows given", "Rows written", "Operators"})


def _of_write(view: View, name: str) -> float:
    value = view.account.write.get(name)
    return value if isinstance(value, int | float) else 0.0


def _change(first: float | None, second: float | None, *, cost: bool = True) -> Node:
    """How many times as much the second is; more of what costs is of another colour than less."""
    if first is None or second is None:
        return h("span", UNKNOWN, cls="quiet")
    if first == second:
        return h("span", "=", cls="quiet")
    ratio = second / first if first else math.inf
    if abs(ratio - 1) < _NOISE:
        return h("span", f"{ratio - 1:+.1%}".replace("%", " %"), cls="quiet")
    said = times(ratio) if first and second else "from 0" if second else "to 0"
    return h("span", said, cls=("up" if ratio > 1 else "down") if cost else None)


def _problems(a: View, b: View) -> Element:
    names = dict.fromkeys(one.name for view in (a, b) for one in view.problems)

    def said(view: View, name: str) -> Node:
        found = [one.what for one in view.problems if one.name == name]
        return h("span", " ".join(found)) if found else h("span", UNKNOWN, cls="quiet")

    rows: list[list[Node]] = [
        [PROBLEM_TITLES.get(name, name), said(a, name), said(b, name)] for name in names
    ]
    return section(
        "problems",
        "Problems",
        table(["Problem", "A", "B"], rows, caption="Problems of both runs")
        if rows
        else h("p", "None found in either.", cls="quiet"),
    )


def _key(node: PlanNode) -> tuple[str, str]:
    return node.id, node.operator


def _operators(a: View, b: View) -> Element | None:
    others = {_key(node): node for node in b.account.tree}
    pairs = [(one, others[_key(one)]) for one in a.account.tree if _key(one) in others]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: -abs(pair[1].seconds - pair[0].seconds))
    longest = max(max(one.seconds for one in pair) for pair in pairs)
    heads = ["Operator", "Time A", "Time B", "", "Rows A", "Rows B", "", "Memory A", "Memory B"]

    def listed(some: list[tuple[PlanNode, PlanNode]]) -> Element:
        rows = [_pair(one, other, longest) for one, other in some]
        return table(heads, rows, numbers=set(range(1, 9)), caption="Operators of both plans")

    rest = pairs[OPERATORS:]
    return section(
        "operators",
        "Operators in both plans",
        h("p", "Those whose time changed most come first.", cls="quiet"),
        listed(pairs[:OPERATORS]),
        h("details", h("summary", f"{count(len(rest))} more"), listed(rest)) if rest else None,
    )


def _name(node: PlanNode) -> Element:
    return h(
        "span",
        h("b", cut(node.operator, SHORT)),
        " ",
        h("code", cut(node.id, 200)),
        cls="oplink",
    )


def _pair(one: PlanNode, other: PlanNode, longest: float) -> list[Node]:
    times_ = (one.seconds, other.seconds)

    def bar(value: float) -> Node:
        return h(
            "span", share_bar(value / longest if longest else 0.0), seconds(value), cls="bar-time"
        )

    return [
        _name(one),
        bar(times_[0]),
        bar(times_[1]),
        _change(*times_),
        count(one.rows),
        count(other.rows),
        _change(one.rows, other.rows, cost=False),
        size(memory_bytes(one)),
        size(memory_bytes(other)),
    ]


def _only(a: View, b: View) -> Element | None:
    """Operators that one of the plans has alone."""
    keys = [{_key(node) for node in view.account.tree} for view in (a, b)]
    rows: list[list[Node]] = []
    for letter, view, others in (("A", a, keys[1]), ("B", b, keys[0])):
        rows += [
            [
                letter,
                _name(node),
                h("code", cut(node.detail, 300)),
                seconds(node.seconds),
                part(view.ways.share(node)),
                count(node.rows),
            ]
            for node in view.account.tree
            if _key(node) not in others
        ]
    if not rows:
        return None
    heads = ["In", "Operator", "Line of the plan", "Time", "Share", "Rows out"]
    return section(
        "only",
        "Operators in one plan only",
        table(heads, rows, numbers={3, 4, 5}, caption="Operators in one plan only"),
    )


def _requests(a: View, b: View) -> Element | None:
    lines = [
        {(line.operation, line.purpose): line for line in view.account.io.lines} for view in (a, b)
    ]
    rows: list[list[Node]] = []
    for kind in sorted({*lines[0], *lines[1]}):
        one, other = lines[0].get(kind), lines[1].get(kind)
        asked = [0 if line is None else line.requests for line in (one, other)]
        came = [0 if line is None else line.bytes for line in (one, other)]
        waited = [0.0 if line is None else line.seconds for line in (one, other)]
        rows.append(
            [
                cut(" ".join(kind), 2 * SHORT),
                *_three(asked, count),
                *_three(came, size),
                *_three(waited, seconds),
            ]
        )
    if not rows:
        return None
    heads = ["Operation and purpose"]
    for name in ("Requests", "Bytes", "Waiting"):
        heads += [f"{name} A", "B", ""]
    return section(
        "requests",
        "Requests",
        table(heads, rows, numbers=set(range(1, 10)), caption="Requests of both runs"),
    )


def _three(values: Iterable[float], write: _Writer) -> list[Node]:
    first, second = values
    return [write(first), write(second), _change(first, second)]


def _snapshots(a: View, b: View) -> Element | None:
    """What each alias stood for."""

    def stood_for(view: View) -> dict[str, tuple[str, str]]:
        found = {
            one.alias: (one.uri, UNKNOWN if one.version is None else str(one.version))
            for one in view.account.sources
        }
        for alias, key in view.account.snapshots.items():
            found.setdefault(alias, (key.uri, str(key.version)))
        return found

    sides = [stood_for(view) for view in (a, b)]
    rows: list[list[Node]] = []
    for alias in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (side.get(alias, ("", UNKNOWN)) for side in sides)
        same = h("span", "=", cls="quiet") if one == other else h("span", "differs", cls="mark")
        uris = dict.fromkeys(filter(None, (one[0], other[0])))
        where: list[Node] = [h("p", h("code", cut(uri, 300))) for uri in uris]
        rows.append([h("code", alias), h("div", where), one[1], other[1], same])
    if not rows:
        return None
    heads = ["Name", "Location", "Version A", "Version B", ""]
    return section(
        "snapshots",
        "Tables and snapshots",
        table(heads, rows, numbers={2, 3}, caption="Tables and snapshots of both runs"),
    )


def _differences(
    place: str, title: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> Element | None:
    names = [one for one in sorted({*first, *second}) if first.get(one) != second.get(one)]
    if not names:
        return None
    rows: list[list[Node]] = [
        [h("code", name), plain(first.get(name)), plain(second.get(name))] for name in names
    ]
    return section(place, title, table(["Name", "A", "B"], rows, caption=title))


def _statements(a: View, b: View) -> Element | None:
    texts = [view.account.sql for view in (a, b)]
    if texts[0] == texts[1]:
        same = texts[0]
        if same is None:
            return None
        return section("sql", "Statement of both", h("pre", h("code", cut(same, 20_000))))
    parts: list[Node] = []
    for letter, text in zip("AB", texts, strict=True):
        parts.append(h("h3", letter))
        parts.append(h("pre", h("code", UNKNOWN if text is None else cut(text, 20_000))))
    return section("sql", "Statements", h("div", parts, cls="statements"))
