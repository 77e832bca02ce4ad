"""Many random queries, each put to every oracle."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.differential import forms
from tests.differential.engines import Answer, Duck, Engines
from tests.differential.expressions import expression
from tests.differential.minimise import TRIES, printed, smallest
from tests.differential.oracle import (
    COUNT,
    VARIANT,
    Case,
    Finding,
    against_duck,
    as_variant,
    can_be_parted,
    counted,
    in_parts,
    shape,
    with_predicate,
)
from tests.differential.queries import statement
from tests.differential.schemas import Database, database
from tests.differential.scopes import Making, Scope, column
from tests.differential.settings import DEFAULT, SETTINGS
from tests.differential.tree import Expr, Join, Named, Query, Select, Source

QUERIES = 40  # of one database
# Findings of one kind that are made smaller; more only count.
SAME = 3


@dataclass
class Report:
    """What came of a run."""

    queries: int = 0
    statements: int = 0
    refused: int = 0
    skipped: int = 0
    known: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """The counts."""
        return (
            f"{self.queries} queries, {self.statements} statements, {self.refused} refused, "
            f"{self.skipped} skipped, {self.known} known, {len(self.findings)} findings "
            f"({sum(self.times.values())} times)"
        )


class Campaign:
    """A run: databases one after another, and queries over each."""

    def __init__(
        self,
        seed: int,
        features: frozenset[str],
        *,
        tell: Callable[[str], None] = lambda _: None,
        tries: int = TRIES,
        known: Callable[[Finding], bool] = lambda _: False,
    ) -> None:
        self.report = Report()
        self._seed = seed
        self._features = features
        self._tell = tell
        self._tries = tries
        self._known = known
        self._early: Counter[str] = Counter()

    def run(self, *, statements: int | None = None, seconds: float | None = None) -> Report:
        """Go on until there were so many statements, or so many seconds, or Ctrl-C."""
        end = None if seconds is None else time.monotonic() + seconds
        number = 0
        with contextlib.closing(Engines()) as engines:

            def is_over() -> bool:
                self.report.statements = engines.statements
                late = end is not None and time.monotonic() > end
                return late or (statements is not None and engines.statements >= statements)

            with contextlib.suppress(KeyboardInterrupt):
                while not is_over():
                    rng = random.Random(f"{self._seed}-{number}")
                    number += 1
                    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
                        self._database(rng, engines, Path(folder), is_over)
            self.report.statements = engines.statements
        return self.report

    def _database(
        self, rng: random.Random, engines: Engines, folder: Path, is_over: Callable[[], bool]
    ) -> None:
        data = database(rng, self._features)
        kinds = {name: data.columns(name) for name in data.tables}
        written = {form: forms.written(form, data, folder, engines.get()) for form in forms.FORMS}
        with contextlib.closing(Duck(data)) as duck:
            for _ in range(QUERIES):
                if is_over():
                    return
                query = statement(rng, self._features, kinds)
                self.report.queries += 1
                self._query(rng, Case(data, query), engines, duck, written)

    def _query(
        self,
        rng: random.Random,
        case: Case,
        engines: Engines,
        duck: Duck,
        written: dict[str, dict[str, Any]],
    ) -> None:
        finding, answer = against_duck(case, engines, duck)
        if finding is not None:
            self._found(finding, engines)
        if answer.failed:
            self.report.refused += finding is not None
            self.report.skipped += finding is None
            return
        self._variants(rng, case, answer, engines, written)
        if can_be_parted(case.query):
            if found := counted(dataclasses.replace(case, check=COUNT), engines):
                self._found(found, engines)
            predicate = _predicate(rng, case.query, case.database, self._features)
            if predicate is not None and (found := in_parts(case, predicate, engines)):
                case = with_predicate(case, predicate)
                self._found(dataclasses.replace(found, case=case), engines)

    def _variants(
        self,
        rng: random.Random,
        case: Case,
        answer: Answer,
        engines: Engines,
        written: dict[str, dict[str, Any]],
    ) -> None:
        named = list(SETTINGS)
        plans = [(form, DEFAULT) for form in forms.FORMS[1:]]
        plans += [(rng.choice(forms.FORMS), rng.choice(named)) for _ in range(4)]
        for form, setting in plans:
            variant = dataclasses.replace(case, check=VARIANT, form=form, setting=setting)
            if found := as_variant(variant, answer, written[form], engines):
                self._found(found, engines)
                return

    def _found(self, finding: Finding, engines: Engines) -> None:
        early = f"{finding.kind} {'' if finding.wrong.failed else shape(finding.case.query)}"
        self.report.times[finding.kind] += 1
        if self._known(finding):
            self.report.known += 1
            return
        if self._early[early] or self._early[finding.kind] >= SAME * 10:
            return
        self._early[early] += 1
        self._early[finding.kind] += 1
        before = engines.statements
        small = smallest(finding, engines, self._tries)
        engines.statements = before
        name = small.kind if small.wrong.failed else f"{small.kind}: {shape(small.case.query)}"
        if name in self.report.findings:
            return
        if self._known(small):
            self.report.known += 1
            return
        self.report.findings[name] = small
        self._tell(f"--- finding {len(self.report.findings)}\n{printed(small)}\n")


def _predicate(
    rng: random.Random, query: Query, data: Database, features: frozenset[str]
) -> Expr | None:
    """A condition over the tables of FROM."""
    body = query.body
    if not isinstance(body, Select) or body.source is None:
        return None
    columns = [
        column(named.alias, name, kind)
        for named in _named(body.source)
        if named.table in data.tables
        for name, kind in data.columns(named.table).items()
    ]
    if not columns:
        return None
    making = Making(rng, features, {})
    return expression(making, "bool", Scope(tuple(columns)), 2)


def _named(source: Source) -> list[Named]:
    if isinstance(source, Named):
        return [source]
    if not isinstance(source, Join):
        return []
    if source.kind in ("LEFT SEMI JOIN", "LEFT ANTI JOIN"):
        return _named(source.left)
    return _named(source.left) + _named(source.right)
