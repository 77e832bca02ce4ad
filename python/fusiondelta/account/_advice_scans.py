"""Problems of scans: what is read in vain, and in too many pieces."""

from __future__ import annotations

from collections.abc import Iterator

from fusiondelta.account._account import RunAccount
from fusiondelta.account._problem import Problem, severity_of
from fusiondelta.account._scans import Scan, scans
from fusiondelta.account._units import count, counted, part, size
from fusiondelta.account._ways import Ways

#: Rows read: fewer are decoded within some ten milliseconds, pruned or not.
PRUNING_ROWS = 1_000_000
#: Part of the rows that the filter keeps: if it keeps more, most files would be read anyway.
PRUNING_KEPT = 0.05

#: Where something was pruned, only a scan that is still long is worth another order of the rows.
VAIN_ROWS = 10_000_000
#: One row in a hundred is needed: what is read could be many times less.
VAIN_KEPT = 0.01

#: Each file costs a request for its footer and one or more for its columns, tens of milliseconds on
#: an object store; the first hundred overlap well enough.
MANY_FILES = 100
#: Below this a file's requests take longer than its bytes.
SMALL_FILE = 8 * 2**20


def scan_prunes_nothing(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Scans that read all there is although their predicate keeps little of it."""
    for scan in scans(account, ways):
        kept = _kept(scan, PRUNING_ROWS)
        # A filter that the scan does not know cannot prune; it counts where it converts a column.
        casts = scan.casts()
        if kept is None or kept > PRUNING_KEPT or scan.pruned is not False:
            continue
        if not scan.predicate and not casts:
            continue
        yield Problem(
            "scan_prunes_nothing",
            scan.node.id,
            severity_of(_seconds(scan, ways), ways.seconds),
            f"The scan of {scan.name} read all of {counted(scan.rows_read, 'row')}, and its filter "
            f"kept {count(scan.rows_needed)} ({part(kept)}): no file, row group or page was left "
            "out.",
            _pruning_advice(casts),
        )


def rows_read_in_vain(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Scans that prune, or have nothing to prune by, and still read far more than is needed."""
    for scan in scans(account, ways):
        kept = _kept(scan, VAIN_ROWS)
        if kept is None or kept > VAIN_KEPT:
            continue
        if scan.pruned is False and (scan.predicate or scan.casts()):
            continue  # scan_prunes_nothing says it
        yield Problem(
            "rows_read_in_vain",
            scan.node.id,
            severity_of(_seconds(scan, ways), ways.seconds),
            f"The scan of {scan.name} read {counted(scan.rows_read, 'row')} for "
            f"{count(scan.rows_needed)} that its filter kept ({part(kept)}).",
            "Rows that belong together lie in many files: rewrite the table by the columns of the "
            "filter, with engine.optimize(uri, z_order=[…]), or partition it by one with few "
            "values. A filter that calls a function on a column prunes nothing: compare the "
            "column itself.",
        )


def small_files(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    """Scans of many files that are small."""
    for scan in scans(account, ways):
        files, whole = scan.files, scan.file_bytes
        if files is None or whole is None or files < MANY_FILES or whole / files >= SMALL_FILE:
            continue
        delta = scan.node.operator == "DeltaSnapshotExec"
        yield Problem(
            "small_files",
            scan.node.id,
            severity_of(_seconds(scan, ways), ways.seconds),
            f"The scan of {scan.name} reads {counted(files, 'file')} of {size(whole / files)} on "
            "average: most of its time goes into requests.",
            "Put them together with engine.optimize(uri), and write fewer, larger files: larger "
            "batches, a larger target_file_size, a partition_by with fewer values."
            if delta
            else "Put them together into files of 100 MiB or more; a Delta table can be kept that "
            "way with engine.optimize().",
        )


def _kept(scan: Scan, floor: int) -> float | None:
    """Part of the rows read that its filter kept; None where that is unknown or little was read."""
    read, needed = scan.rows_read, scan.rows_needed
    return None if read is None or needed is None or read < floor else needed / read


def _seconds(scan: Scan, ways: Ways) -> float:
    """Computing time of a scan and of the filter above it."""
    nodes = {one.id: one for one in (scan.node, *scan.readers, *ways.below(scan.node))}
    if scan.filter is not None:
        nodes[scan.filter.id] = scan.filter
    return sum(node.seconds for node in nodes.values())


def _pruning_advice(casts: tuple[tuple[str, str], ...]) -> str:
    if casts:
        column, kind = casts[0]
        return (
            f"The filter compares {column} as {kind}, which is not its own type, so the least and "
            f"greatest values of {column} in each file say nothing. Compare it with a value of its "
            "own type: cast the literal or the parameter, not the column."
        )
    return (
        "The values it asks for are spread over all files: rewrite the table by the columns of the "
        "filter, with engine.optimize(uri, z_order=[…]), or partition it by one with few values. "
        "Functions of columns and LIKE with a leading % prune nothing."
    )
