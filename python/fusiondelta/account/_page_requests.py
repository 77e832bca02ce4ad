"""Requests to storage: when each was made, which took longest, how many there were of each kind."""

from __future__ import annotations

import heapq

from fusiondelta.account._account import Request
from fusiondelta.account._page_charts import AXIS, axis, chart, legend, span
from fusiondelta.account._page_html import Element, Node, h
from fusiondelta.account._page_view import SHORT, View, cut, section, table
from fusiondelta.account._units import count, counted, seconds, size

#: Bars in the waterfall: more could not be told apart, and each costs 200 bytes of page.
BARS = 400
#: Requests in the table of the slowest.
SLOWEST = 15
#: Rows of bars: what runs beside more than these is drawn over them.
LANES = 64

_LANE = 7
_PURPOSES = ("log", "checkpoint", "footer", "data", "commit")


def requests(view: View) -> Element | None:
    """The section of requests."""
    account = view.account
    if not account.io.lines and not account.requests:
        return None
    return section(
        "requests",
        "Requests",
        _waterfall(view),
        _by_kind(view),
        _slowest(view),
    )


def _colour(request: Request) -> str:
    if request.failure:
        return "r-failed"
    return f"r-{request.purpose}" if request.purpose in _PURPOSES else "r-other"


def _waterfall(view: View) -> Node:
    account = view.account
    if not account.requests:
        return None
    drawn = heapq.nlargest(BARS, account.requests, key=lambda one: one.seconds)
    drawn.sort(key=lambda one: one.started)
    # Time begins with the call, unless clocks disagree.
    origin = min(account.submitted, drawn[0].started) if account.submitted else drawn[0].started
    if drawn[0].started - origin > 1e9 * 60:
        origin = drawn[0].started
    whole = max((one.started - origin) / 1e9 + one.seconds for one in drawn)
    bars: list[Element] = []
    labels: list[Element] = []
    y = float(AXIS)
    for purpose in (*_PURPOSES, ""):
        of_it = [r for r in drawn if (r.purpose if r.purpose in _PURPOSES else "") == purpose]
        if not of_it:
            continue
        lanes = _lanes(of_it)
        height = _LANE * (max(lanes) + 1)
        labels.append(h("text", purpose or "other", x="0", y=f"{y + 9:g}", cls="lane"))
        y += 14
        for one, lane in zip(of_it, lanes, strict=True):
            start = (one.started - origin) / 1e9
            bars.append(
                span(
                    start,
                    start + one.seconds,
                    whole,
                    y + _LANE * lane,
                    _LANE - 1,
                    _colour(one) + (" again" if one.retry else ""),
                    _said(one),
                )
            )
        y += height + 6
    left = len(account.requests) - len(drawn) + account.requests_dropped
    label = f"{counted(len(drawn), 'request')} over {seconds(whole)}, by purpose"
    marks = [("r-failed", "failed")] if any(one.failure for one in drawn) else []
    marks += [("r-other again", "repeated")] if any(one.retry for one in drawn) else []
    return h(
        "div",
        legend(marks) if marks else None,
        chart([*axis(whole, y), *labels, *bars], y, label),
        h(
            "p",
            f"The {counted(len(drawn), 'longest request', 'longest requests')} are drawn; "
            f"{count(left)} more are left out.",
            cls="quiet",
        )
        if left > 0
        else None,
        cls="waterfall",
    )


def _lanes(found: list[Request]) -> list[int]:
    """A lane for each of the requests, in the order of their start, so that none overlap."""
    free: list[float] = []
    lanes: list[int] = []
    for one in found:
        lane = next((place for place, until in enumerate(free) if until <= one.started), len(free))
        if lane == LANES:
            lane = len(lanes) % LANES
        elif lane == len(free):
            free.append(0.0)
        free[lane] = one.started + one.seconds * 1e9
        lanes.append(lane)
    return lanes


def _said(one: Request) -> str:
    said = [
        f"{cut(one.operation, SHORT)} {cut(one.purpose, SHORT)}: {cut(one.location, 120)}",
        seconds(one.seconds),
        size(one.bytes) if one.bytes else "",
        "repeated" if one.retry else "",
        cut(one.failure, SHORT),
    ]
    return ", ".join(filter(None, said))


def _outcome(one: Request) -> str:
    said = ["repeated" if one.retry else "", cut(one.failure, SHORT)]
    return ", ".join(filter(None, said)) or "ok"


def _slowest(view: View) -> Node:
    account = view.account
    slow = heapq.nlargest(SLOWEST, account.requests, key=lambda one: one.seconds)
    if not slow:
        return None
    rows: list[list[Node]] = [
        [
            h("span", f"+{seconds(max(one.started - account.submitted, 0) / 1e9)}"),
            cut(one.operation, SHORT),
            cut(one.purpose, SHORT),
            h("code", cut(one.location, 200)),
            seconds(one.seconds),
            size(one.bytes),
            _outcome(one),
            view.link(one.node),
        ]
        for one in slow
    ]
    heads = ["Start", "Operation", "Purpose", "Object", "Time", "Bytes", "Outcome", "Operator"]
    return h(
        "details",
        h("summary", "The slowest"),
        table(heads, rows, numbers={0, 4, 5}, caption="The slowest requests"),
        open=True,
    )


def _by_kind(view: View) -> Node:
    lines = sorted(view.account.io.lines, key=lambda line: -line.requests)
    if not lines:
        return None
    rows: list[list[Node]] = [
        [
            cut(line.operation, SHORT),
            cut(line.purpose, SHORT),
            count(line.requests),
            count(line.retries),
            size(line.bytes),
            seconds(line.seconds),
            seconds(line.seconds / line.requests) if line.requests else seconds(None),
        ]
        for line in lines
    ]
    heads = ["Operation", "Purpose", "Requests", "Repeated", "Bytes", "Time added up", "Mean"]
    return h(
        "details",
        h("summary", "By operation and purpose"),
        table(heads, rows, numbers={2, 3, 4, 5, 6}, caption="Requests by operation and purpose"),
        open=True,
    )
