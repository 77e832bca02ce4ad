"""Random tables, joins and queries in FROM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tests.differential.expressions import expression, literal, made
from tests.differential.scopes import SCALARS, Making, Scope, column, is_column
from tests.differential.tree import Derived, Expr, Join, Literals, Named, Query, Several, Source

# Makes a query and says the types of its columns by name.
MakeQuery = Callable[[Making, Scope], tuple[Query, dict[str, str]]]


def source(making: Making, outer: Scope, query: MakeQuery, most: int = 3) -> tuple[Source, Scope]:
    """One to three tables, joined."""
    left, scope = relation(making, outer, query)
    count = making.rng.choice((1, 1, 2, 2, 3)) if "joins" in making.features else 1
    for _ in range(min(count, most) - 1):
        left, scope = _joined(making, outer, query, left, scope)
    return left, scope


def relation(making: Making, outer: Scope, query: MakeQuery) -> tuple[Source, Scope]:
    """A table, a common table expression, VALUES or a query."""
    rng = making.rng
    if making.ctes and rng.random() < 0.5:
        name = rng.choice(sorted(making.ctes))
        alias = making.name("c")
        return Named(name, alias), _all(alias, making.ctes[name], outer)
    if making.depth < 2 and making.chance(0.15, "derived"):
        return _derived(making, outer, query)
    if making.chance(0.05, "values"):
        return _values(making, outer)
    name = rng.choice(sorted(making.tables))
    alias = making.name("a")
    columns = tuple(column(alias, n, kind) for n, kind in making.tables[name].items())
    return Named(name, alias), Scope(columns, (column(alias, "id", "int"),), outer.outer)


def _all(alias: str, kinds: Mapping[str, str], outer: Scope) -> Scope:
    columns = tuple(column(alias, name, kind) for name, kind in kinds.items())
    return Scope(columns, columns, outer.outer)


def _derived(making: Making, outer: Scope, query: MakeQuery) -> tuple[Source, Scope]:
    making.depth += 1
    # What is around the whole statement it could see; DuckDB and DataFusion disagree about that.
    made_query, kinds = query(making, Scope())
    making.depth -= 1
    alias = making.name("d")
    return Derived(made_query, alias), _all(alias, kinds, outer)


def _values(making: Making, outer: Scope) -> tuple[Source, Scope]:
    alias = making.name("v")
    rows = tuple(
        Several((literal(making, "int"), literal(making, "text")))
        for _ in range(making.rng.randint(1, 4))
    )
    return Literals(rows, alias, "k, g"), _all(alias, {"k": "int", "g": "text"}, outer)


def _joined(
    making: Making, outer: Scope, query: MakeQuery, left: Source, scope: Scope
) -> tuple[Source, Scope]:
    rng = making.rng
    if making.depth < 2 and making.chance(0.1, "lateral", "correlated"):
        return _lateral(making, query, left, scope)
    right, right_scope = relation(making, outer, query)
    # A merged column of USING is ambiguous next to a third table.
    scope = replace(scope, columns=tuple(filter(is_column, scope.columns)))
    both = scope.joined(right_scope)
    if making.chance(0.1, "cross_joins"):
        return Join(left, "CROSS JOIN", right), both
    kinds = ["JOIN", "JOIN"]
    kinds += ["LEFT JOIN", "LEFT JOIN", "RIGHT JOIN"] * ("outer_joins" in making.features)
    kinds += ["FULL JOIN"] * ("full_joins" in making.features)
    kind = rng.choice(kinds)
    if isinstance(left, Named) and making.chance(0.1, "using"):
        shared, there = _by_name(scope), _by_name(right_scope)
        common = [n for n in ("k", "g", "id") if n in shared and shared[n] == there.get(n)]
        if common:
            # The merged column has no table before it.
            merged = Expr(shared[common[0]], (common[0],))
            return Join(left, kind, right, None, common[0]), replace(
                both, columns=(*both.columns, merged, merged)
            )
    if isinstance(left, Named) and isinstance(right, Named) and making.chance(0.05, "natural"):
        here, there = _by_name(scope), _by_name(right_scope)
        common = [name for name in here if name in there]
        if common and all(here[n] == there[n] and here[n] in SCALARS for n in common):
            # Merged columns without a table before them are ambiguous in conditions.
            word = "NATURAL LEFT JOIN" if making.chance(0.5, "outer_joins") else "NATURAL JOIN"
            return Join(left, word, right), both
    if making.chance(0.12, "semi_joins"):
        word = rng.choice(("LEFT SEMI JOIN", "LEFT ANTI JOIN"))
        return Join(left, word, right, condition(making, scope, right_scope)), scope
    return Join(left, kind, right, condition(making, scope, right_scope)), both


def _by_name(scope: Scope) -> dict[str, str]:
    return {one.sql().split(".")[1]: one.type for one in scope.columns}


def _lateral(making: Making, query: MakeQuery, left: Source, scope: Scope) -> tuple[Source, Scope]:
    making.depth += 1
    scope = replace(scope, columns=tuple(filter(is_column, scope.columns)))
    seen = tuple(one for one in scope.columns if is_column(one) and one.type in SCALARS)
    inner, kinds = query(making, Scope(outer=seen))
    making.depth -= 1
    alias = making.name("e")
    both = scope.joined(_all(alias, kinds, scope))
    right = Derived(inner, alias, lateral=True)
    if making.rng.random() < 0.5:
        return Join(left, "CROSS JOIN", right), both
    return Join(left, "LEFT JOIN", right, made("bool", "true")), both


def condition(making: Making, left: Scope, right: Scope) -> Expr:
    """What joins two scopes: mostly equal columns, sometimes more, sometimes less."""
    rng = making.rng
    both = left.joined(right).at("on")
    pairs = [(a, b) for a in left.columns for b in right.columns if _pair(a, b)]
    same_name = [(a, b) for a, b in pairs if a.sql().split(".")[-1] == b.sql().split(".")[-1]]
    if not pairs or making.chance(0.06, "non_equality"):
        return expression(making, "bool", both, 2)
    a, b = rng.choice(same_name) if same_name and rng.random() < 0.7 else rng.choice(pairs)
    sign = rng.choice((" < ", " <> ", " >= ")) if making.chance(0.15, "non_equality") else " = "
    if making.chance(0.06, "distinct_from"):
        sign = " IS NOT DISTINCT FROM "
    on = made("bool", a, sign, b)
    if rng.random() < 0.3:
        word = rng.choice((" AND ", " AND ", " AND ", " OR "))
        on = made("bool", "(", on, word, expression(making, "bool", both, 2), ")")
    return on


def _pair(a: Expr, b: Expr) -> bool:
    return a.type == b.type and a.type in SCALARS
