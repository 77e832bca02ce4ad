"""The operators of a plan with what they measured, as a tree of plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: An operator as the extension has it: see `PlanTree.of`.
Operator = tuple[str, str, str, int, dict[str, float], dict[str, dict[int, float]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Skew:
    """Least, middle and greatest value of a metric over the partitions of an operator."""

    least: float
    median: float
    greatest: float

    @property
    def ratio(self) -> float:
        """Greatest over median; infinite where the median is zero and the greatest is not."""
        if self.median:
            return self.greatest / self.median
        return float("inf") if self.greatest else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNode:
    """One operator.

    Attributes:
        id: Path from the root, ``0.1.0``.
        parent: The operator above; None at the root.
        operator: Name, ``HashJoinExec`` for one.
        detail: The operator's line in the plan text, without indentation.
        partitions: Partitions of its output.
        totals: Metrics of all partitions together, by name. Times in nanoseconds, sizes in bytes.
        by_partition: Metrics by name, then by partition.
        units: Unit of each metric: ns, bytes, rows, count, ratio.
    """

    id: str
    parent: str | None
    operator: str
    detail: str = ""
    partitions: int = 1
    totals: Mapping[str, float] = field(default_factory=dict)
    by_partition: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def total(self, name: str) -> float:
        """A metric of all partitions together; 0 where it is not measured."""
        return self.totals.get(name, 0.0)

    @property
    def rows(self) -> int | None:
        """Rows it gave; None where that is not measured."""
        return int(self.totals["output_rows"]) if "output_rows" in self.totals else None

    @property
    def seconds(self) -> float:
        """Time it computed, of all its partitions together; of a scan also what decoding took."""
        return max(self.total("elapsed_compute"), self.total("time_elapsed_processing")) / 1e9

    def skew(self, name: str) -> Skew | None:
        """How unevenly a metric is spread over partitions; None where fewer than two have it.

        A partition without a value counts as zero; the operator says how many partitions are.
        """
        values = self.by_partition.get(name)
        count = max(self.partitions, max(values, default=-1) + 1) if values else 0
        if values is None or count < 2:
            return None
        ordered = sorted(values.get(n, 0.0) for n in range(count))
        middle = count // 2
        median = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        return Skew(ordered[0], median, ordered[-1])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without partitions."""
        return {
            "id": self.id,
            "parent": self.parent,
            "operator": self.operator,
            "detail": self.detail,
            "partitions": self.partitions,
            "metrics": dict(self.totals),
        }


@dataclass(frozen=True, slots=True)
class PlanTree:
    """Operators of a plan, each before those below it.

    Attributes:
        nodes: The operators, depth first.
    """

    nodes: tuple[PlanNode, ...]

    @classmethod
    def of(cls, operators: Iterable[Operator]) -> PlanTree:
        """A tree of what the extension says of each operator.

        Args:
            operators: Path, name, detail, partitions, and by the names of its metrics their totals,
                values by partition, and units; each before those below it.
        """
        return cls(
            tuple(
                PlanNode(
                    id=id_,
                    parent=id_.rpartition(".")[0] or None,
                    operator=operator,
                    detail=detail,
                    partitions=partitions,
                    totals=totals,
                    by_partition=by_partition,
                    units=units,
                )
                for id_, operator, detail, partitions, totals, by_partition, units in operators
            )
        )

    def __iter__(self) -> Iterator[PlanNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def root(self) -> PlanNode | None:
        """The operator whose rows are the result; None of a query without a plan to show."""
        return self.nodes[0] if self.nodes else None

    def node(self, node_id: str) -> PlanNode:
        """The operator at a path.

        Raises:
            KeyError: There is none.
        """
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)

    def children(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """Operators right below another."""
        return tuple(one for one in self.nodes if one.parent == node.id)

    @property
    def seconds(self) -> float:
        """Time that all operators computed."""
        return sum(node.seconds for node in self.nodes)

    def share(self, node: PlanNode) -> float:
        """Part of the computing time that an operator took, from 0 to 1."""
        whole = self.seconds
        return node.seconds / whole if whole else 0.0

    def total(self, name: str) -> float:
        """A metric of all operators together."""
        return sum(node.total(name) for node in self.nodes)
