"""Which statements a query may hold, and its parameters."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from fusiondelta import (
    ConfigurationError,
    EngineProfile,
    FusionDeltaEngine,
    ParameterError,
    QueryError,
    QuerySpec,
    ReadOnlyViolationError,
    SqlError,
)

pytestmark = pytest.mark.integration

TABLE = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
UTC = dt.timezone.utc

CHANGES = {
    "CREATE TABLE": "CREATE TABLE made AS SELECT 1 AS n",
    "CREATE VIEW": "CREATE VIEW made AS SELECT 1 AS n",
    "CREATE EXTERNAL TABLE": "CREATE EXTERNAL TABLE made STORED AS CSV LOCATION '{folder}'",
    "CREATE SCHEMA": "CREATE SCHEMA made",
    "CREATE FUNCTION": "CREATE FUNCTION made() RETURNS INT RETURN 1",
    "DROP TABLE": "DROP TABLE t",
    "DROP VIEW": "DROP VIEW IF EXISTS t",
    "ALTER": "ALTER TABLE t ADD COLUMN n INT",
    "INSERT": "INSERT INTO t VALUES (4)",
    "INSERT SELECT": "INSERT INTO t SELECT * FROM t",
    "UPDATE": "UPDATE t SET id = 0",
    "DELETE": "DELETE FROM t",
    "TRUNCATE": "TRUNCATE TABLE t",
    "MERGE": "MERGE INTO t USING t AS s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "SELECT INTO": "SELECT * INTO made FROM t",
    "COPY": "COPY t TO '{folder}/out.csv'",
    "COPY a query": "COPY (SELECT 1 AS n) TO '{folder}/out.parquet'",
    "SET": "SET datafusion.execution.batch_size = 7",
    "RESET": "RESET datafusion.execution.batch_size",
    "PREPARE": "PREPARE p AS SELECT 1",
    "EXECUTE": "EXECUTE p",
    "DEALLOCATE": "DEALLOCATE p",
    "BEGIN": "BEGIN",
    "COMMIT": "COMMIT",
    "EXPLAIN of a change": "EXPLAIN INSERT INTO t VALUES (4)",
    "EXPLAIN ANALYZE of a change": "EXPLAIN ANALYZE INSERT INTO t SELECT * FROM t",
    "EXPLAIN ANALYZE of a definition": "EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1 AS n",
    "EXPLAIN ANALYZE of COPY": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPLAIN VERBOSE of a change": "EXPLAIN VERBOSE DELETE FROM t",
    "PREPARE of a change": "PREPARE p AS INSERT INTO t VALUES (4)",
    "a change in a CTE": "WITH a AS (INSERT INTO t VALUES (4) RETURNING id) SELECT * FROM a",
    "a change after a CTE": "WITH a AS (SELECT 4 AS id) INSERT INTO t SELECT id FROM a",
    "a deletion after a CTE": "WITH a AS (SELECT 4 AS id) DELETE FROM t",
    "a change behind a comment": "/* SELECT */ DROP TABLE t -- SELECT",
    "a change as the second statement": "SELECT 1; DROP TABLE t",
    "a change as the first statement": "DROP TABLE t; SELECT 1",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_something_is_refused(engine, tmp_path, change):
    sql = CHANGES[change].format(folder=tmp_path)
    for call in (
        lambda: engine.query(sql, sources={"t": TABLE}),
        lambda: engine.query(QuerySpec(sql=sql, sources={"t": TABLE})),
        lambda: engine.debug.explain(sql, analyze=True, sources={"t": TABLE}),
    ):
        with pytest.raises(ReadOnlyViolationError, match="readonly=False") as caught:
            call()
        assert isinstance(caught.value, PermissionError)
    assert list(tmp_path.iterdir()) == []
    assert engine.debug.pool()["in_use"] == 0


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "SELECT 1;;SELECT 2", "; SELECT 1; SELECT 2"]
)
def test_several_statements_are_refused(engine, sql, readonly):
    with pytest.raises(QueryError, match="2 statements"):
        engine.query(sql, readonly=readonly)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t;",
        "VALUES (1), (2)",
        "WITH a AS (SELECT * FROM t) SELECT * FROM a",
        "(SELECT id FROM t) UNION ALL SELECT 1",
        "EXPLAIN SELECT * FROM t",
        "EXPLAIN ANALYZE SELECT * FROM t",
        "EXPLAIN VERBOSE SELECT * FROM t",
        "DESCRIBE t",
        "SHOW TABLES",
        "SHOW COLUMNS FROM t",
        "SHOW datafusion.execution.batch_size",
        "SELECT 'x; DROP TABLE t' AS s -- ; DROP TABLE t",
        'SELECT id AS "INSERT INTO t" FROM t',
    ],
)
def test_what_only_reads_is_let_through(engine, sql):
    assert engine.query(sql, sources={"t": TABLE}).to_table().num_rows > 0


@pytest.mark.parametrize("change", ["CREATE TABLE", "CREATE VIEW"])
def test_definitions_live_in_the_context_of_their_query_alone(engine, change):
    engine.query(CHANGES[change], readonly=False).to_table()
    engine.query(CHANGES[change], readonly=False).to_table()  # the name is free again
    with pytest.raises(SqlError, match="no table 'made'"):
        engine.query("SELECT * FROM made")
    assert engine.tables() == ()


def test_settings_live_in_the_context_of_their_query_alone(engine):
    engine.query(CHANGES["SET"], readonly=False).to_table()
    shown = engine.query("SHOW datafusion.execution.batch_size").to_pylist()
    assert shown[0]["value"] != "7"
    assert engine.query("SELECT 1").plan.settings["datafusion.execution.batch_size"] != "7"


def test_a_source_that_a_statement_drops_is_there_for_the_next_query(engine):
    engine.register("t", TABLE)
    engine.query("DROP TABLE t", sources={"t": TABLE}, readonly=False).to_table()
    assert engine.query("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 3}]


def test_copy_writes_where_it_is_meant(engine, tmp_path):
    path = tmp_path / "out.csv"
    engine.query(f"COPY t TO '{path}'", sources={"t": TABLE}, readonly=False).to_table()
    read = engine.query("SELECT sum(id) AS s FROM f", sources={"f": path})
    assert read.to_pylist() == [{"s": 6}]
    assert Path(path).exists()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("COPY (SELECT id FROM t TABLESAMPLE (10 PERCENT)) TO '{path}'", "TABLESAMPLE"),
        ("EXPLAIN SELECT id FROM t FOR UPDATE", "FOR UPDATE"),
    ],
)
def test_what_is_refused_is_refused_within_statements(engine, tmp_path, sql, says):
    with pytest.raises(SqlError, match=says):
        engine.query(
            sql.format(path=tmp_path / "out.csv"), sources={"t": TABLE}, readonly=False
        ).to_table()


def test_copy_reads_conditions_as_a_query_does(engine, tmp_path):
    table = pa.table(
        {"a": [True, True, False], "b": [True, False, False], "c": [True, True, False]}
    )
    sql = "SELECT a IS NOT DISTINCT FROM b AND c AS r FROM t"
    path = tmp_path / "out.parquet"
    engine.query(f"COPY ({sql}) TO '{path}'", sources={"t": table}, readonly=False).to_table()
    read = engine.query("SELECT r FROM f", sources={"f": path}).to_pylist()
    assert read == engine.query(sql, sources={"t": table}).to_pylist()
    assert [row["r"] for row in read] == [True, False, False]


def test_a_recursion_limit_is_a_number():
    profile = EngineProfile(options={"datafusion.sql_parser.recursion_limit": "abc"})
    with (
        pytest.raises(ConfigurationError, match="recursion_limit is a number"),
        FusionDeltaEngine(profile) as engine,
    ):
        engine.query("SELECT 1")


# parameters

VALUES = {
    "int": (7, "7"),
    "negative int": (-7, "-7"),
    "large int": (2**62, str(2**62)),
    "float": (1.5, "1.5"),
    "decimal": (Decimal("12.30"), "CAST('12.30' AS DECIMAL(4, 2))"),
    "str": ("größe", "'größe'"),
    "str with quotes": ("it's; DROP TABLE t --", "'it''s; DROP TABLE t --'"),
    "empty str": ("", "''"),
    "bytes": (b"\x00\xff", "X'00FF'"),
    "true": (True, "TRUE"),
    "false": (False, "FALSE"),
    "date": (dt.date(2024, 2, 29), "DATE '2024-02-29'"),
    "time": (dt.time(1, 2, 3), "TIME '01:02:03'"),
    "datetime": (dt.datetime(2024, 2, 29, 1, 2, 3), "TIMESTAMP '2024-02-29T01:02:03'"),
    "datetime with microseconds": (
        dt.datetime(2024, 2, 29, 1, 2, 3, 456789),
        "TIMESTAMP '2024-02-29T01:02:03.456789'",
    ),
    "datetime with zone": (
        dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
        "arrow_cast('2024-02-29T01:02:03Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
    ),
    "timedelta": (dt.timedelta(days=1, seconds=2), "INTERVAL '1 day 2 seconds'"),
    "list": ([1, 2, 3], "[1, 2, 3]"),
    "list of str": (["a", "b"], "['a', 'b']"),
    "list with null": ([1, None], "[1, NULL]"),
    "scalar": (pa.scalar(7, pa.int16()), "arrow_cast(7, 'Int16')"),
}
NOT_COMPARED_BY_EQUALITY = ("timedelta",)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("way", ["name", "position"])
def test_a_parameter_is_what_its_literal_is(engine, kind, way):
    value, literal = VALUES[kind]
    name, values = ("$p", {"p": value}) if way == "name" else ("$1", [value])
    given = engine.query(f"SELECT {name} AS v", param_values=values).to_table()
    expected = value.as_py() if isinstance(value, pa.Scalar) else value
    assert given.to_pylist() == [{"v": expected}]
    if kind not in NOT_COMPARED_BY_EQUALITY:
        both = engine.query(f"SELECT {name} = {literal} AS same", param_values=values)
        assert both.to_pylist() == [{"same": True}]


@pytest.mark.parametrize("kind", [k for k in VALUES if k not in NOT_COMPARED_BY_EQUALITY])
def test_a_parameter_filters_as_its_literal_does(engine, uri, kind):
    value, literal = VALUES[kind]
    literals = engine.query(f"SELECT 1 AS n, {literal} AS v UNION ALL SELECT 2, NULL").to_table()
    sources = {"t": literals}
    by_value = engine.query(
        "SELECT n FROM t WHERE v = $p", sources=sources, param_values={"p": value}
    )
    by_literal = engine.query(f"SELECT n FROM t WHERE v = {literal}", sources=sources)
    assert by_value.to_pylist() == by_literal.to_pylist() == [{"n": 1}]


def test_a_null_parameter(engine):
    given = engine.query("SELECT $p AS v, $p IS NULL AS missing", param_values={"p": None})
    assert given.to_pylist() == [{"v": None, "missing": True}]
    filtered = engine.query(
        "SELECT id FROM t WHERE id = $p", sources={"t": TABLE}, param_values={"p": None}
    )
    assert filtered.to_pylist() == []


def test_parameters_in_every_place(engine):
    sql = """
        WITH a AS (SELECT id + $plus AS id FROM t WHERE id >= $least)
        SELECT id, $label AS label FROM a
        WHERE id IN ($x, $y) OR id = (SELECT max(id) FROM t WHERE id < $least + 2)
        ORDER BY id LIMIT $limit
    """
    values = {"plus": 10, "least": 1, "label": "q", "x": 11, "y": 13, "limit": 1}
    result = engine.query(sql, sources={"t": TABLE}, param_values=values)
    assert result.to_pylist() == [{"id": 11, "label": "q"}]
    assert result.plan.parameters["label"] == "q"


def test_positions_in_any_order_and_more_than_once(engine):
    result = engine.query("SELECT $2 AS b, $1 AS a, $2 AS c", param_values=("one", "two"))
    assert result.to_pylist() == [{"b": "two", "a": "one", "c": "two"}]


def test_a_dollar_in_text_is_no_parameter(engine):
    assert engine.query("SELECT '$p' AS \"$q\" -- $r").to_pylist() == [{"$q": "$p"}]


@pytest.mark.parametrize(
    ("sql", "values", "named"),
    [
        ("SELECT $p AS v", None, "$p"),
        ("SELECT $p AS v", {}, "$p"),
        ("SELECT $price AS v", {"prize": 1}, "'prize'"),
        ("SELECT $1 AS a, $2 AS b", [1], "$2"),
        ("SELECT $1 AS a", [1, 2], "'2'"),
        ("SELECT 1 AS v", {"p": 1}, "'p'"),
        ("SELECT 1 AS v", [1], "'1'"),
        ("SELECT $p AS v", {"p": object()}, "object"),
        ("SELECT $p AS v", {"p": 2**200}, "38 digits"),
        ("SELECT $p AS v", {"p": [1, "a"]}, "list"),
        ("SELECT $p AS v", {"p": 1j}, "complex"),
        ("SELECT $p AS v", "text", "str"),
        ("SELECT $p AS v", 7, "int"),
        ("SELECT ? AS v", [1], "?"),
    ],
)
def test_parameters_that_do_not_match(engine, sql, values, named):
    with pytest.raises(ParameterError) as caught:
        engine.query(sql, param_values=values)
    assert named in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert engine.debug.pool()["in_use"] == 0


@pytest.mark.parametrize("sql", ["SELECT * FROM $p", "SELECT id AS $p FROM t"])
def test_parameters_where_there_can_be_none(engine, sql):
    with pytest.raises(QueryError):
        engine.query(sql, sources={"t": TABLE}, param_values={"p": "t"}).to_table()
