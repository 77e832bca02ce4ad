"""Reads `.slt` files: the format of sqllogictest as DataFusion's runner uses it.

Only what is needed to run the statements and queries is kept; expected rows are read past, since
the yardstick here is what a plain context answers, not the text in the file.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["statement", "query", "halt", "substitution"]
Expected = Literal["ok", "error"]

# What a file's `skipif` and `onlyif` may call this engine.
LABELS = frozenset({"datafusion"})

_SKIPPED_LINES = ("hash-threshold", "subtest", "sleep", "connection", "system")
_SORTMODES = frozenset({"nosort", "rowsort", "valuesort"})
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_CHANGING_TAIL = re.compile(r"\) (insert into|update|delete from)\b|^[^']* into \w+ from\b")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::([^}]*))?\}|(\w+))")

# Statements that change something; everything else that answers is a query to compare.
_CHANGING = frozenset(
    re.findall(
        r"\w+",
        "insert update delete merge copy truncate create drop alter set reset use "
        "prepare deallocate begin start commit rollback",
    )
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One record of a file, ready to run."""

    kind: Kind
    sql: str = ""
    expected: Expected = "ok"
    types: str = ""
    sortmode: str = "nosort"
    label: str = ""
    line: int = 0


class SltSyntaxError(ValueError):
    """A line that this parser does not know."""


def read(path: Path) -> Iterator[Record]:
    """The records of a file, included files in their place."""
    lines = path.read_text(encoding="utf-8").split("\n")
    at = 0
    skip = False
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        word, *rest = line.split()
        start = at
        if word in _SKIPPED_LINES:
            continue
        if word == "halt":
            yield Record(kind="halt", line=start)
            return
        if word in ("skipif", "onlyif"):
            ours = bool(rest) and rest[0].lower() in LABELS
            skip = skip or (ours if word == "skipif" else not ours)
            continue
        if word == "control":
            if rest[:1] == ["substitution"]:
                yield Record(kind="substitution", sql=rest[1], line=start)
            continue
        if word == "include":
            for found in sorted(glob.glob(str(path.parent / line[len("include") :].strip()))):
                yield from read(Path(found))
            continue
        if word not in ("statement", "query"):
            raise SltSyntaxError(f"{path.name}:{start}: {line!r}")

        sql = lines[at : at + 1]  # the first line belongs to the statement even when it is blank
        at += 1
        while at < len(lines) and lines[at] and lines[at] != "----":
            sql.append(lines[at])
            at += 1
        error = bool(rest) and rest[0] == "error"
        if at < len(lines) and lines[at] == "----":
            at = _past_expected(lines, at + 1, two_blank_lines=error)
        if not skip:
            yield _record(word, rest, "\n".join(sql), error, start)
        skip = False


def substituted(sql: str, variables: dict[str, str]) -> str:
    """`$name`, `${name}` and `${name:default}` as `control substitution on` has them."""

    def value(match: re.Match[str]) -> str:
        name: str = match.group(1) or match.group(3)
        default: str | None = match.group(2)
        found = variables.get(name, os.environ.get(name, default))
        return match.group(0) if found is None else found

    return _VARIABLE.sub(value, sql)


def bare(sql: str) -> str:
    """The statement without comments, in lower case, its white space made single blanks."""
    return " ".join(_COMMENT.sub(" ", sql).lower().split())


def is_explain(sql: str) -> bool:
    return bare(sql).startswith("explain")


def changes_something(sql: str) -> bool:
    """DDL, DML, COPY, SET, PREPARE, also beneath EXPLAIN ANALYZE or behind a WITH clause."""
    words = bare(sql).lstrip("( ").split()
    if words[:1] == ["explain"]:
        if "analyze" not in words[:3]:
            return False
        words = [w for w in words[1:5] if w not in ("analyze", "verbose")]
        return bool(words) and words[0] in _CHANGING
    if words[:1] in (["with"], ["select"]):
        return _CHANGING_TAIL.search(bare(sql)) is not None
    return bool(words) and words[0].rstrip(";") in _CHANGING


def _past_expected(lines: Sequence[str], at: int, *, two_blank_lines: bool) -> int:
    # A multi-line error text may hold empty lines: it ends at two of them.
    while at < len(lines):
        if not lines[at] and not (two_blank_lines and at + 1 < len(lines) and lines[at + 1]):
            break
        at += 1
    return at


def _record(word: str, rest: list[str], sql: str, error: bool, line: int) -> Record:
    if word == "statement":
        return Record(kind="statement", sql=sql, expected="error" if error else "ok", line=line)
    if error:
        return Record(kind="query", sql=sql, expected="error", line=line)
    types, *more = rest or [""]
    sortmode = more.pop(0) if more and more[0] in _SORTMODES else "nosort"
    return Record(
        kind="query",
        sql=sql,
        types=types,
        sortmode=sortmode,
        label=more[0] if more else "",
        line=line,
    )
