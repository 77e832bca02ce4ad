"""How foreign text and ratios are put into sentences for terminals."""

from __future__ import annotations

import math
from typing import Any

from fusiondelta.account._units import count


def clean(text: object) -> str:
    r"""Text on one line that a terminal shows and does not obey.

    What is no printable character (controls, line ends, marks that turn the direction of writing)
    stands as its escape, ``\x1b`` for one.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
        for one in str(text)
    )


def shortened(text: object, limit: int = 80) -> str:
    """`clean` text with runs of spaces made one, cut after some characters."""
    short = clean(" ".join(str(text).split()))
    return short if len(short) <= limit else f"{short[: limit - 1]}…"


def times(ratio: float) -> str:
    """A ratio as ``3.2 times`` or ``40 times``."""
    if not math.isfinite(ratio):
        return "many times"
    return f"{ratio:.1f} times" if ratio < 9.95 else f"{count(ratio)} times"


def value(given: Any) -> str:
    """A setting or a version in a sentence."""
    return "nothing" if given is None else shortened(given, 60)
