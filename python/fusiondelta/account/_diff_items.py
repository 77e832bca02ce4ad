"""Which query or write of one run is which of another."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Item = Mapping[str, Any]


def matched_items(
    before: Sequence[Item], after: Sequence[Item]
) -> Iterator[tuple[int, Item | None, Item | None]]:
    """Items of two runs side by side, matched by their order and what was asked.

    Items between two matches are taken for each other one by one where they are of one kind: the
    same step asked in other words.

    Yields:
        Number of the item (in the second run, or in the first where it is only there), from 1, and
        the two items; None where there is no counterpart.
    """
    matcher = difflib.SequenceMatcher(
        None, [_asked(one) for one in before], [_asked(one) for one in after], autojunk=False
    )
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        left, right = list(range(a, a_end)), list(range(b, b_end))
        while left and right and (tag == "equal" or _like(before[left[0]], after[right[0]])):
            i, j = left.pop(0), right.pop(0)
            yield j + 1, before[i], after[j]
        yield from ((i + 1, before[i], None) for i in left)
        yield from ((j + 1, None, after[j]) for j in right)


def _asked(item: Item) -> tuple[str, str, str]:
    """What an item does: its SQL, or its operation on which table."""
    sql = (item["query"] or {}).get("sql")
    target = next((one["uri"] for one in item["snapshots"] if one["alias"] == "target"), "")
    return item["kind"], item["operation"], " ".join(sql.split()) if sql else target


def _like(before: Item, after: Item) -> bool:
    return bool(before["kind"] == after["kind"] and before["operation"] == after["operation"])
