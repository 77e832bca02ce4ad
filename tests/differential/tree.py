"""Queries as trees: text from them, and smaller trees of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# A literal of each type, and how a NULL of it is spelled.
PLAIN = {
    "int": ("1", "CAST(NULL AS BIGINT)"),
    "big": ("1", "CAST(NULL AS BIGINT)"),
    "double": ("CAST(1 AS DOUBLE)", "CAST(NULL AS DOUBLE)"),
    "text": ("'a'", "CAST(NULL AS VARCHAR)"),
    "bool": ("true", "false", "CAST(NULL AS BOOLEAN)"),
    "date": ("DATE '2020-01-01'", "CAST(NULL AS DATE)"),
    "ts": ("TIMESTAMP '2020-01-01 00:00:00'",),
    "dec": ("CAST(1 AS DECIMAL(10,2))", "CAST(NULL AS DECIMAL(10,2))"),
}


class Node:
    """A part of a query."""

    def sql(self) -> str:
        """The text."""
        raise NotImplementedError

    def smaller(self) -> Iterator[Any]:
        """Nodes that can stand in the place of this one and say less."""
        return iter(())


@dataclass(frozen=True)
class Expr(Node):
    """An expression of a type: text and parts in between."""

    type: str
    parts: tuple[str | Node, ...]

    def sql(self) -> str:
        """The text."""
        return "".join(part if isinstance(part, str) else part.sql() for part in self.parts)

    def smaller(self) -> Iterator[Expr]:
        """Literals, and what it is made of."""
        if len(self.parts) > 1 or "." in str(self.parts[0]):
            yield from (Expr(self.type, (text,)) for text in PLAIN.get(self.type, ()))
        yield from (part for part in inner(self) if part.type == self.type)


def inner(node: Node) -> Iterator[Expr]:
    """The expressions within one, those of its subqueries apart."""
    for part in parts(node):
        if isinstance(part, Expr):
            yield part
        if not isinstance(part, Query):
            yield from inner(part)


def parts(node: Any) -> Iterator[Node]:
    """The nodes right below one."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Node):
                yield one


def nodes(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for part in parts(node):
        yield from nodes(part)


@dataclass(frozen=True)
class Several(Node):
    """Expressions between commas, at least one."""

    items: tuple[Expr, ...]

    def sql(self) -> str:
        """The text."""
        return ", ".join(item.sql() for item in self.items)

    def smaller(self) -> Iterator[Several]:
        """One item less."""
        yield from (Several(rest) for rest in without_one(self.items) if rest)


@dataclass(frozen=True)
class Order(Node):
    """A key of an order."""

    key: Expr
    descending: bool = False
    nulls_first: bool = False

    def sql(self) -> str:
        """The text."""
        way = " DESC" if self.descending else ""
        return f"{self.key.sql()}{way} NULLS {'FIRST' if self.nulls_first else 'LAST'}"


@dataclass(frozen=True)
class Window(Node):
    """What stands between the brackets of OVER, or after AS in WINDOW."""

    base: str = ""
    partition: tuple[Expr, ...] = ()
    order: tuple[Order, ...] = ()
    frame: str = ""

    def sql(self) -> str:
        """The text."""
        texts = [self.base]
        if self.partition:
            texts.append("PARTITION BY " + ", ".join(one.sql() for one in self.partition))
        if self.order:
            texts.append("ORDER BY " + ", ".join(one.sql() for one in self.order))
        return " ".join(text for text in [*texts, self.frame] if text)

    def smaller(self) -> Iterator[Window]:
        """Without a clause or a key of one."""
        if self.frame:
            yield dataclasses.replace(self, frame="")
        yield from changes(self, "partition", "order")


@dataclass(frozen=True)
class NamedWindow(Node):
    """A window of the WINDOW clause."""

    name: str
    window: Window

    def sql(self) -> str:
        """The text."""
        return f"{self.name} AS ({self.window.sql()})"


@dataclass(frozen=True)
class Item(Node):
    """A column of a SELECT."""

    value: Expr
    name: str

    def sql(self) -> str:
        """The text."""
        return f"{self.value.sql()} AS {self.name}"


class Source(Node):
    """What follows FROM."""


@dataclass(frozen=True)
class Named(Source):
    """A table or a common table expression."""

    table: str
    alias: str

    def sql(self) -> str:
        """The text."""
        return self.table if self.table == self.alias else f"{self.table} AS {self.alias}"


@dataclass(frozen=True)
class Derived(Source):
    """A query in brackets."""

    query: Query
    alias: str
    lateral: bool = False

    def sql(self) -> str:
        """The text."""
        return f"{'LATERAL ' if self.lateral else ''}({self.query.sql()}) AS {self.alias}"


@dataclass(frozen=True)
class Literals(Source):
    """VALUES as a table."""

    rows: tuple[Several, ...]
    alias: str
    names: str

    def sql(self) -> str:
        """The text."""
        rows = ", ".join(f"({row.sql()})" for row in self.rows)
        return f"(VALUES {rows}) AS {self.alias}({self.names})"

    def smaller(self) -> Iterator[Literals]:
        """One row less."""
        yield from (dataclasses.replace(self, rows=r) for r in without_one(self.rows) if r)


@dataclass(frozen=True)
class Join(Source):
    """Two sources; `using` in place of `on` where it is not empty."""

    left: Source
    kind: str
    right: Source
    on: Expr | None = None
    using: str = ""

    def sql(self) -> str:
        """The text."""
        end = f" USING ({self.using})" if self.using else ""
        if self.on is not None:
            end = f" ON {self.on.sql()}"
        right = self.right.sql()
        if isinstance(self.right, Join):
            right = f"({right})"
        return f"{self.left.sql()} {self.kind} {right}{end}"

    def smaller(self) -> Iterator[Source]:
        """One side, or a plainer kind."""
        yield self.left
        yield self.right
        if self.on is not None and self.kind != "JOIN":
            yield dataclasses.replace(self, kind="JOIN")


@dataclass(frozen=True)
class Group(Node):
    """GROUP BY: `form` is empty, ROLLUP, CUBE or GROUPING SETS; sets are places of keys."""

    keys: tuple[Expr, ...]
    form: str = ""
    sets: tuple[tuple[int, ...], ...] = ()

    def sql(self) -> str:
        """The text."""
        texts = [key.sql() for key in self.keys]
        if self.form == "GROUPING SETS":
            sets = ", ".join("(" + ", ".join(texts[at] for at in s) + ")" for s in self.sets)
            return f"GROUPING SETS ({sets})"
        return f"{self.form} ({', '.join(texts)})" if self.form else ", ".join(texts)

    def smaller(self) -> Iterator[Group]:
        """A set or a key less, or plain."""
        if self.form:
            yield Group(self.keys)
        if len(self.sets) > 1:
            yield from (dataclasses.replace(self, sets=sets) for sets in without_one(self.sets))
        elif not self.sets:
            yield from (dataclasses.replace(self, keys=k) for k in without_one(self.keys) if k)


class Body(Node):
    """A query without WITH, ORDER BY and LIMIT."""


@dataclass(frozen=True)
class Select(Body):
    """SELECT."""

    items: tuple[Item, ...]
    source: Source | None = None
    where: Expr | None = None
    group: Group | None = None
    having: Expr | None = None
    qualify: Expr | None = None
    windows: tuple[NamedWindow, ...] = ()
    distinct: bool = False
    distinct_on: tuple[Expr, ...] = ()

    def sql(self) -> str:
        """The text."""
        how = "DISTINCT " if self.distinct else ""
        if self.distinct_on:
            how = f"DISTINCT ON ({', '.join(one.sql() for one in self.distinct_on)}) "
        texts = [f"SELECT {how}{', '.join(item.sql() for item in self.items)}"]
        clauses = [
            ("FROM", self.source),
            ("WHERE", self.where),
            ("GROUP BY", self.group),
            ("HAVING", self.having),
        ]
        texts += [f"{word} {node.sql()}" for word, node in clauses if node is not None]
        if self.windows:
            texts.append("WINDOW " + ", ".join(one.sql() for one in self.windows))
        if self.qualify is not None:
            texts.append(f"QUALIFY {self.qualify.sql()}")
        return " ".join(texts)

    def smaller(self) -> Iterator[Select]:
        """Without a clause, or with a column or a window less."""
        if self.where is not None:
            yield dataclasses.replace(self, where=None)
        if self.having is not None:
            yield dataclasses.replace(self, having=None)
        if self.qualify is not None:
            yield dataclasses.replace(self, qualify=None)
        if self.group is not None:
            yield dataclasses.replace(self, group=None)
        if self.distinct:
            yield dataclasses.replace(self, distinct=False)
        if self.distinct_on:
            yield dataclasses.replace(self, distinct_on=())
        yield from changes(self, "windows")
        yield from (
            dataclasses.replace(self, items=rest) for rest in without_one(self.items) if rest
        )


@dataclass(frozen=True)
class SetOperation(Body):
    """UNION and its like."""

    left: Body
    operator: str
    right: Body

    def sql(self) -> str:
        """The text."""
        return f"({self.left.sql()}) {self.operator} ({self.right.sql()})"

    def smaller(self) -> Iterator[Body]:
        """One side, or both without a column."""
        yield self.left
        yield self.right
        width = columns(self)
        if width > 1:
            yield from (without_column(self, at) for at in range(width))


def columns(body: Body) -> int:
    """How many columns a body has."""
    if isinstance(body, SetOperation):
        return columns(body.left)
    return len(body.items) if isinstance(body, Select) else 0


def without_column(body: Body, at: int) -> Body:
    """The body without one column."""
    if isinstance(body, SetOperation):
        left, right = without_column(body.left, at), without_column(body.right, at)
        return SetOperation(left, body.operator, right)
    if isinstance(body, Select):
        return dataclasses.replace(body, items=(*body.items[:at], *body.items[at + 1 :]))
    return body


@dataclass(frozen=True)
class Cte(Node):
    """A common table expression."""

    name: str
    query: Query
    recursive: bool = False

    def sql(self) -> str:
        """The text."""
        return f"{self.name} AS ({self.query.sql()})"


@dataclass(frozen=True)
class Query(Node):
    """A whole query."""

    body: Body
    ctes: tuple[Cte, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int | None = None

    def sql(self) -> str:
        """The text."""
        texts = []
        if self.ctes:
            word = "WITH RECURSIVE " if any(cte.recursive for cte in self.ctes) else "WITH "
            texts.append(word + ", ".join(cte.sql() for cte in self.ctes))
        texts.append(self.body.sql())
        if self.order:
            texts.append("ORDER BY " + ", ".join(one.sql() for one in self.order))
        if self.limit is not None:
            texts.append(f"LIMIT {self.limit}")
        if self.offset is not None:
            texts.append(f"OFFSET {self.offset}")
        return " ".join(texts)

    def smaller(self) -> Iterator[Query]:
        """What is in it alone, without a clause, or with a key or a column less."""
        yield from (cte.query for cte in self.ctes if not cte.recursive)
        for node in nodes(self.body):
            if isinstance(node, Derived):
                yield node.query
        if self.limit is not None or self.offset is not None:
            yield dataclasses.replace(self, limit=None, offset=None)
        if self.offset is not None:
            yield dataclasses.replace(self, offset=None)
        # What is cut off has an order of all columns; without the cut a part of one is an order.
        if self.order and self.limit is None and self.offset is None:
            yield dataclasses.replace(self, order=())
        yield from changes(self, "ctes")
        for at in range(columns(self.body) if len(self.order) > 1 else 0):
            body = without_column(self.body, at)
            named = [isinstance(self.body, Select) and self.body.items[at].name]
            order = tuple(one for one in self.order if one.key.sql() not in named)
            if columns(body):
                yield dataclasses.replace(self, body=body, order=order)


def without_one(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The items, each time without another one."""
    yield from ((*items[:at], *items[at + 1 :]) for at in range(len(items)))


def changes(node: Any, *names: str) -> Iterator[Any]:
    """The node with an item less in one of the fields."""
    for name in names:
        for rest in without_one(getattr(node, name)):
            yield dataclasses.replace(node, **{name: rest})


def reductions(node: Any) -> Iterator[Any]:
    """The node with one thing in it smaller, large steps first."""
    yield from node.smaller()
    if isinstance(node, Cte) and node.recursive:
        return  # without its condition it would not end
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            for less in reductions(value):
                yield dataclasses.replace(node, **{field.name: less})
        elif isinstance(value, tuple):
            for at, child in enumerate(value):
                for less in reductions(child) if isinstance(child, Node) else ():
                    changed = (*value[:at], less, *value[at + 1 :])
                    yield dataclasses.replace(node, **{field.name: changed})
