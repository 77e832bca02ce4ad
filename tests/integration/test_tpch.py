"""The 22 TPC-H queries over Delta give what DuckDB gives over the Parquet files they came from."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.tpch import TABLES, difference, generate, order_keys, queries, unsorted_rows
from fusiondelta import FusionDeltaEngine

SCALE = 0.01

# The data is the same wherever it is made, so these are facts of the specification.
TABLE_ROWS = {
    "region": 5,
    "nation": 25,
    "supplier": 100,
    "customer": 1_500,
    "part": 2_000,
    "partsupp": 8_000,
    "orders": 15_000,
    "lineitem": 60_175,
}
# fmt: off
RESULT_ROWS = {
    1: 4, 2: 4, 3: 10, 4: 5, 5: 5, 6: 1, 7: 4, 8: 2, 9: 173, 10: 20, 11: 359,
    12: 2, 13: 33, 14: 1, 15: 1, 16: 296, 17: 1, 18: 2, 19: 1, 20: 1, 21: 1, 22: 7,
}
# fmt: on
UNORDERED = {6, 14, 17, 19}

QUERIES = queries()


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return generate(tmp_path_factory.mktemp("tpch"), SCALE)


@pytest.fixture(scope="session")
def reference(parquet: dict[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name, path in parquet.items():
            connection.read_parquet(str(path)).create_view(name)
        yield connection


@pytest.fixture(scope="session")
def engine() -> Iterator[FusionDeltaEngine]:
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture(scope="session")
def tables(
    parquet: dict[str, Path],
    engine: FusionDeltaEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tpch-delta")
    uris = {}
    for name, path in parquet.items():
        with pq.ParquetFile(path) as file:
            stream = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
            written = engine.write_delta(str(folder / name), stream, mode="overwrite")
        assert written.snapshot.version == 0
        assert written.rows_written == TABLE_ROWS[name]
        uris[name] = str(folder / name)
    return uris


def answer(engine: FusionDeltaEngine, sql: str, tables: dict[str, str]) -> pa.Table:
    with engine.query(sql, sources=tables) as result:
        table = result.reader().read_all()
        assert {key.version for key in result.snapshots} == {0}
        return table


def test_all_queries_are_here() -> None:
    assert list(QUERIES) == list(range(1, 23))
    assert {n for n, sql in QUERIES.items() if not order_keys(sql)} == UNORDERED


@pytest.mark.parametrize("name", TABLES)
def test_table_survives_the_write(
    name: str,
    engine: FusionDeltaEngine,
    tables: dict[str, str],
    reference: duckdb.DuckDBPyConnection,
) -> None:
    actual = answer(engine, f"select * from {name}", {name: tables[name]})
    expected = reference.sql(f"select * from {name}").to_arrow_table()
    assert actual.num_rows == TABLE_ROWS[name]
    assert difference(actual, expected) is None


@pytest.mark.parametrize("number", QUERIES, ids=lambda n: f"q{n:02}")
def test_query_equals_duckdb(
    number: int,
    engine: FusionDeltaEngine,
    tables: dict[str, str],
    reference: duckdb.DuckDBPyConnection,
) -> None:
    sql = QUERIES[number]
    actual = answer(engine, sql, tables)
    expected = reference.sql(sql).to_arrow_table()
    assert actual.num_rows == RESULT_ROWS[number]
    assert difference(actual, expected) is None
    assert unsorted_rows(actual, order_keys(sql)) == []


def test_query_17_where_it_has_an_answer(
    engine: FusionDeltaEngine,
    tables: dict[str, str],
    reference: duckdb.DuckDBPyConnection,
) -> None:
    # At this scale the query itself gives one null; over all containers it gives a sum.
    sql = QUERIES[17].replace("and p_container = 'MED BOX'", "")
    assert sql != QUERIES[17]
    actual = answer(engine, sql, tables)
    assert actual.column("avg_yearly").null_count == 0
    assert difference(actual, reference.sql(sql).to_arrow_table()) is None


class TestTheComparison:
    """What the tests above stand on must itself notice what is wrong."""

    right = pa.table({"name": ["a", "b", "c"], "total": [1.5, 2.5, None], "rows": [1, 2, 3]})

    def test_row_order_and_case_of_names_do_not_matter(self) -> None:
        turned = self.right.take([2, 0, 1]).rename_columns(["NAME", "Total", "rows"])
        assert difference(turned, self.right) is None

    @pytest.mark.parametrize(
        "wrong",
        [
            right.slice(1),
            right.take([0, 0, 1]),
            right.select(["name", "rows", "total"]),
            right.rename_columns(["name", "sum", "rows"]),
            right.set_column(1, "total", pa.array([1.5, 2.5000001, None])),
            right.set_column(1, "total", pa.array([1.5, 2.5, 0.0])),
            right.set_column(2, "rows", pa.array([1, 2, 4])),
            right.set_column(2, "rows", pa.array(["1", "2", "3"])),
        ],
        ids=["fewer", "twice", "order", "name", "value", "null", "integer", "type"],
    )
    def test_a_difference_is_seen(self, wrong: pa.Table) -> None:
        assert difference(wrong, self.right) is not None

    def test_decimals_meet_floats_within_their_last_place(self) -> None:
        third = pa.table({"x": pa.array([Decimal("0.33333333")], pa.decimal128(38, 8))})
        assert difference(third, pa.table({"x": [1 / 3]})) is None
        assert difference(third, pa.table({"x": [0.3333334]})) is not None

    def test_order_keys_are_read_and_checked(self) -> None:
        keys = order_keys("select * from (select 1 order by 1) order by total desc, name limit 3")
        assert keys == [("total", True), ("name", False)]
        table = pa.table({"name": ["b", "a", "a"], "total": [2, 2, 1]})
        assert unsorted_rows(table, keys) == [1]
        assert order_keys(QUERIES[6]) == []
