"""Texts made of other texts, token by token: most of them no SQL, some what nobody writes."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

TOKEN = re.compile(
    r"\s+|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|<=>|<=|>="
    r"|<>|!=|\|\||::|->>|->|@>|<@|."
)
#: What is put in besides tokens of other texts.
ODD = (
    *("NULL", "0", "-1", "1e308", "-1e-308", "9223372036854775807", "-9223372036854775808"),
    *("18446744073709551615", "170141183460469231731687303715884105727", "0.1", "'NaN'::double"),
    *("''", "'\u0000'", "'ß💥'", "'2024-02-30'", "DATE '9999-12-31'", "INTERVAL '1' MONTH"),
    *("X'FF'", "TIMESTAMP '0001-01-01'", "ARRAY[]", "[NULL]", "{}", "MAP {'a': 1}", "(1, 2)"),
    *("*", "t.*", "$1", "?", "DISTINCT", "ALL", "NOT", "IS NULL", "IN ()", "BETWEEN", "ESCAPE"),
    *("OVER ()", "FILTER (WHERE true)", "WITHIN GROUP (ORDER BY 1)", "ROLLUP", "LATERAL"),
    *("LIMIT 0", "OFFSET 9223372036854775807", "UNION", "EXCEPT ALL", "WITH RECURSIVE", "EXISTS"),
    *("(SELECT 1)", "(SELECT * FROM t)", "(VALUES (1), (NULL))", "CASE WHEN", "END", ",", ";", "("),
    *(")", "--", "/*", "*/", '"', "'", "`", "[", "]", "::decimal(76, 76)", "::interval", "::bytea"),
    *(
        "arrow_cast(1, 'Float16')",
        "unnest([1, NULL])",
        "generate_series(1, 3)",
        "now()",
        "random()",
    ),
)


#: Columns of the table that texts are about.
COLUMNS = ("i", "u", "x", "h", "m", "s", "b", "d", "t.t", "z", "c", "w", "l", "r", "y", "f")
_VALUE = re.compile(r"[a-z]\w*|\d.*|'.*", re.IGNORECASE | re.DOTALL)


def mutated(rng: random.Random, texts: Sequence[str], functions: Sequence[str]) -> str:
    """A text made of one of ``texts`` by one to eight changes."""
    tokens = TOKEN.findall(rng.choice(texts))
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 8))):
        change = rng.choice((*(_other_value,) * 3, *(_other_function,) * 3, *CHANGES))
        change(rng, tokens, texts, functions)
    return "".join(tokens)


def _places(tokens: list[str], *, called: bool) -> list[int]:
    """Where a value stands, or the name of a function."""
    following = [*tokens, ""][1:]
    return [
        at
        for at, (token, after) in enumerate(zip(tokens, following, strict=True))
        if _VALUE.fullmatch(token) and (after == "(") is called
    ]


def _argument(rng: random.Random) -> str:
    return rng.choice((rng.choice(COLUMNS), rng.choice(COLUMNS), rng.choice(ODD)))


def _other_value(
    rng: random.Random, tokens: list[str], _: Sequence[str], functions: Sequence[str]
) -> None:
    places = _places(tokens, called=False)
    if not places:
        return
    arguments = ", ".join(_argument(rng) for _ in range(rng.choice((0, 1, 1, 2, 2, 3))))
    call = f"{rng.choice(functions)}({arguments})"
    tokens[rng.choice(places)] = rng.choice((call, call, _argument(rng)))


def _other_function(
    rng: random.Random, tokens: list[str], _: Sequence[str], functions: Sequence[str]
) -> None:
    places = _places(tokens, called=True)
    if places:
        tokens[rng.choice(places)] = rng.choice(functions)


def _less(rng: random.Random, tokens: list[str], _: Sequence[str], __: Sequence[str]) -> None:
    at = rng.randrange(len(tokens) + 1)
    del tokens[at : at + rng.choice((1, 1, 2, 5))]


def _odd(rng: random.Random, tokens: list[str], _: Sequence[str], __: Sequence[str]) -> None:
    tokens.insert(rng.randrange(len(tokens) + 1), f" {rng.choice(ODD)} ")


def _of_another(
    rng: random.Random, tokens: list[str], texts: Sequence[str], _: Sequence[str]
) -> None:
    other = TOKEN.findall(rng.choice(texts))
    begin = rng.randrange(len(other))
    at = rng.randrange(len(tokens) + 1)
    tokens[at:at] = other[begin : begin + rng.randrange(1, 12)]


def _repeated(rng: random.Random, tokens: list[str], _: Sequence[str], __: Sequence[str]) -> None:
    if tokens:
        at = rng.randrange(len(tokens))
        tokens[at : at + 1] = [tokens[at], " "] * rng.choice((2, 3, 40))


def _swapped(rng: random.Random, tokens: list[str], _: Sequence[str], __: Sequence[str]) -> None:
    if tokens:
        one, two = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        tokens[one], tokens[two] = tokens[two], tokens[one]


def _nested(rng: random.Random, tokens: list[str], _: Sequence[str], __: Sequence[str]) -> None:
    depth = rng.choice((1, 1, 2, 30, 300))
    at = rng.randrange(len(tokens) + 1)
    end = min(len(tokens), at + rng.randrange(1, 6))
    tokens[at:end] = ["(" * depth, *tokens[at:end], ")" * depth]


CHANGES = (_less, _odd, _of_another, _repeated, _swapped, _nested)
