"""What an expression can see, and the state of a generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.differential.tree import Expr, Order

# Types that have an order and can be columns of any query.
SCALARS = ("int", "big", "double", "text", "bool", "date", "ts", "dec")


@dataclass(frozen=True)
class Scope:
    """Columns, those that make a row unique, and those of the queries around."""

    columns: tuple[Expr, ...] = ()
    key: tuple[Expr, ...] = ()
    outer: tuple[Expr, ...] = ()
    # Where an expression stands: "where", "select", "having", "on" or "window".
    place: str = "where"

    def of(self, kind: str) -> list[Expr]:
        """Its own columns of a type."""
        return [column for column in self.columns if column.type == kind]

    def joined(self, other: Scope) -> Scope:
        """Of both."""
        return replace(self, columns=self.columns + other.columns, key=self.key + other.key)

    def at(self, place: str) -> Scope:
        """The same elsewhere."""
        return replace(self, place=place)

    def total(self) -> tuple[Expr, ...]:
        """Columns by which every row has its place."""
        return self.key or tuple(one for one in self.columns if one.type in SCALARS)


def column(alias: str, name: str, kind: str) -> Expr:
    """A column as an expression."""
    return Expr(kind, (f"{alias}.{name}",))


def is_column(one: Expr) -> bool:
    """Whether an expression is a column and nothing more."""
    return len(one.parts) == 1 and isinstance(one.parts[0], str) and "." in one.parts[0]


def _none(_kind: str, _scope: Scope) -> Expr | None:
    return None


@dataclass
class Making:
    """The state of one generator."""

    rng: random.Random
    features: frozenset[str]
    tables: Mapping[str, Mapping[str, str]]
    # Makes a subquery of a type; set by the module of queries, which stands above this one.
    subquery: Callable[[str, Scope], Expr | None] = _none
    ctes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    numbers: int = 0
    depth: int = 0

    def name(self, start: str) -> str:
        """A name that is not taken."""
        self.numbers += 1
        return f"{start}{self.numbers}"

    def chance(self, share: float, *features: str) -> bool:
        """True for a share of the calls, where all the features are there."""
        return self.features.issuperset(features) and self.rng.random() < share

    def orders(self, keys: tuple[Expr, ...]) -> tuple[Order, ...]:
        """The keys in random directions."""
        coin = self.rng.random
        return tuple(Order(key, coin() < 0.4, coin() < 0.5) for key in keys)
