"""Statements put to the engine and to DuckDB, and how they ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

import fusiondelta
from tests.differential.compare import Row, rows_of
from tests.differential.schemas import Database, plain
from tests.differential.settings import DEFAULT, SETTINGS

# What a row can be blamed for, here or there.
_OF_ROWS = re.compile(
    r"overflow|divide by zero|division by zero|out of range|cannot cast|can't cast|cast error"
    r"|could not convert|conversion error|more than one row|does not fit|invalid timestamp"
    r"|failed to convert|too many decimal digits|too large|not in valid range"
)
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\b[a-z]\w?\d+\.\w+|\b[a-z]\d+\b|#?-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Answer:
    """The rows of a statement, or the error."""

    rows: tuple[Row, ...] = ()
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether there are no rows to compare."""
        return bool(self.error)

    @property
    def by_rows(self) -> bool:
        """Whether the error is one of values: an overflow, a cast that fails."""
        return bool(_OF_ROWS.search(self.error.lower()))

    def kind(self) -> str:
        """The first line of the error and that of its cause, without names and numbers."""
        line, *others = self.error.splitlines() or [""]
        if "caused by" in others[:-1]:
            line = f"{line}: {others[others.index('caused by') + 1]}"
        line = line.split("(there are")[0]
        return _NAMES.sub("…", line.split(" {")[0])[:120]


def ours(sql: str) -> str:
    """The statement in the dialect of DataFusion."""
    return sql.replace("first_of(", "first_value(").replace("last_of(", "last_value(")


def theirs(sql: str) -> str:
    """The statement in the dialect of DuckDB."""
    sql = sql.replace("first_of(", "first(").replace("last_of(", "last(")
    return sql.replace("LEFT SEMI JOIN", "SEMI JOIN").replace("LEFT ANTI JOIN", "ANTI JOIN")


class Engines:
    """One engine for each of the settings, made when it is asked for."""

    def __init__(self, partitions: int = 4) -> None:
        self._made: dict[str, fusiondelta.FusionDeltaEngine] = {}
        self._partitions = partitions
        self.statements = 0

    def close(self) -> None:
        """Ends them."""
        for engine in self._made.values():
            engine.close()

    def get(self, setting: str = DEFAULT) -> fusiondelta.FusionDeltaEngine:
        """The engine of a setting."""
        if setting not in self._made:
            profile = fusiondelta.EngineProfile(
                target_partitions=self._partitions,
                options=SETTINGS[setting],
                memory_limit="256MiB",
                pool_size=2,
            )
            self._made[setting] = fusiondelta.FusionDeltaEngine(profile)
        return self._made[setting]

    def ask(self, sql: str, sources: Mapping[str, Any], setting: str = DEFAULT) -> Answer:
        """What the engine answers."""
        self.statements += 1
        text = ours(sql)
        used = {name: value for name, value in sources.items() if re.search(rf"\b{name}\b", text)}
        try:
            with self.get(setting).query(text, sources=used, timeout=60) as result:
                return Answer(tuple(rows_of(result.to_table())))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # panics of the extension among them
            return Answer(error=f"{type(error).__name__}: {error}")


class Duck:
    """DuckDB over the tables of one database."""

    def __init__(self, database: Database) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET threads=1; SET TimeZone='UTC'")
        for name, table in database.tables.items():
            self._connection.register("arrow", plain(table))
            self._connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arrow")
            self._connection.unregister("arrow")

    def close(self) -> None:
        """Ends it."""
        self._connection.close()

    def ask(self, sql: str) -> Answer:
        """What DuckDB answers."""
        try:
            table: pa.Table = self._connection.sql(theirs(sql)).to_arrow_table()
            return Answer(tuple(rows_of(table)))
        except (duckdb.Error, pa.ArrowException, RuntimeError, ValueError) as error:
            return Answer(error=f"{type(error).__name__}: {error}")
