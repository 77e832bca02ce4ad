"""`Problem`: something that made a run slower or dearer than it had to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["high", "medium", "low"]

#: Worst first.
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")

#: Part of the time from which a problem is the first to look at…
LARGE_SHARE = 0.3
#: …where it is this much, in seconds: nobody waits for less.
LARGE_SECONDS = 0.5
#: Less than this is worth a line, and no more: only a query that comes often gains by it.
SMALL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Problem:
    """A named problem of a run.

    Attributes:
        name: ``row_explosion``, ``spill``, ``scan_prunes_nothing``, ``rows_read_in_vain``,
            ``small_files``, ``skew``, ``cold_cache``, ``retries``, ``memory_near_limit`` or
            ``waited_for_context``.
        node: Operator that has it, ``0.1.0``; None of the run as a whole.
        severity: ``high``, ``medium`` or ``low``.
        what: What was seen, in numbers.
        advice: What to do.
    """

    name: str
    node: str | None
    severity: Severity
    what: str
    advice: str


def severity_of(concerned: float, whole: float) -> Severity:
    """How bad a problem is, by the time it concerns.

    Args:
        concerned: Seconds of the operators or partitions that have it.
        whole: Seconds of all of them.
    """
    if concerned < SMALL_SECONDS:
        return "low"
    large = concerned >= LARGE_SECONDS and concerned >= LARGE_SHARE * whole
    return "high" if large else "medium"
