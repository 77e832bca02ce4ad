"""Spark and fusiondelta take turns on one table, beside a model of plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fusiondelta import DeltaSource, FusionDeltaEngine
from tests.harness.log_files import actions
from tests.harness.spark import Spark
from tests.spark import sql
from tests.spark.values import same

pytestmark = pytest.mark.spark

CHANGES = 60
COMPARED_EVERY = 5
SCHEMA = pa.schema([("k", pa.int64()), ("p", pa.string()), ("n", pa.int32()), ("s", pa.string())])
PARTS = ["even", "o d/d=%", None]
TEXTS = ["a", "b c", '%_"`', "ü", "", None]

Row = dict[str, Any]
Sort = Callable[[Row], bool | None]


@dataclass
class Condition:
    """An SQL condition that both read alike, and what it is of a row of the model."""

    text: str
    holds: Sort


def compared(name: str, sign: str, value: int, test: Callable[[int, int], bool]) -> Condition:
    def holds(row: Row) -> bool | None:
        return None if row[name] is None else test(row[name], value)

    return Condition(f"{name} {sign} {value}", holds)


def both(one: Condition, other: Condition) -> Condition:
    def holds(row: Row) -> bool | None:
        found = {one.holds(row), other.holds(row)}
        return False if False in found else None if None in found else True

    return Condition(f"({one.text}) AND ({other.text})", holds)


def negated(one: Condition) -> Condition:
    def holds(row: Row) -> bool | None:
        found = one.holds(row)
        return None if found is None else not found

    return Condition(f"NOT ({one.text})", holds)


def quoted(value: str | None) -> str:
    """As SQL of both; Spark has another way than the standard's for a quote within, and escapes."""
    return "NULL" if value is None else f"'{value}'"


class Choice:
    """Draws changes of a table that has had so many keys."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.keys = 0

    def simple(self) -> Condition:
        draw = self.draw
        key, number = draw.randrange(self.keys), draw.randrange(-20, 20)
        width = draw.randrange(1, 12)
        part, text = draw.choice(PARTS), draw.choice(TEXTS)
        return draw.choice(
            [
                compared("k", "=", key, lambda a, b: a == b),
                Condition(
                    f"k BETWEEN {key} AND {key + width}", lambda row: key <= row["k"] <= key + width
                ),
                Condition(
                    f"k IN ({key}, {key + 1}, {key + 7})",
                    lambda row: row["k"] in (key, key + 1, key + 7),
                ),
                Condition(f"k % 7 = {key % 7}", lambda row: row["k"] % 7 == key % 7),
                compared("n", ">", number, lambda a, b: a > b),
                compared("n", "<=", number, lambda a, b: a <= b),
                self.equal("s", text),
                self.equal("p", part),
            ]
        )

    @staticmethod
    def equal(name: str, value: str | None) -> Condition:
        if value is None:
            return Condition(f"{name} IS NULL", lambda row: row[name] is None)
        return Condition(
            f"{name} = {quoted(value)}",
            lambda row: None if row[name] is None else row[name] == value,
        )

    def condition(self) -> Condition:
        """One that takes some of the rows, not most of them."""
        most = self.keys * 3 // 4
        narrow = compared("k", ">", self.draw.randrange(most // 2, most), lambda a, b: a > b)
        made = self.simple()
        if self.draw.random() < 0.4:
            made = both(made, narrow)
        if self.draw.random() < 0.2:
            made = both(negated(self.simple()), made)
        return made

    def row(self, key: int) -> Row:
        number = self.draw.choice([None, *range(-20, 20)])
        return {
            "k": key,
            "p": self.draw.choice(PARTS),
            "n": number,
            "s": self.draw.choice(TEXTS),
        }

    def updates(self) -> dict[str, tuple[str, Callable[[Row], Any]]]:
        """Columns to set: SQL, and the same of a row of the model."""
        number, text, part = self.draw.randrange(9), self.draw.choice(TEXTS), PARTS[0]
        return self.draw.choice(
            [
                {
                    "n": (
                        f"n + {number}",
                        lambda row: None if row["n"] is None else row["n"] + number,
                    )
                },
                {"n": ("NULL", lambda row: None), "s": (quoted(text), lambda row: text)},
                {"s": (quoted(text), lambda row: text)},
                {"p": (f"'{part}'", lambda row: part)},
                {
                    "n": (
                        "CASE WHEN n IS NULL THEN 0 ELSE -n END",
                        lambda row: -(row["n"] or 0),
                    )
                },
            ]
        )


def of_rows(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


class Fusion:
    """Makes each change with fusiondelta."""

    name = "fusiondelta"

    def __init__(self, engine: FusionDeltaEngine, uri: Path) -> None:
        self.engine, self.uri = engine, uri

    def append(self, rows):
        self.engine.write_delta(self.uri, of_rows(rows))

    def delete(self, where):
        self.engine.delete(self.uri, where.text)

    def update(self, updates, where):
        given = {name: text for name, (text, _) in updates.items()}
        self.engine.update(self.uri, given, where.text)

    def merge(self, rows, deleted, left):
        made = (
            self.engine.merge(self.uri, of_rows(rows), on=["k"])
            .when_matched_delete(f"source.n > {deleted}")
            .when_matched_update_all()
            .when_not_matched_insert_all()
        )
        if left is not None:
            made = made.when_not_matched_by_source_delete(f"target.k = {left}")
        made.execute()

    def optimize(self):
        self.engine.optimize(self.uri)
        self.engine.checkpoint(self.uri)

    def rows(self, version=None):
        source = DeltaSource(self.uri, version)
        return self.engine.query("SELECT * FROM t", sources={"t": source}).to_pylist()


class Reference:
    """Makes each change with Spark."""

    name = "Spark"

    def __init__(self, spark: Spark, uri: Path) -> None:
        self.spark, self.uri, self.at = spark, uri, sql.at(uri)

    def append(self, rows):
        self.spark.ask(sql.insert(self.uri, of_rows(rows)))

    def delete(self, where):
        self.spark.ask(f"DELETE FROM {self.at} WHERE {where.text}")

    def update(self, updates, where):
        given = ", ".join(f"{name} = {text}" for name, (text, _) in updates.items())
        self.spark.ask(f"UPDATE {self.at} SET {given} WHERE {where.text}")

    def merge(self, rows, deleted, left):
        tail = (
            "" if left is None else f" WHEN NOT MATCHED BY SOURCE AND target.k = {left} THEN DELETE"
        )
        self.spark.ask(
            f"MERGE INTO {self.at} target USING ({sql.rows(of_rows(rows))}) source"
            " ON target.k = source.k"
            f" WHEN MATCHED AND source.n > {deleted} THEN DELETE"
            f" WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *{tail}"
        )

    def optimize(self):
        self.spark.ask(f"OPTIMIZE {self.at}")

    def rows(self, version=None):
        return self.spark.rows(sql.select(self.uri, version))


class Turns:
    """The table as a dictionary of rows by key, and the same changes made to both."""

    def __init__(self, seed: int, writers: list[Fusion | Reference]) -> None:
        self.choice = Choice(seed)
        self.writers = writers
        self.model: dict[int, Row] = {}
        self.told = [f"seed {seed}"]

    def new_rows(self, most: int) -> list[Row]:
        count = self.choice.draw.randrange(1, most)
        first = self.choice.keys
        self.choice.keys += count
        return [self.choice.row(key) for key in range(first, first + count)]

    def change(self, writer: Fusion | Reference) -> None:
        """One change that writer makes, and the model with it."""
        draw = self.choice.draw
        kinds = ["append", "delete", "update", "merge", "optimize"]
        (kind,) = draw.choices(kinds, [4, 4, 4, 4, 1])
        self.told.append(f"{writer.name}: {kind}")
        getattr(self, kind)(writer)

    def say(self, what: Any) -> None:
        self.told[-1] += f" {what}"

    def append(self, writer):
        rows = self.new_rows(12)
        self.say([row["k"] for row in rows])
        writer.append(rows)
        self.model.update({row["k"]: row for row in rows})

    def delete(self, writer):
        where = self.choice.condition()
        self.say(where.text)
        writer.delete(where)
        self.model = {k: row for k, row in self.model.items() if where.holds(row) is not True}

    def update(self, writer):
        where, updates = self.choice.condition(), self.choice.updates()
        self.say(f"{ {name: text for name, (text, _) in updates.items()} } where {where.text}")
        writer.update(updates, where)
        for row in self.model.values():
            if where.holds(row) is True:
                row.update({name: made(row) for name, (_, made) in updates.items()})

    def merge(self, writer):
        draw = self.choice.draw
        there = draw.sample(sorted(self.model), min(len(self.model), draw.randrange(6)))
        rows = [*(self.choice.row(key) for key in there), *self.new_rows(4)]
        deleted = draw.randrange(20)
        left = draw.choice([None, *sorted(self.model)[:3]])
        self.say(f"{rows}, deleted above {deleted}, {left} if it is left")
        writer.merge(rows, deleted, left)
        keys = {row["k"] for row in rows}
        if left is not None and left not in keys:
            self.model.pop(left, None)
        for row in rows:
            if row["k"] in self.model and row["n"] is not None and row["n"] > deleted:
                del self.model[row["k"]]
            else:
                self.model[row["k"]] = row

    def optimize(self, writer):
        writer.optimize()

    def rows(self) -> list[Row]:
        return [dict(row) for row in self.model.values()]

    def compare(self) -> None:
        for reader in self.writers:
            try:
                same(reader.rows(), self.rows())
            except AssertionError as error:
                raise AssertionError(f"{reader.name} sees other rows: {error}") from None


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "plain"])
def test_they_take_turns(spark, engine, uri, vectors):
    having = {"delta.enableDeletionVectors": str(vectors).lower()}
    fusion, reference = Fusion(engine, uri), Reference(spark, uri)
    spark.ask(sql.create(uri, SCHEMA, partition_by=["p"], having=having))
    turns = Turns(20261130 + vectors, [fusion, reference])
    turns.told.append("Spark: append at first")
    turns.append(reference)
    kept: dict[int, list[Row]] = {}
    try:
        for number in range(CHANGES):
            turns.change((fusion, reference)[number % 2])
            if number % COMPARED_EVERY == COMPARED_EVERY - 1:
                turns.compare()
                kept[engine.open_delta(uri).snapshot.version] = turns.rows()
        turns.told.append("versions of before")
        for version in turns.choice.draw.sample(sorted(kept), 4):
            same(fusion.rows(version), kept[version])
            same(reference.rows(version), kept[version])
    except BaseException as error:
        told = "\n  ".join(turns.told)
        raise AssertionError(f"{type(error).__name__}: {error}\nafter\n  {told}") from error

    commits = [actions(path) for path in sorted((uri / "_delta_log").glob("*.json"))]
    marking = {
        "Spark" if "Spark" in str(action["commitInfo"].get("engineInfo")) else "fusiondelta"
        for commit in commits
        for action in commit
        if "commitInfo" in action and any("deletionVector" in a.get("add", ()) for a in commit)
    }
    assert marking == ({"Spark", "fusiondelta"} if vectors else set())
