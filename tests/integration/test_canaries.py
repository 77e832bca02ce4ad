"""Faults of DataFusion that are mended here, asked of DataFusion itself.

A test that fails says that an upgrade mends a fault: what stands for it here may go, with its line
in docs/correctness.md.
"""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext

from fusiondelta import ExecutionError, FusionDeltaEngine, ParquetSource
from tests.harness.rows import ordered, rows_of

NAN = math.nan

TABLES = {
    "t": pa.table({"k": [1, 2, 3], "g": ["a", "b", "c"]}),
    "w": pa.table({"k": [1, 2, 3, 4], "g": ["a", "a", "b", "b"]}),
    "z": pa.table({"k": [1, 2, 3, 4], "x": [0.0, -0.0, 1.0, -1.0]}),
    "n": pa.table({"k": list(range(6)), "x": [NAN, NAN, 1.0, 2.0, NAN, None]}),
    "m": pa.table({"id": pa.array([1, None], pa.int64())}),
    "e": pa.table({"k": pa.array([], pa.int64()), "g": pa.array([], pa.string())}),
    "big": pa.table({"i": [2**62, 2**62]}),
}

# The right rows, in order where the text says one; an error where there are none.
ROWS: dict[str, tuple[str, list[tuple[Any, ...]] | None]] = {
    "what is constant on one side of an outer join is constant": (
        "SELECT a.k, b.k kk FROM t a LEFT JOIN t b ON a.k = b.k AND b.k = 1 ORDER BY kk NULLS "
        "FIRST, a.k",
        [(2, None), (3, None), (1, 1)],
    ),
    "what is constant beneath grouping sets is constant": (
        "SELECT v, max(v) OVER (ORDER BY v NULLS FIRST) m FROM (SELECT 0 v FROM t) GROUP BY CUBE "
        "(v) ORDER BY v",
        [(0, 0), (None, None)],
    ),
    "an equality that NULL meets is another one beside others": (
        "SELECT 1 c FROM m a JOIN m b ON a.id IS NOT DISTINCT FROM b.id CROSS JOIN m c",
        [(1,)] * 4,
    ),
    "a condition about no column goes below a total": (
        "SELECT k FROM e GROUP BY ROLLUP (k) HAVING sum(k) IN (NULL, NULL)",
        [],
    ),
    "a volatile condition goes below groups": (
        "SELECT count(*) FROM (SELECT k, count(*) OVER () c FROM w) WHERE random() < 0.5 AND c < 4",
        [(0,)],
    ),
    "names leave casts out": (
        "SELECT sum(CAST(k AS DOUBLE)) a, sum(k) b FROM w",
        [(10.0, 10)],
    ),
    "zeros in long lists": (
        "SELECT k FROM z WHERE x IN (0.0, 5.0, 6.0, 7.0, 8.0, 9.0) ORDER BY k",
        [(1,), (2,)],
    ),
    "zeros in CASE": (
        "SELECT k FROM z WHERE CASE x WHEN 0.0 THEN true WHEN 3.0 THEN false END ORDER BY k",
        [(1,), (2,)],
    ),
    "zeros in NULLIF": (
        "SELECT k FROM z WHERE nullif(x, 0.0) IS NULL ORDER BY k",
        [(1,), (2,)],
    ),
    "zeros in windows": (
        "SELECT k, count(*) OVER (PARTITION BY x) c FROM z ORDER BY k",
        [(1, 2), (2, 2), (3, 1), (4, 1)],
    ),
    "zeros in sorts": ("SELECT k FROM z ORDER BY x, k", [(4,), (1,), (2,), (3,)]),
    "NaN among the largest groups": (
        "SELECT DISTINCT x FROM n ORDER BY x DESC NULLS LAST LIMIT 1",
        [(NAN,)],
    ),
    "NaN in frames that slide": (
        "SELECT sum(x) OVER (ORDER BY i ROWS 1 PRECEDING) s FROM (VALUES (1, 'nan'::double), "
        "(2, 1), (3, 4)) v(i, x) ORDER BY i",
        [(NAN,), (NAN,), (5.0,)],
    ),
    "numbers wrap around": ("SELECT i + i FROM big", None),
    "sums wrap around": ("SELECT sum(i) FROM big", None),
    "EXISTS over an aggregate": (
        "SELECT k FROM t WHERE EXISTS (SELECT count(*) FROM e WHERE e.k = t.k) ORDER BY k",
        [(1,), (2,), (3,)],
    ),
    "IN that is NULL": (
        "SELECT k FROM t WHERE (k IN (SELECT id FROM m)) IS NULL ORDER BY k",
        [(2,), (3,)],
    ),
    "windows made of windows": (
        "SELECT k, sum(k) OVER (q ORDER BY k) x FROM w WINDOW q AS (PARTITION BY g) ORDER BY k",
        [(1, 1), (2, 3), (3, 3), (4, 7)],
    ),
    "IS NOT DISTINCT FROM before AND": (
        "SELECT k FROM w WHERE g IS NOT DISTINCT FROM 'a' AND k > 1",
        [(2,)],
    ),
    "EXCEPT ALL": (
        "SELECT g FROM w EXCEPT ALL SELECT 'a' ORDER BY g",
        [("a",), ("b",), ("b",)],
    ),
    "merged columns of outer joins": (
        "SELECT id FROM m FULL JOIN (SELECT k id FROM t) b USING (id) ORDER BY id NULLS LAST",
        [(1,), (2,), (3,), (None,)],
    ),
    "an order that says something twice": (
        "SELECT g, first_value(k ORDER BY k DESC, k) x FROM w GROUP BY g ORDER BY g",
        [("a", 2), ("b", 4)],
    ),
    "several orders in string_agg": (
        "SELECT string_agg(g, ',' ORDER BY k), string_agg(g, ',' ORDER BY g DESC) FROM t",
        [("a,b,c", "c,b,a")],
    ),
    "a union of what may seem to be NULL": (
        "SELECT true c FROM w UNION SELECT (g = 'a') IS TRUE FROM w ORDER BY c",
        [(False,), (True,)],
    ),
    "positions in grouping sets": (
        "SELECT g, count(*) FROM t GROUP BY ROLLUP (1) ORDER BY 1",
        [("a", 1), ("b", 1), ("c", 1), (None, 3)],
    ),
    "an instant is local to what it is compared with": (
        "SELECT count(*) FROM (SELECT arrow_cast('1970-01-01T00:00:00', 'Timestamp(Microsecond, "
        "Some(\"Europe/Berlin\"))') a) WHERE a = TIMESTAMP WITH TIME ZONE '1969-12-31T23:00:00Z'",
        [(1,)],
    ),
    "a default of lag that is a column": (
        "SELECT k, lag(k, 1, k * 10) OVER (ORDER BY k) m FROM t ORDER BY k",
        [(1, 10), (2, 1), (3, 2)],
    ),
    "an interval times a number": (
        "SELECT DATE '2024-01-01' + INTERVAL '1 day' * k d FROM t WHERE k = 1",
        [(date(2024, 1, 2),)],
    ),
    "a list of what is around it": ("SELECT (SELECT [t.k]) x FROM t WHERE k = 1", [([1],)]),
    "columns of one name": ("SELECT k, k FROM t WHERE k = 1", [(1, 1)]),
    "REPLACE of a column in upper case": (
        "SELECT * REPLACE (7 AS K) FROM t WHERE k = 1",
        [(7, "a")],
    ),
    "zeros within lists": ("SELECT [0.0] = [-0.0]", [(True,)]),
    "a key that compares what is computed": (
        "SELECT k, count(*) OVER (PARTITION BY upper(g) > 'A') FROM w",
        [(1, 2), (2, 2), (3, 2), (4, 2)],
    ),
    "a subquery without rows for what turns out to be a constant": (
        "SELECT (SELECT nullif(2, 1) FROM e) c",
        [(None,)],
    ),
    "LATERAL unnest": (
        "SELECT k, e FROM t CROSS JOIN LATERAL unnest([k, k * 2]) AS u(e) WHERE k = 1 ORDER BY e",
        [(1, 1), (1, 2)],
    ),
    "a sum of infinities has a sign": (
        "SELECT sum(x) s FROM (VALUES ('inf'::double), ('-inf'::double)) v(x) UNION ALL SELECT 1.0 "
        "ORDER BY s",
        [(1.0,), (NAN,)],
    ),
    "statistics that leave NaN out": (
        "SELECT k FROM file WHERE x > 1.5 ORDER BY k",
        [(0,), (2,)],
    ),
    "a largest value of statistics": ("SELECT max(x) FROM file", [(NAN,)]),
    "a subquery without rows for a constant": (
        "SELECT (SELECT true FROM e WHERE false) c FROM w UNION SELECT true FROM w ORDER BY c",
        [(True,), (None,)],
    ),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table as a Parquet file of two row groups."""
    rows = pa.table({"k": list(range(4)), "x": [NAN, 1.0, 2.0, 1.0]})
    path = tmp_path_factory.mktemp("canaries") / "file.parquet"
    pq.write_table(rows, path, row_group_size=2)
    return path


@pytest.fixture(scope="module")
def plain(file: Path) -> SessionContext:
    context = SessionContext(SessionConfig().with_target_partitions(2))
    context.register_parquet("file", str(file))
    for name, table in TABLES.items():
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        context.register_record_batches(name, [batches])
    return context


@pytest.fixture(scope="module")
def engine() -> Any:
    with FusionDeltaEngine() as engine:
        yield engine


def _plainly(context: SessionContext, sql: str) -> list[tuple[Any, ...]] | None:
    try:
        table = context.sql(sql).to_arrow_table()
    except Exception:  # a panic comes as one too
        return None
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("fault", ROWS)
def test_datafusion_still_gets_it_wrong(plain, fault):
    # What is not sorted may come in order.
    is_right = all(_is_right(plain, *ROWS[fault]) for _ in range(100))
    assert not is_right, f"DataFusion mends this: {fault}"


def _is_right(plain: SessionContext, sql: str, right: list[tuple[Any, ...]] | None) -> bool:
    got = _plainly(plain, sql)
    if right is None or got is None:
        return got is right
    return ordered(got) == ordered(right)


def test_a_nested_loop_join_without_memory_is_still_run_on_what_it_has_used():
    memory = RuntimeEnvBuilder().with_disk_manager_os().with_greedy_memory_pool(4_000_000)
    config = (
        SessionConfig()
        .with_target_partitions(4)
        .set("datafusion.optimizer.join_reordering", "false")
    )
    context = SessionContext(config, memory)
    for name, step in (("a", 1), ("b", 200)):
        numbers = range(0, 20_000, step)
        table = pa.table({name: numbers, "s": [f"{n:0200}" for n in numbers]})
        context.register_record_batches(name, [table.to_batches()])
    sql = (
        "SELECT count(*) FROM (SELECT DISTINCT a, s FROM a) a JOIN b ON a.a + 3 < b.b AND b.s > a.s"
    )
    # Not even an error of memory.
    with pytest.raises(Exception, match=r"panic|partition not used yet"):
        context.sql(sql).collect()


def test_a_nested_loop_join_in_steps_still_forgets_rows_without_a_match():
    """Where the last batch of the side that is held is what found no room."""
    numbers = range(4000)
    held = pa.table({"a": numbers, "s": [f"{n:0200}" for n in numbers]})
    sql = (
        "SELECT count(*) n, count(a.s) s FROM (SELECT a, s || '' s FROM a) a "
        "RIGHT JOIN b ON a.a < b.b - 4"
    )
    counts = set()
    for limit in range(500_000, 1_200_000, 10_000):
        memory = RuntimeEnvBuilder().with_disk_manager_os().with_greedy_memory_pool(limit)
        config = SessionConfig().with_target_partitions(1).with_batch_size(200)
        config = config.set("datafusion.optimizer.join_reordering", "false")
        context = SessionContext(config, memory)
        context.register_record_batches("a", [held.to_batches(max_chunksize=200)])
        context.register_record_batches("b", [pa.table({"b": [0, 5, 9]}).to_batches()])
        counts.add(context.sql(sql).to_pylist()[0]["n"])
    assert counts == {6, 7}


@pytest.mark.parametrize("fault", ROWS)
def test_it_is_right_here(engine, file, fault):
    sql, right = ROWS[fault]
    sources = {**TABLES, "file": ParquetSource(file)}
    if right is None:
        with pytest.raises(ExecutionError):
            rows_of(engine, sql, sources)
    else:
        assert ordered(rows_of(engine, sql, sources)) == ordered(right)
