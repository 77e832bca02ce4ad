"""What a comparison of manifests finds, how much that explains, and when it is noise."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fusiondelta.account._units import count
from fusiondelta.account._units import seconds as duration
from fusiondelta.account._wording import clean

#: Seconds by which times have to differ: pools, caches and schedulers move a query by as much.
SECONDS_FLOOR = 0.05
#: Ratio by which times have to differ besides: runs in a row differ by a tenth or two.
TIME_RATIO = 1.25
#: Ratio by which files, bytes and rows have to differ for a table to have grown.
GROWTH_RATIO = 1.1
#: Requests by which counts have to differ: a listing's pages and ranges read in one go vary.
REQUESTS_FLOOR = 8
#: Ratio by which counts of requests, bytes read and spilled have to differ besides.
TRAFFIC_RATIO = 1.25
#: Bytes by which what was read has to differ: about one request's worth.
BYTES_FLOOR = 2**20
#: Retries by which counts have to differ: one now and then is how object stores are.
RETRIES_FLOOR = 2
#: Bytes by which peaks of memory have to differ: a batch for each partition and more.
MEMORY_FLOOR = 64 * 2**20
#: Ratio by which they have to differ besides: peaks depend on which partition comes first.
MEMORY_RATIO = 1.5
#: Share of files read by which pruning has to differ.
PRUNING_SHARE = 0.1
#: Files by which it has to differ besides.
PRUNING_FILES = 2
#: Share of the change in time that an operator or planning has to make up to be named.
TIME_SHARE = 0.2
#: Operators named for their time.
OPERATORS_NAMED = 3
#: Lines of a difference that are kept.
LINES_KEPT = 60
#: Weight from which a finding stands in the verdict, as a cause.
TELLING = 30.0
#: Causes in the verdict.
CAUSES_TOLD = 2

#: How much findings of each kind explain, from what was asked down to what merely differs.
WEIGHTS: Mapping[str, float] = {
    "kind": 120,  # nothing else can be compared
    "status": 110,  # what came of it comes first
    "answer": 100,
    "time": 90,
    "sql": 85,  # another question
    "item": 84,
    "parameter": 80,
    "source": 78,  # asked of something else
    "options": 70,
    "pruning": 68,
    "conflicts": 66,
    "write": 66,
    "spill": 64,
    "join": 62,
    "join_side": 62,
    "join_order": 60,
    "retries": 58,
    "setting": 56,
    "memory_limit": 56,
    "cache": 54,
    "machine": 52,
    "operator": 50,
    "version": 48,
    "partitions": 46,
    "snapshot": 45,  # more where it grew
    "files": 45,
    "plan": 44,
    "requests": 40,
    "bytes_read": 38,
    "bytes_written": 38,
    "planning": 30,  # more by its share of the change in time
    "phase": 30,
    "operator_time": 30,
    "memory": 14,
    "detail": 12,  # a setting, version or fact that hardly matters
}
#: Kinds that say what came of a run; the others say why.
EFFECTS = ("kind", "status", "answer", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not the same.

    Attributes:
        kind: ``status``, ``answer`` and ``time`` say what came of it; ``sql``, ``snapshot``,
            ``setting``, ``join`` and many others say why.
        subject: What it is about: an alias, the name of a setting, an operator.
        before: As it was in the first manifest, as a plain value; None where it was not.
        after: As it is in the second.
        effect: The difference as a clause, without marks that terminals obey.
        weight: How much it explains; only the order matters.
        lines: Lines of text that differ, as a unified diff.
        item: Number of the item in a run, from 1; None outside of runs.
    """

    kind: str
    subject: str
    before: Any
    after: Any
    effect: str
    weight: float
    lines: tuple[str, ...] = ()
    item: int | None = None

    @property
    def is_effect(self) -> bool:
        """Whether it says what came of the run, not why."""
        return self.kind in EFFECTS and (self.item is None or self.kind != "time")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "before": self.before,
            "after": self.after,
            "effect": self.effect,
            "weight": self.weight,
            "lines": list(self.lines),
            "item": self.item,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two manifests that were compared.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the query or write; empty of a run of several.
        status: How it ended.
        seconds: Planning and execution, in seconds.
        rows: Rows of the result, None where there is none.
        same_rows: Whether both have equal digests; None where that cannot be said.
    """

    run_id: str
    query_id: str
    status: str
    seconds: float
    rows: int | None
    same_rows: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDiff:
    """What changed from one manifest, a, to another, b.

    Attributes:
        before: The first one, called a in texts.
        after: The second one, called b.
        findings: What is not the same, what explains most first. Differences that mean nothing (a
            few milliseconds or percent) are not among them.
    """

    before: Side
    after: Side
    findings: tuple[Finding, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs that is worth telling."""
        return not self.findings

    @property
    def effects(self) -> tuple[Finding, ...]:
        """What came of it: another status, another answer, another time."""
        return tuple(one for one in self.findings if one.is_effect)

    @property
    def causes(self) -> tuple[Finding, ...]:
        """What may be why, what explains most first."""
        return tuple(one for one in self.findings if not one.is_effect)

    @property
    def verdict(self) -> str:
        """The difference in one line."""
        if self.equal:
            return f"no difference: {self._alike()}"
        telling = [one.effect for one in self.causes if one.weight >= TELLING]
        causes = "; ".join(telling[:CAUSES_TOLD])
        if not self.effects:
            return f"{self._alike()}; what differs: {causes or self.causes[0].effect}"
        effects = ", and ".join(one.effect for one in self.effects)
        first = self.effects[0].kind
        if first == "kind" or (first == "status" and not causes):
            return effects
        if first == "status":
            return f"{effects}; what differs: {causes}"
        return f"{effects}: {causes or 'nothing that manifests hold explains it'}"

    def _alike(self) -> str:
        a, b = self.before, self.after
        if (a.status, b.status) != ("finished", "finished"):
            ended = {"failed": "both failed", "cancelled": "both were cancelled"}
            return ended.get(b.status, f"both are {b.status}")
        rows = ""
        if b.same_rows:
            rows = ", the same rows"
        elif b.rows is not None:
            rows = f", as many rows ({count(b.rows)})"
        took = f"{duration(a.seconds)}, then {duration(b.seconds)}"
        return f"b took about as long as a ({took}){rows}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "equal": self.equal,
            "verdict": self.verdict,
            "before": _side(self.before),
            "after": _side(self.after),
            "findings": [one.to_dict() for one in self.findings],
        }

    def to_text(self) -> str:
        """Lines for a terminal: the verdict, then each finding with the lines that differ.

        A finding that is alone is said by the verdict already; then its lines follow.
        """
        lines = [self.verdict]
        said = len(self.findings) == 1 and self.findings[0].effect in self.verdict
        if self.findings and not said:
            lines.append("")
        for one in self.findings:
            if not said:
                lines.append(f"  {one.effect}")
            lines.extend(f"      {clean(line)}" for line in one.lines)
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.to_text())}</pre>"


def _side(side: Side) -> dict[str, Any]:
    return {
        "run_id": side.run_id,
        "query_id": side.query_id,
        "status": side.status,
        "seconds": side.seconds,
        "rows": side.rows,
    }


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents, and which way the time between them went.

    Attributes:
        a: The first document.
        b: The second one.
        shift: Seconds that b took more; 0 where that is noise.
        other_rows: Whether b gave other rows.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    shift: float
    other_rows: bool

    def weight(self, kind: str, grew: float = 0.0, *, more: float = 0.0) -> float:
        """How much a finding explains.

        Args:
            kind: Its kind.
            grew: Above 0 where the second did more, below where less, 0 where that has no meaning.
            more: What its measure adds.
        """
        whole = WEIGHTS[kind] + more
        # What went the other way than the time explains nothing of it.
        return whole * 0.3 if grew * self.shift < 0 else whole

    def grown(
        self,
        kind: str,
        subject: str,
        before: float,
        after: float,
        effect: str,
        *,
        more: float = 0.0,
    ) -> Finding:
        """A finding of a number that is another now.

        Args:
            kind: Its kind.
            subject: What was counted.
            before: In the first document.
            after: In the second one.
            effect: The difference as a clause.
            more: What its measure adds to the weight.
        """
        return Finding(
            kind=kind,
            subject=subject,
            before=before,
            after=after,
            effect=effect,
            weight=self.weight(kind, after - before, more=more),
        )

    def share(self, seconds: float) -> float:
        """Part of the change in time that some seconds make up, from 0 to 1."""
        return min(max(seconds / self.shift, 0.0), 1.0) if self.shift else 0.0


def moved(before: float, after: float, *, floor: float, ratio: float) -> bool:
    """Whether two numbers differ by more than noise: by a floor and by a ratio."""
    low, high = sorted((before, after))
    return high - low >= floor and high >= low * ratio


def ratio_of(before: float, after: float) -> float:
    """The greater over the lesser; infinite where that is zero."""
    low, high = sorted((before, after))
    return high / low if low > 0 else float("inf")


def kept(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The first lines of a difference, and how many more there are."""
    if len(lines) <= LINES_KEPT:
        return lines
    return (*lines[:LINES_KEPT], f"… {len(lines) - LINES_KEPT} more lines")
