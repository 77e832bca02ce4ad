"""Changes as SQL statements, and versions in queries: each is the operation that its method is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fusiondelta import (
    ConfigurationError,
    DeltaSource,
    ExecutionError,
    FusionDeltaEngine,
    ParameterError,
    ReadOnlyViolationError,
    SchemaMismatchError,
    SnapshotNotFoundError,
    SqlError,
)

pytestmark = pytest.mark.integration

ROWS = [
    {"id": 1, "n": 10, "s": "a"},
    {"id": 2, "n": 20, "s": "b"},
    {"id": 3, "n": None, "s": None},
]
SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("s", pa.string())])


@pytest.fixture
def engine():
    with FusionDeltaEngine() as made:
        yield made


@pytest.fixture
def tables(engine, tmp_path):
    uri = tmp_path / "t"
    engine.write_delta(uri, pa.Table.from_pylist(ROWS, SCHEMA))
    return {"t": uri}


def rows(engine, tables):
    return engine.query("SELECT * FROM t ORDER BY id", sources=tables).to_pylist()


def test_insert(engine, tables):
    done = engine.execute(
        "INSERT INTO t VALUES (4, $n, 'd')", tables=tables, param_values={"n": 40}
    )
    assert (done.rows_written, done.snapshot.version) == (1, 1)
    engine.execute(
        "INSERT INTO t (s, id) SELECT upper(s), id + 10 FROM t WHERE id = 1", tables=tables
    )
    assert rows(engine, tables)[3:] == [
        {"id": 4, "n": 40, "s": "d"},
        {"id": 11, "n": None, "s": "A"},
    ]
    engine.execute(
        "INSERT OVERWRITE t SELECT * FROM other",
        tables=tables,
        sources={"other": pa.Table.from_pylist(ROWS[:1], SCHEMA)},
    )
    assert rows(engine, tables) == ROWS[:1]


def test_an_insert_adds_no_column(engine, tables):
    with pytest.raises(SqlError, match="no column 'idd'; did you mean 'id'") as caught:
        engine.execute("INSERT INTO t (idd, n) VALUES (4, 1)", tables=tables)
    assert caught.value.details["column_name"] == "idd"
    assert rows(engine, tables) == ROWS


@pytest.mark.parametrize(
    "text", ["INSERT INTO t VALUES ('x', 1, 'a')", "INSERT INTO t (id, n) VALUES (4, 1.5)"]
)
def test_an_insert_stores_values_as_they_are(engine, tables, text):
    with pytest.raises(SchemaMismatchError):
        engine.execute(text, tables=tables)
    assert rows(engine, tables) == ROWS


def test_update_and_delete(engine, tables):
    engine.execute("UPDATE t AS x SET n = x.n + 1, s = 'u' WHERE x.id = 1", tables=tables)
    engine.execute(
        "DELETE FROM t WHERE id IN (SELECT id FROM gone)",
        tables=tables,
        sources={"gone": pa.table({"id": [2]})},
    )
    assert rows(engine, tables) == [{"id": 1, "n": 11, "s": "u"}, ROWS[2]]
    assert engine.execute("DELETE FROM t WHERE n = NULL", tables=tables).outcome == "UNCHANGED"
    engine.execute("DELETE FROM t", tables=tables)
    assert rows(engine, tables) == []


def test_merge(engine, tables):
    news = pa.Table.from_pylist([{"id": 1, "n": 5, "s": "m"}, {"id": 9, "n": 9, "s": "i"}], SCHEMA)
    engine.execute(
        """
        MERGE INTO t USING (SELECT * FROM news WHERE n < 1000) AS src ON t.id = src.id
        WHEN MATCHED AND src.n > 100 THEN DELETE
        WHEN MATCHED THEN UPDATE SET n = src.n + t.n
        WHEN NOT MATCHED THEN INSERT (id, s) VALUES (src.id, src.s)
        WHEN NOT MATCHED BY SOURCE AND t.id = 3 THEN DELETE
        """,
        tables=tables,
        sources={"news": news},
    )
    assert rows(engine, tables) == [
        {"id": 1, "n": 15, "s": "a"},
        ROWS[1],
        {"id": 9, "n": None, "s": "i"},
    ]
    engine.execute(
        "MERGE INTO t USING news ON t.id = news.id "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
        tables=tables,
        sources={"news": news},
    )
    assert rows(engine, tables) == [
        {"id": 1, "n": 5, "s": "m"},
        ROWS[1],
        {"id": 9, "n": 9, "s": "i"},
    ]
    twice = pa.concat_tables([news, news])
    with pytest.raises(ExecutionError, match="several rows of the source"):
        engine.execute(
            "MERGE INTO t USING news ON t.id = news.id WHEN MATCHED THEN UPDATE SET n = 0",
            tables=tables,
            sources={"news": twice},
        )


def test_create(engine, tmp_path):
    where = {"made": tmp_path / "made"}
    engine.execute(
        "CREATE TABLE made (id BIGINT NOT NULL, amount DECIMAL(10, 2), day DATE) USING DELTA "
        "PARTITIONED BY (day) TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
        tables=where,
    )
    table = engine.open_delta(where["made"])
    schema = pa.schema(table.schema)
    assert schema.field("amount").type == pa.decimal128(10, 2)
    assert table.detail()["partition_columns"] == ["day"]
    assert table.properties["delta.enableChangeDataFeed"] == "true"
    with pytest.raises(SchemaMismatchError, match="NOT NULL"):
        engine.execute("INSERT INTO made VALUES (NULL, 1.5, DATE '2024-05-01')", tables=where)
    engine.execute("CREATE TABLE IF NOT EXISTS made (x INT)", tables=where)
    copied = {"copied": tmp_path / "copied"}
    engine.execute("CREATE TABLE copied AS SELECT 1 AS id, 'x' AS s", tables=copied)
    found = engine.query("SELECT * FROM copied", sources=copied).to_pylist()
    assert found == [{"id": 1, "s": "x"}]


def test_maintenance(engine, tables):
    for n in range(4, 7):
        engine.execute(f"INSERT INTO t VALUES ({n}, {n}, 'x')", tables=tables)
    assert engine.execute("OPTIMIZE t", tables=tables).files_removed == 4
    assert engine.execute("OPTIMIZE t ZORDER BY (id, n)", tables=tables).files_added == 1
    trial = engine.execute("VACUUM t RETAIN 200 HOURS DRY RUN", tables=tables)
    assert trial.operation_metrics["dry_run"] is True
    assert [row["id"] for row in rows(engine, tables)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("DELETE FORM t", None),
        ("DELETE FROM t WHERE id = 1 garbage more", (1, 28)),
        ("UPDATE t SET n = 1; DELETE FROM t", (1, 21)),
        ("VACUUM t RETAIN many HOURS", (1, 17)),
        ("OPTIMIZE t ZORDER BY (id", None),
        ("DELETE FROM tt", None),
        ("UPDATE t SET nope = 1", None),
        ("DELETE FROM t USING other WHERE true", None),
        ("SELECT 1", None),
        ("DROP TABLE t", None),
    ],
)
def test_what_is_not_understood_changes_nothing(engine, tables, text, place):
    with pytest.raises(SqlError) as caught:
        engine.execute(text, tables=tables)
    if place is not None:
        assert (caught.value.line, caught.value.column) == place
    assert engine.open_delta(tables["t"]).snapshot.version == 0


def test_options_are_those_of_the_methods(engine, tables):
    key = ("job", 1)
    text = "UPDATE t SET n = n + 1 WHERE id = 1"
    first = engine.execute(text, tables=tables, idempotency_key=key, metadata={"why": "test"})
    assert engine.execute(text, tables=tables, idempotency_key=key).replayed
    assert engine.open_delta(tables["t"]).history()[0]["why"] == "test"
    assert first.operation_metrics["num_updated_rows"] == 1
    with pytest.raises(ParameterError):
        engine.execute("DELETE FROM t WHERE id = $x", tables=tables)
    engine.execute(
        "DELETE FROM t WHERE id = 2",
        tables=tables,
        deletion_vectors=True,
        allow_metadata_change=True,
    )
    assert engine.open_delta(tables["t"]).properties["delta.enableDeletionVectors"] == "true"
    with pytest.raises(ReadOnlyViolationError):
        engine.query("DELETE FROM t", sources=tables)


def test_versions_in_queries(engine, tables):
    before = engine.open_delta(tables["t"])
    engine.execute("DELETE FROM t WHERE id = 1", tables=tables)
    found = engine.query(
        "SELECT (SELECT count(*) FROM t) AS now, (SELECT count(*) FROM t VERSION AS OF 0) AS then",
        sources=tables,
    )
    assert found.to_pylist() == [{"now": 2, "then": 3}]
    assert {key.version for key in found.snapshots} == {0, 1}
    joined = "SELECT old.id FROM t VERSION AS OF 0 AS old LEFT ANTI JOIN t ON t.id = old.id"
    assert engine.query(joined, sources=tables).to_pylist() == [{"id": 1}]
    time = before.history()[0]["timestamp"]
    at = pa.scalar(time, pa.timestamp("ms", "UTC")).as_py().isoformat()
    text = f"SELECT count(*) AS n FROM t TIMESTAMP AS OF '{at}' WHERE t.id IS NOT NULL"
    assert engine.query(text, sources=tables).to_pylist() == [{"n": 3}]
    engine.register("known", tables["t"])
    assert engine.query("SELECT count(*) AS n FROM known VERSION AS OF 0").to_pylist() == [{"n": 3}]
    with pytest.raises(SnapshotNotFoundError):
        engine.query("SELECT * FROM t VERSION AS OF 99", sources=tables)
    with pytest.raises(SqlError, match="no table 'tt'"):
        engine.query("SELECT * FROM tt VERSION AS OF 0", sources=tables)
    with pytest.raises(SqlError, match="AS OF"):
        engine.query("SELECT * FROM t VERSION AS OF x", sources=tables)
    pinned = {"t": DeltaSource(tables["t"], 0)}
    with pytest.raises(SqlError, match="pinned"):
        engine.query("SELECT * FROM t VERSION AS OF 1", sources=pinned)
    with pytest.raises(SqlError, match="no versions"):
        engine.query("SELECT * FROM m VERSION AS OF 1", sources={"m": pa.table({"x": [1]})})


def test_columns_called_as_words_of_versions_stay_columns(engine):
    data = pa.table({"version": [1], "timestamp": [2], "of": [3]})
    found = engine.query("SELECT version, timestamp, m.of AS of FROM m", sources={"m": data})
    assert found.to_pylist() == [{"version": 1, "timestamp": 2, "of": 3}]


def test_create_needs_columns(engine, tmp_path):
    with pytest.raises((SqlError, ConfigurationError)):
        engine.execute("CREATE TABLE made", tables={"made": tmp_path / "made"})
