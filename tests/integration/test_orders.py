"""Rows in the order that SQL says, and what goes by an order.

An optimizer leaves out a sort where rows seem to be sorted already: columns that seem to be
constant, or equal to others, are where it goes wrong.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine
from tests.harness.rows import cases, ordered, rows_of
from tests.harness.table_forms import FORMS, table_forms

NAN = math.nan

TABLES = {
    "t": pa.table({"k": [1, 2, 3], "g": ["a", "b", "c"]}),
    "z": pa.table({"k": [1, 2, 3, 4], "x": [0.0, -0.0, 1.0, -1.0]}),
    "zs": pa.table({"k": [1, 2, 3, 4], "x": pa.array([0.0, -0.0, 1.0, -1.0], pa.float32())}),
    "n": pa.table(
        {"k": list(range(12)), "x": [0.0, -0.0, 1.0, NAN, NAN, NAN, 2.0, 2.0, 3.0, None, None, NAN]}
    ),
    "dup": pa.table({"a": [1, 1], "b": [10, 20]}),
    # With a NaN that has a sign.
    "zl": pa.table(
        {
            "k": [1, 2, 3, 4],
            "l": [[0.0], [-0.0], [NAN], [-NAN]],
            "s": [{"a": 0.0}, {"a": -0.0}, {"a": NAN}, {"a": -NAN}],
        }
    ),
}

# Rows in order.
ROWS: dict[str, dict[str, list[tuple[Any, ...]]]] = {
    "what is constant on one side of an outer join": {
        "SELECT a.k, b.k FROM t a LEFT JOIN t b ON a.k = b.k AND b.k = 2 ORDER BY b.k NULLS "
        "FIRST, a.k": [
            (1, None),
            (3, None),
            (2, 2),
        ],
        "SELECT a.k, b.v FROM t a LEFT JOIN (SELECT k, 1 v FROM t WHERE k < 3) b ON a.k = b.k "
        "ORDER BY v DESC, a.k": [
            (3, None),
            (1, 1),
            (2, 1),
        ],
        "SELECT b.v, a.k FROM (SELECT k, 1 v FROM t WHERE k < 3) b RIGHT JOIN t a ON a.k = b.k "
        "ORDER BY v DESC, a.k": [
            (None, 3),
            (1, 1),
            (1, 2),
        ],
        "SELECT a.k, b.k FROM t a FULL JOIN (SELECT * FROM t WHERE k = 2) b ON a.k = b.k "
        "ORDER BY b.k NULLS FIRST, a.k DESC": [(3, None), (1, None), (2, 2)],
        "SELECT a.k, b.v FROM t a LEFT JOIN (SELECT k, 1 v FROM t) b ON a.k > b.k + 1 ORDER BY v "
        "DESC, a.k": [
            (1, None),
            (2, None),
            (3, 1),
        ],
        "SELECT array_agg(a.k ORDER BY b.k NULLS FIRST, a.k DESC) FROM t a LEFT JOIN (SELECT k "
        "FROM t WHERE k = 1) b "
        "ON a.k = b.k": [([3, 2, 1],)],
        "SELECT a.k, row_number() OVER (ORDER BY b.v NULLS FIRST, a.k) r FROM t a LEFT JOIN "
        "(SELECT k, 1 v FROM t "
        "WHERE k = 1) b ON a.k = b.k ORDER BY a.k": [(1, 3), (2, 1), (3, 2)],
        "SELECT a.k, (SELECT 1 FROM t b WHERE b.k = a.k AND b.g = 'b') v FROM t a ORDER BY v "
        "NULLS FIRST, 1": [
            (1, None),
            (3, None),
            (2, 1),
        ],
    },
    "what is equal on one side of an outer join": {
        "SELECT a.k, b.k, b.j FROM t a LEFT JOIN (SELECT k, k j FROM t WHERE k > 1) b ON a.k = b.k "
        "ORDER BY b.j DESC NULLS LAST, b.k": [(3, 3, 3), (2, 2, 2), (1, None, None)],
    },
    "an order within that of the other side": {
        "SELECT l.a, r.b FROM (SELECT * FROM dup ORDER BY a LIMIT 2) l JOIN (SELECT * FROM dup "
        "ORDER BY a, b LIMIT 2) "
        "r ON l.a = r.a ORDER BY l.a, r.b": [(1, 10), (1, 10), (1, 20), (1, 20)],
    },
    "what is constant in grouping sets": {
        "SELECT v, g, count(*) c FROM (SELECT 1 v, g FROM t) GROUP BY ROLLUP (v, g) ORDER BY v "
        "NULLS FIRST, g": [
            (None, None, 3),
            (1, "a", 1),
            (1, "b", 1),
            (1, "c", 1),
            (1, None, 3),
        ],
        "SELECT v, max(v) OVER (ORDER BY v NULLS FIRST) m FROM (SELECT 0 v FROM t) GROUP BY CUBE "
        "(v) ORDER BY v": [
            (0, 0),
            (None, None),
        ],
        "SELECT g, count(*) FROM t GROUP BY ROLLUP (1) ORDER BY 1": [
            ("a", 1),
            ("b", 1),
            ("c", 1),
            (None, 3),
        ],
    },
    "aggregates in several orders": {
        "SELECT string_agg(g, ',' ORDER BY k), string_agg(g, ',' ORDER BY g DESC), "
        "string_agg(g, ';' ORDER BY k % 2, k) FILTER (WHERE k > 1), string_agg(DISTINCT g, ',' "
        "ORDER BY g DESC), array_agg(k ORDER BY g DESC), first_value(k ORDER BY k % 2, k) FROM t": [
            ("a,b,c", "c,b,a", "b;c", "c,b,a", [3, 2, 1], 2)
        ],
        "SELECT k % 2 m, string_agg(g, ',' ORDER BY k), string_agg(g, ',' ORDER BY k DESC) FROM t "
        "GROUP BY m ORDER BY m": [(0, "b", "b"), (1, "a,c", "c,a")],
        "SELECT k, string_agg(g, ',') OVER (ORDER BY k DESC) s FROM t ORDER BY k": [
            (1, "c,b,a"),
            (2, "c,b"),
            (3, "c"),
        ],
    },
    "both zeros, and NaN, within lists and structs": {
        f"{sql.replace('@', column)}": rows
        for column in ("l", "s")
        for sql, rows in {
            "SELECT a.k, b.k FROM zl a JOIN zl b ON a.@ = b.@ AND a.k < b.k ORDER BY 1": [
                (1, 2),
                (3, 4),
            ],
            "SELECT a.k, b.k FROM zl a JOIN zl b USING (@) WHERE a.k < b.k ORDER BY 1": [
                (1, 2),
                (3, 4),
            ],
            "SELECT min(k), count(*) FROM zl GROUP BY @ ORDER BY 1": [(1, 2), (3, 2)],
            "SELECT min(k), count(*) FROM zl GROUP BY ROLLUP (@) ORDER BY 1, 2": [
                (1, 2),
                (1, 4),
                (3, 2),
            ],
            "SELECT count(*) FROM (SELECT DISTINCT @ FROM zl)": [(2,)],
            "SELECT count(*) FROM (SELECT @ FROM zl UNION SELECT @ FROM zl)": [(2,)],
            "SELECT count(*) FROM (SELECT @ FROM zl WHERE k = 1 INTERSECT SELECT @ FROM zl WHERE "
            "k = 2)": [(1,)],
            "SELECT count(*) FROM (SELECT @ FROM zl WHERE k = 1 EXCEPT SELECT @ FROM zl WHERE "
            "k = 2)": [(0,)],
            "SELECT count(DISTINCT @) FROM zl": [(2,)],
            "SELECT k, row_number() OVER (PARTITION BY @ ORDER BY k) FROM zl ORDER BY k": [
                (1, 1),
                (2, 2),
                (3, 1),
                (4, 2),
            ],
            "SELECT k FROM zl ORDER BY @ DESC, k DESC": [(4,), (3,), (2,), (1,)],
            "SELECT DISTINCT ON (@) k FROM zl ORDER BY @, k": [(1,), (3,)],
            "SELECT k FROM zl WHERE @ = (SELECT @ FROM zl WHERE k = 1) ORDER BY k": [(1,), (2,)],
            "SELECT k FROM zl WHERE @ IN (SELECT @ FROM zl WHERE k IN (2, 4)) ORDER BY k": [
                (1,),
                (2,),
                (3,),
                (4,),
            ],
            "SELECT k FROM zl WHERE @ < (SELECT @ FROM zl WHERE k = 3) ORDER BY k": [(1,), (2,)],
            "SELECT k FROM zl a WHERE EXISTS (SELECT 1 FROM zl b WHERE a.@ = b.@ AND a.k < b.k) "
            "ORDER BY k": [(1,), (3,)],
        }.items()
    },
    "keys that compare what is computed": {
        "SELECT k, count(*) OVER (PARTITION BY k + 1 > 2) FROM t ORDER BY k": [
            (1, 1),
            (2, 2),
            (3, 2),
        ],
        "SELECT k, sum(k) OVER (PARTITION BY g, upper(g) > 'A' ORDER BY k) FROM t ORDER BY k": [
            (1, 1),
            (2, 2),
            (3, 3),
        ],
        "SELECT k, rank() OVER (ORDER BY coalesce(g, 'x') > 'a') FROM t ORDER BY k": [
            (1, 1),
            (2, 2),
            (3, 2),
        ],
        "SELECT k, sum(k) OVER (ORDER BY upper(g) <= 'A', k ROWS 1 PRECEDING) s, "
        "row_number() OVER (PARTITION BY CASE WHEN k > 1 THEN 1 ELSE 0 END = 1 ORDER BY k) r "
        "FROM t ORDER BY k": [(1, 4, 1), (2, 2, 1), (3, 5, 2)],
        "SELECT sum(1) OVER (PARTITION BY max(k), 'a' < coalesce(max(g), 'x')) FROM t": [(1,)],
        "SELECT k FROM t ORDER BY upper(g) > 'A' DESC, k": [(2,), (3,), (1,)],
        "SELECT k FROM t ORDER BY coalesce(g, 'x') = 'b' OR k + 1 > 9 DESC, k LIMIT 2": [
            (2,),
            (1,),
        ],
        "SELECT k FROM t QUALIFY rank() OVER (ORDER BY upper(g) = 'B' DESC) = 1": [(2,)],
        "SELECT array_agg(k ORDER BY upper(g) > 'A' DESC, k) FROM t": [([2, 3, 1],)],
        "SELECT k % 2 o, array_agg(k ORDER BY upper(g) > 'A' DESC, k), count(*) FROM t GROUP BY o "
        "ORDER BY o": [(0, [2], 1), (1, [3, 1], 2)],
        "SELECT k, sum(k) OVER (PARTITION BY k > 1) a, sum(k) OVER (PARTITION BY k > 1 ORDER BY k) "
        "b FROM t ORDER BY k": [(1, 1, 1), (2, 5, 2), (3, 5, 5)],
        "SELECT k FROM t WHERE upper(g) BETWEEN g AND g QUALIFY lag(k) OVER (PARTITION BY g = g "
        "ORDER BY k) < k": [],
        "SELECT k FROM (SELECT DISTINCT k, g FROM t) ORDER BY NOT (k * 2 > 3), k DESC": [
            (3,),
            (2,),
            (1,),
        ],
    },
    "both zeros in what looks for values": {
        "SELECT array_agg(DISTINCT l ORDER BY l) FROM zl": [([[0.0], [NAN]],)],
        "SELECT DISTINCT count(DISTINCT l) OVER () FROM zl": [(2,)],
        "SELECT k, rank() OVER (ORDER BY l) FROM zl ORDER BY k": [(1, 1), (2, 1), (3, 3), (4, 3)],
        "SELECT array_has(l, 0.0), array_position(l, -0.0), array_positions(l, 0.0) FROM zl "
        "WHERE k = 2": [(True, 1, [1])],
        "SELECT array_remove(l, 0.0) FROM zl WHERE k = 2": [([],)],
        "SELECT array_except(a.l, b.l), array_intersect(a.l, b.l), array_union(a.l, b.l) "
        "FROM zl a, zl b WHERE a.k = 1 AND b.k = 2": [([], [0.0], [0.0])],
        "SELECT array_has_any(a.l, b.l) FROM zl a, zl b WHERE a.k = 3 AND b.k = 4": [(True,)],
        "SELECT [0.0] = [-0.0], [[0.0]] IN ([[-0.0]]), [0.0] BETWEEN [-0.0] AND [-0.0]": [
            (True, True, True)
        ],
        "SELECT l FROM zl WHERE k = 2": [([-0.0],)],
    },
    "both zeros": {
        "SELECT k FROM z ORDER BY x, k": [(4,), (1,), (2,), (3,)],
        "SELECT k FROM zs ORDER BY x, k": [(4,), (1,), (2,), (3,)],
        "SELECT k, rank() OVER (ORDER BY x) r FROM z ORDER BY k": [(1, 2), (2, 2), (3, 4), (4, 1)],
        "SELECT k, count(*) OVER (PARTITION BY x) c FROM z ORDER BY k": [
            (1, 2),
            (2, 2),
            (3, 1),
            (4, 1),
        ],
        "SELECT k FROM z WHERE x IN (0.0, 5.0, 6.0, 7.0, 8.0, 9.0) ORDER BY k": [(1,), (2,)],
        "SELECT k FROM z WHERE x NOT IN (-0.0, 5.0, 6.0, 7.0, 8.0, 9.0) ORDER BY k": [(3,), (4,)],
        "SELECT k FROM z WHERE x IN (x - x, 7.0) ORDER BY k": [(1,), (2,)],
        "SELECT CASE x WHEN 0.0 THEN 'zero' WHEN 1.0 THEN 'one' END c FROM z ORDER BY k": [
            ("zero",),
            ("zero",),
            ("one",),
            (None,),
        ],
        "SELECT NULLIF(x, 0.0) IS NULL c, NULLIF(x, 5.0) IS NULL d FROM zs ORDER BY k": [
            (True, False),
            (True, False),
            (False, False),
            (False, False),
        ],
        "SELECT DISTINCT ON (x) k FROM z ORDER BY x, k": [(4,), (1,), (3,)],
        "SELECT array_agg(k ORDER BY x, k) FROM z": [([4, 1, 2, 3],)],
        "SELECT count(*) FROM z a FULL JOIN z b ON a.x = b.x AND a.k = b.k": [(4,)],
        "SELECT a.k, b.k FROM z a JOIN z b ON a.x = b.x ORDER BY 1, 2": [
            (1, 1),
            (1, 2),
            (2, 1),
            (2, 2),
            (3, 3),
            (4, 4),
        ],
        "SELECT count(*) FROM zs a FULL JOIN zs b ON a.x = b.x AND a.k = b.k": [(4,)],
    },
    "conditions of joins besides keys": {
        # One side gives a column that is not asked for.
        "SELECT a.g x, b.g y FROM t a FULL JOIN t b ON a.k = b.k AND b.g > 'a' AND a.k < b.k + 2 "
        "ORDER BY x NULLS LAST, y NULLS LAST": [("a", None), ("b", "b"), ("c", "c"), (None, "a")],
        "SELECT a.k x FROM t a LEFT JOIN t b ON a.k = b.k AND a.g < b.g ORDER BY x": [
            (1,),
            (2,),
            (3,),
        ],
        # About no column.
        "SELECT a.k x, b.k y FROM t a FULL JOIN t b ON a.k = b.k AND random() > 2 WHERE a.k < 2 OR "
        "b.k < 2 ORDER BY x NULLS LAST": [(1, None), (None, 1)],
        "SELECT a.k x, b.k y FROM t a FULL JOIN t b ON a.k = b.k AND NULL ORDER BY x NULLS LAST, y "
        "LIMIT 4": [(1, None), (2, None), (3, None), (None, 1)],
        # About what is never NULL beneath.
        "SELECT a.k x, b.k y FROM t a FULL JOIN t b ON a.k = b.k AND EXISTS (SELECT 1 FROM z "
        "WHERE z.k < b.k) ORDER BY x NULLS LAST, y": [(1, None), (2, 2), (3, 3), (None, 1)],
    },
    "constants that come late": {
        "SELECT k, lag(k, 2) OVER (ORDER BY n) x FROM (SELECT k, CAST(NULL AS VARCHAR) n FROM t) "
        "ORDER BY k LIMIT 1": [(1, None)],
        "SELECT count(x) FROM (SELECT lag(a.k, 2) OVER (ORDER BY e.n) x FROM t a LEFT JOIN (SELECT "
        "'a' n FROM dup WHERE false) e ON true)": [(1,)],
    },
    "NaN among groups and keys": {
        "SELECT DISTINCT x FROM n ORDER BY x DESC NULLS LAST LIMIT 2": [(NAN,), (3.0,)],
        "SELECT x, max(k) m FROM n GROUP BY x ORDER BY m DESC LIMIT 3": [
            (NAN, 11),
            (None, 10),
            (3.0, 8),
        ],
        "SELECT x, min(k) m FROM n GROUP BY x ORDER BY m DESC LIMIT 2": [(None, 9), (3.0, 8)],
        "SELECT count(*) FROM n a JOIN n b ON a.x = b.x": [(4 + 1 + 16 + 4 + 1,)],
        "SELECT count(*) FROM n a LEFT JOIN n b ON a.x = b.x AND a.k = b.k": [(12,)],
    },
}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return table_forms(Path(tmp_path_factory.mktemp("forms")), TABLES)


_OPTIMIZER = "datafusion.optimizer."


@pytest.fixture(
    scope="module",
    params=[
        EngineProfile(target_partitions=1),
        EngineProfile(target_partitions=4, options={_OPTIMIZER + "prefer_hash_join": False}),
        EngineProfile(target_partitions=2, options={_OPTIMIZER + "join_reordering": False}),
    ],
    ids=["one-part", "sort-merge", "as-written"],
)
def engine(request: pytest.FixtureRequest) -> Any:
    with FusionDeltaEngine(request.param) as engine:
        yield engine


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("sql", "want"), cases(ROWS))
def test_order(engine, forms, sql, want, form):
    assert ordered(rows_of(engine, sql, forms[form])) == ordered(want)


KEYS = {
    "timestamp with a zone": pa.array([0, 10**6, None], pa.timestamp("us", "Europe/Berlin")),
    "time": pa.array([0, 10**6, None], pa.time64("us")),
    "seconds": pa.array([0, 10, None], pa.time32("s")),
    "dictionary": pa.array(["b", "a", None]).dictionary_encode(),
    "decimal": pa.array([1, 2, None], pa.decimal128(30, 2)),
    "wide decimal": pa.array([1, 2, None], pa.decimal256(60, 2)),
    "list": pa.array([[1], [2], None], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1}, {"a": 2}, None], pa.struct([("a", pa.int64())])),
    "bool": pa.array([True, False, None]),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("by_hash", [True, False], ids=["hash", "sort-merge"])
def test_keys_of_every_type_are_joined(kind, by_hash):
    table = pa.table({"id": [1, 2, 3], "x": KEYS[kind]})
    options = {_OPTIMIZER + "prefer_hash_join": by_hash}
    sql = (
        "SELECT a.id, b.id FROM t a FULL JOIN t b ON a.x = b.x ORDER BY 1 NULLS LAST, 2 NULLS LAST"
    )
    with FusionDeltaEngine(EngineProfile(target_partitions=2, options=options)) as engine:
        got = rows_of(engine, sql, {"t": table})
    assert got == [(1, 1), (2, 2), (3, None), (None, 3)]


def test_slices_of_lists_are_changed_by_their_own_items():
    """A slice keeps the items of the whole: what is before and behind it is not its."""
    lists = [[0.0], None, [-0.0, 1.0], [], [-NAN, -0.0], [NAN, 0.0], [0.0, 1.0]]
    nested = [[{"a": one}] for one in lists]
    whole = pa.table({"k": range(len(lists)), "l": lists, "n": nested}).combine_chunks()
    slices = pa.concat_tables([whole.slice(start, 2) for start in range(0, len(lists), 2)])
    with FusionDeltaEngine() as engine:
        for column in ("l", "n"):
            for table in (whole, slices, whole.slice(2, 3)):
                sql = f"SELECT min(k) k, count(*) c FROM t GROUP BY {column} ORDER BY k"
                got = rows_of(engine, sql, {"t": table})
                if table.num_rows == 3:
                    assert got == [(2, 1), (3, 1), (4, 1)]
                else:
                    assert got == [(0, 1), (1, 1), (2, 2), (3, 1), (4, 2)]
