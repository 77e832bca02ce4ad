"""Columns that a query gives: several of one name, and the type of what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusiondelta import FusionDeltaEngine
from tests.harness.rows import bag, cases, rows_of
from tests.harness.table_forms import FORMS, table_forms
from tests.integration.test_query_cases import INT, PARTITIONED, TABLES

ROWS: dict[str, dict[str, list[tuple[Any, ...]]]] = {
    "columns of one name in what is given": {
        "SELECT k, k FROM w WHERE k = 1": [(1, 1)],
        "SELECT k, w.k, K FROM w WHERE k = 1": [(1, 1, 1)],
        "SELECT *, k FROM w WHERE k = 1": [("a", 1, 1)],
        "SELECT w.*, k FROM w ORDER BY k DESC LIMIT 1": [("b", 4, 4)],
        "SELECT k AS x, g AS x FROM w WHERE k = 1": [(1, "a")],
        "SELECT 1, 1": [(1, 1)],
        "SELECT g, count(*), g, count(*) FROM w GROUP BY g": [("a", 2, "a", 2), ("b", 2, "b", 2)],
        "SELECT DISTINCT g, g FROM w ORDER BY g DESC": [("b", "b"), ("a", "a")],
        "SELECT DISTINCT * EXCLUDE (k), k FROM w ORDER BY k DESC LIMIT 1": [("b", 4)],
        "SELECT k, k FROM w WHERE k = 1 UNION ALL SELECT 7, 7 ORDER BY k": [(1, 1), (7, 7)],
        "SELECT * EXCLUDE (k), k FROM w WHERE k = 1 UNION ALL SELECT 'z', 0 ORDER BY k": [
            ("z", 0),
            ("a", 1),
        ],
        "(SELECT k, k FROM w) ORDER BY 1 DESC LIMIT 1": [(4, 4)],
        "SELECT a.* EXCLUDE (id), b.id FROM a LEFT JOIN b USING (id) WHERE x < 3 ORDER BY id "
        "DESC": [
            (1, None),
            (2, 2),
        ],
        "SELECT a.* EXCLUDE (id), b.id FROM a JOIN b ON a.id = b.id WHERE x < 3 ORDER BY id": [
            (2, 2)
        ],
        "SELECT * EXCLUDE (k), k FROM w |> WHERE k > 3": [("b", 4)],
        "(SELECT w.* EXCLUDE (k), k FROM w WHERE k = 2) UNION ALL (SELECT w.* EXCLUDE (k), k "
        "FROM w WHERE k = 1) ORDER BY k": [("a", 1), ("a", 2)],
        "SELECT *, k + 1 AS k FROM w WHERE k = 1": [("a", 1, 2)],
        "SELECT DISTINCT *, k FROM w ORDER BY k DESC LIMIT 1": [("b", 4, 4)],
        "SELECT *, id FROM a FULL JOIN b USING (id) WHERE id = 3": [(3, None, 6, 3)],
        'SELECT k, k, g AS "k:1" FROM w WHERE k = 1': [(1, 1, "a")],
        "WITH c AS (SELECT k FROM w) SELECT *, c.k + 1 AS k2, k FROM c WHERE k = 1": [(1, 2, 1)],
    },
    "numbers that count": {
        "SELECT k - row_number() OVER (ORDER BY k DESC) FROM w": [(-3,), (-1,), (1,), (3,)],
        "SELECT -row_number() OVER (ORDER BY k) FROM w WHERE k = 4": [(-1,)],
        "SELECT rank() OVER (ORDER BY k) - rank() OVER (ORDER BY k DESC) FROM w": [
            (-3,),
            (-1,),
            (1,),
            (3,),
        ],
        "SELECT k FROM w QUALIFY dense_rank() OVER (ORDER BY g) - 2 < 0": [(1,), (2,)],
        "SELECT array_length(l) - 3, -cardinality(l) FROM s WHERE id = 1": [(-1, -2)],
        "SELECT approx_distinct(k) - 5, array_position([1, 2], 2) - 3 FROM w": [(-1, -1)],
        "SELECT array_length(l) c, count(*) FROM s GROUP BY array_length(l)": [
            (2, 1),
            (None, 1),
            (0, 1),
        ],
    },
}


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT k, K, w.k, g AS k FROM w", ["k", "k", "k", "k"]),
        ("SELECT *, k FROM w", ["g", "k", "k"]),
        ('SELECT k AS "X", g AS "X" FROM w', ["X", "X"]),
        ("SELECT sum(k), sum(k) FROM w", ["sum(w.k)", "sum(w.k)"]),
        ("SELECT g, g FROM w UNION ALL SELECT 'a', 'a'", ["g", "g"]),
        ("SELECT a.id, b.id, a.id FROM a JOIN b USING (id)", ["id", "id", "id"]),
    ],
)
def test_columns_keep_the_names_that_they_share(sql: str, names: list[str]) -> None:
    with FusionDeltaEngine() as engine:
        result = engine.query(sql, sources=dict(TABLES))
        assert result.to_table().column_names == names


@pytest.mark.parametrize(
    "value",
    [
        "row_number() OVER ()",
        "rank() OVER (ORDER BY k) + 1",
        "ntile(2) OVER (ORDER BY k) - k",
        "array_length([k]) - k",
        "coalesce(array_position([k], 9), -1)",
        "approx_distinct(k) OVER () * 2",
    ],
)
def test_what_counts_is_a_bigint(value: str) -> None:
    with FusionDeltaEngine() as engine:
        table = engine.query(f"SELECT {value} FROM w", sources={"w": TABLES["w"]}).to_table()
    assert table.schema.field(0).type == INT
    assert "CAST" not in table.column_names[0]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return table_forms(Path(tmp_path_factory.mktemp("forms")), TABLES, PARTITIONED)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("sql", "want"), cases(ROWS))
def test_rows(forms: Any, sql: str, want: list[tuple[Any, ...]], form: str) -> None:
    with FusionDeltaEngine() as engine:
        assert bag(rows_of(engine, sql, forms[form])) == bag(want)
