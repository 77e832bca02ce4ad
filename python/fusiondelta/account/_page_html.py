"""Elements of a page: text is escaped wherever it stands, and only known tags can be made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Elements that pages are made of.
TAGS = frozenset({
    "a", "b", "body", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "h1", "h2",
    "h3", "header", "i", "iframe", "input", "label", "li", "line", "main", "meta", "nav", "ol", "p",
    "pre", "rect", "section", "span", "summary", "svg", "table", "tbody", "td", "text", "th",
    "thead", "title", "tr", "ul",
})  # fmt: skip
_VOID = frozenset({"meta", "input"})
#: Elements that end a line, so that the text of a page can be read and compared.
_LINES = frozenset({"section", "li", "tr", "p", "pre", "details", "h1", "h2", "h3", "summary"})

#: Attributes that they have. None of them runs anything.
ATTRIBUTES = frozenset({
    "aria-hidden", "aria-label", "aria-labelledby", "aria-live", "charset", "class", "content",
    "height", "hidden", "href", "http-equiv", "id", "name", "open", "placeholder", "role",
    "sandbox", "scope", "srcdoc", "tabindex", "text-anchor", "title", "type", "width", "x", "x1",
    "x2", "y", "y1", "y2",
})  # fmt: skip

#: What a reader cannot see, or what turns the order of letters round, so that text looks like other
#: text. Line ends and tabs stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "`": "&#96;"}
)


def visible(text: str) -> str:
    """Text with everything that cannot be seen written as its code, ``⟨U+202E⟩``."""
    if text.isprintable():  # most text is, and nothing of it is unseen
        return text
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))


def escape(text: str) -> str:
    """Text that is text in every place of a page: between tags and within an attribute."""
    return visible(text).translate(_ESCAPES)


@dataclass(frozen=True, slots=True)
class Element:
    """An element with what is in it. Made by `h`."""

    tag: str
    attributes: tuple[tuple[str, str | None], ...]
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Text of a script or a style sheet of this package, which no escape is for.

    Raises:
        ValueError: It could end the element it stands in.
    """

    text: str

    def __post_init__(self) -> None:
        if "</" in self.text or "<!--" in self.text:
            raise ValueError("a script or style sheet must not hold </ or <!--")


Node = Element | str | None


def h(tag: str, *children: Node | Iterable[Node], **attributes: str | bool | None) -> Element:
    """An element.

    Args:
        tag: Its name.
        children: Elements and text; text is escaped. Sequences are spread, None is left out.
        attributes: ``cls`` is ``class``, ``for_`` is ``for``, other underscores are hyphens. True
            is an attribute without value; None and False leave it out.

    Raises:
        ValueError: A tag or attribute that pages do not have, or a link out of the page.
    """
    if tag not in TAGS:
        raise ValueError(f"no element {tag!r} in a page")
    found: list[tuple[str, str | None]] = []
    for given, value in attributes.items():
        if value is None or value is False:
            continue
        name = "class" if given == "cls" else given.replace("_", "-")
        if name not in ATTRIBUTES:
            raise ValueError(f"no attribute {name!r} in a page")
        if name == "href" and not str(value).startswith("#"):
            raise ValueError("links lead to places of the same page")
        found.append((name, None if value is True else str(value)))
    flat: list[Node] = []
    for child in children:
        if child is None or isinstance(child, str | Element):
            flat.append(child)
        else:
            flat.extend(child)
    return Element(tag, tuple(found), tuple(flat))


def render(node: Node) -> str:
    """The text of an element."""
    parts: list[str] = []
    _render(node, parts)
    return "".join(parts)


def verbatim(tag: str, source: Source) -> str:
    """The text of a script or style element."""
    return f"<{tag}>{source.text}</{tag}>"


def _render(node: Node, parts: list[str]) -> None:
    if node is None:
        return
    if isinstance(node, str):
        parts.append(escape(node))
        return
    parts.append(f"<{node.tag}")
    for name, value in node.attributes:
        parts.append(f" {name}" if value is None else f' {name}="{escape(value)}"')
    parts.append(">")
    if node.tag in _VOID:
        return
    for child in node.children:
        _render(child, parts)
    parts.append(f"</{node.tag}>")
    if node.tag in _LINES:
        parts.append("\n")
