"""The gate: what a query's text is, and which statements it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusiondelta.errors import (
    ConfigurationError,
    QueryError,
    ReadOnlyViolationError,
    SqlError,
)

if TYPE_CHECKING:
    from fusiondelta._native import NativeSql

_RECURSION_LIMIT = "datafusion.sql_parser.recursion_limit"

_DONE_BY = {
    "ddl": "creates, alters or drops something",
    "dml": "changes rows",
    "copy": "writes files",
    "set": "changes a setting",
    "prepared": "prepares or executes a statement that is not looked into",
    "transaction": "is a transaction statement",
}


def parse(text: str, settings: Mapping[str, str]) -> NativeSql:
    """The text of a query, parsed.

    Args:
        text: What is asked.
        settings: DataFusion settings: ``datafusion.sql_parser.dialect`` and ``recursion_limit``,
            ``datafusion.execution.time_zone``.

    Raises:
        SqlError: The text does not parse, or has a clause that the planner would pass over.
    """
    from fusiondelta._native import NativeSql

    limit = settings.get(_RECURSION_LIMIT)
    if limit is not None and not limit.isdecimal():
        raise ConfigurationError(
            f"EngineProfile.options: {_RECURSION_LIMIT} is a number, not {limit!r}"
        )
    try:
        return NativeSql(
            text,
            settings.get("datafusion.sql_parser.dialect", "generic"),
            time_zone=settings.get("datafusion.execution.time_zone"),
            recursion_limit=None if limit is None else int(limit),
        )
    except SqlError as error:
        raise _placed(error, text) from None


def check_statement(sql: NativeSql, *, readonly: bool) -> str:
    """The kind of the one statement of a query.

    Sorted by the syntax tree, so that a statement inside EXPLAIN ANALYZE counts as itself.
    DataFusion's own check of the plan (`SQLOptions`) stands behind this one.

    Args:
        sql: The text, parsed.
        readonly: Whether only queries are let through.

    Raises:
        QueryError: It is not exactly one statement.
        ReadOnlyViolationError: It does more than read.
    """
    kinds = sql.kinds
    if not kinds:
        raise QueryError("the query has no statement")
    if readonly:
        for kind in kinds:
            if kind != "query":
                raise ReadOnlyViolationError(
                    f"the statement {_DONE_BY.get(kind, 'does more than read')} and the query is "
                    "read-only; if that is meant, pass readonly=False",
                    details={"statement": kind},
                )
    if len(kinds) > 1:
        raise QueryError(
            f"the query has {len(kinds)} statements; run them one by one",
            details={"statements": str(len(kinds))},
        )
    return kinds[0]


def _placed(error: SqlError, sql: str) -> SqlError:
    """The error with the place of the end of the text, which the parser does not give."""
    if error.line is not None or not error.message.endswith("found: EOF"):
        return error
    line, column = sql.count("\n") + 1, len(sql) - sql.rfind("\n")
    return SqlError(
        f"{error.message} at Line: {line}, Column: {column}",
        details={**error.details, "line": str(line), "column": str(column)},
    )
