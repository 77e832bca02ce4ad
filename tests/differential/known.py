"""What is known to fail, so that a run tells what is new; a mended fault leaves the lists."""

from __future__ import annotations

import re

from tests.differential.oracle import Finding

# Features whose faults give wrong rows in many shapes; a run in CI goes without.
WITHOUT: tuple[str, ...] = ()

# Texts of errors, and why.
ERRORS: dict[str, str] = {
    "only support Literal types for field at idx": "a default of lag that is a column",
    "must appear in the GROUP BY clause or be used in an aggregate": "HAVING without groups",
    "Unsupported data type Dictionary": "functions of the length of dictionary-encoded text",
    "would be ambiguous": "unnest, and LATERAL, next to columns of one name",
    "cannot have a grand total": "ROLLUP in a subquery that depends on rows around it",
    "may be others each time": "LIMIT in rows that a subquery depends on",
    "about both sides": "a subquery in ON of an outer join",
    "Additional allocation failed": "many sorts at once in the memory of a test's engine",
    "Unnest should be rewritten": "unnest in DISTINCT ON",
    "Expects PARTITION BY expression to be ordered": "a window whose key turns out to be constant, "
    "with max_passes=1",
    "Multiple recursive references": "a subquery in a recursive query that depends on its rows",
    "must match initial ORDER BY": "DISTINCT ON a merged column that an alias is called like",
    "that has merged": "USING of a column that a RIGHT or FULL JOIN has merged",
}

# What wrong rows look like once they are small: form of the tables, setting, text of the query.
ROWS: tuple[tuple[str, str, str, str], ...] = ()


def is_known(finding: Finding) -> bool:
    """Whether the finding is one of those that are known."""
    case = finding.case
    if any(text in finding.wrong.error for text in ERRORS):
        return True
    seen = (case.form, case.setting, case.query.sql())
    return any(all(map(re.search, patterns, seen)) for *patterns, _ in ROWS)
