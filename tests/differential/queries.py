"""Random queries."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from tests.differential.aggregates import call, grouping, window_call
from tests.differential.expressions import any_type, expression, made
from tests.differential.scopes import SCALARS, Making, Scope, column
from tests.differential.sources import condition, relation, source
from tests.differential.subqueries import subquery
from tests.differential.tree import (
    Body,
    Cte,
    Expr,
    Group,
    Item,
    Join,
    Named,
    NamedWindow,
    Order,
    Query,
    Select,
    SetOperation,
    Source,
    Window,
)

# Queries in FROM give their columns the names that tables have.
NAMES = ("id", "k", "g", "n", "s", "x", "b")
SET_OPERATORS = ("UNION", "UNION ALL", "INTERSECT", "EXCEPT")


def statement(
    rng: random.Random, features: frozenset[str], tables: Mapping[str, Mapping[str, str]]
) -> Query:
    """A whole statement over the tables."""
    making = Making(rng, features, tables)
    making.subquery = lambda kind, scope: subquery(making, kind, scope)
    ctes: list[Cte] = []
    if making.chance(0.15, "ctes"):
        for _ in range(rng.choice((1, 1, 2))):
            name = making.name("w")
            if making.chance(0.3, "recursive"):
                cte, kinds = _recursive(making, name)
            else:
                query, kinds = nested(making, Scope())
                cte = Cte(name, query)
            ctes.append(cte)
            making.ctes[name] = kinds
    body, order = _body(making, Scope(), None, None)
    if order:
        return Query(body, tuple(ctes), order)
    limit = offset = None
    keys: tuple[Order, ...] = ()
    if making.chance(0.35, "order"):
        keys = _of_all(making, body)
        if making.chance(0.5, "limit"):
            limit = rng.choice((0, 1, 3, 5, 10))
            offset = rng.choice((None, None, 1, 4))
    return Query(body, tuple(ctes), keys, limit, offset)


def nested(making: Making, outer: Scope) -> tuple[Query, dict[str, str]]:
    """A query for FROM or WITH, and the types of its columns."""
    rng = making.rng
    names = rng.sample(NAMES, rng.randint(1, 4))
    body, order = _body(making, outer, None, names)
    kinds = dict(zip((item.name for item in _items(body)), _kinds(body), strict=True))
    if not order and making.chance(0.15, "limit"):
        return Query(body, (), _of_all(making, body), rng.choice((0, 1, 4, 10))), kinds
    return Query(body, (), order), kinds


def _recursive(making: Making, name: str) -> tuple[Cte, dict[str, str]]:
    """A recursive query whose rows end after three steps."""
    rng = making.rng
    kinds = {"id": "int", "k": rng.choice(("int", "text"))}
    found, scope = source(making, Scope(), nested, most=1)
    first = Select(
        (Item(made("int", "0"), "id"), Item(_typed(making, scope, kinds["k"]), "k")),
        found,
        expression(making, "bool", scope, 1),
    )
    alias = making.name("r")
    step: Source = Named(name, alias)
    seen = Scope(tuple(column(alias, one, kind) for one, kind in kinds.items()))
    bound = made("bool", "(", seen.columns[0], " < 3)")
    if making.chance(0.6, "joins"):
        other, there = relation(making, Scope(), nested)
        step = Join(step, "JOIN", other, condition(making, seen, there))
        seen = seen.joined(there)
    more = Select(
        (
            Item(made("int", "(", seen.columns[0], " + 1)"), "id"),
            Item(_typed(making, seen, kinds["k"]), "k"),
        ),
        step,
        bound,
    )
    operator = rng.choice(("UNION ALL", "UNION"))
    return Cte(name, Query(SetOperation(first, operator, more)), recursive=True), kinds


def _typed(making: Making, scope: Scope, kind: str) -> Expr:
    # What both parts give has one type, to the last bit.
    word = {"int": "BIGINT", "text": "VARCHAR"}[kind]
    return made(kind, "CAST(", expression(making, kind, scope.at("select"), 1), f" AS {word})")


def _items(body: Body) -> tuple[Item, ...]:
    if isinstance(body, SetOperation):
        return _items(body.left)
    assert isinstance(body, Select)
    return body.items


def _kinds(body: Body) -> list[str]:
    return [item.value.type for item in _items(body)]


def _of_all(making: Making, body: Body) -> tuple[Order, ...]:
    keys = [Expr(item.value.type, (item.name,)) for item in _items(body)]
    making.rng.shuffle(keys)
    return making.orders(tuple(keys))


def _body(
    making: Making, outer: Scope, kinds: list[str] | None, names: list[str] | None
) -> tuple[Body, tuple[Order, ...]]:
    if not making.chance(0.12, "set_ops"):
        return _select(making, outer, kinds, names)
    left, _ = _select(making, outer, kinds, names, may_order=False)
    right, _ = _select(making, outer, _kinds(left), names, may_order=False)
    body: Body = SetOperation(left, _set_operator(making), right)
    if making.rng.random() < 0.2:
        more, _ = _select(making, outer, _kinds(left), names, may_order=False)
        body = SetOperation(body, _set_operator(making), more)
    return body, ()


def _set_operator(making: Making) -> str:
    if making.chance(0.3, "set_ops_all"):
        return making.rng.choice(("INTERSECT ALL", "EXCEPT ALL"))
    return making.rng.choice(SET_OPERATORS)


def _select(
    making: Making,
    outer: Scope,
    kinds: list[str] | None,
    names: list[str] | None,
    *,
    may_order: bool = True,
) -> tuple[Body, tuple[Order, ...]]:
    rng = making.rng
    found, scope = source(making, outer, nested)
    scope = replace(scope, outer=outer.outer)
    where = _where(making, scope) if rng.random() < 0.65 else None
    width = len(kinds or names or ()) or rng.randint(1, 4)
    wanted = kinds or [any_type(making, scope) for _ in range(width)]
    names = names or [f"c{at}" for at in range(width)]
    select = Select((), found, where)
    if making.chance(0.35, "aggregates"):
        return _grouped(making, scope, select, wanted, names), ()
    if making.chance(0.25, "windows"):
        return _windowed(making, scope, select, wanted, names), ()
    values = [_value(making, scope.at("select"), kind) for kind in wanted]
    if making.chance(0.06, "unnest") and scope.of("list") and wanted[0] == "int":
        values[0] = made("int", "unnest(", rng.choice(scope.of("list")), ")")
    select = replace(select, items=_named(values, names))
    keys = [one for one in scope.columns if one.type in SCALARS]
    if may_order and keys and making.chance(0.08, "distinct_on"):
        on = tuple(rng.sample(keys, min(len(keys), rng.randint(1, 2))))
        order = making.orders(tuple(dict.fromkeys((*on, *scope.total()))))
        return replace(select, distinct_on=on), order
    return replace(select, distinct=making.chance(0.12, "distinct")), ()


def _where(making: Making, scope: Scope) -> Expr:
    where = expression(making, "bool", scope.at("where"), making.rng.randint(1, 3))
    if making.rng.random() < 0.35 and (more := making.subquery("bool", scope.at("where"))):
        word = making.rng.choice((" AND ", " AND ", " OR "))
        where = made("bool", "(", where, word, more, ")") if making.rng.random() < 0.6 else more
        if making.rng.random() < 0.15:
            where = made("bool", "(", where, " IS NULL)")
    return where


def _value(making: Making, scope: Scope, kind: str) -> Expr:
    if making.rng.random() < 0.08 and (found := making.subquery(kind, scope)):
        return found
    return expression(making, kind, scope, making.rng.choice((0, 1, 1, 2)))


def _named(values: list[Expr], names: list[str]) -> tuple[Item, ...]:
    return tuple(Item(value, name) for value, name in zip(values, names, strict=False))


def _grouped(
    making: Making, scope: Scope, select: Select, wanted: list[str], names: list[str]
) -> Select:
    rng = making.rng
    there = [one for one in scope.columns if one.type in SCALARS]
    keys = _apart(rng.sample(there, min(len(there), rng.choice((0, 1, 1, 2, 2, 3)))))
    if rng.random() < 0.15 and scope.of("int"):
        keys.append(made("int", "(", rng.choice(scope.of("int")), " % 2)"))
    calls = [call(making, scope, kind=kind if rng.random() < 0.7 else None) for kind in wanted]
    group = _group(making, tuple(keys)) if keys else None
    seen = [*keys, *calls]
    if group is not None and group.form and rng.random() < 0.7:
        seen.append(grouping(tuple(rng.sample(keys, rng.randint(1, len(keys))))))
    after = Scope(tuple(seen), (), scope.outer, "select")
    values = [
        rng.choice(after.of(kind))
        if after.of(kind) and rng.random() < 0.6
        # Only what is grouped by is there; a bare column of the scope is not.
        else _value(making, after, kind)
        for kind in wanted
    ]
    if making.chance(0.15, "windows", "windows_over_groups"):
        values[-1] = _as(making, window_call(making, after.at("window")), wanted[-1], after)
    having = None
    if making.chance(0.3, "having") and (group or any(item in values for item in calls)):
        having = expression(making, "bool", after.at("having"), 2)
    return replace(select, items=_named(values, names), group=group, having=having)


def _apart(keys: list[Expr]) -> list[Expr]:
    """The keys without merged columns beside those they are merged of.

    DuckDB takes them for two, which differ in the totals of grouping sets.
    """
    names = [key.sql().rpartition(".") for key in keys]
    merged = {name for table, _, name in names if not table}
    return [
        key
        for key, (table, _, name) in zip(keys, names, strict=True)
        if not table or name not in merged
    ]


def _as(making: Making, value: Expr, kind: str, scope: Scope) -> Expr:
    """A value of the type that is wanted, made of one of another type."""
    if value.type == kind:
        return value
    test = made("bool", "(", value, " IS NULL)")
    if kind == "bool":
        return test
    there = scope.of(kind)
    other = making.rng.choice(there) if there else expression(making, kind, scope, 0)
    return made(kind, "CASE WHEN ", test, " THEN ", other, " END")


def _group(making: Making, keys: tuple[Expr, ...]) -> Group:
    rng = making.rng
    if not making.chance(0.2, "grouping_sets"):
        return Group(keys)
    form = rng.choice(("ROLLUP", "CUBE", "GROUPING SETS"))
    if form != "GROUPING SETS":
        return Group(keys, form)
    places = range(len(keys))
    sets = [tuple(places)]
    for _ in range(rng.randint(1, 3)):
        chosen = tuple(sorted(rng.sample(places, rng.randint(0, len(keys)))))
        if chosen not in sets or rng.random() < 0.1:
            sets.append(chosen)
    return Group(keys, form, tuple(sets))


def _windowed(
    making: Making, scope: Scope, select: Select, wanted: list[str], names: list[str]
) -> Select:
    rng = making.rng
    windows: list[NamedWindow] = []
    if making.chance(0.3, "named_windows"):
        keys = [one for one in scope.columns if one.type in SCALARS]
        partition = tuple(rng.sample(keys, min(1, len(keys))))
        windows.append(NamedWindow("p", Window("", partition)))
        if rng.random() < 0.3:
            windows.append(NamedWindow("q", Window("p")))
    known = tuple(one.name for one in windows)
    inside = scope.at("window")
    values: list[Expr] = []
    for kind in wanted:
        value = _value(making, scope.at("select"), kind)
        if not values or rng.random() < 0.4:
            found = window_call(making, inside, known)
            value = found if names[0] == "c0" else _as(making, found, kind, scope)
            if kind != value.type:
                value = _as(making, value, kind, scope)
        values.append(value)
    qualify = None
    if making.chance(0.2, "qualify"):
        ranked = window_call(making, inside, known)
        bound = expression(making, ranked.type, scope.at("window"), 0)
        sign = rng.choice((" = ", " <= ", " > "))
        qualify = made("bool", "(", ranked, sign, bound, ")")
    return replace(select, items=_named(values, names), qualify=qualify, windows=tuple(windows))
