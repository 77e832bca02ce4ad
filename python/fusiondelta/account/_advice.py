"""Problems of a run that have a name, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fusiondelta.account import _advice_run as of_run
from fusiondelta.account import _advice_scans as of_scans
from fusiondelta.account._account import RunAccount
from fusiondelta.account._nodes import PlanNode, Skew
from fusiondelta.account._problem import SEVERITIES, Problem, Severity, severity_of
from fusiondelta.account._units import count, counted, part, seconds, size, times
from fusiondelta.account._ways import Ways, work_metric

__all__ = ["Problem", "Severity", "problems"]

#: A join that multiplies rows tenfold is rarely meant: a key that was thought unique is not.
EXPLOSION = 10
#: Joins give this many rows in some ten milliseconds; fewer are nobody's trouble.
EXPLOSION_ROWS = 1_000_000

#: Less than this is written and read again from the page cache within milliseconds.
SPILL_BYTES = 16 * 2**20
#: So much spill takes longer than the work on it, on most disks.
SPILL_MUCH = 2**30

#: The slowest partition against the middle one: below this, uneven work evens out by itself.
SKEW = 3.0
#: Seconds in the slowest partition: below this the query would hardly end sooner.
SKEW_SECONDS = 0.5
#: Part of the execution that the slowest partition takes: below this others hold the query up.
SKEW_SHARE = 0.2
#: Named at most; the rest is most often what these cause.
SKEW_NAMED = 3

_Finder = Callable[[RunAccount, Ways], Iterator[Problem]]


def problems(account: RunAccount) -> tuple[Problem, ...]:
    """What made a run slower or dearer than it had to be, the worst first.

    Small queries have none, whatever their numbers are to each other: every threshold has a floor.
    What was not measured is not a problem.

    Args:
        account: The run, finished or not.
    """
    ways = Ways(account.tree)
    found = [problem for finder in _FINDERS for problem in finder(account, ways)]
    return tuple(sorted(found, key=lambda problem: SEVERITIES.index(problem.severity)))


def _row_explosion(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    for node in ways.tree:
        if "Join" not in node.operator or node.rows is None or node.rows < EXPLOSION_ROWS:
            continue
        known = [ways.rows_out(child) for child in ways.children(node)]
        sides = [rows for rows in known if rows is not None]
        if len(sides) < 2 or node.rows < EXPLOSION * max(*sides, 1):
            continue
        factor = node.rows / max(*sides, 1)
        given = " and ".join(count(rows) for rows in sides)
        without_keys = node.operator in ("CrossJoinExec", "NestedLoopJoinExec")
        yield Problem(
            "row_explosion",
            node.id,
            "high" if factor >= EXPLOSION**2 else severity_of(node.seconds, ways.seconds),
            f"{node.operator} made {counted(node.rows, 'row')} of {given}: "
            f"{times(factor)} the larger side.",
            "The join compares no column for equality, so every row meets every other: add an "
            "equality to its condition, or make one side small first."
            if without_keys
            else "The join keys are not unique on either side: join on all columns of the key, "
            "remove duplicates or aggregate before the join, or use EXISTS where no column of the "
            "other side is needed.",
        )


def _spill(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    for node in ways.tree:
        spilled = node.total("spilled_bytes")
        if spilled < SPILL_BYTES:
            continue
        files = node.totals.get("spill_count")
        into = f" in {counted(files, 'file')}" if files else ""
        yield Problem(
            "spill",
            node.id,
            "high" if spilled >= SPILL_MUCH else severity_of(node.seconds, ways.seconds),
            f"{node.operator} wrote {size(spilled)} to disk{into}, for want of memory.",
            "Give the query more memory (EngineProfile.memory_limit, or fewer queries at once with "
            "pool_size), or give the operator less to hold: select fewer columns, filter earlier, "
            "sort with a LIMIT. spill_dir on a fast disk makes it cheaper.",
        )


def _skew(account: RunAccount, ways: Ways) -> Iterator[Problem]:
    uneven: dict[str, Skew] = {}
    starts: list[PlanNode] = []
    for node in reversed(ways.tree.nodes):
        skew = _uneven(node, account.execution_seconds)
        if skew is None:
            continue
        uneven[node.id] = skew
        # An operator above uneven ones is uneven because of them.
        if not any(child.id in uneven for child in ways.children(node)):
            starts.append(node)
    for node in sorted(starts, key=lambda one: -uneven[one.id].greatest)[:SKEW_NAMED]:
        skew = uneven[node.id]
        longest = skew.greatest / 1e9
        whole = account.execution_seconds
        against = (
            f"{times(skew.ratio)} the middle one" if skew.median else "most others had nothing"
        )
        yield Problem(
            "skew",
            node.id,
            severity_of(longest, whole),
            f"One of {counted(node.partitions, 'partition')} of {node.operator} computed "
            f"{seconds(longest)} ({against}{_rows_of(node)}); the others waited for it.",
            _skew_advice(node),
        )


def _uneven(node: PlanNode, whole: float) -> Skew | None:
    skew = node.skew(work_metric(node))
    if skew is None or skew.ratio < SKEW:
        return None
    floor = max(SKEW_SECONDS, SKEW_SHARE * whole) * 1e9
    return skew if skew.greatest >= floor else None


def _rows_of(node: PlanNode) -> str:
    rows = node.skew("output_rows")
    whole = node.total("output_rows")
    if rows is None or not whole:
        return ""
    return f", {part(rows.greatest / whole)} of the rows"


def _skew_advice(node: PlanNode) -> str:
    if node.operator == "DataSourceExec":
        return (
            "Files or row groups are of very different size: rewrite them with engine.optimize(), "
            "or let large files be read in parts (datafusion.optimizer.repartition_file_min_size)."
        )
    if "Join" in node.operator or "Aggregate" in node.operator or "Window" in node.operator:
        return (
            "A few values of the keys have most of the rows (often NULL or a default): filter them "
            "out first, handle them apart, or add a column to the key. A join whose other side is "
            "small need not divide rows by key: see "
            "datafusion.optimizer.hash_join_single_partition_threshold."
        )
    return (
        "Rows reach its partitions unevenly: look at the operators below it for the key they are "
        "divided by, or for files of very different size."
    )


_FINDERS: tuple[_Finder, ...] = (
    _row_explosion,
    _spill,
    of_scans.scan_prunes_nothing,
    of_scans.rows_read_in_vain,
    of_scans.small_files,
    _skew,
    of_run.memory_near_limit,
    of_run.retries,
    of_run.waited_for_context,
    of_run.small_files_written,
    of_run.cold_cache,
)
