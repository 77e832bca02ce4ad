"""What a query may read, checked once it is planned and before it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusiondelta.errors import ConfigurationError, ScanLimitError
from fusiondelta.profiles._sizes import parse_bytes
from fusiondelta.queries._spec import QuerySpec
from fusiondelta.snapshots import SnapshotKey

if TYPE_CHECKING:
    from fusiondelta._native import NativeQuery


def check_scans(spec: QuerySpec, native: NativeQuery, snapshots: Mapping[str, SnapshotKey]) -> None:
    """Refuse a plan that would read more than its limits.

    What counts is what the plan holds: files that partition values and statistics have left. What
    is left out while it runs (row groups, pages, dynamic filters) comes on top.

    Args:
        spec: The query, with ``max_scan_bytes`` and ``expect_pruning``.
        native: Its plan.
        snapshots: Delta tables by alias.

    Raises:
        ScanLimitError: It would; the message says what, and by how much.
        ConfigurationError: A limit is none, or names a table that the query has not.
    """
    if spec.max_scan_bytes is None and not spec.expect_pruning:
        return
    wanted = _wanted(spec, snapshots)
    scans = native.scans()
    if spec.max_scan_bytes is not None:
        most = parse_bytes("max_scan_bytes", spec.max_scan_bytes)
        size = sum(scan[5] for scan in scans)
        if size > most:
            parts = ", ".join(
                f"{table[0] if table else 'files'}: {files:,} files, {read:,} bytes"
                for _, table, _, _, files, read in scans
            )
            raise ScanLimitError(
                f"the query would read up to {size:,} bytes and max_scan_bytes is {most:,} "
                f"({parts}); select less, or raise the limit",
                details={"bytes": str(size), "max_scan_bytes": str(most)},
            )
    for alias, share in wanted.items():
        key = snapshots[alias]
        total = left = 0
        for _, table, files, _, selected, _ in scans:
            if table is not None and table[0].rstrip("/") == key.uri and table[1] == key.version:
                total += files
                left += selected
        pruned = 1 - left / total if total else 1.0
        if pruned < share:
            raise ScanLimitError(
                f"the query would read {left:,} of {total:,} files of {alias!r}, which leaves out "
                f"{pruned:.1%} and not the {share:.1%} of expect_pruning; compare a partition "
                "column, or one with narrow ranges in the files, with values of its own type",
                details={"alias": alias, "files": str(left), "files_total": str(total)},
            )


def _wanted(spec: QuerySpec, snapshots: Mapping[str, SnapshotKey]) -> dict[str, float]:
    wanted = dict(spec.expect_pruning or {})
    for alias, share in wanted.items():
        if alias not in snapshots:
            known = ", ".join(sorted(snapshots)) or "none"
            raise ConfigurationError(
                f"expect_pruning names {alias!r}, and the Delta tables of the query are: {known}"
            )
        if isinstance(share, bool) or not 0 <= share <= 1:
            raise ConfigurationError(
                f"expect_pruning[{alias!r}] is the share of files to leave out, from 0 to 1, not "
                f"{share!r}"
            )
    return wanted
