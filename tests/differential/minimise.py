"""Makes a finding as small as it goes, and prints it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tests.differential.compare import shown
from tests.differential.engines import Answer, Engines, ours
from tests.differential.oracle import Case, Finding, again, is_ordered, literals, texts
from tests.differential.schemas import Database
from tests.differential.tree import reductions

_HEAD = """import datetime, zoneinfo
from decimal import Decimal
from math import inf, nan
import pyarrow as pa, fusiondelta"""
# How often a case is tried.
TRIES = 1500


class _Shrinking:
    """A finding on its way to be smaller."""

    def __init__(self, finding: Finding, engines: Engines, tries: int) -> None:
        self.best = finding
        self._engines = engines
        self._left = tries
        self._kind = _family(finding)

    def holds(self, case: Case) -> bool:
        """Whether the case fails in the same way; it is the best one then."""
        if self._left <= 0:
            return False
        self._left -= 1
        folder = Path(tempfile.mkdtemp(prefix="differential-"))
        try:
            found = again(case, self._engines, folder)
        except Exception:
            # Tables that cannot be written, predicates that are gone.
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if found is None or _family(found) != self._kind:
            return False
        self.best = found
        return True

    def rows(self) -> bool:
        """Without rows, halves first."""
        smaller = False
        for name in self.best.case.database.tables:
            size = max(1, self.best.case.database.tables[name].num_rows // 2)
            while size:
                at = 0
                while at < self.best.case.database.tables[name].num_rows:
                    table = self.best.case.database.tables[name]
                    rest = pa.concat_tables([table.slice(0, at), table.slice(at + size)])
                    if self.holds(self._with(name, rest.combine_chunks())):
                        smaller = True
                    else:
                        at += size
                size //= 2
        return smaller

    def columns(self) -> None:
        """Without columns and tables that are not needed."""
        for name in list(self.best.case.database.tables):
            tables = dict(self.best.case.database.tables)
            del tables[name]
            if tables and not re.search(rf"\b{name}\b", self.best.case.query.sql()):
                self.holds(dataclasses.replace(self.best.case, database=Database(tables)))
                continue
            for column in tables.get(name, self.best.case.database.tables[name]).column_names:
                table = self.best.case.database.tables[name]
                if table.num_columns > 1:
                    self.holds(self._with(name, table.drop_columns([column])))

    def query(self) -> bool:
        """With less of a query, again and again."""
        smaller = False
        while self._step():
            smaller = True
        return smaller

    def _step(self) -> bool:
        text = self.best.case.query.sql()
        for less in self._candidates():
            if len(less.query.sql()) < len(text) and self.holds(less):
                return True
        return False

    def _candidates(self) -> Iterator[Case]:
        case = self.best.case
        seen = set()
        for query in reductions(case.query):
            text = query.sql()
            if text not in seen:
                seen.add(text)
                yield dataclasses.replace(case, query=query)

    def _with(self, name: str, table: pa.Table) -> Case:
        tables = {**self.best.case.database.tables, name: table}
        return dataclasses.replace(self.best.case, database=Database(tables))


def _family(finding: Finding) -> str:
    """What stays the same while a finding is made smaller."""
    kind = re.sub(r" \(.*?\)", "", finding.kind)
    # The parts of messages that name expressions change with them.
    return kind[:60]


def smallest(finding: Finding, engines: Engines, tries: int = TRIES) -> Finding:
    """The finding with fewer rows, columns and clauses."""
    work = _Shrinking(finding, engines, tries)
    work.rows()
    while work.query() and work.rows():
        pass
    work.columns()
    return work.best


def printed(finding: Finding) -> str:
    """The finding as Python that shows it, with what both sides said."""
    case = finding.case
    names = ", ".join(f"{name!r}: {name}" for name in case.database.tables)
    lines = [
        f"# kind: {finding.kind}",
        f"# check: {case.check}; form: {case.form}; setting: {case.setting}",
        _HEAD,
        literals(case.database),
        "for sql in [",
        *(f"    {ours(text)!r}," for text in texts(case)),
        "]:",
        f"    with fusiondelta.FusionDeltaEngine().query(sql, sources={{{names}}}) as result:",
        "        print(result.to_pylist())",
        *(f"# expected: {line}" for line in _said(finding, finding.right).splitlines()),
        *(f"# got: {line}" for line in _said(finding, finding.wrong).splitlines()),
    ]
    return "\n".join(lines)


def _said(finding: Finding, answer: Answer) -> str:
    ordered = is_ordered(finding.case.query)
    return answer.error[:400] if answer.failed else shown(answer.rows, ordered=ordered)
