"""The page of a profile: one HTML file that needs nothing else and trusts nothing in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from fusiondelta.account._account import RunAccount
from fusiondelta.account._page_facts import environment, sources, write
from fusiondelta.account._page_header import (
    failure,
    header,
    problem_list,
    statement,
    tiles,
    time_split,
)
from fusiondelta.account._page_html import Element, Source, h, render, verbatim
from fusiondelta.account._page_plan import plan
from fusiondelta.account._page_requests import requests
from fusiondelta.account._page_scans import scan_list
from fusiondelta.account._page_timeline import expensive, timeline
from fusiondelta.account._page_view import View, cut

#: Height of a page within a notebook, in pixels; it scrolls by itself.
_FRAME_HEIGHT = "720"


def profile_page(account: RunAccount) -> str:
    """The page of one run."""
    view = View(account)
    sections = [
        statement(view),
        time_split(view),
        plan(view),
        expensive(view),
        scan_list(view),
        requests(view),
        timeline(view),
        write(view),
        sources(view),
        environment(view),
    ]
    first = [tiles(view), failure(view), problem_list(view)]
    title = f"{account.operation} {account.query_id}: {account.kind} profile"
    return document(title, header(view), [*first, *sections])


def document(title: str, top: Element, sections: Iterable[Element | None]) -> str:
    """A whole page.

    Args:
        title: Shown by the browser.
        top: What stands above the links to the sections.
        sections: Parts of the page, each with an id and a heading; None is left out.
    """
    parts = [one for one in sections if one is not None]
    body = h("body", top, _links(parts), h("main", parts))
    style, script = _resource("profile.css"), _resource("profile.js")
    head = [
        h("meta", charset="utf-8"),
        h("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("title", cut(title, 200)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n'
        + "".join(f"{render(one)}\n" for one in head)
        + f"{verbatim('style', style)}\n</head>\n"
        + render(body).removesuffix("</body>")
        + f"{verbatim('script', script)}\n</body>\n</html>\n"
    )


def frame(page: str) -> str:
    """A page within another, a notebook for one: a frame that shares nothing with it."""
    return render(
        h(
            "iframe",
            srcdoc=page,
            sandbox="allow-scripts",
            width="100%",
            height=_FRAME_HEIGHT,
            title="Profile",
        )
    )


def _links(parts: list[Element]) -> Element:
    named = []
    for part in parts:
        place = dict(part.attributes).get("id")
        heading = part.children[0] if part.children else None
        if place and isinstance(heading, Element):
            named.append(h("li", h("a", *heading.children, href=f"#{place}")))
    return h("nav", h("ul", named), aria_label="Sections")


@cache
def _resource(name: str) -> Source:
    return Source((files("fusiondelta.account") / "page" / name).read_text("utf-8"))


def _policy(style: Source, script: Source) -> str:
    """Nothing is loaded, and nothing runs but what this package brings."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(source: Source) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.text.encode()).digest()).decode()}'"
