"""Subqueries in plans of `datafusion`, which no encoding carries and it rewrites itself."""

from __future__ import annotations

import re

_MARK = "(<subquery>)"

_COLUMN = r'[\w."]+'
_VALUE = rf"(?:{_COLUMN}|\w+\((?:\"[^\"]*\"|[\w.+-]*)\))"
# Conditions of WHERE, where false and NULL are the same. A plan shows no parentheses within NOT
# and CASE: only what has none of these can be told apart at AND.
_PLAIN = re.compile(
    rf"(?:NOT )?EXISTS \(<subquery>\)|{_COLUMN} IN \(<subquery>\)"
    rf"|{_VALUE} (?:=|!=|<|>|<=|>=) {_VALUE}|{_COLUMN} IS (?:NOT )?NULL"
)

# What a subquery may be made of.
_KNOWN = re.compile(
    r"(Projection: |Filter: |TableScan: |SubqueryAlias: |Inner Join: |Cross Join: ?|Subquery:)"
)


def not_carried(shown: str) -> str | None:
    """The first expression with a subquery that `datafusion` may rewrite to other rows.

    It rewrites rightly what stands in WHERE by itself (`EXISTS`, `NOT EXISTS`, `column IN`) over
    filters and inner joins of tables. Its other subqueries lose rows or NULL
    (docs/correctness.md).

    Args:
        shown: The plan as it was built, as `LogicalPlan.display_indent` gives it.
    """
    within: int | None = None
    for line in shown.splitlines():
        operator = line.lstrip(" ")
        depth = len(line) - len(operator)
        if within is not None and depth <= within:
            within = None
        if operator.startswith("Subquery:") and within is None:
            within = depth
        elif within is not None and not _KNOWN.match(operator):
            return f"a subquery with {operator.split(':')[0]}"
        if _MARK in operator and not _is_plain(operator):
            return operator.split(": ", 1)[-1]
    return None


def _is_plain(operator: str) -> bool:
    if not operator.startswith("Filter: "):
        return False
    conditions = operator.removeprefix("Filter: ").split(" AND ")
    return all(_PLAIN.fullmatch(condition) for condition in conditions)
