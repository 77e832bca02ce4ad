"""Differences between two plans and between what their operators measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from fusiondelta.account._findings import (
    BYTES_FLOOR,
    OPERATORS_NAMED,
    PRUNING_FILES,
    PRUNING_SHARE,
    SECONDS_FLOOR,
    TIME_RATIO,
    TIME_SHARE,
    TRAFFIC_RATIO,
    Finding,
    Pair,
    moved,
)
from fusiondelta.account._plan_match import Op, joined, pairs, sides_swapped, tree_of
from fusiondelta.account._units import count, counted, part, size
from fusiondelta.account._units import seconds as duration
from fusiondelta.account._wording import clean

_MODE = re.compile(r"\bmode=(\w+)")
_JOIN_TYPE = re.compile(r"\bjoin_type=(\w+)")

#: Most that the share of an operator in the change of time adds to its weight.
_SHARE_MOST = 30.0

Both = Sequence[tuple[Op, Op]]
Matched = Sequence[tuple[Op | None, Op | None]]


def plan_findings(pair: Pair) -> Iterator[Finding]:
    """All of them; nothing where one of the two has no operators."""
    a, b = tree_of(pair.a), tree_of(pair.b)
    if a is None or b is None:
        return
    matched = list(pairs(a, b))
    both = [(x, y) for x, y in matched if x is not None and y is not None]
    for x, y in both:
        yield from _changed_operator(pair, x, y)
    yield from _lone_operators(pair, matched)
    yield from _join_order(pair, both)
    yield from _pruning(pair, both)
    yield from _spill(pair, matched)
    yield from _operator_times(pair, matched)


def _changed_operator(pair: Pair, a: Op, b: Op) -> Iterator[Finding]:
    if a.operator != b.operator:
        kind = "join" if a.is_join and b.is_join else "operator"
        before, after = a.operator, b.operator
        yield Finding(
            kind=kind,
            subject=f"{b.operator}{b.over}",
            before=before,
            after=after,
            effect=f"{clean(after)}{b.over} took the place of {clean(before)}",
            weight=pair.weight(kind),
        )
    else:
        yield from _changed_attribute(pair, a, b, _MODE, "mode")
        if not sides_swapped(a, b):
            yield from _changed_attribute(pair, a, b, _JOIN_TYPE, "type")
    if sides_swapped(a, b):
        yield Finding(
            kind="join_side",
            subject=f"{b.operator}{b.over}",
            before=list(a.build.tables),
            after=list(b.build.tables),
            effect=f"the join builds on the rows{b.build.over} now, and not on those{a.build.over}",
            weight=pair.weight("join_side"),
        )
    if not a.below and not b.below and a.partitions != b.partitions:
        yield Finding(
            kind="partitions",
            subject=f"{b.operator}{b.over}",
            before=a.partitions,
            after=b.partitions,
            effect=f"the scan{b.over} has {counted(b.partitions, 'partition')} "
            f"instead of {count(a.partitions)}",
            weight=pair.weight("partitions", a.partitions - b.partitions),
        )


def _changed_attribute(
    pair: Pair, a: Op, b: Op, pattern: re.Pattern[str], called: str
) -> Iterator[Finding]:
    found = pattern.search(a.detail), pattern.search(b.detail)
    before, after = (one[1] if one else None for one in found)
    kind = "join" if a.is_join and b.is_join else "operator"
    if before != after:
        yield Finding(
            kind=kind,
            subject=f"{b.operator}{b.over}",
            before=before,
            after=after,
            effect=f"the {called} of {clean(b.operator)}{b.over} is {after} instead of {before}",
            weight=pair.weight(kind),
        )


def _lone_operators(pair: Pair, matched: Matched) -> Iterator[Finding]:
    """Operators that only one plan has, those of one name and tables together."""
    groups: dict[tuple[str, str, bool], list[Op]] = {}
    for a, b in matched:
        lone = (a or b) if a is None or b is None else None
        if lone is not None:
            groups.setdefault((lone.operator, lone.over, a is None), []).append(lone)
    for (operator, over, added), ops in groups.items():
        seconds = sum(op.seconds for op in ops)
        took = f", which took {duration(seconds)}" if seconds >= SECONDS_FLOOR else ""
        number = f" ({len(ops)} times)" if len(ops) > 1 else ""
        how = "was added" if added else "is gone"
        yield Finding(
            kind="operator",
            subject=f"{operator}{over}",
            before=None if added else operator,
            after=operator if added else None,
            effect=f"{clean(operator)}{over} {how}{number}{took}",
            weight=pair.weight("operator", (1 if added else -1) * (seconds >= SECONDS_FLOOR)),
        )


def _join_order(pair: Pair, both: Both) -> Iterator[Finding]:
    """The topmost join whose inputs hold other tables than before."""
    for a, b in both:
        if not (a.is_join and b.is_join) or a.tables != b.tables:
            continue
        if {one.tables for one in a.below} != {one.tables for one in b.below}:
            before, after = joined(a), joined(b)
            yield Finding(
                kind="join_order",
                subject=f"{b.operator}{b.over}",
                before=before,
                after=after,
                effect=f"tables are joined in the order {after} instead of {before}",
                weight=pair.weight("join_order"),
            )
            return


def _pruning(pair: Pair, both: Both) -> Iterator[Finding]:
    names = ("files_total", "files_after_statistics")
    for a, b in both:
        if not all(name in op.metrics for name in names for op in (a, b)):
            continue
        before, after = (tuple(int(op.total(name)) for name in names) for op in (a, b))
        shares = [read / all_ if all_ else 0.0 for all_, read in (before, after)]
        if abs(shares[1] - shares[0]) < PRUNING_SHARE or (
            abs(after[1] - before[1]) < PRUNING_FILES
        ):
            continue
        yield Finding(
            kind="pruning",
            subject=f"{b.operator}{b.over}",
            before=before[1],
            after=after[1],
            effect=f"the scan{b.over} read {count(after[1])} of {count(after[0])} files instead of "
            f"{count(before[1])} of {count(before[0])}",
            weight=pair.weight("pruning", shares[1] - shares[0]),
        )


def _spill(pair: Pair, matched: Matched) -> Iterator[Finding]:
    before, after = (_sum(matched, lambda op: op.total("spilled_bytes"), side) for side in (0, 1))
    new = bool(before) != bool(after)
    if not new and not moved(before, after, floor=BYTES_FLOOR, ratio=TRAFFIC_RATIO):
        return
    side = 1 if after >= before else 0
    ops = [op for one in matched if (op := one[side]) is not None]
    most = max(ops, key=lambda op: op.total("spilled_bytes"))
    where = f"{clean(most.operator)}{most.over}"
    if not before:
        effect = f"{where} spilled {size(after)} to disk, which nothing did before"
    elif not after:
        effect = f"nothing spills to disk any more: {where} had spilled {size(before)}"
    else:
        effect = f"{size(after)} were spilled to disk instead of {size(before)}, most by {where}"
    yield Finding(
        kind="spill",
        subject=where,
        before=int(before),
        after=int(after),
        effect=effect,
        weight=pair.weight("spill", after - before, more=0.0 if new else -10.0),
    )


def _sum(matched: Matched, measure: Callable[[Op], float], side: int) -> float:
    return sum(measure(op) for one in matched if (op := one[side]) is not None)


def _operator_times(pair: Pair, matched: Matched) -> Iterator[Finding]:
    """Operators whose time makes up most of the change."""
    way = 1 if pair.shift > 0 else -1
    shifts = [((b.seconds if b else 0.0) - (a.seconds if a else 0.0), a, b) for a, b in matched]
    same_way = [one for one in shifts if one[0] * way > 0]
    whole = sum(abs(one[0]) for one in same_way)
    if not pair.shift or not whole:
        return
    same_way.sort(key=lambda one: -abs(one[0]))
    for shift, a, b in same_way[:OPERATORS_NAMED]:
        share = abs(shift) / whole
        before, after = a.seconds if a else 0.0, b.seconds if b else 0.0
        if a is None or b is None or share < TIME_SHARE:
            continue  # one that only one plan has is told of as such
        if not moved(before, after, floor=SECONDS_FLOOR, ratio=TIME_RATIO):
            continue
        yield Finding(
            kind="operator_time",
            subject=f"{b.operator}{b.over}",
            before=before,
            after=after,
            effect=f"{clean(b.operator)}{b.over} worked {duration(after)} instead of "
            f"{duration(before)}, all partitions together: {part(share)} of the work "
            f"{'added' if way > 0 else 'saved'}{_rows(a, b)}",
            weight=pair.weight("operator_time", shift, more=_SHARE_MOST * share),
        )


def _rows(a: Op, b: Op) -> str:
    before, after = a.total("output_rows"), b.total("output_rows")
    if not moved(before, after, floor=1, ratio=TIME_RATIO):
        return ""
    return f"; it gave {count(after)} rows instead of {count(before)}"
