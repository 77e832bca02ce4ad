"""Aligned plain text with a header."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from fusiondelta.cli._json import text_of
from fusiondelta.cli._text import plain


def render_table(
    names: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[bool] | None = None
) -> str:
    """Aligned plain text with a header, one line a row.

    Args:
        names: Of the columns.
        rows: Values; None is shown as NULL.
        right: Which columns are aligned to the right; none unless told.
    """
    if not names:
        return f"({len(rows)} rows without columns)\n"
    right = right or [False] * len(names)
    cells = [[_cell(value) for value in row] for row in rows]
    header = [_cell(name) for name in names]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    lines = [header, ["-" * width for width in widths], *cells]
    return "".join(
        "  ".join(
            _pad(text, width, to_right)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _cell(value: Any) -> str:
    # Line ends would break the table.
    return plain("NULL" if value is None else text_of(value))


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
