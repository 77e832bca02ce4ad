"""Ways around a plan tree: what is above and below an operator, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fusiondelta.account._nodes import PlanNode, PlanTree, Skew

#: Metrics that say how much memory an operator held. Operators have one or the other.
_MEMORY = ("peak_mem_used", "build_mem_used", "mem_used", "stream_memory_usage")

#: Operators that hand on what they get, and need not count it.
_HAND_ON = frozenset({"CooperativeExec", "DeltaSnapshotExec", "OutputRequirementExec"})

#: Metrics that say how long an operator computed. Scans measure their decoding apart.
_WORK = ("elapsed_compute", "time_elapsed_processing")


def work_metric(node: PlanNode) -> str:
    """Name of the metric that says how long an operator computed."""
    return max(_WORK, key=node.total)


def is_timed(node: PlanNode) -> bool:
    """Whether an operator says how long it computed."""
    return any(name in node.totals for name in _WORK)


def memory_bytes(node: PlanNode) -> int | None:
    """Most memory that an operator held; None where it does not say."""
    known = [node.totals[name] for name in _MEMORY if name in node.totals]
    return int(max(known)) if known else None


def output_skew(node: PlanNode) -> Skew | None:
    """How unevenly the time of an operator lies over partitions, else its rows."""
    return node.skew(work_metric(node)) or node.skew("output_rows")


@dataclass(frozen=True, slots=True)
class Ways:
    """A tree with an index.

    An operator whose parent is not in the tree stands beside the root, so that nothing is lost.

    Attributes:
        tree: The operators.
    """

    tree: PlanTree
    _number: dict[str, int] = field(init=False, repr=False)
    _children: dict[str, list[PlanNode]] = field(init=False, repr=False)
    _tops: list[PlanNode] = field(init=False, repr=False)
    _seconds: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        nodes = self.tree.nodes
        number = {node.id: place for place, node in enumerate(nodes)}
        children: dict[str, list[PlanNode]] = {}
        tops: list[PlanNode] = []
        for place, node in enumerate(nodes):
            # Operators come before those below them; anything else would go round in a circle.
            if node.parent is not None and number.get(node.parent, place) < place:
                children.setdefault(node.parent, []).append(node)
            else:
                tops.append(node)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_children", children)
        object.__setattr__(self, "_tops", tops)
        object.__setattr__(self, "_seconds", sum(one.seconds for one in nodes))

    @property
    def tops(self) -> tuple[PlanNode, ...]:
        """Operators that nothing is above of: one, of a plan that is whole."""
        return tuple(self._tops)

    @property
    def seconds(self) -> float:
        """Time that all operators computed."""
        return self._seconds

    def number(self, node_id: str) -> int | None:
        """Place of an operator in the tree; None where it is not there."""
        return self._number.get(node_id)

    def children(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """Operators right below another."""
        return tuple(self._children.get(node.id, ()))

    def parent(self, node: PlanNode) -> PlanNode | None:
        """The operator right above."""
        place = None if node.parent is None else self._number.get(node.parent)
        own = self._number[node.id]
        return None if place is None or place >= own else self.tree.nodes[place]

    def below(self, node: PlanNode) -> Iterator[PlanNode]:
        """All operators below another, depth first."""
        left = list(reversed(self.children(node)))
        while left:
            one = left.pop()
            yield one
            left.extend(reversed(self.children(one)))

    def share(self, node: PlanNode) -> float:
        """Part of the computing time that an operator took, from 0 to 1."""
        return node.seconds / self._seconds if self._seconds else 0.0

    def rows_out(self, node: PlanNode) -> int | None:
        """Rows that an operator gave; where it counts none, those that it hands on as they are."""
        here = node
        while here.rows is None and here.operator in _HAND_ON:
            below = self.children(here)
            if len(below) != 1:
                return None
            (here,) = below
        return here.rows

    def rows_in(self, node: PlanNode) -> int | None:
        """Rows that the operators right below gave; None where nothing is below or known."""
        known = [self.rows_out(child) for child in self.children(node)]
        counted = [rows for rows in known if rows is not None]
        return sum(counted) if counted else None
