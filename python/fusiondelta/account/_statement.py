"""The text of a query as spans show it: without what may be somebody's data."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Characters of a query that a span shows.
_LONGEST = 16_384
#: Characters of a summary, as the semantic conventions have it.
_LONGEST_SUMMARY = 255

_TOKENS = re.compile(
    r"""
      (?P<comment>  --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<name>     "(?:[^"]|"")*"? | `[^`]*`? )
    | (?P<literal>  (?:e'(?:[^'\\]|\\.|'')*'?)
                  | (?:(?:[nxbr]|u&)?'(?:[^']|'')*'?)
                  | (?:\$(?P<tag>(?:[a-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)) )
    | (?P<value>    \$\w+ )
    | (?P<number>   (?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?\w* )
    | (?P<word>     \w+ )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def shown(sql: str) -> str:
    """A query as ``db.query.text`` shows it, as the semantic conventions have it.

    One with placeholders is shown as it is: values that are somebody's data are not in it. Of any
    other every literal becomes ``?``, and comments go. Either ends with ``…`` where it is too long.
    """
    text = sql if len(sql) <= _LONGEST else sql[:_LONGEST]
    if not any(found.lastgroup == "value" for found in _TOKENS.finditer(text)):
        text = _TOKENS.sub(_without_data, text)
    return text if len(sql) <= _LONGEST else f"{text}…"


def _without_data(found: re.Match[str]) -> str:
    if found["literal"] is not None or found["number"] is not None:
        return "?"
    return " " if found["comment"] is not None else found[0]


def summary(operation: str, collections: Iterable[str]) -> str:
    """``db.query.summary``: what is done to which tables, for grouping."""
    text = " ".join([operation, *collections])
    return text[:_LONGEST_SUMMARY]
