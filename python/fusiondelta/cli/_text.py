"""Text that may hold anything, made fit for a terminal and for one line."""

from __future__ import annotations

import re
from typing import Any

import click

#: Control characters can steer a terminal, marks of direction can make text read as another, line
#: separators are line ends to some; a surrogate has no encoding.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: Those of them that JSON itself leaves as they are.
_UNSAFE_IN_JSON = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", ""))


def plain(text: str, keep: str = "") -> str:
    r"""The text with characters that are no text as escapes: ``\x1b``, ``\u202e``.

    Args:
        text: Anything.
        keep: Characters that stay, line ends for one.
    """

    def escaped(match: re.Match[str]) -> str:
        char = match[0]
        return char if char in keep else char.encode("unicode_escape").decode()

    return _UNSAFE.sub(escaped, text)


def plain_json(document: str) -> str:
    """A JSON document that means the same, with escapes alike."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def one_line(text: str) -> str:
    """The text in one line."""
    return plain(" ".join(text.split()))


def say(text: Any) -> None:
    """Print text of several lines on standard output."""
    click.echo(plain(str(text), keep="\n\t"))
