"""Every aggregate in frames that slide."""

from __future__ import annotations

import math
from collections.abc import Iterable

import duckdb
import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine

ROWS = 40

AGGREGATES = [
    "sum(DISTINCT x)",
    "count(DISTINCT x)",
    "avg(DISTINCT x)",
    "min(DISTINCT x)",
    "bool_and(x > 1)",
    "bool_or(x > 3)",
    "bit_and(x)",
    "bit_or(x)",
    "bit_xor(x)",
    "bit_xor(DISTINCT x)",
    "var_samp(x)",
    "var_pop(x)",
    "stddev_pop(x)",
    "corr(x, y)",
    "covar_samp(x, y)",
    "covar_pop(x, y)",
    "regr_slope(y, x)",
    "regr_intercept(y, x)",
    "regr_r2(y, x)",
    "regr_count(y, x)",
    "regr_sxy(y, x)",
    "regr_avgx(y, x)",
    "median(x)",
    "stddev(x)",
    "string_agg(s, '-')",
    "array_agg(x)",
    "sum(x) FILTER (WHERE x > 2)",
    "sum(DISTINCT x) FILTER (WHERE x > 2)",
    "bool_and(x > 1) FILTER (WHERE x <> 4)",
]
SLIDING = [
    "ROWS 2 PRECEDING",
    "ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING",
    "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING",
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "RANGE BETWEEN 3 PRECEDING AND CURRENT ROW",
    "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_every_aggregate_slides(aggregate):
    values = [None if n % 5 == 0 else n * 7 % 6 for n in range(ROWS)]
    columns = {"id": range(ROWS), "p": [n % 3 for n in range(ROWS)], "x": values}
    more = {"s": [None if x is None else f"{x}" for x in values], "y": [n % 7 for n in range(ROWS)]}
    table = pa.table({**columns, **more})
    profile = EngineProfile(target_partitions=2, batch_size=6)
    with FusionDeltaEngine(profile) as engine, duckdb.connect() as duck:
        duck.register("t", table)
        for frame in SLIDING:
            window = f"OVER (PARTITION BY p ORDER BY id {frame})"
            sql = f"SELECT id, {aggregate} {window} a FROM t ORDER BY id"
            rows = engine.query(sql, sources={"t": table}).to_pylist()
            got = [_rounded(row.values()) for row in rows]
            assert got == [_rounded(row) for row in duck.sql(sql).fetchall()], sql


STATISTICS = [
    *("sum(x)", "avg(x)", "var_samp(x)", "var_pop(x)", "stddev(x)", "stddev_pop(x)"),
    *("corr(x, y)", "covar_samp(x, y)", "covar_pop(x, y)", "min(x)", "max(x)"),
    *("regr_slope(y, x)", "regr_intercept(y, x)", "regr_r2(y, x)", "regr_avgx(y, x)"),
    *("regr_sxx(y, x)", "regr_syy(y, x)", "regr_sxy(y, x)", "regr_count(y, x)"),
]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_nothing_stays_of_what_has_left_a_frame(engine, statistic):
    """Infinities, NaN and large numbers; a frame is what an aggregate of its rows is."""
    values = [
        1.0,
        math.inf,
        1e16,
        1.0,
        2.0,
        4.0,
        None,
        4.0,
        math.nan,
        -3.5,
        0.25,
        -math.inf,
        7.0,
        8.0,
    ]
    table = pa.table(
        {"id": range(len(values)), "x": values, "y": [n * n for n in range(len(values))]}
    )
    window = "OVER (ORDER BY id ROWS 1 PRECEDING)"
    sql = f"SELECT {statistic} {window} a FROM t ORDER BY id"
    slid = [row["a"] for row in engine.query(sql, sources={"t": table}).to_pylist()]
    frames = " UNION ALL ".join(
        f"SELECT {n} id, {statistic} a FROM t WHERE id BETWEEN {n - 1} AND {n}"
        for n in range(len(values))
    )
    sql = f"SELECT a FROM ({frames}) ORDER BY id"
    alone = [row["a"] for row in engine.query(sql, sources={"t": table}).to_pylist()]
    for n, (got, wanted) in enumerate(zip(slid, alone, strict=True)):
        frame = values[max(n - 1, 0) : n + 1]
        # What infinities and NaN make of a frame that they are in depends on the order of rows.
        if all(value is None or math.isfinite(value) for value in frame):
            assert got == wanted or got == pytest.approx(wanted, rel=1e-12), n


def _rounded(row: Iterable[object]) -> list[object]:
    """DuckDB gives NaN for some frames of one row, where DataFusion has no answer."""
    values = [None if value != value else value for value in row]
    return [round(value, 9) if isinstance(value, float) else value for value in values]
