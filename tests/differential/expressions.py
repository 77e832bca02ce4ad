"""Random expressions that mean the same here and in DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.differential.scopes import SCALARS, Making, Scope
from tests.differential.tree import PLAIN, Expr, Node, Several

COMPARED = ("int", "int", "int", "text", "text", "double", "big", "bool", "date", "ts", "dec")
LITERALS = {
    "int": ("0", "1", "2", "3", "-1", "5", "10"),
    "big": ("9223372036854775807", "-9223372036854775807", "9007199254740993", "0"),
    "double": ("0", "0.25", "-1.5", "1", "100.75"),
    "text": ("''", "'a'", "'b'", "'ab'", "'A'", "'ü'", "'🙂x'", "'12'"),
    "bool": ("true", "false"),
    "date": ("DATE '2020-01-01'", "DATE '2020-02-29'", "DATE '1969-12-31'"),
    "ts": ("TIMESTAMP '2020-01-01 05:59:00'", "TIMESTAMP '1969-12-31 23:59:00.999999'"),
    "dec": ("0", "1.25", "-1.50", "99.99"),
}
PATTERNS = ("'%a%'", "'a%'", "'%b'", "'_'", "'%'", "''", "'a_b'", "'%ü%'", "'__'", "'A%'", "'%,%'")
SPANS = ("'1 day'", "'-1 month'", "'1 year'", "'3 hours'")


def made(kind: str, *parts: str | Node) -> Expr:
    """An expression of its parts."""
    return Expr(kind, parts)


def literal(making: Making, kind: str) -> Expr:
    """A literal, sometimes NULL."""
    if making.rng.random() < 0.08:
        return made(kind, PLAIN[kind][-1])
    return value(making, kind)


def value(making: Making, kind: str) -> Expr:
    """A literal that is not NULL."""
    text = making.rng.choice(LITERALS[kind])
    wrapped = {"double": "CAST({} AS DOUBLE)", "dec": "CAST({} AS DECIMAL(10,2))"}
    return made(kind, wrapped.get(kind, "{}").format(text))


def leaf(making: Making, kind: str, scope: Scope) -> Expr:
    """A column of the type, else a literal."""
    rng = making.rng
    outer = [one for one in scope.outer if one.type == kind]
    if outer and making.chance(0.3, "correlated"):
        return rng.choice(outer)
    own = scope.of(kind)
    return rng.choice(own) if own and rng.random() < 0.85 else literal(making, kind)


def expression(making: Making, kind: str, scope: Scope, depth: int) -> Expr:
    """An expression of a type, at most so deep."""
    rng = making.rng
    if depth <= 0 or rng.random() < 0.25:
        return leaf(making, kind, scope)
    if rng.random() < 0.07 and (found := making.subquery(kind, scope)):
        return found

    def sub(of: str = kind) -> Expr:
        return expression(making, of, scope, depth - 1)

    def flat(of: str = kind) -> Expr:
        return leaf(making, of, scope)

    general = [
        lambda: made(kind, "COALESCE(", sub(), ", ", sub(), ")"),
        lambda: made(kind, "NULLIF(", sub(), ", ", flat(), ")"),
    ]
    if "case" in making.features:
        general += [
            lambda: made(kind, "CASE WHEN ", sub("bool"), " THEN ", sub(), " ELSE ", sub(), " END"),
            lambda: made(kind, "CASE WHEN ", sub("bool"), " THEN ", sub(), " END"),
            lambda: _simple_case(making, kind, scope, depth),
        ]
    if kind not in ("bool", "text"):
        word = rng.choice(("greatest", "least"))
        general.append(lambda: made(kind, f"{word}(", sub(), ", ", sub(), ")"))
    own = _BY_TYPE[kind](making, scope, sub, flat)
    return rng.choice(own if own and rng.random() < 0.7 else general)()


def _simple_case(making: Making, kind: str, scope: Scope, depth: int) -> Expr:
    of = making.rng.choice(("int", "text"))
    parts: list[str | Node] = ["CASE ", leaf(making, of, scope)]
    for _ in range(making.rng.randint(1, 2)):
        parts += [" WHEN ", literal(making, of), " THEN "]
        parts.append(expression(making, kind, scope, depth - 1))
    parts += [" ELSE ", leaf(making, kind, scope), " END"]
    return Expr(kind, tuple(parts))


_Maker = Callable[[], Expr]
_Sub = Callable[..., Expr]


def _int(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    rng = making.rng
    sign = rng.choice((" + ", " - ", " * "))
    makers: list[_Maker] = [
        lambda: made("int", "(", sub(), sign, flat(), ")"),
        lambda: made("int", "(", sub(), sign, flat(), ")"),
        lambda: made("int", "(", sub(), " % ", rng.choice(("3", "2", "7")), ")"),
        lambda: made("int", "abs(", sub(), ")"),
        lambda: made("int", "-(", sub(), ")"),
    ]
    if "casts" in making.features:
        makers.append(lambda: made("int", "CAST(", sub("bool"), " AS INTEGER)"))
        makers.append(lambda: made("int", "CAST(", sub(), " AS BIGINT)"))
    if "strings" in making.features:
        makers.append(lambda: made("int", "length(", sub("text"), ")"))
        makers.append(
            lambda: made("int", "strpos(", sub("text"), ", ", literal(making, "text"), ")")
        )
    if "dates" in making.features:
        part = rng.choice(("year", "month", "day", "dow", "doy", "quarter"))
        makers.append(lambda: made("int", f"extract({part} FROM ", sub("date"), ")"))
        clock = rng.choice(("hour", "minute", "year", "day"))
        makers.append(lambda: made("int", f"extract({clock} FROM ", flat("ts"), ")"))
    if structs := scope.of("struct"):
        makers += [lambda: made("int", rng.choice(structs), "['a']")] * 2
    if lists := scope.of("list"):
        makers.append(lambda: made("int", rng.choice(lists), f"[{rng.randint(1, 3)}]"))
        makers.append(lambda: made("int", "CAST(array_length(", rng.choice(lists), ") AS BIGINT)"))
    return makers


def _double(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    del scope
    rng = making.rng
    sign = rng.choice((" + ", " - ", " * "))
    return [
        lambda: made("double", "(", sub(), sign, flat(), ")"),
        lambda: made(
            "double", "(", flat(), " / CAST(", rng.choice(("2", "-4", "0.5")), " AS DOUBLE))"
        ),
        lambda: made("double", f"{rng.choice(('abs', 'ceil', 'floor'))}(", sub(), ")"),
        lambda: made("double", "CAST(", sub("int"), " AS DOUBLE)"),
    ]


def _text(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    rng = making.rng
    makers: list[_Maker] = []
    if "casts" in making.features:
        of = rng.choice(("int", "bool", "date", "dec"))
        makers.append(lambda: made("text", "CAST(", flat(of), " AS VARCHAR)"))
    if structs := scope.of("struct"):
        makers += [lambda: made("text", rng.choice(structs), "['t']")] * 2
    if "strings" not in making.features:
        return makers
    word = rng.choice(("upper", "lower", "trim", "ltrim", "rtrim", "reverse"))
    side = rng.choice(("left", "right"))
    pad = rng.choice(("lpad", "rpad"))
    small = rng.randint(0, 3)
    return [
        *makers,
        lambda: made("text", "(", sub(), " || ", sub(), ")"),
        lambda: made("text", "concat(", sub(), ", ", sub(), ")"),
        lambda: made("text", "concat_ws('-', ", sub(), ", ", sub(), ")"),
        lambda: made("text", f"{word}(", sub(), ")"),
        lambda: made("text", "substr(", sub(), f", {rng.randint(1, 3)}, {small})"),
        lambda: made("text", f"{side}(", sub(), f", {small})"),
        lambda: made("text", f"{pad}(", sub(), f", {small + 1}, '*')"),
        lambda: made("text", "replace(", sub(), ", 'a', ", flat(), ")"),
        lambda: made("text", "split_part(", sub(), f", ',', {rng.randint(1, 2)})"),
    ]


def _date(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    del scope
    if "dates" not in making.features:
        return []
    unit = making.rng.choice(("month", "year", "week", "quarter"))
    span = making.rng.choice(SPANS[:3])
    return [
        lambda: made("date", f"CAST(date_trunc('{unit}', ", sub(), ") AS DATE)"),
        lambda: made("date", "CAST(", sub(), f" + INTERVAL {span} AS DATE)"),
        lambda: made("date", "CAST(", flat("ts"), " AS DATE)"),
    ]


def _ts(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    del scope, sub
    if "dates" not in making.features:
        return []
    unit = making.rng.choice(("hour", "day", "month", "year"))
    return [
        lambda: made("ts", f"date_trunc('{unit}', ", flat(), ")"),
        lambda: made("ts", "(", flat(), f" + INTERVAL {making.rng.choice(SPANS)})"),
    ]


def _dec(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    del scope
    if "decimals" not in making.features:
        return []
    sign = making.rng.choice((" + ", " - "))
    return [
        lambda: made("dec", "(", sub(), sign, flat(), ")"),
        # Of two decimals the scales differ, and what UNION makes of them in DuckDB.
        lambda: made("dec", "(", flat(), " * ", flat("int"), ")"),
        lambda: made("dec", "abs(", sub(), ")"),
        lambda: made("dec", "CAST(", sub("int"), " AS DECIMAL(10,2))"),
    ]


def _bool(making: Making, scope: Scope, sub: _Sub, flat: _Sub) -> list[_Maker]:
    rng = making.rng
    of = rng.choice([kind for kind in COMPARED if scope.of(kind)] or ["int"])
    sign = rng.choice((" = ", " = ", " <> ", " < ", " <= ", " > ", " >= "))
    no = rng.choice(("", "", " NOT"))
    makers: list[_Maker] = [lambda: made("bool", "(", sub(of), sign, sub(of), ")")] * 6
    makers += [
        lambda: made("bool", "(", sub("bool"), rng.choice((" AND ", " OR ")), sub("bool"), ")")
    ] * 4
    makers += [
        lambda: made("bool", "(NOT ", sub("bool"), ")"),
        lambda: made("bool", "(", sub(of), f" IS{no} NULL)"),
        lambda: made("bool", "(", sub("bool"), f" IS{no} {rng.choice(('TRUE', 'FALSE'))})"),
        lambda: made("bool", "(", sub(of), f"{no} BETWEEN ", flat(of), " AND ", flat(of), ")"),
    ]
    if "distinct_from" in making.features:
        makers += [lambda: made("bool", "(", sub(of), f" IS{no} DISTINCT FROM ", sub(of), ")")] * 2
    if "in_list" in making.features:
        makers += [lambda: _in_list(making, of, sub(of), no, flat)] * 2
    if "like" in making.features:
        word = rng.choice(("LIKE", "LIKE", "ILIKE"))
        makers.append(
            lambda: made("bool", "(", sub("text"), f"{no} {word} {rng.choice(PATTERNS)})")
        )
    if "strings" in making.features:
        makers.append(lambda: made("bool", "starts_with(", sub("text"), ", ", flat("text"), ")"))
    if structs := scope.of("struct"):
        makers.append(lambda: made("bool", "(", rng.choice(structs), f" IS{no} NULL)"))
    if making.chance(0.1, "tuples"):
        a, b = rng.choice(("int", "text")), rng.choice(("int", "text"))
        sign = rng.choice((" = ", " = ", " <> ", " < ", " >= "))

        def known(of: str) -> Expr:
            # DuckDB takes NULL for a value there; of another type, so that none takes its place.
            last = Expr(f"known {of}", value(making, of).parts)
            return made(f"known {of}", "COALESCE(", flat(of), ", ", last, ")")

        makers.append(
            lambda: made(
                "bool",
                "((",
                known(a),
                ", ",
                known(b),
                ")",
                sign,
                "(",
                known(a),
                ", ",
                known(b),
                "))",
            )
        )
    return makers


def _in_list(making: Making, of: str, left: Expr, no: str, flat: _Sub) -> Expr:
    rng = making.rng
    items = [literal(making, of) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.2:
        items.append(flat(of))
    if rng.random() < 0.25:
        items.insert(rng.randint(0, len(items)), made(of, "NULL"))
    return made("bool", "(", left, f"{no} IN (", Several(tuple(items)), "))")


def _nothing(*_: Any) -> list[_Maker]:
    return []


_BY_TYPE: dict[str, Callable[[Making, Scope, _Sub, _Sub], list[_Maker]]] = {
    "int": _int,
    "double": _double,
    "text": _text,
    "date": _date,
    "ts": _ts,
    "dec": _dec,
    "bool": _bool,
    "big": _nothing,
}


def any_type(making: Making, scope: Scope) -> str:
    """A type, rather one of which there is a column."""
    there = sorted({one.type for one in scope.columns if one.type in SCALARS})
    return making.rng.choice(there or ["int", "text"])
