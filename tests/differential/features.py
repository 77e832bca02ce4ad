"""What queries may hold, by name, so that a run can go without."""

from __future__ import annotations

from collections.abc import Collection

SUBQUERIES = frozenset(
    {
        "scalar_subquery",
        "exists",
        "in_subquery",
        "correlated",
        "subquery_limit",
        "subquery_set_ops",
        "subquery_group",
        "subquery_distinct",
        "subquery_in_on",
        "subquery_in_select",
        "subquery_in_having",
        "subquery_in_windows",
        "nested_subquery",
        "lateral",
    }
)
OTHERS = frozenset(
    {
        # values
        "nan",
        "inf",
        "negative_zero",
        "far_dates",
        "dic",
        "st",
        "l",
        # expressions
        "case",
        "strings",
        "dates",
        "casts",
        "decimals",
        "in_list",
        "like",
        "distinct_from",
        "tuples",
        # sources
        "joins",
        "outer_joins",
        "full_joins",
        "cross_joins",
        "using",
        "natural",
        "non_equality",
        "semi_joins",
        "derived",
        "ctes",
        "recursive",
        "values",
        "unnest",
        # clauses
        "aggregates",
        "filter",
        "distinct_aggregates",
        "ordered_aggregates",
        "having",
        "grouping_sets",
        "windows",
        "frames",
        "ignore_nulls",
        "named_windows",
        "windows_over_groups",
        "qualify",
        "distinct",
        "distinct_on",
        "set_ops",
        "set_ops_all",
        "limit",
        "order",
    }
)
ALL = SUBQUERIES | OTHERS


def chosen(only: Collection[str] = (), without: Collection[str] = ()) -> frozenset[str]:
    """The features that are left; `subqueries` stands for all of them.

    Raises:
        ValueError: There is no such feature.
    """
    kept = _named(only) if only else ALL
    return kept - _named(without)


def _named(names: Collection[str]) -> frozenset[str]:
    found = frozenset(names) - {"subqueries"} | (SUBQUERIES if "subqueries" in names else set())
    if unknown := found - ALL:
        raise ValueError(f"no such features: {sorted(unknown)}; there are {sorted(ALL)}")
    return found
