"""Updates and merges in plain Python: SQL text beside a function that means the same.

A function gives None for NULL, and a condition is True, False or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]


@dataclass(frozen=True)
class Sql:
    """A text, and what it gives for a row of the table and one of the source."""

    text: str
    of: Callable[..., Any]

    def __repr__(self) -> str:
        return self.text


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """NULL where an argument is."""
    return lambda *values: None if None in values else function(*values)


add = strict(lambda a, b: a + b)
equal = strict(lambda a, b: a == b)
more = strict(lambda a, b: a > b)


def no(value: bool | None) -> bool | None:
    return None if value is None else not value


def both(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    return no(both(no(a), no(b)))


def first(*values: Any) -> Any:
    return next((one for one in values if one is not None), None)


# Updates

#: Values of columns by name.
VALUES = {
    "k": [
        Sql("n", lambda t: t["n"]),
        Sql("k + 1", lambda t: add(t["k"], 1)),
        Sql("coalesce(k, 4)", lambda t: first(t["k"], 4)),
    ],
    "n": [
        Sql("k", lambda t: t["k"]),
        Sql("n + 1", lambda t: add(t["n"], 1)),
        Sql("NULL", lambda _: None),
        Sql("7", lambda _: 7),
        Sql("coalesce(n, k, 0)", lambda t: first(t["n"], t["k"], 0)),
        Sql("CASE WHEN k > 2 THEN n ELSE k END", lambda t: t["n" if more(t["k"], 2) else "k"]),
        Sql("nullif(n, 1)", lambda t: None if t["n"] == 1 else t["n"]),
        Sql("length(s)", lambda t: None if t["s"] is None else len(t["s"])),
    ],
    "s": [
        Sql("upper(s)", lambda t: t["s"] and t["s"].upper()),
        Sql("s || '!'", lambda t: add(t["s"], "!")),
        Sql("CASE WHEN n IS NULL THEN 'none' END", lambda t: "none" if t["n"] is None else None),
        Sql("coalesce(s, 'it''s')", lambda t: first(t["s"], "it's")),
    ],
}
PREDICATES = [
    Sql("k = 1", lambda t: equal(t["k"], 1)),
    Sql("k > 2", lambda t: more(t["k"], 2)),
    Sql("k > 1.5", lambda t: more(t["k"], 1.5)),
    Sql("NOT (n = 2)", lambda t: no(equal(t["n"], 2))),
    Sql("n IS NULL", lambda t: t["n"] is None),
    Sql("n = NULL", lambda _: None),
    Sql("n IN (1, NULL)", lambda t: True if t["n"] == 1 else None),
    Sql("n NOT IN (1, NULL)", lambda t: False if t["n"] == 1 else None),
    Sql("k <> n", lambda t: no(equal(t["k"], t["n"]))),
    Sql("k IS NOT DISTINCT FROM n", lambda t: t["k"] == t["n"]),
    Sql("k IS DISTINCT FROM n AND s = 'a'", lambda t: both(t["k"] != t["n"], equal(t["s"], "a"))),
    Sql("k + n > 3", lambda t: more(add(t["k"], t["n"]), 3)),
    Sql("s LIKE 'a%'", lambda t: None if t["s"] is None else t["s"].startswith("a")),
    Sql("s = 'b' OR n > 1", lambda t: either(equal(t["s"], "b"), more(t["n"], 1))),
    Sql("n BETWEEN NULL AND 1", lambda t: False if more(t["n"], 1) else None),
    Sql("false", lambda _: False),
]


def assignments(values: Mapping[str, Sequence[Sql]]) -> st.SearchStrategy[dict[str, Sql]]:
    optional = {name: st.sampled_from(list(several)) for name, several in values.items()}
    return st.fixed_dictionaries({}, optional=optional).filter(bool)


def updated(rows: Sequence[Row], updates: Mapping[str, Sql], predicate: Sql | None) -> list[Row]:
    return [
        {**row, **{name: value.of(row) for name, value in updates.items()}}
        if predicate is None or predicate.of(row) is True
        else row
        for row in rows
    ]


# Merges

MATCHES = [
    Sql("target.k = source.k", lambda t, s: equal(t["k"], s["k"])),
    Sql("source.k IS NOT DISTINCT FROM target.k", lambda t, s: t["k"] == s["k"]),
    Sql(
        "target.k = source.k AND target.n > 0",
        lambda t, s: both(equal(t["k"], s["k"]), more(t["n"], 0)),
    ),
    Sql(
        "target.k = source.k AND source.s = 'a'",
        lambda t, s: both(equal(t["k"], s["k"]), equal(s["s"], "a")),
    ),
    Sql(
        "target.k = source.k AND target.s = source.s",
        lambda t, s: both(equal(t["k"], s["k"]), equal(t["s"], s["s"])),
    ),
    Sql("target.k + 1 = source.k", lambda t, s: equal(add(t["k"], 1), s["k"])),
    Sql("false", lambda *_: False),
]
MATCHED_VALUES = {
    "k": [Sql("source.k", lambda _, s: s["k"]), Sql("target.k", lambda t, _: t["k"])],
    "n": [
        Sql("source.n", lambda _, s: s["n"]),
        Sql("target.n + source.n", lambda t, s: add(t["n"], s["n"])),
        Sql("NULL", lambda *_: None),
    ],
    "s": [
        Sql("source.s", lambda _, s: s["s"]),
        Sql("target.s || source.s", lambda t, s: add(t["s"], s["s"])),
    ],
}
MATCHED_WHEN = [
    Sql("source.n > 1", lambda _, s: more(s["n"], 1)),
    Sql("target.n IS NULL", lambda t, _: t["n"] is None),
    Sql("target.s = source.s", lambda t, s: equal(t["s"], s["s"])),
    Sql("source.n = NULL", lambda *_: None),
    Sql("target.n <> source.n", lambda t, s: no(equal(t["n"], s["n"]))),
]
INSERTED_VALUES = {
    "k": [
        Sql("source.k", lambda s: s["k"]),
        Sql("coalesce(source.k, 9)", lambda s: first(s["k"], 9)),
    ],
    "n": [Sql("source.n + 1", lambda s: add(s["n"], 1)), Sql("5", lambda _: 5)],
    "s": [Sql("upper(source.s)", lambda s: s["s"] and s["s"].upper())],
}
INSERTED_WHEN = [
    Sql("source.k IS NULL", lambda s: s["k"] is None),
    Sql("source.n > 0", lambda s: more(s["n"], 0)),
    Sql("source.s IN ('a', NULL)", lambda s: True if s["s"] == "a" else None),
]
KEPT_VALUES = {
    "n": [Sql("target.n + 100", lambda t: add(t["n"], 100)), Sql("target.k", lambda t: t["k"])],
    "s": [Sql("NULL", lambda _: None), Sql("'old'", lambda _: "old")],
}
KEPT_WHEN = [
    Sql("target.n > 1", lambda t: more(t["n"], 1)),
    Sql("target.k IS NULL", lambda t: t["k"] is None),
    Sql("NOT (target.s = 'a')", lambda t: no(equal(t["s"], "a"))),
]
ALL = "all"


@dataclass(frozen=True)
class Clause:
    """A clause: of which rows, what is done, and when; without values rows are deleted."""

    rows: str
    values: dict[str, Sql] | str | None
    when: Sql | None

    def put(self, merge: Any) -> Any:
        when = self.when and self.when.text
        verb = "insert" if self.rows == "not_matched" else "update"
        if self.values is None:
            return getattr(merge, f"when_{self.rows}_delete")(when)
        if self.values == ALL:
            return getattr(merge, f"when_{self.rows}_{verb}_all")(when)
        values = {name: value.text for name, value in self.values.items()}
        return getattr(merge, f"when_{self.rows}_{verb}")(values, when)

    def chooses(self, *rows: Row) -> bool:
        return self.when is None or self.when.of(*rows) is True


def _of(
    rows: str, values: Mapping[str, Sequence[Sql]], when: Sequence[Sql], others: Sequence[Any]
) -> st.SearchStrategy[list[Clause]]:
    """Clauses of one kind; only the last of them may do without a condition."""
    done = assignments(values) | st.sampled_from(list(others))
    conditional = st.lists(
        st.builds(Clause, st.just(rows), done, st.sampled_from(when)), max_size=2
    )
    last = st.none() | st.builds(Clause, st.just(rows), done, st.none())
    return st.builds(lambda some, one: [*some, one] if one else some, conditional, last)


def clauses() -> st.SearchStrategy[list[Clause]]:
    return (
        st.tuples(
            _of("matched", MATCHED_VALUES, MATCHED_WHEN, [ALL, None]),
            _of("not_matched", INSERTED_VALUES, INSERTED_WHEN, [ALL]),
            _of("not_matched_by_source", KEPT_VALUES, KEPT_WHEN, [None]),
        )
        .map(lambda kinds: [clause for kind in kinds for clause in kind])
        .filter(bool)
    )


#: Two rows of the source change one of the table; or it is a matter of taste whether they do.
REFUSED, EITHER = object(), object()


def merged(
    table: Sequence[Row], source: Sequence[Row], on: Sql, clauses: Sequence[Clause]
) -> list[Row] | object:
    """The rows afterwards, or what there is instead."""
    matched = [clause for clause in clauses if clause.rows == "matched"]
    kept = [clause for clause in clauses if clause.rows == "not_matched_by_source"]
    inserted = [clause for clause in clauses if clause.rows == "not_matched"]
    rows: list[Row] = []
    taste = False
    for row in table:
        partners = [one for one in source if on.of(row, one) is True]
        if not partners:
            rows += _changed(row, kept, row)
            continue
        acting = [one for one in partners if _clause(matched, row, one)]
        if len(partners) > 1 and matched:
            every = [_clause(matched, row, one) for one in acting]
            if len(acting) > 1 and not all(one.values is None for one in every):
                return REFUSED
            taste = True
            continue
        for one in partners[:1]:
            rows += _changed(row, matched, row, one)
    for row in source:
        if any(on.of(one, row) is True for one in table):
            continue
        clause = _clause(inserted, row)
        if clause is not None:
            empty = dict.fromkeys(row)
            rows += _done(row if clause.values == ALL else empty, clause, row)
    return EITHER if taste else rows


def _clause(clauses: Sequence[Clause], *rows: Row) -> Clause | None:
    return next((clause for clause in clauses if clause.chooses(*rows)), None)


def _changed(row: Row, clauses: Sequence[Clause], *rows: Row) -> list[Row]:
    clause = _clause(clauses, *rows)
    return [row] if clause is None else _done(row, clause, *rows)


def _done(row: Row, clause: Clause, *rows: Row) -> list[Row]:
    if clause.values is None:
        return []
    if clause.values == ALL:
        return [dict(rows[-1])]
    return [{**row, **{name: value.of(*rows) for name, value in clause.values.items()}}]
