"""The only translation of what the package `datafusion` raises.

Its errors are `ValueError` while it plans and bare `Exception` while it runs, with the cause as
text alone, so this is a table over texts. Errors of the extension never come here: they are typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from fusiondelta.errors import (
    ErrorKind,
    ExecutionError,
    FusionDeltaError,
    ObjectNotFoundError,
    ParameterError,
    QueryError,
    ReadOnlyViolationError,
    ResourcesExhaustedError,
    SqlError,
)

_TABLE = re.compile(r"table '((?:[^'.]*\.)*)([^']*)' not found", re.IGNORECASE)
_FIELD = re.compile(r"No field named ([^\n]+?)\.(?: Did you mean|\s*\n|\s*Valid fields|$)")
_VALID = re.compile(r"Valid fields are (.*?)\.?$", re.DOTALL | re.MULTILINE)
_FUNCTION = re.compile(r"Invalid function '([^']*)'")
_PLACEHOLDER = re.compile(r"Placeholder '?\$(\w+)'?")
_NOT_ALLOWED = re.compile(r"(DDL|DML|Statement) not supported: (\w+)")


def translate(
    error: BaseException, *, sql: str | None, tables: Iterable[str], dialect: str
) -> FusionDeltaError:
    """The typed error for one of `datafusion`'s.

    Args:
        error: What was raised.
        sql: Text of the query, to find the place in.
        tables: Names that the query could have meant.
        dialect: DataFusion setting ``datafusion.sql_parser.dialect``.
    """
    if isinstance(error, FusionDeltaError):
        return error
    text = _clean(str(error))
    for make in (_unknown_table, _unknown_column, _unknown_function):
        found = make(text, sql, tables, dialect)
        if found is not None:
            return found
    if _PLACEHOLDER.search(text):
        return ParameterError(text)
    refused = _NOT_ALLOWED.search(text)
    if refused:
        return ReadOnlyViolationError(
            f"the statement {refused[2]} changes something and the query is read-only; if that is "
            "meant, pass readonly=False"
        )
    rules: tuple[tuple[str, Callable[[str], FusionDeltaError]], ...] = (
        ("Resources exhausted", ResourcesExhaustedError),
        ("Object Store error: Object at location", ObjectNotFoundError),
        ("ParserError", SqlError),
        ("TokenizerError", SqlError),
        ("Arrow error", ExecutionError),
        ("Execution error", ExecutionError),
        ("Cast error", ExecutionError),
        ("Divide by zero", ExecutionError),
        ("Error during planning", SqlError),
        ("Schema error", SqlError),
        ("This feature is not implemented", SqlError),
    )
    for sign, kind in rules:
        if sign in text:
            return kind(text)
    if isinstance(error, ValueError):
        return QueryError(text)
    return ExecutionError(text)


def _clean(text: str) -> str:
    text = text.split("\n\nbacktrace:")[0].removeprefix("DataFusion error: ")
    # A function called with types it does not take is reported as an internal error with a plea to
    # file a bug, followed by the sentence that helps.
    bug = re.search(
        r"This issue was likely caused by a bug in DataFusion's code.*?issues\.\s*", text
    )
    if bug is not None:
        text = text[bug.end() :] or text[: bug.start()]
    return re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text)


def _at(sql: str | None, name: str, dialect: str) -> tuple[str, dict[str, str]]:
    from fusiondelta._native import locate_identifier

    place = locate_identifier(sql, name, dialect) if sql else None
    if place is None:
        return "", {}
    return f" at line {place[0]}, column {place[1]}", {
        "line": str(place[0]),
        "column": str(place[1]),
    }


def _unknown_table(
    text: str, sql: str | None, tables: Iterable[str], dialect: str
) -> FusionDeltaError | None:
    match = _TABLE.search(text)
    if match is None:
        return None
    name = match[2]
    where, details = _at(sql, name, dialect)
    known = sorted(set(tables))
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    have = f" (the query has {', '.join(known)})" if known else " (the query has no sources)"
    return SqlError(
        f"there is no table {name!r}{where}{hint}{have}",
        details={**details, "table": name, **({"nearest": close[0]} if close else {})},
    )


def _unknown_column(
    text: str, sql: str | None, tables: Iterable[str], dialect: str
) -> FusionDeltaError | None:
    match = _FIELD.search(text)
    if match is None:
        return None
    full = match[1].strip()
    name = full.split(".")[-1].strip('"')
    where, details = _at(sql, name, dialect)
    valid = _VALID.search(text)
    fields = [f.strip() for f in valid[1].split(",")] if valid else []
    bare = {f.split(".")[-1].strip('"'): f for f in fields}
    close = get_close_matches(name.lower(), [b.lower() for b in bare], n=1, cutoff=0.5)
    nearest = next((b for b in bare if close and b.lower() == close[0]), None)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    have = (
        f" (there are {', '.join(fields[:20])}{', …' if len(fields) > 20 else ''})"
        if fields
        else ""
    )
    return SqlError(
        f"there is no column {full!r}{where}{hint}{have}",
        kind=ErrorKind.SQL,
        details={**details, "column_name": name, **({"nearest": nearest} if nearest else {})},
    )


def _unknown_function(
    text: str, sql: str | None, tables: Iterable[str], dialect: str
) -> FusionDeltaError | None:
    match = _FUNCTION.search(text)
    if match is None:
        return None
    where, details = _at(sql, match[1], dialect)
    near = re.search(r"Did you mean '([^']*)'", text)
    hint = f"; did you mean {near[1]!r}?" if near else ""
    return SqlError(
        f"there is no function {match[1]!r}{where}{hint}", details={**details, "function": match[1]}
    )
