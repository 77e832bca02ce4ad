"""Top of a profile page: what ran, how it ended, and the numbers that matter most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._page_charts import AXIS, axis, chart, legend, span
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import PROBLEM_TITLES, SHORT, View, cut, section
from fusiondelta.account._units import count, counted, moment, part, seconds, size

#: Ways a run can stand, as its colour is named; another is shown without one.
_STATUS = frozenset({"planned", "running", "finished", "failed", "cancelled"})

#: Part of the time: shorter waits for the first pull are not worth a line.
_IDLE_SHARE = 0.05

#: Part of the time from which the steps of planning are unfolded.
_PLANNING_SHARE = 0.2


def header(view: View) -> Element:
    """Operation, status and names of the run."""
    account = view.account
    known = account.status if account.status in _STATUS else "other"
    facts: list[tuple[str, Node]] = [
        ("Submitted", moment(account.submitted)),
        ("Write" if account.kind == "write" else "Query", h("code", account.query_id)),
        ("Run", h("code", account.run_id)),
    ]
    if account.session_id:
        facts.append(("Session", h("code", account.session_id)))
    if account.tenant is not None:
        facts.append(("Tenant", account.tenant))
    facts += [(f"Tag {name}", value) for name, value in account.tags.items()]
    return h(
        "header",
        h("p", f"fusiondelta {cut(account.kind, SHORT)} profile", cls="brand"),
        h(
            "h1",
            cut(account.operation, SHORT),
            " ",
            h("span", cut(account.status, SHORT), cls=f"status {known}"),
        ),
        definitions(facts, cls="facts"),
    )


def definitions(facts: list[tuple[str, Node]], cls: str) -> Element:
    """Names with what they stand for."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in facts], cls=cls)


def tiles(view: View) -> Element:
    """The numbers that matter most."""
    account = view.account
    first = [_time_tile(account)]
    first += _write_tiles(account.write) if account.kind == "write" else [_rows_tile(account)]
    return h("section", *first, *_cost_tiles(view), cls="tiles", aria_label="In numbers")


def _tile(name: str, value: str, below: str) -> Element:
    return h(
        "div",
        h("p", name, cls="tile-name"),
        h("p", value, cls="tile-value"),
        h("p", below, cls="tile-below"),
        cls="tile",
    )


def _time_tile(account: RunAccount) -> Element:
    still = ", still running" if account.started and not account.ended else ""
    return _tile(
        "Time",
        seconds(account.seconds),
        f"{seconds(account.planning_seconds)} planning{still}",
    )


def _rows_tile(account: RunAccount) -> Element:
    return _tile(
        "Rows given",
        count(account.rows),
        f"{counted(account.batches, 'batch', 'batches')}, {size(account.result_bytes)}",
    )


def _number(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _write_tiles(write: Mapping[str, Any]) -> list[Element]:
    tries = write.get("attempts")
    tried = counted(len(tries), "attempt") if isinstance(tries, list | tuple) and tries else ""
    return [
        _tile(
            "Rows written",
            count(_number(write, "rows_written")),
            f"{size(_number(write, 'bytes_written'))} of files",
        ),
        _tile(
            "Files added",
            count(_number(write, "files_added")),
            f"{count(_number(write, 'files_removed'))} removed" + (f", {tried}" if tried else ""),
        ),
    ]


def _cost_tiles(view: View) -> list[Element]:
    account, tree = view.account, view.account.tree
    whole = sum(account.io.requests.values())
    limit = account.memory_limit
    spilled, spills = tree.total("spilled_bytes"), tree.total("spill_count")
    there = sum(scan.own("bytes_total") or 0.0 for scan in view.scans)
    of_all = f"of {size(there)} there" if there else f"{size(account.io.bytes_written)} written"
    return [
        _tile("Bytes read", size(account.io.bytes_read), of_all),
        _tile(
            "Requests",
            count(whole),
            f"{count(account.io.retries)} repeated" if account.io.retries else "none repeated",
        ),
        _tile(
            "Peak memory",
            size(account.peak_memory),
            f"{part(min(account.peak_memory / limit, 1))} of {size(limit)}"
            if limit
            else "no limit known",
        ),
        _tile(
            "Spilled", size(spilled), f"in {counted(spills, 'file')}" if spills else "all in memory"
        ),
    ]


def failure(view: View) -> Element | None:
    """The error that ended the run."""
    error = view.account.error
    if error is None:
        return None
    # Whatever else it is described by stands in one line: class and kind.
    named = " ".join(value for name, value in error.items() if name != "message")
    return h(
        "section",
        h("h2", "Error", id="error-title"),
        h("p", h("code", cut(named))) if named else None,
        h("pre", h("code", cut(error["message"]))) if error.get("message") else None,
        id="error",
        cls="failure",
        aria_labelledby="error-title",
    )


def problem_list(view: View) -> Element:
    """Named problems, the worst first, each with what to do."""
    if not view.problems:
        return h(
            "section",
            h("h2", "Problems", id="problems-title"),
            h("p", "None found.", cls="quiet"),
            id="problems",
            cls="brief",
            aria_labelledby="problems-title",
        )
    return section(
        "problems",
        "Problems",
        h(
            "ol",
            [
                h(
                    "li",
                    h(
                        "h3",
                        PROBLEM_TITLES.get(one.name, one.name),
                        h("span", one.severity, cls="severity"),
                        view.link(one.node) if one.node is not None else None,
                    ),
                    h("p", one.what),
                    h("p", one.advice, cls="advice"),
                    cls=f"problem {one.severity}",
                )
                for one in view.problems
            ],
            cls="problems",
        ),
    )


def statement(view: View) -> Element | None:
    """Text of the query, and its parameters."""
    account = view.account
    if account.sql is None and not account.parameters:
        return None
    values = [(name, h("code", cut(value, 500))) for name, value in account.parameters.items()]
    return section(
        "sql",
        "Statement",
        h("pre", h("code", cut(account.sql, 20_000)), cls="sql", tabindex="0")
        if account.sql is not None
        else None,
        definitions([*values], cls="facts") if values else None,
    )


def time_split(view: View) -> Element:
    """Where the time went: planning, the first batch, the rest, and the steps of planning."""
    account = view.account
    spans = _spans(account)
    whole = sum(length for _, _, length in spans)
    bars: list[Element] = []
    at = 0.0
    for cls, name, length in spans:
        bars.append(span(at, at + length, whole, AXIS, 14, cls, f"{name} {seconds(length)}"))
        at += length
    said = [(cls, f"{name} {seconds(length)}") for cls, name, length in spans]
    label = "; ".join(text for _, text in said) or "No time measured"
    return section(
        "time",
        "Time",
        chart([*axis(whole, AXIS + 14), *bars], AXIS + 18, label) if whole else None,
        legend(said),
        _idle(account),
        _phases(account),
    )


def _spans(account: RunAccount) -> list[tuple[str, str, float]]:
    found = [("t-plan", "planning", account.planning_seconds)]
    if account.started and account.ended:
        rows_are_given = account.first_row and account.kind != "write"
        first = account.first_row - account.started if rows_are_given else 0
        until = min(max(first / 1e9, 0.0), account.execution_seconds)
        if rows_are_given:
            found.append(("t-first", "until the first batch", until))
        rest = account.execution_seconds - until
        found.append(("t-rest", "the rest" if until else "execution", rest))
    return [(cls, name, length) for cls, name, length in found if length > 0]


def _idle(account: RunAccount) -> Node:
    idle = (account.started - account.planned) / 1e9 if account.started and account.planned else 0.0
    if idle <= _IDLE_SHARE * account.seconds:
        return None
    return h(
        "p",
        f"Nobody asked for rows for {seconds(idle)} after planning. That time is not counted.",
        cls="quiet",
    )


def _phases(account: RunAccount) -> Node:
    if not account.phases:
        return None
    whole = max(account.planning_seconds, account.seconds if account.kind == "write" else 0.0)
    height = AXIS + 14 * len(account.phases)
    ends = [(one.started - account.submitted) / 1e9 + one.seconds for one in account.phases]
    width = max([whole, *ends])
    bars: list[Element] = []
    for place, (phase, end) in enumerate(zip(account.phases, ends, strict=True)):
        bars.append(
            span(
                end - phase.seconds,
                end,
                width,
                AXIS + 14 * place + 2,
                10,
                "t-plan",
                f"{phase.name} {seconds(phase.seconds)}",
            )
        )
    names = [
        h("li", h("span", phase.name), " ", h("span", seconds(phase.seconds), cls="n"))
        for phase in account.phases
    ]
    return h(
        "details",
        h("summary", "Steps"),
        h(
            "div",
            h("ol", names, cls="lane-names"),
            chart([*axis(width, height), *bars], height, "Steps, one below the other, over time"),
            cls="lanes",
        ),
        open=account.kind == "write" or whole >= _PLANNING_SHARE * account.seconds,
    )
