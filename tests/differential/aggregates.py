"""Random calls of aggregates and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.differential.expressions import any_type, expression, leaf, made
from tests.differential.scopes import SCALARS, Making, Scope
from tests.differential.tree import Expr, Node, Order, Several, Window

SMALL = ("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW")
LARGE = ("CURRENT ROW", "1 FOLLOWING", "2 FOLLOWING", "UNBOUNDED FOLLOWING")


def call(making: Making, scope: Scope, *, kind: str | None = None) -> Expr:
    """An aggregate over a scope."""
    rng = making.rng
    of = kind or rng.choice(("int", "int", *(one.type for one in scope.columns)))
    of = of if of in SCALARS else "int"
    # An aggregate of columns of a query around alone would be one of that query.
    scope = replace(scope, outer=())
    parts = rng.choice(_calls(making, scope, of))()
    if making.chance(0.2, "filter"):
        parts = (*parts, " FILTER (WHERE ", expression(making, "bool", scope, 2), ")")
    return Expr(of, parts)


_Parts = tuple[str | Node, ...]


def _calls(making: Making, scope: Scope, of: str) -> list[Callable[[], _Parts]]:
    rng = making.rng

    def sub(kind: str = of) -> Expr:
        return expression(making, kind, scope, rng.choice((0, 0, 1, 2)))

    def flat(kind: str = of) -> Expr:
        return leaf(making, kind, scope)

    once = making.chance(0.25, "distinct_aggregates")
    word = "DISTINCT " if once else ""
    calls: list[Callable[[], _Parts]] = [
        lambda: (f"{rng.choice(('min', 'max'))}(", sub(), ")"),
    ]
    if making.chance(0.4, "ordered_aggregates"):
        order = making.orders(scope.total())
        keys: list[str | Node] = []
        for one in order:
            keys += [", " if keys else "", one]
        if order:
            # Named otherwise in either dialect; see `engines`.
            first = rng.choice(("first_of", "last_of"))
            calls.append(lambda: (f"{first}(", sub(), " ORDER BY ", *keys, ")"))
            if of == "text":
                calls.append(lambda: ("string_agg(", sub(), ", ',' ORDER BY ", *keys, ")"))
    if of == "int":
        calls += [lambda: ("count(*)",), lambda: (f"sum({word}", sub(), ")")] * 2
        calls.append(lambda: (f"count({word}", sub(any_type(making, scope)), ")"))
        calls.append(lambda: (f"{rng.choice(('bit_and', 'bit_or', 'bit_xor'))}(", flat(), ")"))
    if of == "double":
        calls += [lambda: (f"sum({word}", sub(), ")"), lambda: ("avg(", sub(), ")")]
        calls.append(lambda: (f"avg({word}", sub("int"), ")"))
    if of == "dec":
        calls.append(lambda: (f"sum({word}", flat(), ")"))
    if of == "bool":
        calls = [lambda: (f"{rng.choice(('bool_and', 'bool_or'))}(", sub(), ")")]
    return calls


def window_call(making: Making, scope: Scope, names: tuple[str, ...] = ()) -> Expr:
    """A window function; `names` are windows that have partitions and no order."""
    rng = making.rng
    base = rng.choice(names) if names and rng.random() < 0.5 else ""
    partition = () if base else _partition(making, scope)
    shape = rng.choice(("total", "total", "ties", "none", "distance"))
    if shape == "total" and scope.total():
        return _over_total_order(making, scope, base, partition)
    if shape == "distance" and scope.of("int"):
        return _over_distance(making, scope, base, partition)
    order: tuple[Order, ...] = ()
    if shape == "ties":
        keys = [one for one in scope.columns if one.type in SCALARS]
        order = making.orders(tuple(rng.sample(keys, min(len(keys), rng.randint(1, 2)))))
    of = any_type(making, scope)
    calls: list[Expr] = [_untied(making, scope, of), _untied(making, scope, of)]
    frame = ""
    if order:
        word = rng.choice(("rank", "dense_rank"))
        calls.append(made("int", f"{word}()"))
        if rng.random() < 0.4:
            calls = [made("double", f"{rng.choice(('percent_rank', 'cume_dist'))}()")]
        elif making.chance(0.4, "frames"):
            calls, frame = calls[:2], _frame(making, "GROUPS")
    return _over(rng.choice(calls), Window(base, partition, order, frame))


def _partition(making: Making, scope: Scope) -> tuple[Expr, ...]:
    keys = [one for one in scope.columns if one.type in SCALARS]
    chosen = making.rng.sample(keys, min(len(keys), making.rng.choice((0, 1, 1, 2))))
    if making.rng.random() < 0.15:
        chosen.append(expression(making, "bool", scope, 1))
    return tuple(chosen)


def _over(function: Expr, window: Window) -> Expr:
    inside: tuple[str | Node, ...] = (window,)
    return Expr(function.type, (*function.parts, " OVER (", *inside, ")"))


def _untied(making: Making, scope: Scope, of: str) -> Expr:
    """A function whose value is the same for rows in any order."""
    rng = making.rng
    argument = expression(making, of, scope, rng.choice((0, 1)))
    words = ["min", "max", "count"]
    if of in ("int", "double", "dec"):
        words.append("sum")
    if of in ("int", "double"):
        words.append("avg")
    word = "count" if of == "bool" else rng.choice(words)
    kind = {"count": "int", "avg": "double"}.get(word, of)
    if making.chance(0.15, "filter"):
        test = expression(making, "bool", scope, 1)
        return made(kind, f"{word}(", argument, ") FILTER (WHERE ", test, ")")
    return made(kind, f"{word}(", argument, ")")


def _over_total_order(making: Making, scope: Scope, base: str, partition: tuple[Expr, ...]) -> Expr:
    rng = making.rng
    keys = list(scope.total())
    rng.shuffle(keys)
    if rng.random() < 0.4:
        more = [one for one in scope.columns if one.type in SCALARS]
        keys.insert(0, rng.choice(more))
    of = any_type(making, scope)
    value = expression(making, of, scope, rng.choice((0, 1)))
    step = rng.randint(0, 3)
    nulls = " IGNORE NULLS" if making.chance(0.25, "ignore_nulls") else ""
    choices = [
        made("int", "row_number()"),
        made("int", "row_number()"),
        made("int", f"ntile({rng.randint(1, 4)})"),
        made(of, f"{rng.choice(('lag', 'lead'))}(", value, f", {step}{nulls})"),
        made(
            of,
            f"{rng.choice(('lag', 'lead'))}(",
            value,
            f", {step}, ",
            leaf(making, of, scope),
            ")",
        )
        if of in ("int", "text") and step
        else made(of, "lag(", value, f"{nulls})"),
    ]
    framed = [
        made(of, f"{rng.choice(('first_value', 'last_value'))}(", value, f"{nulls})"),
        made(of, "nth_value(", value, f", {rng.randint(1, 3)}{nulls})"),
        _untied(making, scope, of),
        _untied(making, scope, of),
    ]
    order = making.orders(tuple(keys))
    if rng.random() < 0.5:
        return _over(rng.choice(choices), Window(base, partition, order))
    unit = rng.choice(("ROWS", "ROWS", "GROUPS"))
    frame = _frame(making, unit) if making.chance(0.7, "frames") else ""
    return _over(rng.choice(framed), Window(base, partition, order, frame))


def _over_distance(making: Making, scope: Scope, base: str, partition: tuple[Expr, ...]) -> Expr:
    key = making.rng.choice(scope.of("int"))
    frame = _frame(making, "RANGE") if making.chance(0.8, "frames") else ""
    function = _untied(making, scope, any_type(making, scope))
    return _over(function, Window(base, partition, making.orders((key,)), frame))


def _frame(making: Making, unit: str) -> str:
    rng = making.rng
    if rng.random() < 0.15:
        return f"{unit} {rng.choice(SMALL)}"
    start, end = rng.choice(SMALL), rng.choice(LARGE)
    if rng.random() < 0.15:
        start, end = rng.choice(
            (
                ("2 PRECEDING", "1 PRECEDING"),
                ("1 FOLLOWING", "2 FOLLOWING"),
                ("UNBOUNDED PRECEDING", "1 PRECEDING"),
                ("1 FOLLOWING", "UNBOUNDED FOLLOWING"),
            )
        )
    return f"{unit} BETWEEN {start} AND {end}"


def grouping(keys: tuple[Expr, ...]) -> Expr:
    """GROUPING of the keys."""
    return made("int", "grouping(", Several(keys), ")")
