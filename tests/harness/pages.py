"""Reads a page as a browser does, and holds it to the rules of pages."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from fusiondelta.account._account import RunAccount
from fusiondelta.account._page_html import ATTRIBUTES, TAGS
from fusiondelta.account._profile import QueryProfile
from tests.harness.accounts import RUNS

VOID = {"meta", "input"}
#: Texts of attributes that are this package's own: no text of a run may get into them.
OWN = re.compile(r"[A-Za-z0-9 %.,;:'#=/_+…-]*")
#: Attributes that say something of a run, as text.
SAYING = {"aria-label", "content", "srcdoc"}


@dataclass(repr=False)
class Element:
    """An element that was read.

    Attributes:
        tag: Its name.
        attributes: Values by name.
        children: Elements in it.
        parts: Text and elements in it, in order.
    """

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    parts: list[str | Element] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.tag} {self.attributes}: {self.text[:200]}>"

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, tag: str = "", cls: str = "", place: str = "") -> list[Element]:
        """Elements beneath it with a name, a class, an id."""
        found = []
        for child in self.children:
            if (
                tag in ("", child.tag)
                and (not cls or cls in child.classes)
                and place in ("", child.attributes.get("id"))
            ):
                found.append(child)
            found += child.all(tag, cls, place)
        return found

    def one(self, tag: str = "", cls: str = "", place: str = "") -> Element:
        """The only one of these."""
        (found,) = self.all(tag, cls, place)
        return found

    @property
    def text(self) -> str:
        """Its text with that of all beneath it."""
        return "".join(one if isinstance(one, str) else one.text for one in self.parts)

    def cells(self) -> list[list[str]]:
        """Texts of a table beneath it, by row."""
        return [
            [cell.text for cell in row.children]
            for body in self.all("tbody")
            for row in body.children
        ]


class _Reader(HTMLParser):
    """Fails where tags do not close in the order they were opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.top = Element("", {})
        self.stack = [self.top]
        self.declarations: list[str] = []
        self.deepest = 0

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        self.stack[-1].parts.append(element)
        if tag not in VOID:
            self.stack.append(element)
        self.deepest = max(self.deepest, len(self.stack))

    def handle_startendtag(self, tag, attrs):
        raise AssertionError(f"<{tag}/> closes itself")

    def handle_endtag(self, tag):
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data):
        self.stack[-1].parts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data[:80]}")

    def handle_pi(self, data):
        raise AssertionError(f"an instruction: {data[:80]}")

    def unknown_decl(self, data):
        raise AssertionError(f"a declaration: {data[:80]}")

    def handle_decl(self, decl):
        self.declarations.append(decl)


def read(text: str) -> Element:
    """The html element of a page that is well formed.

    Raises:
        AssertionError: It is not; the message names the place.
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.declarations == ["DOCTYPE html"]
    assert [one.tag for one in reader.stack] == [""], "something is left open"
    assert reader.deepest < 400, "browsers stop at 512 elements within each other"
    (html,) = reader.top.children
    return html


def shape(element: Element, level: int = 0) -> list[str]:
    """Tags and names of attributes, a line each, without any text."""
    lines = [f"{level} {element.tag} {' '.join(sorted(element.attributes))}"]
    for child in element.children:
        lines += shape(child, level + 1)
    return lines


@functools.cache
def html(name: str) -> str:
    """The page of one of `RUNS`."""
    return QueryProfile(RUNS[name]()).to_html()


@functools.cache
def shown(name: str) -> Element:
    """The page of one of `RUNS`, read."""
    return read(html(name))


def page(run: RunAccount) -> Element:
    """The page of a run, read."""
    return read(QueryProfile(run).to_html())


def broken(text: str) -> list[str]:
    """What breaks the rules of pages, a line each."""
    whole = read(text)
    wrong = []
    for one in [whole, *whole.all()]:
        if one.tag not in TAGS | {"script", "style", "html", "head"}:
            wrong.append(f"element {one.tag}")
        for name, value in one.attributes.items():
            if name not in ATTRIBUTES | {"lang"} or name.startswith("on") or name == "style":
                wrong.append(f"attribute {name} of {one.tag}")
            if name not in SAYING and not OWN.fullmatch(value):
                wrong.append(f"{name} of {one.tag} is {value[:80]!r}")
            if name == "href" and not re.fullmatch(r"#[a-z]+(-[0-9]+)?", value):
                wrong.append(f"a link to {value[:80]!r}")
            if name in ("id", "class") and not re.fullmatch(r"[a-zA-Z0-9 -]+", value):
                wrong.append(f"{name} {value[:80]!r}")
    identifiers = [one.attributes["id"] for one in whole.all() if "id" in one.attributes]
    if len(set(identifiers)) != len(identifiers):
        wrong.append("an id twice")
    targets = {one.attributes["href"] for one in whole.all("a")}
    wrong += [f"{one} leads nowhere" for one in targets if one[1:] not in identifiers]
    return wrong + _policy(whole)


def _policy(page: Element) -> list[str]:
    """What is wrong with the page's security policy, its scripts and its styles."""
    policies = [
        one.attributes["content"]
        for one in page.all("meta")
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    if len(policies) != 1:
        return ["not one security policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policies[0].split(";"))
    wanted = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    wrong = [f"{name} is {rules.get(name)}" for name in wanted if rules.get(name) != wanted[name]]
    for tag in ("script", "style"):
        (one,) = page.all(tag)
        digest = base64.b64encode(hashlib.sha256(one.text.encode()).digest()).decode()
        if rules.get(f"{tag}-src") != f"'sha256-{digest}'":
            wrong.append(f"{tag}-src is not the hash of the {tag}")
        if re.search(r"https?:|//[a-z]|@import|url\(|expression\(", one.text):
            wrong.append(f"the {tag} names something outside")
        if re.search(r"(inner|outer)HTML|insertAdjacent|\.write|eval|Function\(", one.text):
            wrong.append(f"the {tag} makes markup or code of text")
    if set(rules) != {*wanted, "script-src", "style-src"}:
        wrong.append(f"more rules: {sorted(rules)}")
    return wrong
