"""Runs one file of SQL logic tests on one session: plain first, then the side under test."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from tests.sqllogic import compare, runners, slt

QUERY_SECONDS = 30
ATTEMPTS = 4  # how often a query that differs is asked again before it counts as different


class Known(TypedDict):
    """A query that is known to differ."""

    file: str
    sql: str
    reason: str


class UnansweredError(Exception):
    """The side that was asked did not answer."""


class FileRun:
    """One file on one session."""

    def __init__(
        self, file: str, lease: runners.Lease, scratch: Path, known: Sequence[Known] = ()
    ) -> None:
        self.file = file
        self.lease = lease
        self.scratch = scratch
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.failures: list[str] = []
        self.met: set[str] = set()
        self.listed = [k for k in known if k["file"] == file]
        self.substitute = False

    def all(self, root: Path) -> None:
        for record in slt.read(root / self.file):
            if record.kind == "halt":
                return
            if record.kind == "substitution":
                self.substitute = record.sql == "on"
                continue
            sql = record.sql
            if self.substitute:
                sql = slt.substituted(sql, {"__TEST_DIR__": str(self.scratch)})
            if record.expected == "error":
                self.counts["not compared: an error is expected"] += 1
                with contextlib.suppress(UnansweredError):
                    if slt.changes_something(sql):
                        self.plain(sql)
            elif slt.changes_something(sql):
                self.counts["not compared: statements"] += record.kind == "statement"
                self.counts["not compared: COPY, DML and DDL as queries"] += record.kind == "query"
                with contextlib.suppress(UnansweredError):
                    self.plain(sql)
            else:
                self.query(sql, record.line)

    def query(self, sql: str, line: int) -> None:
        try:
            want = self.plain(sql)
        except UnansweredError:
            self.counts["not compared: plain does not answer"] += 1
            return
        self.counts["answered by plain"] += 1
        verdict, why = self.judge(sql, want)
        known = next((k for k in self.listed if k["sql"] in sql), None)
        if verdict == "different" and known is not None:
            self.met.add(known["sql"])
            verdict = "listed in known.toml"
        self.counts[verdict] += 1
        if verdict == "different":
            self.failures.append(f"{self.file}:{line}: {why}\n{sql}")

    def judge(self, sql: str, want: pa.Table) -> tuple[str, str]:
        try:
            got = self.other(sql)
        except UnansweredError as error:
            return "different", str(error)
        native = got.execution == "native"
        if not native:
            self.reasons[_short(got.reason)] += 1
        verdict, why = self.compared(sql, want, got.table)
        if verdict != "different":
            self.counts["of them native" if native else "of them refused"] += 1
            # A plain answer without rows shows the logical plan's schema, not the stream's.
            same_schema = want.schema.equals(got.table.schema, check_metadata=True)
            self.counts["nullability or metadata differ"] += want.num_rows > 0 and not same_schema
        return verdict, why

    def compared(self, sql: str, want: pa.Table, got: pa.Table) -> tuple[str, str]:
        if not compare.same_columns(want.schema, got.schema):
            return "different", compare.difference(want, got)
        if slt.is_explain(sql):  # the plan's text depends on where it was made
            return "explain answered", ""
        if compare.same_rows(want, got):
            return "same", ""
        # Rows that no order or seed pins down: the context must agree with itself to count.
        for _ in range(ATTEMPTS):
            with contextlib.suppress(UnansweredError):
                if not compare.same_rows(want, self.plain(sql)):
                    return "unstable: plain disagrees with itself", ""
                if compare.same_rows(want, self.other(sql).table):
                    return "same on repetition", ""
        return "different", compare.difference(want, got)

    def plain(self, sql: str) -> pa.Table:
        return self.answer(lambda: runners.plain(self.lease.ctx.sql(sql))).table

    def other(self, sql: str) -> runners.Answer:
        return self.answer(lambda: self.lease.again(self.lease.ctx.sql(sql), sql))

    def answer(self, ask: Callable[[], runners.Answer]) -> runners.Answer:
        try:
            with time_limit(QUERY_SECONDS):
                return ask()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            raise UnansweredError(f"{type(error).__name__}: {str(error)[:600]}") from error


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stops a query that waits for ever, where the platform can."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        # Someone else's timer (pytest-timeout) goes on where it stood.
        rest = max(left - (time.monotonic() - began), 0.001) if left else 0
        signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _short(reason: str | None) -> str:
    return (reason or "no reason given").splitlines()[0][:120]
