"""Subqueries in every place, as DuckDB answers them, in each form of the tables."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from fusiondelta import ExecutionError, FusionDeltaEngine, SqlError
from tests.harness.table_forms import FORMS, table_forms

INT = pa.int64()
TABLES = {
    "o": pa.table(
        {"id": [1, 2, 3], "a": pa.array([1, 2, None], INT), "b": pa.array([10, 20, 30], INT)}
    ),
    "i": pa.table(
        {
            "k": pa.array([1, 1, None, 3], INT),
            "a": pa.array([1, 5, 2, None], INT),
            "b": pa.array([10, 20, 20, None], INT),
        }
    ),
}

CASES = [
    "SELECT id FROM o WHERE EXISTS (SELECT count(*) FROM i WHERE i.k=o.id)",
    "SELECT id FROM o WHERE EXISTS (SELECT sum(i.a) FROM i WHERE i.k=o.id)",
    "SELECT id FROM o WHERE NOT EXISTS (SELECT count(*) FROM i WHERE i.k=o.id)",
    "SELECT id FROM o WHERE EXISTS (SELECT count(*) FROM i WHERE i.k=o.id HAVING count(*) > 1)",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k=o.id GROUP BY i.k)",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i WHERE i.k=o.id)",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i WHERE i.b=o.b)",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i WHERE i.b=o.b AND i.k = o.id)",
    "SELECT id, a NOT IN (SELECT a FROM i WHERE i.b=o.b) x FROM o",
    "SELECT id, a IN (SELECT a FROM i WHERE i.b=o.b) x FROM o",
    "SELECT id, a IN (SELECT a FROM i) x FROM o",
    "SELECT id, a NOT IN (SELECT a FROM i WHERE a IS NOT NULL) x FROM o",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i)",
    "SELECT id FROM o WHERE (a NOT IN (SELECT a FROM i)) IS NULL",
    "SELECT id FROM o WHERE NOT (a IN (SELECT a FROM i WHERE i.k = o.id)) OR id=3",
    "SELECT id FROM o WHERE a NOT IN (SELECT i.a FROM i WHERE i.b+o.b > 25)",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k=o.id OFFSET 1)",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k=o.id LIMIT 0)",
    "SELECT id FROM o WHERE EXISTS (SELECT k FROM i WHERE i.k=o.id GROUP BY ROLLUP(k))",
    "SELECT id FROM o WHERE EXISTS (SELECT i.a FROM i WHERE i.k=o.id GROUP BY GROUPING SETS "
    "((i.a),()))",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k=o.id LIMIT 1 OFFSET 1)",
    "SELECT id FROM o WHERE a IN (SELECT a FROM i WHERE i.k=o.id ORDER BY a OFFSET 1)",
    "SELECT id, (SELECT count(*) FROM i WHERE i.k=o.id) x FROM o",
    "SELECT id, (SELECT max(i.a) FROM i WHERE i.k=o.id) x FROM o",
    "SELECT id, (SELECT min(i.a) FROM i WHERE i.k=o.id LIMIT 1) x FROM o",
    "SELECT id, (SELECT count(*)+1 FROM i WHERE i.k=o.id) x FROM o",
    "SELECT id, (SELECT coalesce(sum(i.a),-1) FROM i WHERE i.k=o.id) x FROM o",
    "SELECT id, (SELECT sum(i2.a) FROM i i2 WHERE i2.k = o.id AND EXISTS (SELECT 1 FROM i i3 "
    "WHERE i3.a = o.a AND i3.k = i2.k)) x FROM o",
    # A union has the type of its first input before types are settled.
    "SELECT d.n, (SELECT max(i.a) FROM i WHERE i.a < d.n) x FROM (SELECT id::int n FROM o "
    "UNION ALL SELECT 5.5::double) d",
    "SELECT n FROM (SELECT id::smallint n FROM o UNION ALL SELECT 7::bigint) d WHERE EXISTS ("
    "SELECT 1 FROM i WHERE i.k::int <> d.n)",
    "SELECT d.n, l.x FROM (SELECT id::int n FROM o UNION ALL SELECT 5.5::double) d, LATERAL ("
    "SELECT max(i.a) x FROM i WHERE i.a < d.n) l",
    "SELECT d.n, (SELECT max((SELECT max(j.a) FROM i j WHERE j.a < m.v)) FROM (SELECT i.a v FROM "
    "i UNION ALL SELECT d.n) m) x FROM (SELECT id::int n FROM o UNION ALL SELECT 5.5::double) d",
    "SELECT (SELECT count(*) FROM i WHERE d.n > i.a) x FROM (SELECT id::int n FROM o UNION ALL "
    "SELECT 5.5::double) d UNION ALL SELECT (SELECT count(*) FROM i WHERE d.n > i.a) FROM (SELECT "
    "7::int n) d",
    "SELECT (SELECT count(*) FROM i WHERE d.n > i.a) x FROM (SELECT id::int n FROM o UNION ALL "
    "SELECT 5.5::double) d UNION ALL SELECT (SELECT count(*) FROM i WHERE d.n > i.a) FROM (SELECT "
    "7::int n UNION ALL SELECT 1.5::decimal(3, 1)) d",
    "SELECT (SELECT sum(o.a) FILTER (WHERE i.a > 1) FROM i) x FROM o",
    "SELECT d.n, (SELECT max(i.a) FROM i WHERE i.a < d.n) x FROM (SELECT CASE WHEN id < 3 THEN id "
    "ELSE 5.5::double END n FROM o) d",
    "SELECT id FROM o WHERE a = ANY (SELECT a FROM i WHERE i.k = o.id)",
    "SELECT id, a > ALL (SELECT a FROM i WHERE i.k = o.id) x, a >= ANY (SELECT a FROM i) y FROM o",
    "SELECT o.id, l.a FROM o, LATERAL (SELECT a FROM i WHERE i.k = o.id ORDER BY a DESC LIMIT 1) l",
    # A name that two tables and the one around have, and SELECT.
    "SELECT o.id, l.id n FROM o, LATERAL (SELECT p.id FROM o q, o p ORDER BY id LIMIT 4) l",
    "SELECT o.id, l.id n FROM o, LATERAL (SELECT p.id AS id FROM o q, o p ORDER BY id DESC "
    "LIMIT 4) l",
    "SELECT o.id, l.id n FROM o, LATERAL (SELECT DISTINCT ON (id) p.id FROM o q, o p ORDER BY id) "
    "l",
    "SELECT o.id, l.a FROM o LEFT JOIN LATERAL (SELECT a FROM i WHERE i.k = o.id ORDER BY a "
    "DESC LIMIT 1) l ON true",
    "SELECT o.id, l.c FROM o LEFT JOIN LATERAL (SELECT count(*) c FROM i WHERE i.k = o.id) l "
    "ON l.c > 0",
    "SELECT o.id, l.c FROM o CROSS JOIN LATERAL (SELECT count(*) c FROM i WHERE i.k = o.id) l",
    "SELECT o.id, l.c, l.k FROM o CROSS JOIN LATERAL (SELECT k, count(*) c FROM i WHERE i.k "
    ">= o.id GROUP BY k) l",
    "SELECT o.id, i.a FROM o LEFT JOIN i ON i.k = o.id AND i.a IN (SELECT a FROM i WHERE a > 1)",
    "SELECT o.id, i.a FROM o LEFT JOIN i ON i.k = o.id AND EXISTS (SELECT 1 FROM i z WHERE "
    "z.a = o.a)",
    "SELECT o.id, i.a FROM o JOIN i ON i.k = o.id AND i.b IN (SELECT b FROM i z WHERE z.k = o.id)",
    "SELECT o.id, i.a FROM o FULL JOIN i ON i.k = o.id AND i.a IN (SELECT a FROM i WHERE a > 1)",
    "SELECT id FROM o ORDER BY (SELECT max(a) FROM i WHERE i.k = o.id) NULLS FIRST, id",
    "SELECT sum((SELECT count(*) FROM i WHERE i.k = o.id)) s FROM o",
    "SELECT (SELECT count(*) FROM i WHERE i.k = o.id) c, count(*) n FROM o GROUP BY (SELECT "
    "count(*) FROM i WHERE i.k = o.id)",
    "SELECT (SELECT count(*) FROM i WHERE i.k = o.id) c, count(*) n FROM o GROUP BY 1",
    "SELECT id, rank() OVER (ORDER BY (SELECT count(*) FROM i WHERE i.k = o.id)) r FROM o",
    "SELECT a, count(*) c FROM o GROUP BY a HAVING count(*) = (SELECT count(*) FROM i WHERE "
    "i.a = o.a)",
    "SELECT a, count(*) c FROM o GROUP BY a HAVING EXISTS (SELECT 1 FROM i WHERE i.a = o.a)",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k=o.id UNION ALL SELECT 2 FROM i "
    "WHERE i.a = o.a)",
    "SELECT id FROM o WHERE a IN (SELECT a FROM i WHERE i.k=o.id UNION SELECT 2)",
    "SELECT id, (SELECT x FROM (SELECT i.a x, row_number() OVER (ORDER BY i.b, i.a) r FROM i "
    "WHERE i.k = o.id) z WHERE r = 1) v FROM o",
    "SELECT id, (SELECT count(DISTINCT b) FROM i WHERE i.k <> o.id) v FROM o",
    "SELECT id, (SELECT count(*) FROM o p LEFT JOIN i ON i.k = p.id AND i.a = o.a) v FROM o",
    "SELECT id, (SELECT count(*) FROM i FULL JOIN o p ON i.k = p.id AND i.a = o.a) v FROM o",
    "SELECT id, (SELECT count(*) FROM i RIGHT JOIN o p ON i.k = p.id AND i.a = o.a) v FROM o",
    "SELECT id FROM o WHERE (SELECT max(a) FROM i WHERE i.k = o.id) > 1 OR EXISTS (SELECT 1 "
    "FROM i WHERE i.b = o.b)",
    "SELECT id, CASE WHEN EXISTS (SELECT 1 FROM i WHERE i.k = o.id) THEN 'y' ELSE 'n' END e FROM o",
    "SELECT id FROM o WHERE NOT (EXISTS (SELECT 1 FROM i WHERE i.k = o.id) AND a IN (SELECT "
    "a FROM i))",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i WHERE false)",
    "SELECT id, EXISTS (SELECT 1 FROM i WHERE false) x, EXISTS (SELECT 1 FROM i) y FROM o",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE o.id = o.id AND o.a = 1)",
    "SELECT id FROM o WHERE o.a IN (SELECT o.a FROM i)",
    "SELECT id FROM o WHERE EXISTS (SELECT DISTINCT ON (k) k FROM i WHERE i.a = o.a ORDER BY k, b)",
    "WITH c AS (SELECT id, a FROM o WHERE a IN (SELECT a FROM i)) SELECT id, (SELECT "
    "count(*) FROM c d WHERE d.a <= c.a) n FROM c",
    "SELECT id FROM (SELECT * FROM o ORDER BY id LIMIT 2) o WHERE EXISTS (SELECT sum(a) FROM "
    "i WHERE i.k = o.id HAVING sum(a) > 3)",
    "SELECT id, (SELECT i.a FROM i WHERE i.k = o.id AND i.a IS NOT NULL ORDER BY i.a LIMIT 1 "
    "OFFSET 1) v FROM o",
    "SELECT id, (SELECT array_agg(a ORDER BY a) FROM i WHERE i.k = o.id) v FROM o",
    "SELECT id, (SELECT z.c FROM (SELECT count(*) c FROM i WHERE i.k = o.id) z WHERE z.c > "
    "0) v FROM o",
    "SELECT id, (SELECT max(c) FROM (SELECT count(*) c FROM i WHERE i.k = o.id GROUP BY b) "
    "z) v FROM o",
    "SELECT a FROM o UNION SELECT a FROM i WHERE EXISTS (SELECT 1 FROM o WHERE o.id = i.k)",
    "SELECT id FROM o WHERE a = (SELECT min(a) FROM i WHERE k = id)",
    "SELECT id, 1 + (SELECT count(*) FROM i WHERE i.k = o.id) * 2 v FROM o",
    "SELECT id FROM o WHERE 2 IN (SELECT i.a FROM i WHERE i.b = o.b)",
    "SELECT id, b IN (SELECT b FROM i WHERE i.a = o.a) AND a IS NOT NULL AS v FROM o",
    "SELECT id, (SELECT p.v FROM (VALUES (1, 10), (2, 20)) p(k, v) WHERE p.k = o.id) v FROM o",
    "SELECT count(*) FROM o WHERE EXISTS (SELECT 1 FROM o)",
    "SELECT id FROM o WHERE 1 NOT IN (SELECT a FROM i)",
    "SELECT id FROM o WHERE NULL NOT IN (SELECT a FROM i)",
    "SELECT id FROM o WHERE NULL NOT IN (SELECT a FROM i WHERE false)",
    "SELECT id FROM o WHERE a NOT IN (SELECT a FROM i WHERE a > o.b)",
    "SELECT id FROM o WHERE (SELECT 1 FROM i WHERE false) IS NULL",
    "SELECT (SELECT 1 FROM i WHERE false) x FROM o",
    "SELECT coalesce((SELECT 1 FROM i WHERE false), 3) x",
    "SELECT (SELECT count(*) FROM i HAVING count(*) > 99) x",
    "SELECT max(a) x FROM i WHERE false HAVING NOT (max(a) = max(a))",
    "SELECT 1 x FROM (SELECT sum(a) s FROM i) d WHERE (SELECT false FROM i WHERE false)",
    "SELECT count(*) x FROM i HAVING (SELECT a > 1 FROM i WHERE k = 99)",
    "SELECT 1 x FROM (SELECT sum(a) s FROM i) d WHERE CASE WHEN s <> s THEN false ELSE NULL END",
    "SELECT id FROM o WHERE NOT EXISTS (SELECT 1 FROM i LEFT JOIN i j ON j.a = o.a)",
    "SELECT id, (SELECT sum(i.a) FROM i LEFT JOIN i j ON j.a = o.a) x FROM o",
    "SELECT id FROM o WHERE 5 IN (SELECT i.a FROM i LEFT JOIN i j ON j.a = o.a)",
    "SELECT (SELECT min('a') v FROM (VALUES (0, 'x')) w(k, g) WHERE w.k < o.id) x FROM o",
    "SELECT (SELECT bool_or(true) FILTER (WHERE i.a > 1) FROM i JOIN (SELECT 1 id) c ON true "
    "WHERE i.b < o.b) x FROM o",
    "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k = o.id ORDER BY a LIMIT 1)",
    "SELECT id, random() >= 0 r FROM o WHERE EXISTS (SELECT 1 FROM i WHERE i.k = o.id LIMIT 1)",
    "SELECT id, "
    + ", ".join(
        f"(SELECT i.a FROM i WHERE i.k = o.id ORDER BY i.a LIMIT 1) + {n} c{n}" for n in range(12)
    )
    + " FROM o",
    "SELECT id, "
    + ", ".join(f"(SELECT sum(i.a) FROM i WHERE i.a > o.a) + {n} c{n}" for n in range(12))
    + " FROM o WHERE a IN (SELECT a FROM i ORDER BY a LIMIT 5)",
    "SELECT g.s, (SELECT count(*) FROM i WHERE i.a < g.s) n FROM (SELECT b, sum(a) s FROM i "
    "GROUP BY b) g",
    "SELECT g.k, (SELECT count(*) FROM i WHERE i.a < g.k) n FROM (SELECT k, sum(a::double) s FROM "
    "i GROUP BY k) g",
]

# Those that are refused, or fail, with a word of what the error says.
REFUSED = {
    "SELECT id, (SELECT i.a FROM i WHERE i.k = o.id) FROM o": (ExecutionError, "more than one row"),
    "SELECT id, (SELECT a FROM i) FROM o": (ExecutionError, "more than one row"),
    "SELECT id FROM (SELECT * FROM o LIMIT 2) o WHERE "
    "EXISTS (SELECT 1 FROM i WHERE i.k = o.id GROUP BY ROLLUP (a) HAVING count(*) > 9)": (
        SqlError,
        "grand total",
    ),
    "SELECT id FROM (SELECT id, random() r FROM o) o WHERE "
    "EXISTS (SELECT sum(a) FROM i WHERE i.k > o.r HAVING sum(a) > 9)": (SqlError, "random"),
    "SELECT g.s, (SELECT count(*) FROM i WHERE i.a < g.s) n FROM (SELECT k, sum(a::double) s FROM "
    "i GROUP BY k) g": (SqlError, "sums of floats"),
    "SELECT id, (SELECT random() + o.a) r FROM o": (SqlError, "random"),
    "SELECT id FROM o LEFT JOIN i ON i.k = o.id AND EXISTS (SELECT 1 FROM i z WHERE z.a = o.a AND "
    "z.b = i.b)": (SqlError, "both sides"),
}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return table_forms(Path(tmp_path_factory.mktemp("forms")), TABLES)


@pytest.fixture(scope="module")
def shared() -> Any:
    with FusionDeltaEngine() as engine:
        yield engine


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return float(value) if is_number else value


def _bag(rows: list[tuple[object, ...]]) -> Counter[tuple[object, ...]]:
    return Counter(tuple(_plain(value) for value in row) for row in rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sql", CASES)
def test_rows_are_those_of_duckdb(shared, forms, sql, form):
    with duckdb.connect() as other:
        for name, table in TABLES.items():
            other.register(name, table)
        want = other.execute(sql).fetchall()
    got = shared.query(sql, sources=forms[form]).to_pylist()
    assert _bag([tuple(row.values()) for row in got]) == _bag(want)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sql", REFUSED)
def test_the_others_are_refused_by_name(shared, forms, sql, form):
    kind, says = REFUSED[sql]
    with pytest.raises(kind, match=says):
        shared.query(sql, sources=forms[form]).to_pylist()


def test_an_equality_that_null_does_not_meet_stays_one(engine):
    """Beside keys of a domain, which NULL meets (found by tests/differential, seed 4107)."""
    tables = {
        "t": pa.table({"k": [1]}),
        "n": pa.table({"id": pa.array([], pa.int64()), "n": pa.array([], pa.int64())}),
    }
    sql = (
        "SELECT 1 FROM t a LEFT JOIN n b ON true "
        "WHERE b.id = (SELECT max(1) FROM t c WHERE 1 < b.n)"
    )
    assert engine.query(sql, sources=tables).to_pylist() == []
    inverse = sql.replace("b.id =", "b.id IS NOT DISTINCT FROM")
    assert len(engine.query(inverse, sources=tables).to_pylist()) == 1
