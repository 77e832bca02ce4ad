"""One engine in a process of its own, asked by ``object_store.py`` through standard input.

``python benchmarks/object_store_asked.py polars`` reads one JSON object a line: first the server
(``endpoint``, ``access_key_id``, ``secret_access_key``), then questions (``table`` as a URI and
``sql``). It answers each in one line: ``{}`` for the server once the engine stands, and ``seconds``
and ``answer``, or ``failure``, for a question. The first question finds everything cold.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pyarrow as pa


class Asked(Protocol):
    """One engine in one state: asked again, it is warm."""

    def ask(self, table: str, sql: str) -> float:
        """The answer."""


class Ours:
    """fusiondelta."""

    def __init__(self, server: Mapping[str, str]) -> None:
        from fusiondelta import FusionDeltaEngine, StorageProfile

        profile = StorageProfile.s3(
            endpoint=server["endpoint"],
            region="us-east-1",
            access_key_id=server["access_key_id"],
            secret_access_key=server["secret_access_key"],
            allow_http=True,
        )
        self._engine = FusionDeltaEngine(storage=profile)

    def ask(self, table: str, sql: str) -> float:
        with self._engine.query(sql, sources={"t": table}) as result:
            return result.to_table().column(0)[0].as_py()


class DeltaLake:
    """deltalake's own SQL (`QueryBuilder`): plain datafusion cannot scan its tables on S3."""

    def __init__(self, server: Mapping[str, str]) -> None:
        self._options = options(server)
        self._tables: dict[str, Any] = {}

    def ask(self, table: str, sql: str) -> float:
        from deltalake import DeltaTable, QueryBuilder

        opened = self._tables.get(table)
        if opened is None:
            opened = DeltaTable(table, storage_options=self._options)
            self._tables[table] = opened
        else:
            opened.update_incremental()
        rows = pa.table(QueryBuilder().register("t", opened).execute(sql).read_all())
        return rows.column(0)[0].as_py()


class Polars:
    """Polars' `scan_delta` and its SQL."""

    def __init__(self, server: Mapping[str, str]) -> None:
        self._options = options(server)

    def ask(self, table: str, sql: str) -> float:
        import polars as pl

        frame = pl.scan_delta(table, storage_options=self._options)
        return pl.SQLContext(t=frame).execute(sql, eager=True).item()


class Daft:
    """Daft's `read_deltalake` and its SQL."""

    def __init__(self, server: Mapping[str, str]) -> None:
        import daft

        self._io = daft.io.IOConfig(
            s3=daft.io.S3Config(
                endpoint_url=server["endpoint"],
                region_name="us-east-1",
                key_id=server["access_key_id"],
                access_key=server["secret_access_key"],
                use_ssl=False,
            )
        )

    def ask(self, table: str, sql: str) -> float:
        import daft

        frame = daft.read_deltalake(table, io_config=self._io)
        return daft.sql(sql, t=frame).to_arrow().column(0)[0].as_py()


ENGINES: dict[str, Callable[[Mapping[str, str]], Asked]] = {
    "fusiondelta": Ours,
    "deltalake": DeltaLake,
    "polars": Polars,
    "daft": Daft,
}


def options(server: Mapping[str, str]) -> dict[str, str]:
    return {
        "aws_endpoint_url": server["endpoint"],
        "aws_region": "us-east-1",
        "aws_access_key_id": server["access_key_id"],
        "aws_secret_access_key": server["secret_access_key"],
        "aws_allow_http": "true",
    }


def answer(engine: Asked, question: Mapping[str, str]) -> dict[str, Any]:
    """What the engine says, and in how many seconds."""
    started = time.perf_counter()
    try:
        found = engine.ask(question["table"], question["sql"])
    except Exception as error:  # whatever an engine raises is its answer
        return {"failure": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
    return {"seconds": time.perf_counter() - started, "answer": found}


def main(name: str) -> None:
    def say(value: Mapping[str, Any]) -> None:
        print(json.dumps(value), file=out, flush=True)

    # An engine may print; its answers go where ours were asked for.
    out, sys.stdout = sys.stdout, sys.stderr
    engine = None
    for line in sys.stdin:
        given = json.loads(line)
        if engine is None:
            engine = ENGINES[name](given)
            say({})
        else:
            say(answer(engine, given))


if __name__ == "__main__":
    main(sys.argv[1])
