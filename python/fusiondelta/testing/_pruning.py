"""`assert_pruned`: how much of a table a query may read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fusiondelta.account import PlanNode, PlanTree, RunAccount
from fusiondelta.errors import ConfigurationError, QueryError
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.testing._accounts import Accounted, finished
from fusiondelta.testing._text import columns, size

_TABLE = "DeltaSnapshotExec"
_SCAN = "DataSourceExec"
_OF = ("files", "bytes")
_PREDICATE = re.compile(
    r"(?<!\w)predicate=(.*?)(?:, (?:pruning_predicate|required_guarantees|"
    r"dynamic_rg_pruning|statistics|metrics)=.*)?$"
)


def assert_pruned(
    result: Accounted | RunAccount,
    *,
    table: str,
    at_least: float | None = None,
    files_read: int | None = None,
    row_groups: int | None = None,
    of: str = "files",
) -> None:
    """Hold a query to what it may read of a Delta table.

    A file counts as read once its data was opened. What partition values, the statistics of the
    log, filters that came of a join while it ran, or a LIMIT have spared counts as not read. A
    table that is scanned more than once (a join with itself) counts as often.

    Args:
        result: A result that was read to its end, or its account.
        table: Alias of the table in the query.
        at_least: Share from 0 to 1 that must not have been read.
        files_read: Most files that may have been read.
        row_groups: Most row groups that may have been read.
        of: What the share is of: ``files``, or ``bytes`` (the size of the files that were not
            read, whatever was read of the others).

    Raises:
        AssertionError: More was read; names every limit that was broken, and shows what was left
            after each step.
        ConfigurationError: No limit is given or one that is none, or the query reads no Delta table
            under that alias.
        QueryError: The query was not read to its end, or was not measured.
    """
    __tracebackhide__ = True
    _check(at_least, files_read, row_groups, of)
    account = finished(result)
    key = _key(account, table)
    funnel = Funnel.of(account, key)
    broken = []
    if at_least is not None:
        there, read = funnel.whole(of)
        share = 1 - read / there if there else 1.0
        if share < at_least:
            broken.append(
                f"{share:.1%} of its {of} were not read, at least {at_least:.1%} should not be"
            )
    if files_read is not None and funnel.measured("files_read") > files_read:
        broken.append(f"files read: {funnel.files_read:,}, at most {files_read:,}")
    if row_groups is not None and funnel.measured("row_groups_read") > row_groups:
        broken.append(f"row groups read: {funnel.row_groups_read:,}, at most {row_groups:,}")
    if broken:
        lines = [f"more was read of {table!r} than may be:", *(f"  {line}" for line in broken)]
        raise AssertionError("\n".join([*lines, "", f"{table!r} is {key}", *funnel.lines()]))


def _check(at_least: float | None, files_read: int | None, row_groups: int | None, of: str) -> None:
    if at_least is None and files_read is None and row_groups is None:
        raise ConfigurationError("assert_pruned needs a limit, such as at_least=0.9")
    if at_least is not None and not 0 <= at_least <= 1:
        raise ConfigurationError(f"at_least is a share from 0 to 1, such as 0.9, not {at_least!r}")
    for name, most in (("files_read", files_read), ("row_groups", row_groups)):
        if most is not None and (isinstance(most, bool) or most < 0):
            raise ConfigurationError(f"{name} is a whole number from 0, not {most!r}")
    if of not in _OF:
        raise ConfigurationError(f"of is one of {', '.join(_OF)}, not {of!r}")


def _key(account: RunAccount, alias: str) -> SnapshotKey:
    if alias in account.snapshots:
        return account.snapshots[alias]
    kinds = {source.alias: source.kind for source in account.sources}
    if alias in kinds:
        raise ConfigurationError(
            f"{alias!r} is a source of kind {kinds[alias]}, and only Delta tables say how many of "
            "their files were read; hold the requests instead, with assert_io"
        )
    known = ", ".join(sorted(account.snapshots)) or "none"
    raise ConfigurationError(f"the query reads no Delta table {alias!r}; it reads: {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What was left of a table after each step; None where that was not measured.

    Attributes:
        scans: How often the plan scans it.
        files: Files of the table.
        files_after_partition: Those whose partition values fit.
        files_after_statistics: Those of them whose statistics in the log fit.
        files_read: Those of them whose data was opened.
        bytes: Size of the table's files.
        bytes_after_statistics: Size of those whose statistics fit.
        row_groups: Row groups of the files that were opened.
        row_groups_after_statistics: Those of them whose statistics in the file fit.
        row_groups_read: Those of them that no Bloom filter or join has spared.
        predicates: What the scans filter by.
    """

    scans: int
    files: int | None
    files_after_partition: int | None
    files_after_statistics: int | None
    files_read: int | None
    bytes: int | None
    bytes_after_statistics: int | None
    row_groups: int | None
    row_groups_after_statistics: int | None
    row_groups_read: int | None
    predicates: tuple[str, ...]

    @classmethod
    def of(cls, account: RunAccount, key: SnapshotKey) -> Funnel:
        """Added up over the scans of a table.

        Raises:
            QueryError: The query was not measured, or its plan scans what is none of its tables.
        """
        nodes = _scans(account, key)
        beneath = [_beneath(account.tree, node) for node in nodes]
        readings = [_files(node, scans) for node, scans in zip(nodes, beneath, strict=True)]
        groups = [_row_groups(scan) for scans in beneath for scan in scans]
        found = [_PREDICATE.search(scan.detail) for scans in beneath for scan in scans]
        return cls(
            scans=len(nodes),
            predicates=tuple(one[1] for one in found if one is not None),
            **_sums(_FILES, readings),
            **_sums(_GROUPS, groups),
        )

    def measured(self, name: str) -> int:
        """A number of the funnel.

        Raises:
            QueryError: It was not measured.
        """
        value: int | None = getattr(self, name)
        if value is None:
            raise QueryError(
                f"the scan did not measure its {name.replace('_', ' ')}, so it cannot be held to it"
            )
        return value

    def whole(self, of: str) -> tuple[int, int]:
        """All of the table's files or bytes, and those read."""
        if not self.scans:
            return 0, 0
        if of == "files":
            return self.measured("files"), self.measured("files_read")
        if self.files_read == 0:
            return self.measured("bytes"), 0
        return self.measured("bytes"), self.measured("bytes_after_statistics")

    def lines(self) -> list[str]:
        """The funnel as text."""
        if not self.scans:
            return ["  no scan of it is in the plan"]

        def text(count: int | None) -> str:
            return "?" if count is None else f"{count:,}"

        sizes = (self.bytes, self.bytes_after_statistics)
        there, kept = ("?" if one is None else size(one) for one in sizes)
        rows = [
            ("", "files", "bytes", "row groups"),
            ("there", text(self.files), there, ""),
            ("after partition values", text(self.files_after_partition), "", ""),
            ("after statistics of the log", text(self.files_after_statistics), kept, ""),
            ("opened", text(self.files_read), "", text(self.row_groups)),
            ("after statistics of the file", "", "", text(self.row_groups_after_statistics)),
            ("after Bloom filters and joins", "", "", text(self.row_groups_read)),
        ]
        filters = self.predicates or ("none that the scan could use; partition columns apart",)
        return [*columns(rows), *(f"  predicate: {one}" for one in filters)]


_FILES = (
    "files",
    "files_after_partition",
    "files_after_statistics",
    "files_read",
    "bytes",
    "bytes_after_statistics",
)
_GROUPS = ("row_groups", "row_groups_after_statistics", "row_groups_read")


def _scans(account: RunAccount, key: SnapshotKey) -> list[PlanNode]:
    """Where a plan reads a table; nowhere, where the optimizer has done without."""
    if not len(account.tree):
        raise QueryError(
            f"the query {account.query_id} was not measured: it has no plan of its own"
        )
    found = []
    for node in account.tree:
        if node.operator != _TABLE:
            continue
        if _reads(node, key):
            found.append(node)
        elif not any(_reads(node, other) for other in account.snapshots.values()):
            # Of a table that goes by another name nothing can be said.
            raise QueryError(f"the plan reads what is none of the query's tables: {node.detail}")
    return found


def _reads(node: PlanNode, key: SnapshotKey) -> bool:
    where = f"{_TABLE}: table={key.uri}, version={key.version}"
    return node.detail == where or node.detail.startswith(f"{where},")


def _beneath(tree: PlanTree, node: PlanNode) -> list[PlanNode]:
    below = f"{node.id}."
    return [one for one in tree if one.operator == _SCAN and one.id.startswith(below)]


def _files(node: PlanNode, scans: list[PlanNode]) -> dict[str, int | None]:
    """Of one scan of the table."""

    def total(name: str) -> int | None:
        return int(node.totals[name]) if name in node.totals else None

    kept = total("files_after_statistics")
    return {
        "files": total("files_total"),
        "files_after_partition": total("files_after_partition"),
        "files_after_statistics": kept,
        "files_read": None if kept is None else _opened(kept, scans),
        "bytes": total("bytes_total"),
        "bytes_after_statistics": total("bytes_after_statistics"),
    }


def _opened(kept: int, scans: list[PlanNode]) -> int:
    """Files whose data was opened, of those that the log has left.

    Scans count parts of files; where they counted more than there are files, nothing is known of
    single ones, and all count as read.
    """
    if scans and all("files_opened" in scan.totals for scan in scans):
        kept = min(kept, int(sum(scan.total("files_opened") for scan in scans)))
    name = "files_ranges_pruned_statistics"
    spared = int(sum(scan.total(f"{name}_pruned") for scan in scans))
    taken = int(sum(scan.total(f"{name}_matched") for scan in scans))
    return kept - spared if spared + taken <= kept else kept


def _row_groups(scan: PlanNode) -> dict[str, int | None]:
    """Of one scan of files."""
    name = "row_groups_pruned_statistics"
    if f"{name}_matched" not in scan.totals:
        return dict.fromkeys(_GROUPS)
    left = int(scan.total(f"{name}_matched"))
    later = ("row_groups_pruned_bloom_filter_pruned", "row_groups_pruned_dynamic_filter")
    return {
        "row_groups": left + int(scan.total(f"{name}_pruned")),
        "row_groups_after_statistics": left,
        "row_groups_read": max(left - int(sum(scan.total(one) for one in later)), 0),
    }


def _sums(
    names: tuple[str, ...], readings: list[dict[str, int | None]]
) -> Mapping[str, int | None]:
    sums: dict[str, int | None] = {}
    for name in names:
        values = [one[name] for one in readings]
        known = [value for value in values if value is not None]
        sums[name] = sum(known) if len(known) == len(values) else None
    return sums
