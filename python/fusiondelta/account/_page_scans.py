"""Scans of a plan: what pruning left of each, from files to rows."""

from __future__ import annotations

from fusiondelta.account._page_charts import share_bar
from fusiondelta.account._page_html import Element, h
from fusiondelta.account._page_view import View, cut, section
from fusiondelta.account._scans import Funnel, Scan, Step
from fusiondelta.account._units import count, counted, part, seconds, size

#: Scans shown, those that read most first.
SCANS = 40


def scan_list(view: View) -> Element | None:
    """A funnel for each scan of files."""
    if not view.scans:
        return None
    ordered = sorted(view.scans, key=lambda scan: -(scan.read("bytes_scanned") or 0.0))
    left = len(ordered) - SCANS
    return section(
        "scans",
        "Pruning",
        h(
            "p",
            "What each scan had to choose from, and what was left after each step.",
            f" The {counted(left, 'scan')} that read least are left out." if left > 0 else None,
            cls="quiet",
        ),
        h("div", [_scan(view, scan) for scan in ordered[:SCANS]], cls="cards"),
    )


def _scan(view: View, scan: Scan) -> Element:
    source = scan.source
    version = "" if source is None or source.version is None else f" version {source.version}"
    funnels = scan.funnels()
    return h(
        "div",
        h("h3", cut(scan.name, 120), h("span", version, cls="quiet"), view.link(scan.node.id)),
        h("p", h("code", cut(source.uri, 200)), cls="uri")
        if source is not None and source.uri
        else None,
        h("p", "Prunes by ", h("code", cut(scan.predicate, 300)), cls="predicate")
        if scan.predicate
        else h("p", "Nothing to prune by.", cls="predicate"),
        [_funnel(one) for one in funnels] or h("p", "Nothing was measured.", cls="quiet"),
        _costs(scan),
        cls="card",
    )


def _funnel(funnel: Funnel) -> Element:
    whole = funnel.steps[0].value
    write = size if funnel.unit == "bytes" else count
    steps = funnel.steps
    if all(step.value == whole for step in steps):
        steps = (Step("all read" if len(steps) > 1 else steps[0].name, whole),)
    return h(
        "div",
        h("p", funnel.unit.capitalize(), cls="unit"),
        h(
            "ol",
            [
                h(
                    "li",
                    h("span", step.name),
                    share_bar(step.value / whole if whole else 0.0),
                    h("span", write(step.value), cls="n"),
                    h("span", part(step.value / whole) if place and whole else "", cls="n share"),
                )
                for place, step in enumerate(steps)
            ],
        ),
        cls="funnel",
    )


def _costs(scan: Scan) -> Element | None:
    """Requests and caches of a scan, as far as they were measured."""
    said = []
    if (requests := scan.read("io_requests")) is not None:
        waited = scan.read("io_time")
        wait = "" if waited is None else f", {seconds(waited / 1e9)} waiting, added up"
        said.append(f"{counted(requests, 'request')}{wait}")
    hits, misses = scan.read("metadata_cache_hits"), scan.read("metadata_cache_misses")
    if hits is not None or misses is not None:
        asked = (hits or 0.0) + (misses or 0.0)
        said.append(f"{count(hits or 0.0)} of {counted(asked, 'footer')} from the cache")
    return h("p", "; ".join(said), ".", cls="quiet") if said else None
