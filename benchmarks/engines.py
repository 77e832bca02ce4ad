"""The engines under comparison, each answering a TPC-H query by number with an Arrow table.

All read the very same bytes: the Parquet files that the Delta tables consist of. Tables are opened
before the first query, rows stay on disk, and each engine may use the same number of threads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks.tpch.data import queries

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta import DeltaSource, FusionDeltaEngine


@dataclass(frozen=True)
class Tables:
    """The Delta tables: their addresses, versions, and data files."""

    uris: Mapping[str, str]
    versions: Mapping[str, int]
    files: Mapping[str, Sequence[str]]


class Engine(Protocol):
    """One way to answer the queries."""

    def answer(self, number: int) -> pa.Table:
        """Run the query and hold all its rows as Arrow."""

    def close(self) -> None:
        """Give everything back."""


class FusionDelta:
    """fusiondelta over the Delta tables, each pinned at its version."""

    def __init__(self, tables: Tables, threads: int, settings: Mapping[str, str]) -> None:
        self._engine = fusiondelta_engine(threads, settings)
        self._tables = tables
        self._texts = queries()

    def answer(self, number: int) -> pa.Table:
        sql = self._texts[number]
        with self._engine.query(sql, sources=pinned(sql, self._tables)) as result:
            return result.reader().read_all()

    def close(self) -> None:
        self._engine.close()


class PlainDelta:
    """A datafusion context over deltalake tables, the pairing of the two packages as they come."""

    def __init__(self, tables: Tables, threads: int, _settings: Mapping[str, str]) -> None:
        from datafusion import SessionConfig, SessionContext
        from deltalake import DeltaTable

        self._context = SessionContext(SessionConfig().with_target_partitions(threads))
        self._texts = queries()
        self._opened = [
            (name, DeltaTable(uri, version=tables.versions[name]))
            for name, uri in tables.uris.items()
        ]
        for name, table in self._opened:
            self._context.register_table(name, table)

    def answer(self, number: int) -> pa.Table:
        return self._context.sql(self._texts[number]).to_arrow_table()

    def close(self) -> None:
        for name, _ in self._opened:
            self._context.deregister_table(name)


class Polars:
    """Polars lazy frames over the data files."""

    def __init__(self, tables: Tables, threads: int, _settings: Mapping[str, str]) -> None:
        # Read once, when the module is first imported.
        os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
        import polars as pl

        from benchmarks.tpch import polars_queries

        if pl.thread_pool_size() != threads:
            raise RuntimeError(f"Polars runs {pl.thread_pool_size()} threads, not {threads}")
        self._plans = polars_queries.QUERIES
        self._frames = polars_queries.scan(tables.files)

    def answer(self, number: int) -> pa.Table:
        return self._plans[number](self._frames).collect().to_arrow()

    def close(self) -> None:
        self._frames = {}


class DuckDb:
    """DuckDB views over the data files."""

    def __init__(self, tables: Tables, threads: int, _settings: Mapping[str, str]) -> None:
        import duckdb

        self._connection = duckdb.connect(config={"threads": threads})
        self._texts = queries()
        for name, paths in tables.files.items():
            self._connection.read_parquet(list(paths)).create_view(name)

    def answer(self, number: int) -> pa.Table:
        return self._connection.sql(self._texts[number]).to_arrow_table()

    def close(self) -> None:
        self._connection.close()


BASELINE = "datafusion+deltalake"

ENGINES: dict[str, Callable[[Tables, int, Mapping[str, str]], Engine]] = {
    "fusiondelta": FusionDelta,
    BASELINE: PlainDelta,
    "polars": Polars,
    "duckdb": DuckDb,
}


def fusiondelta_engine(threads: int, settings: Mapping[str, str]) -> FusionDeltaEngine:
    """An engine of its own caches, limited to ``threads``, with DataFusion ``settings``."""
    from fusiondelta import EngineProfile, FusionDeltaEngine

    return FusionDeltaEngine(EngineProfile(target_partitions=threads, options=dict(settings)))


def pinned(sql: str, tables: Tables) -> dict[str, DeltaSource]:
    """Sources for the tables that a query text names, at their versions."""
    from fusiondelta import DeltaSource

    words = set(re.findall(r"\w+", sql))
    return {
        name: DeltaSource(uri, as_of=tables.versions[name])
        for name, uri in tables.uris.items()
        if name in words
    }
