"""The operators of two plans side by side."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fusiondelta.account._wording import clean, shortened

_SNAPSHOT = re.compile(r"DeltaSnapshotExec: table=(?P<uri>.*), version=(?P<version>[0-9]{1,18})\b")

#: Tables that a name lists before it stops.
_NAMED = 4


@dataclass(slots=True, eq=False)
class Op:
    """One operator of a manifest.

    Attributes:
        operator: Name, ``HashJoinExec`` for one.
        detail: Its line in the plan text.
        partitions: Partitions of its output.
        metrics: What it measured, by name; what is no number is left out.
        below: Operators right below it.
        tables: Names of the tables it reads, through those below it; sorted.
    """

    operator: str
    detail: str
    partitions: int
    metrics: Mapping[str, float]
    below: list[Op] = field(default_factory=list)
    tables: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Time it computed and waited for storage, of all its partitions together."""
        computed = max(self.total("elapsed_compute"), self.total("time_elapsed_processing"))
        return (computed + self.total("io_time")) / 1e9

    def total(self, name: str) -> float:
        """A metric; 0 where it was not measured."""
        return self.metrics.get(name, 0.0)

    @property
    def over(self) -> str:
        """What it works on, as a phrase: `` of orders and lines``; empty where nothing is named."""
        named = [clean(name) for name in dict.fromkeys(self.tables)]
        if not named:
            return ""
        if len(named) > _NAMED:
            named = [*named[:_NAMED], f"{len(named) - _NAMED} more"]
        last = named.pop()
        return f" of {', '.join(named)} and {last}" if named else f" of {last}"

    @property
    def build(self) -> Op:
        """The side of a join that is read first, to its end."""
        return self.below[0]

    @property
    def is_join(self) -> bool:
        """Whether it joins two inputs."""
        return len(self.below) == 2 and "Join" in self.operator

    def within(self) -> Iterator[Op]:
        """It and all operators below it."""
        stack = [self]
        while stack:
            op = stack.pop()
            yield op
            stack.extend(reversed(op.below))


def tree_of(document: Mapping[str, Any]) -> Op | None:
    """The root operator of a manifest; None of one without operators."""
    seen: dict[str, Op] = {}
    root: Op | None = None
    for one in document["operators"]:
        parent = seen.get(one["parent"] or "")
        if one["id"] in seen or (parent is None and root is not None):
            continue  # not below the root
        op = Op(
            operator=one["operator"],
            detail=one["detail"],
            partitions=int(one["partitions"]),
            metrics={k: float(v) for k, v in one["metrics"].items() if v is not None},
        )
        seen[one["id"]] = op
        if parent is None:
            root = op
        else:
            parent.below.append(op)
    for op in reversed(list(seen.values())):
        op.tables = _tables(op, document["sources"])
    for op in seen.values():
        # The scan of a table does not name it; what pins its version, above, does.
        if len(op.below) == 1 and not op.below[0].tables:
            op.below[0].tables = op.tables
    return root


def _tables(op: Op, sources: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tables of an operator whose children know theirs."""
    if found := _SNAPSHOT.search(op.detail):
        aliases = [
            one["alias"]
            for one in sources
            if one["uri"] == found["uri"] and one["version"] == int(found["version"])
        ]
        return (aliases[0] if aliases else found["uri"].rsplit("/", 1)[-1],)
    if op.below:
        return tuple(sorted(name for one in op.below for name in one.tables))
    for one in sources:
        path = one["uri"].partition("://")[2].strip("/")
        if path and one["version"] is None and path in op.detail:
            return (one["alias"],)
    return ()


def pairs(a: Op, b: Op) -> Iterator[tuple[Op | None, Op | None]]:
    """The operators of two plans, each with its counterpart or None.

    Equal plans are matched place by place. Where one has an operator more in a chain, those around
    it are matched all the same; inputs of a join that changed sides are matched by their tables.
    """
    stack: list[tuple[Op | None, Op | None]] = [(a, b)]
    while stack:
        left, right = stack.pop()
        if left is None or right is None:
            lone = left or right
            for op in lone.within() if lone else ():
                yield (op, None) if left else (None, op)
            continue
        chains = _chain(left), _chain(right)
        ends = chains[0].pop(), chains[1].pop()
        if bool(ends[0].below) == bool(ends[1].below):
            yield from _aligned(*chains)
            yield ends
        else:  # one goes on where the other ends
            yield from _aligned([*chains[0], ends[0]], [*chains[1], ends[1]])
        stack.extend(reversed(list(_inputs(*ends))))


def _chain(op: Op) -> list[Op]:
    """Operators down to the first that has no input or several."""
    chain = [op]
    while len(chain[-1].below) == 1:
        chain.append(chain[-1].below[0])
    return chain


def _aligned(a: list[Op], b: list[Op]) -> Iterator[tuple[Op | None, Op | None]]:
    matcher = difflib.SequenceMatcher(
        None, [op.operator for op in a], [op.operator for op in b], autojunk=False
    )
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(a[i:i_end], b[j:j_end], strict=True)
            continue
        yield from ((op, None) for op in a[i:i_end])
        yield from ((None, op) for op in b[j:j_end])


def _inputs(a: Op, b: Op) -> Iterator[tuple[Op | None, Op | None]]:
    """Inputs of two operators: by their tables where these are the same, else by their places."""
    left, right = list(a.below), list(b.below)
    if sides_swapped(a, b):
        right.reverse()
    for n in range(max(len(left), len(right))):
        yield left[n] if n < len(left) else None, right[n] if n < len(right) else None


def sides_swapped(a: Op, b: Op) -> bool:
    """Whether the two inputs of a join changed places."""
    if not (a.is_join and b.is_join):
        return False
    sides = a.below[0].tables, a.below[1].tables
    return sides[0] != sides[1] and (b.below[1].tables, b.below[0].tables) == sides


def joined(op: Op) -> str:
    """In which order tables are joined, as nested parentheses."""
    text: dict[int, str] = {}
    for one in reversed(list(op.within())):
        inner = [text[id(below)] for below in one.below if text[id(below)]]
        if len(inner) > 1:
            text[id(one)] = f"({', '.join(inner)})"
        else:
            text[id(one)] = inner[0] if inner else clean(", ".join(one.tables))
    return shortened(text[id(op)], 200)
