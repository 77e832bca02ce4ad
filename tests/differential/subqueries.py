"""Random subqueries: scalar, EXISTS and IN, correlated or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.differential.aggregates import call
from tests.differential.expressions import expression, leaf, made
from tests.differential.scopes import SCALARS, Making, Scope, is_column
from tests.differential.sources import source
from tests.differential.tree import (
    Expr,
    Group,
    Item,
    Named,
    Query,
    Select,
    SetOperation,
    Source,
)

_PLACES = {
    "on": "subquery_in_on",
    "select": "subquery_in_select",
    "having": "subquery_in_having",
    "window": "subquery_in_windows",
}


def subquery(making: Making, kind: str, scope: Scope) -> Expr | None:
    """A subquery of a type; None where there may be none."""
    needed = _PLACES.get(scope.place)
    if needed is not None and needed not in making.features:
        return None
    if making.depth > ("nested_subquery" in making.features):
        return None
    makers: list[Callable[[Making, Scope, str], Expr]] = []
    if "scalar_subquery" in making.features:
        makers.append(_scalar)
    if kind == "bool":
        makers += [_exists, _exists] * ("exists" in making.features)
        makers += [_in, _in] * ("in_subquery" in making.features)
    if not makers:
        return None
    making.depth += 1
    try:
        return making.rng.choice(makers)(making, scope, kind)
    finally:
        making.depth -= 1


def _within(making: Making, scope: Scope) -> tuple[Source, Scope, Expr | None]:
    """FROM and WHERE of a subquery, and what it sees."""
    seen: tuple[Expr, ...] = ()
    if "correlated" in making.features:
        own = (one for one in scope.columns if is_column(one) and one.type in SCALARS)
        seen = (*scope.outer, *own)
    found, inner = source(making, Scope(outer=seen), _whole_table, most=2)
    inner = replace(inner, outer=seen).at("where")
    where = _correlation(making, inner) if making.rng.random() < 0.65 else None
    if making.rng.random() < 0.4:
        more = expression(making, "bool", inner, 2)
        word = making.rng.choice((" AND ", " AND ", " OR "))
        where = more if where is None else made("bool", "(", where, word, more, ")")
    return found, inner, where


def _whole_table(making: Making, _: Scope) -> tuple[Query, dict[str, str]]:
    """A table in brackets, for FROM of a subquery."""
    name = sorted(making.tables)[0]
    kinds = {n: kind for n, kind in making.tables[name].items() if kind in SCALARS}
    items = tuple(Item(made(kind, f"z.{n}"), n) for n, kind in kinds.items())
    return Query(Select(items, Named(name, "z"))), kinds


def _correlation(making: Making, inner: Scope) -> Expr | None:
    rng = making.rng
    pairs = [(a, b) for a in inner.columns for b in inner.outer if a.type == b.type]
    pairs = [pair for pair in pairs if pair[0].type in SCALARS]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    sign = rng.choice((" = ", " = ", " = ", " = ", " < ", " <> ", " >= ", " IS NOT DISTINCT FROM "))
    return made("bool", a, sign, b)


def _scalar(making: Making, scope: Scope, kind: str) -> Expr:
    rng = making.rng
    found, inner, where = _within(making, scope)
    if making.chance(0.25, "subquery_limit"):
        value = expression(making, kind, inner.at("select"), 1)
        offset = rng.choice((None, None, 1, 2))
        body = Select((Item(value, "v"),), found, where)
        keys = making.orders(inner.total())
        return made(kind, "(", Query(body, (), keys, 1, offset), ")")
    value = call(making, inner, kind=kind)
    if rng.random() < 0.2:
        value = made(kind, "COALESCE(", value, ", ", leaf(making, kind, Scope()), ")")
    having = None
    if making.chance(0.1, "subquery_group"):
        having = made("bool", "(", call(making, inner, kind="int"), " > 1)")
    return made(kind, "(", Query(Select((Item(value, "v"),), found, where, None, having)), ")")


def _rows(making: Making, scope: Scope, kind: str) -> Query:
    """A subquery of any number of rows."""
    rng = making.rng
    found, inner, where = _within(making, scope)
    value = expression(making, kind, inner.at("select"), rng.choice((0, 0, 1)))
    body = Select((Item(value, "v"),), found, where)
    if making.chance(0.12, "subquery_group"):
        return Query(_grouped(making, inner, body, kind))
    if making.chance(0.1, "subquery_distinct"):
        return Query(replace(body, distinct=True))
    if making.chance(0.12, "subquery_limit"):
        offset = rng.choice((None, 1))
        return Query(body, (), making.orders(inner.total()), rng.randint(0, 3), offset)
    if making.chance(0.1, "subquery_set_ops"):
        other, more, condition = _within(making, scope)
        right = Select((Item(leaf(making, kind, more), "v"),), other, condition)
        word = rng.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
        return Query(SetOperation(body, word, right))
    return Query(body)


def _grouped(making: Making, inner: Scope, body: Select, kind: str) -> Select:
    value = call(making, inner, kind=kind)
    keys = [one for one in inner.columns if one.type in SCALARS]
    chosen = making.rng.sample(keys, min(len(keys), making.rng.randint(0, 2)))
    same = [one for one in chosen if one.type == kind]
    group = Group(tuple(chosen)) if chosen else None
    if group is not None and making.chance(0.15, "grouping_sets"):
        group = replace(group, form="ROLLUP")
    having = None
    if making.rng.random() < 0.5:
        having = made("bool", "(", call(making, inner, kind="int"), " > 1)")
    item = Item(making.rng.choice([value, *same]), "v")
    return replace(body, items=(item,), group=group, having=having)


def _exists(making: Making, scope: Scope, _kind: str) -> Expr:
    no = making.rng.choice(("", "NOT "))
    return made("bool", f"({no}EXISTS (", _rows(making, scope, "int"), "))")


def _in(making: Making, scope: Scope, _kind: str) -> Expr:
    rng = making.rng
    of = rng.choice(("int", "int", "text", *(one.type for one in scope.columns)))
    of = of if of in SCALARS and of != "bool" else "int"
    no = rng.choice(("", " NOT"))
    own = replace(scope, outer=()) if rng.random() < 0.5 else scope
    left = leaf(making, of, own)
    return made("bool", "(", left, f"{no} IN (", _rows(making, scope, of), "))")
