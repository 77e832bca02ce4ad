"""Scans of files in a plan: what each had to read, and what pruning left of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fusiondelta.account._account import RunAccount, SourceAccount
from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._ways import Ways

#: Operators that hand rows on as they are, between a filter and the scan it filters.
_PASS_ON = frozenset(
    {
        "CoalesceBatchesExec",
        "CoalescePartitionsExec",
        "CooperativeExec",
        "DeltaScanExec",
        "DeltaSnapshotExec",
        "ProjectionExec",
        "RepartitionExec",
    }
)

_TABLE = re.compile(r"^DeltaSnapshotExec: table=(?P<uri>.*), version=(?P<version>\d+)")

#: What follows the predicate in the line of a scan.
_PREDICATE = re.compile(
    r"\bpredicate=(?P<text>.*?)"
    r"(?=, pruning_predicate=|, required_guarantees=|, dynamic_rg_pruning=|, statistics=|$)",
    re.S,
)

#: A column that is compared as another type than its own.
_CAST = re.compile(r"CAST\((?P<column>[^()]{1,200}?)@\d+ AS (?P<type>\w+(?:\([^()]{0,60}\))?)\)")

#: Counts of what was left out, by name of the metric.
_PRUNED = (
    "files_ranges_pruned_statistics_pruned",
    "row_groups_pruned_statistics_pruned",
    "row_groups_pruned_bloom_filter_pruned",
    "row_groups_pruned_dynamic_filter",
    "page_index_pages_pruned_pruned",
)


@dataclass(frozen=True, slots=True)
class Step:
    """What was left after one step of pruning.

    Attributes:
        name: What the step was.
        value: Files, row groups, pages, rows or bytes.
    """

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Funnel:
    """Steps of pruning in one unit, the whole first.

    Attributes:
        unit: ``files``, ``bytes``, ``row groups``, ``pages`` or ``rows``.
        steps: At least one.
    """

    unit: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A scan of files.

    Attributes:
        node: The operator: the pinned Delta table, else the one that reads the files.
        readers: Operators that read its files.
        aliases: Names in the SQL of what it reads; empty where that is not known.
        source: What it reads.
        filter: The filter above it, with nothing in between that changes rows.
    """

    node: PlanNode
    readers: tuple[PlanNode, ...]
    aliases: tuple[str, ...] = ()
    source: SourceAccount | None = None
    filter: PlanNode | None = None

    @property
    def name(self) -> str:
        """What to call it: the aliases, else the location, else the operator."""
        if self.aliases:
            return ", ".join(self.aliases)
        found = _TABLE.match(self.node.detail)
        return found["uri"] if found else f"{self.node.operator} {self.node.id}"

    def own(self, name: str) -> float | None:
        """A metric of the operator itself; None where it is not measured."""
        return self.node.totals.get(name)

    def read(self, name: str) -> float | None:
        """A metric of all that read its files together; None where none measured it."""
        known = [reader.totals[name] for reader in self.readers if name in reader.totals]
        return sum(known) if known else None

    @property
    def files(self) -> float | None:
        """Files that the plan reads."""
        found = self.own("files_after_statistics")
        return self.own("files_total") if found is None else found

    @property
    def file_bytes(self) -> float | None:
        """Size of these files, all columns included."""
        found = self.own("bytes_after_statistics")
        return self.own("bytes_total") if found is None else found

    @property
    def rows_read(self) -> float | None:
        """Rows that were decoded, those that a pushed-down filter dropped included."""
        given = self.read("output_rows")
        return None if given is None else given + (self.read("pushdown_rows_pruned") or 0)

    @property
    def rows_needed(self) -> float | None:
        """Rows that passed the filter, in the scan or right above it."""
        if self.filter is not None:
            return self.filter.rows
        return self.read("output_rows") if self.read("pushdown_rows_pruned") else None

    @property
    def predicate(self) -> str:
        """What the scan prunes by; empty where nothing but dynamic filters."""
        for reader in self.readers:
            found = _PREDICATE.search(reader.detail)
            text = found["text"] if found else ""
            if text and not text.startswith("DynamicFilter"):
                return text
        return ""

    @property
    def pruned(self) -> bool | None:
        """Whether anything was left out before it was decoded; None where that is not measured."""
        total, left = self.own("files_total"), self.own("files_after_statistics")
        counts = [found for found in map(self.read, _PRUNED) if found is not None]
        if total is not None and left is not None:
            counts.append(total - left)
        return any(counts) if counts else None

    def casts(self) -> tuple[tuple[str, str], ...]:
        """Columns that its predicate or filter converts, each with the type it is taken as."""
        texts = [self.predicate, self.filter.detail if self.filter else ""]
        return tuple(
            dict.fromkeys((m["column"], m["type"]) for text in texts for m in _CAST.finditer(text))
        )

    def funnels(self) -> tuple[Funnel, ...]:
        """What pruning left, from files to rows; a unit that was not measured is not there."""
        found = (
            ("files", self._files()),
            ("row groups", self._row_groups()),
            ("pages", _pair(self._part("page_index_pages_pruned"), "in them", "after page index")),
            ("rows", self._rows()),
            ("bytes", self._bytes()),
        )
        return tuple(
            Funnel(unit, steps)
            for unit, given in found
            if (steps := tuple(Step(n, v) for n, v in given if v is not None)) and steps[0].value
        )

    def _part(self, name: str) -> tuple[float, float] | None:
        """Whole and rest of a pruning metric."""
        pruned, matched = self.read(f"{name}_pruned"), self.read(f"{name}_matched")
        if pruned is None and matched is None:
            return None
        rest = matched or 0.0
        return (pruned or 0.0) + rest, rest

    def _files(self) -> list[tuple[str, float | None]]:
        planned = self.own("files_after_statistics")
        ranges = self._part("files_ranges_pruned_statistics")
        read = None
        if ranges is not None and self.files is not None:
            whole, rest = ranges
            # Large files are read as several ranges, and then ranges say nothing of files.
            read = self.files if whole == rest else rest if whole == self.files else None
        return [
            ("in all", self.own("files_total")),
            ("after partition values", self.own("files_after_partition")),
            ("after statistics", planned),
            ("read", read),
        ]

    def _row_groups(self) -> list[tuple[str, float | None]]:
        steps = _pair(self._part("row_groups_pruned_statistics"), "in them", "after statistics")
        bloom = self._part("row_groups_pruned_bloom_filter")
        if steps and bloom is not None and bloom[0]:
            steps.append(("after Bloom filters", bloom[1]))
        late = self.read("row_groups_pruned_dynamic_filter")
        if steps and late:
            steps.append(("after dynamic filters", max((steps[-1][1] or 0.0) - late, 0.0)))
        return steps

    def _rows(self) -> list[tuple[str, float | None]]:
        whole = None if self.source is None else self.source.rows
        given, read = self.read("output_rows"), self.rows_read
        return [
            ("in all", None if whole is None else float(whole)),
            ("read", read),
            ("after filter in scan", given if given != read else None),
            ("after filter", None if self.filter is None else self.rows_needed),
        ]

    def _bytes(self) -> list[tuple[str, float | None]]:
        return [
            ("in all", self.own("bytes_total")),
            ("in files left", self.own("bytes_after_statistics")),
            ("read", self.read("bytes_scanned")),
        ]


def _pair(part: tuple[float, float] | None, *names: str) -> list[tuple[str, float | None]]:
    return [] if part is None else list(zip(names, part, strict=True))


def scans(account: RunAccount, ways: Ways) -> tuple[Scan, ...]:
    """The scans of a plan that read files, in the order of the plan.

    Args:
        account: The run.
        ways: Its tree.
    """
    return tuple(_scans(account, ways))


def _scans(account: RunAccount, ways: Ways) -> Iterator[Scan]:
    taken: set[str] = set()
    for node in ways.tree:
        if node.operator == "DeltaSnapshotExec":
            readers = tuple(one for one in ways.below(node) if _reads_files(one))
        elif _reads_files(node) and node.id not in taken:
            readers = (node,)
        else:
            continue
        taken.update(one.id for one in readers)
        known = _sources(account, node)
        yield Scan(
            node=node,
            readers=readers,
            aliases=tuple(one.alias for one in known),
            source=known[0] if known else None,
            filter=_filter(ways, node),
        )


def _reads_files(node: PlanNode) -> bool:
    """Whether an operator reads files; tables in memory have the same name."""
    return node.operator == "DataSourceExec" and (
        "bytes_scanned" in node.totals or "file_groups=" in node.detail
    )


def _sources(account: RunAccount, node: PlanNode) -> list[SourceAccount]:
    found = _TABLE.match(node.detail)
    if found is None:
        # A scan of files does not say which source it is of; one that is alone is known.
        files = [one for one in account.sources if one.kind in ("parquet", "csv", "json")]
        return files if len(files) == 1 else []
    uri, version = found["uri"], int(found["version"])
    return [one for one in account.sources if one.uri == uri and one.version == version]


def _filter(ways: Ways, node: PlanNode) -> PlanNode | None:
    above = ways.parent(node)
    while above is not None:
        if above.operator == "FilterExec":
            return above
        if above.operator not in _PASS_ON or len(ways.children(above)) > 1:
            return None
        above = ways.parent(above)
    return None
