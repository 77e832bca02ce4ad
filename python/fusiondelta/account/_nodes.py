"""The operators of a plan with what they measured, as a tree of plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


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
    def of(cls, metrics: pa.Table, nodes: pa.Table) -> PlanTree:
        """A tree of the metrics table and the table of operators.

        Args:
            metrics: As `QueryResult.metrics` gives it.
            nodes: Columns node_id, parent_id, operator, detail (string), partitions (int64).
        """
        totals: dict[str, dict[str, float]] = {}
        parts: dict[str, dict[str, dict[int, float]]] = {}
        units: dict[str, dict[str, str]] = {}
        columns = ("node_id", "partition", "metric_name", "metric_value", "unit")
        for node, partition, name, value, unit in zip(
            *(metrics[column].to_pylist() for column in columns), strict=True
        ):
            units.setdefault(node, {})[name] = unit
            if partition is None:
                totals.setdefault(node, {})[name] = value
            else:
                by_name = parts.setdefault(node, {}).setdefault(name, {})
                # A partition may measure something several times: files apart, each of its parts.
                known = by_name.get(partition)
                by_name[partition] = value if known is None else _joined(name, known, value)
        return cls(
            tuple(
                PlanNode(
                    id=row["node_id"],
                    parent=row["parent_id"],
                    operator=row["operator"],
                    detail=row["detail"],
                    partitions=row["partitions"],
                    totals=totals.get(row["node_id"], {}),
                    by_partition=parts.get(row["node_id"], {}),
                    units=units.get(row["node_id"], {}),
                )
                for row in nodes.to_pylist()
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


def _joined(name: str, one: float, other: float) -> float:
    """Two values that one partition has of a metric, as one."""
    if name == "start_timestamp":
        return min(one, other)
    if name == "end_timestamp":
        return max(one, other)
    return one + other
