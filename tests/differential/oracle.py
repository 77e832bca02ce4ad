"""What has to hold of a query, and the findings where it does not."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.differential import forms
from tests.differential.compare import Row, same
from tests.differential.engines import Answer, Duck, Engines
from tests.differential.expressions import made
from tests.differential.schemas import Database
from tests.differential.settings import DEFAULT
from tests.differential.tree import Expr, Group, Item, Node, Query, Select, nodes

DUCK, VARIANT, PARTS, COUNT, REFUSED, FAILED = (
    "duckdb",
    "variant",
    "parts",
    "count",
    "refused",
    "failed",
)


@dataclass(frozen=True)
class Case:
    """A query over a database, and what is asked of it."""

    database: Database
    query: Query
    check: str = DUCK
    form: str = forms.MEMORY
    setting: str = DEFAULT


@dataclass(frozen=True)
class Finding:
    """Two answers that differ, or one that should not be an error."""

    case: Case
    kind: str
    right: Answer
    wrong: Answer


def is_ordered(query: Query) -> bool:
    """Whether the order of the rows is determined."""
    names = {one.key.sql() for one in query.order}
    items = next(one for one in nodes(query.body) if isinstance(one, Select)).items
    return bool(names) and names >= {item.name for item in items}


def differ(query: Query, one: Answer, other: Answer) -> bool:
    """Whether both have rows, and not the same."""
    if one.failed or other.failed:
        return False
    return not same(one.rows, other.rows, ordered=is_ordered(query))


def against_duck(case: Case, engines: Engines, duck: Duck) -> tuple[Finding | None, Answer]:
    """The finding, and what the engine answers over tables in memory."""
    text = case.query.sql()
    answer = engines.ask(text, case.database.tables)
    if answer.by_rows:
        return None, answer
    right = duck.ask(text)
    if right.failed:
        # Nothing says what is right; a panic is never.
        if "panic" in answer.error.lower() or "internal error" in answer.error.lower():
            return Finding(case, f"{FAILED}: {answer.kind()}", right, answer), answer
        return None, answer
    if answer.failed:
        empty = engines.ask(text, {n: t.slice(0, 0) for n, t in case.database.tables.items()})
        how = REFUSED if empty.failed else FAILED
        return Finding(case, f"{how}: {answer.kind()}", right, answer), answer
    if differ(case.query, right, answer):
        return Finding(case, "rows differ from DuckDB", right, answer), answer
    return None, answer


def as_variant(
    case: Case, base: Answer, sources: Mapping[str, Any], engines: Engines
) -> Finding | None:
    """The same query over other forms of the tables, under other settings."""
    answer = engines.ask(case.query.sql(), sources, case.setting)
    where = f"{case.form}, {case.setting}"
    if answer.failed and not answer.by_rows and not base.failed:
        return Finding(case, f"{FAILED} ({where}): {answer.kind()}", base, answer)
    if differ(case.query, base, answer):
        return Finding(case, f"rows differ by variant ({where})", base, answer)
    return None


def in_parts(case: Case, predicate: Expr, engines: Engines) -> Finding | None:
    """The rows are those where a predicate is true, false and NULL, together."""
    body = case.query.body
    if not isinstance(body, Select) or not can_be_parted(case.query):
        return None
    tables = case.database.tables
    whole = engines.ask(case.query.sql(), tables)
    rows: list[Row] = []
    for part in parts_of(case.query, body, predicate):
        answer = engines.ask(part.sql(), tables)
        if answer.failed:
            return None
        rows += answer.rows
    parts = Answer(tuple(rows))
    if differ(dataclasses.replace(case.query, order=()), whole, parts):
        return Finding(case, "rows differ from those of its parts", whole, parts)
    return None


def parts_of(query: Query, body: Select, predicate: Expr) -> list[Query]:
    """The query where a predicate is true, false and NULL."""
    parts = []
    for test in ((predicate,), ("(NOT ", predicate, ")"), ("(", predicate, " IS NULL)")):
        condition = made("bool", *test)
        if body.where is not None:
            condition = made("bool", "(", body.where, " AND ", condition, ")")
        parted = dataclasses.replace(body, where=condition)
        parts.append(dataclasses.replace(query, body=parted, order=()))
    return parts


def can_be_parted(query: Query) -> bool:
    """Whether each row of the query comes from one row of FROM."""
    body = query.body
    if not isinstance(body, Select) or query.limit is not None or query.offset is not None:
        return False
    plain = not (body.group or body.having or body.qualify or body.distinct or body.distinct_on)
    texts = " ".join(item.sql() for item in body.items)
    return plain and " OVER " not in texts and not _aggregates(body)


def _aggregates(body: Select) -> bool:
    words = ("count(", "sum(", "avg(", "min(", "max(", "bool_", "bit_", "_agg(", "_of(")
    return any(_calls(item, words) for item in body.items)


def _calls(node: Node, words: tuple[str, ...]) -> bool:
    if isinstance(node, Query):
        return False
    if isinstance(node, Expr):
        own = (part for part in node.parts if isinstance(part, str))
        if any(word in part for part in own for word in words):
            return True
        return any(_calls(part, words) for part in node.parts if isinstance(part, Node))
    return isinstance(node, Item) and _calls(node.value, words)


def counted(case: Case, engines: Engines) -> Finding | None:
    """As many rows are found by a filter as by counting where its condition is true."""
    body = case.query.body
    if not isinstance(body, Select) or body.where is None or not can_be_parted(case.query):
        return None
    tables = case.database.tables
    number = Item(made("int", "count(*)"), "n")
    found = dataclasses.replace(
        case.query, body=dataclasses.replace(body, items=(number,)), order=()
    )
    test = made("int", "count(CASE WHEN ", body.where, " THEN 1 END)")
    plain = dataclasses.replace(body, items=(Item(test, "n"),), where=None)
    counts = dataclasses.replace(case.query, body=plain, order=())
    one, other = engines.ask(found.sql(), tables), engines.ask(counts.sql(), tables)
    if differ(found, one, other):
        return Finding(case, "a filter finds other rows than its condition says", other, one)
    return None


def again(case: Case, engines: Engines, folder: Path) -> Finding | None:
    """The case once more, from nothing; for cases made smaller."""
    if case.check == DUCK:
        with contextlib.closing(Duck(case.database)) as duck:
            return against_duck(case, engines, duck)[0]
    if case.check == VARIANT:
        base = engines.ask(case.query.sql(), case.database.tables)
        if base.failed:
            return None
        sources = forms.written(case.form, case.database, folder, engines.get())
        return as_variant(case, base, sources, engines)
    if case.check == COUNT:
        return counted(case, engines)
    body = case.query.body
    if not isinstance(body, Select) or body.having is None:
        return None
    found = in_parts(dataclasses.replace(case, query=bare(case.query)), body.having, engines)
    return found and dataclasses.replace(found, case=case)


def bare(query: Query) -> Query:
    """The query of a case of `PARTS` without its predicate."""
    assert isinstance(query.body, Select)
    return dataclasses.replace(query, body=dataclasses.replace(query.body, having=None))


def texts(case: Case) -> list[str]:
    """The statements of a case."""
    body = case.query.body
    if case.check == PARTS and isinstance(body, Select) and body.having is not None:
        whole = bare(case.query)
        assert isinstance(whole.body, Select)
        return [one.sql() for one in (whole, *parts_of(whole, whole.body, body.having))]
    return [case.query.sql()]


def with_predicate(case: Case, predicate: Expr) -> Case:
    """A case of `PARTS`, which keeps its predicate as HAVING: it is made smaller with the rest."""
    body = case.query.body
    assert isinstance(body, Select)
    query = dataclasses.replace(case.query, body=dataclasses.replace(body, having=predicate))
    return dataclasses.replace(case, query=query, check=PARTS)


def shape(query: Query) -> str:
    """What kinds of things are in a query: equal for queries that fail alike, most of the time."""
    words: set[str] = set()
    for node in nodes(query):
        words |= _words(node)
    return " ".join(sorted(words))


def _words(node: Node) -> set[str]:
    if isinstance(node, Group):
        return {node.form or "GROUP"}
    if isinstance(node, Select):
        named = ("where", "having", "qualify", "windows", "distinct", "distinct_on")
        return {name for name in named if getattr(node, name)}
    if isinstance(node, Expr):
        texts = (part.strip(" (),") for part in node.parts if isinstance(part, str))
        # Columns and literals say nothing of the shape.
        return {text for text in texts if text and not re.search(r"^-?\d|\.|^'", text)}
    kind = getattr(node, "kind", None)
    return {str(kind) if kind else type(node).__name__}


def literals(database: Database) -> str:
    """The tables as Python."""
    lines = []
    for name, table in database.tables.items():
        columns = [
            f"    {column!r}: pa.array({values.to_pylist()!r}, {_arrow(values.type)}),"
            for column, values in zip(table.column_names, table.columns, strict=True)
        ]
        lines += [f"{name} = pa.table({{", *columns, "})"]
    return "\n".join(lines)


def _arrow(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "pa.dictionary(pa.int32(), pa.string())"
    if pa.types.is_struct(kind):
        return 'pa.struct([("a", pa.int64()), ("t", pa.string())])'
    if pa.types.is_list(kind):
        return "pa.list_(pa.int64())"
    known = {
        "double": "pa.float64()",
        "date32[day]": "pa.date32()",
        "bool": "pa.bool_()",
        "timestamp[us, tz=UTC]": 'pa.timestamp("us", "UTC")',
        "decimal128(10, 2)": "pa.decimal128(10, 2)",
    }
    return known.get(str(kind), f"pa.{kind}()")
