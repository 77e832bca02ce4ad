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


def mutated(rng: random.Random, texts: Sequence[str], functions: Sequence[str]) -> str:
    """A text made of one of ``texts`` by one to eight changes."""
    tokens = TOKEN.findall(rng.choice(texts))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        at = rng.randrange(len(tokens) + 1)
        kind = rng.randrange(8)
        if kind == 0 and tokens:
            del tokens[at : at + rng.choice((1, 1, 2, 5))]
        elif kind == 1:
            tokens.insert(at, f" {rng.choice(ODD)} ")
        elif kind == 2 and at < len(tokens):
            tokens[at] = f" {rng.choice(ODD)} "
        elif kind == 3:
            other = TOKEN.findall(rng.choice(texts))
            begin = rng.randrange(len(other))
            tokens[at:at] = other[begin : begin + rng.randrange(1, 12)]
        elif kind == 4 and at < len(tokens):
            count = rng.choice((2, 3, 40))
            tokens[at : at + 1] = [tokens[at], " "] * count
        elif kind == 5 and len(tokens) > 1:
            one, two = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            tokens[one], tokens[two] = tokens[two], tokens[one]
        elif kind == 6:
            arguments = ", ".join(rng.choice(ODD) for _ in range(rng.randrange(4)))
            tokens.insert(at, f" {rng.choice(functions)}({arguments}) ")
        elif kind == 7:
            depth = rng.choice((1, 1, 2, 30, 300))
            end = min(len(tokens), at + rng.randrange(1, 6))
            tokens[at:end] = ["(" * depth, *tokens[at:end], ")" * depth]
    return "".join(tokens)
