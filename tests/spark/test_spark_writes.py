"""fusiondelta reads what Spark writes, and goes on writing where it may."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import DeltaChanges, ExecutionError, UnsupportedTableFeatureError
from tests.harness.log_files import actions, newest
from tests.spark import sql, values
from tests.spark.values import NESTED, ODD_TEXT, PARTITIONS, PRIMITIVES, same

pytestmark = pytest.mark.spark

VECTORS = {"delta.enableDeletionVectors": "true"}
FEED = {"delta.enableChangeDataFeed": "true"}
BY_NAME = {"delta.columnMapping.mode": "name"}

SCHEMA = pa.schema([("id", pa.int64()), ("p", pa.string()), ("v", pa.string())])


def rows(ids, v="v"):
    parts = [None if id % 3 == 0 else f"p={id % 3}" for id in ids]
    return pa.table([list(ids), parts, [v] * len(ids)], schema=SCHEMA)


# types


@pytest.mark.parametrize("columns", [PRIMITIVES, NESTED], ids=["primitive", "nested"])
def test_every_type(spark, engine, uri, read, columns):
    data = values.table(columns)
    spark.ask(sql.create(uri, data.schema))
    schema = engine.open_delta(uri).schema
    assert (schema.names, sql.type_names(schema)) == (
        data.column_names,
        sql.type_names(data.schema),
    )
    same(read(uri), [])
    spark.ask(sql.insert(uri, data))
    same(read(uri), data.to_pylist())
    spark.ask(sql.insert(uri, data.slice(0, 2)), f"OPTIMIZE {sql.at(uri)}")
    same(read(uri), [*data.to_pylist(), *data.slice(0, 2).to_pylist()])


def test_every_type_is_found_by_value(spark, engine, uri):
    data = values.table(PRIMITIVES)
    data = data.append_column("file", data["id"])
    spark.ask(
        sql.create(uri, data.schema, partition_by=["file"]),
        sql.insert(uri, data),
    )
    for name, (kind, wanted) in PRIMITIVES.items():
        for value in wanted:
            if value != value or (pa.types.is_floating(kind) and value == 0):
                continue  # whether these equal others is a matter of the SQL, not of the table
            result = engine.query(
                f"SELECT id FROM t WHERE {name} = $v",
                sources={"t": uri},
                param_values={"v": pa.scalar(value, kind)},
            )
            expected = [{"id": row["id"]} for row in data.to_pylist() if row[name] == value]
            assert expected
            same(result.to_pylist(), expected)


# partitions


def test_a_partition_column_of_every_type(spark, engine, uri, read):
    data = values.table(PARTITIONS)
    spark.ask(
        sql.create(uri, data.schema, partition_by=list(PARTITIONS)),
        sql.insert(uri, data),
    )
    same(read(uri), data.to_pylist())


def test_odd_text_in_partitions_is_found(spark, engine, uri, read):
    odd = [*ODD_TEXT, None]
    data = pa.table({"id": range(len(odd)), "p": pa.array(odd, pa.string())})
    spark.ask(sql.create(uri, data.schema, partition_by=["p"]), sql.insert(uri, data))
    same(read(uri), data.to_pylist())
    for id, value in enumerate(odd[:-1]):
        found = engine.query(
            "SELECT id FROM t WHERE p = $v", sources={"t": uri}, param_values={"v": value}
        )
        assert found.to_pylist() == [{"id": id}]
    # Files of each partition are found again by those who change them.
    engine.update(uri, {"id": "id + 100"})
    engine.delete(uri, "p = '%'")
    expected = [{"id": id + 100, "p": value} for id, value in enumerate(odd) if value != "%"]
    same(read(uri), expected)
    same(spark.rows(sql.select(uri)), expected)


# features


def test_deletion_vectors(spark, engine, uri, read):
    many = rows(range(3000))
    spark.ask(
        sql.create(uri, SCHEMA, having=VECTORS, partition_by=["p"]),
        f"INSERT INTO {sql.at(uri)} SELECT id, IF(id % 3 = 0, NULL, concat('p=', id % 3)), 'v'"
        " FROM range(3000)",
        f"DELETE FROM {sql.at(uri)} WHERE id = 5 OR id BETWEEN 1000 AND 1010",
    )
    same(read(uri, 1), many.to_pylist())
    assert any("deletionVector" in a.get("add", ()) for a in actions(newest(uri)))
    spark.ask(f"UPDATE {sql.at(uri)} SET v = 'u' WHERE id IN (6, 2999)")
    spark.ask(f"DELETE FROM {sql.at(uri)} WHERE id % 100 = 7")
    expected = [
        {**row, "v": "u" if row["id"] in (6, 2999) else "v"}
        for row in many.to_pylist()
        if row["id"] != 5 and not 1000 <= row["id"] <= 1010 and row["id"] % 100 != 7
    ]
    same(read(uri), expected)
    found = engine.query(
        "SELECT count(*) AS n, max(id) AS most FROM t WHERE id >= 1005", sources={"t": uri}
    ).to_pylist()
    above = [row["id"] for row in expected if row["id"] >= 1005]
    assert found == [{"n": len(above), "most": max(above)}]
    engine.checkpoint(uri)
    same(read(uri), expected)
    same(spark.rows(sql.select(uri)), expected)


def test_columns_mapped_by_name(spark, engine, uri, read):
    data = pa.table({"id": [1, 2], "p q": ["x", None], "s": [{"a b": 1, "c": [2]}, None]})
    spark.ask(
        sql.create(uri, pa.schema([("id", pa.int64())]), having=BY_NAME),
        f"ALTER TABLE {sql.at(uri)} ADD COLUMNS"
        " (`p q` string, s struct<`a b`: int, c: array<int>>)",
        f"INSERT INTO {sql.at(uri)} VALUES (1, 'x', named_struct('a b', 1, 'c', array(2))),"
        " (2, NULL, CAST(NULL AS struct<`a b`: int, c: array<int>>))",
    )
    same(read(uri), data.to_pylist())
    spark.ask(
        f"ALTER TABLE {sql.at(uri)} RENAME COLUMN id TO `ünï, id`",
        f"ALTER TABLE {sql.at(uri)} RENAME COLUMN s.`a b` TO d",
        f"ALTER TABLE {sql.at(uri)} DROP COLUMN `p q`",
        f"ALTER TABLE {sql.at(uri)} ADD COLUMN `p q` int",
        f"INSERT INTO {sql.at(uri)} VALUES (3, NULL, 7)",
        f"DELETE FROM {sql.at(uri)} WHERE `ünï, id` = 2",
    )
    expected = [
        {"ünï, id": 1, "s": {"d": 1, "c": [2]}, "p q": None},
        {"ünï, id": 3, "s": None, "p q": 7},
    ]
    same(read(uri), expected)
    found = engine.query('SELECT s.d AS d FROM t WHERE "ünï, id" = 1', sources={"t": uri})
    assert found.to_pylist() == [{"d": 1}]


def test_columns_mapped_by_name_with_partitions_and_vectors(spark, engine, uri, read):
    data = rows(range(9))
    spark.ask(
        sql.create(uri, SCHEMA, partition_by=["p"], having={**BY_NAME, **VECTORS}),
        sql.insert(uri, data),
        f"ALTER TABLE {sql.at(uri)} RENAME COLUMN p TO `the part`",
        f"DELETE FROM {sql.at(uri)} WHERE id = 4",
    )
    expected = [
        {"id": row["id"], "the part": row["p"], "v": row["v"]}
        for row in data.to_pylist()
        if row["id"] != 4
    ]
    same(read(uri), expected)
    found = engine.query(
        "SELECT id FROM t WHERE \"the part\" = 'p=1'", sources={"t": uri}
    ).to_pylist()
    same(found, [{"id": 1}, {"id": 7}])


@pytest.mark.parametrize(
    "having", [BY_NAME, {"delta.columnMapping.mode": "id"}], ids=["name", "id"]
)
def test_a_table_with_mapped_columns_is_changed_rightly_or_not_at_all(
    spark, engine, uri, read, having
):
    data = rows(range(6))
    spark.ask(sql.create(uri, SCHEMA, having=having), sql.insert(uri, data))
    expected = data.to_pylist()
    try:
        engine.write_delta(uri, rows([10]))
        expected += rows([10]).to_pylist()
        engine.delete(uri, "id = 1")
        expected = [row for row in expected if row["id"] != 1]
    except UnsupportedTableFeatureError:
        pass
    same(spark.rows(sql.select(uri)), expected)
    same(read(uri), expected)


@pytest.mark.parametrize("parted", [[], ["p"]], ids=["whole", "parted"])
def test_checkpoints_of_the_second_kind(spark, engine, uri, read, parted):
    having = {"delta.checkpointPolicy": "v2", "delta.checkpointInterval": "2", **VECTORS}
    spark.ask(
        sql.create(uri, SCHEMA, partition_by=parted, having=having),
        *(sql.insert(uri, rows(range(start, start + 4))) for start in (0, 4, 8)),
        f"DELETE FROM {sql.at(uri)} WHERE id = 2",
    )
    log = uri / "_delta_log"
    assert list(log.glob("_sidecars/*.parquet")), "there is one of that kind"
    expected = [row for row in rows(range(12)).to_pylist() if row["id"] != 2]
    same(read(uri), expected)
    for version in range(4):
        (log / f"{version:020}.json").unlink()
    with fusiondelta.FusionDeltaEngine() as fresh:
        found = fresh.query("SELECT * FROM t", sources={"t": uri})
        same(found.to_pylist(), expected)


def test_constraints(spark, engine, uri, read):
    spark.ask(
        f"CREATE TABLE {sql.at(uri)} (id bigint NOT NULL, at date, v string) USING delta",
        f"ALTER TABLE {sql.at(uri)} ADD CONSTRAINT small CHECK (id < 100 AND length(v) < 5)",
        f"ALTER TABLE {sql.at(uri)} ADD CONSTRAINT day CHECK (at >= '2024-01-01' OR at IS NULL)",
    )
    schema = engine.open_delta(uri).schema
    day = dt.date(2024, 1, 1)

    def row(id, at, v):
        return pa.table([[id], [at], [v]], schema=schema)

    engine.write_delta(uri, row(1, day, "ok"))
    for wrong in ((100, day, "ok"), (2, day, "long text"), (2, dt.date(2023, 12, 31), "ok")):
        with pytest.raises(ExecutionError, match="constraint"):
            engine.write_delta(uri, row(*wrong))
    with pytest.raises(fusiondelta.FusionDeltaError):
        engine.write_delta(uri, pa.table({"id": pa.array([None], "i8"), "at": [day], "v": ["x"]}))
    with pytest.raises(ExecutionError, match="constraint"):
        engine.update(uri, {"id": "id + 99"})
    engine.write_delta(uri, row(3, None, "x"))
    expected = [{"id": 1, "at": day, "v": "ok"}, {"id": 3, "at": None, "v": "x"}]
    same(read(uri), expected)
    same(spark.rows(sql.select(uri)), expected)


@pytest.mark.parametrize("having", [{}, VECTORS], ids=["plain", "vectors"])
def test_the_change_feed(spark, engine, uri, having):
    names = ("_commit_version", "_change_type", "id", "p", "v")
    source = sql.rows(rows([4, 5, 30], "m"))
    spark.ask(
        sql.create(uri, SCHEMA, partition_by=["p"], having={**FEED, **having}),
        sql.insert(uri, rows(range(8))),
        f"UPDATE {sql.at(uri)} SET v = NULL WHERE id IN (1, 2)",
        f"DELETE FROM {sql.at(uri)} WHERE id = 3",
        f"MERGE INTO {sql.at(uri)} t USING ({source}) s ON t.id = s.id"
        " WHEN MATCHED AND s.id = 5 THEN DELETE WHEN MATCHED THEN UPDATE SET *"
        " WHEN NOT MATCHED THEN INSERT *",
        f"OPTIMIZE {sql.at(uri)}",
        f"DELETE FROM {sql.at(uri)} WHERE p = 'p=1'",
    )
    by_spark = spark.rows(f"SELECT {', '.join(names)} FROM table_changes_by_path('{uri}', 0)")
    kinds = {(row["_commit_version"], row["_change_type"]) for row in by_spark}
    assert len(kinds) == 9
    own = engine.changes(uri, 0).to_pylist()
    same([{name: row[name] for name in names} for row in own], by_spark)
    some = engine.query(
        "SELECT id, v FROM c WHERE _change_type = 'update_postimage' AND id = 4",
        sources={"c": DeltaChanges(uri, 4, 4)},
    )
    assert some.to_pylist() == [{"id": 4, "v": "m"}]


NULL_PARTITION = pytest.param(
    None,
    id="null",
    marks=pytest.mark.xfail(
        strict=True,
        raises=ExecutionError,
        reason="delta-rs' reader of the feed gives such a partition no type",
    ),
)


@pytest.mark.parametrize("part", [pytest.param("p=1", id="text"), NULL_PARTITION])
def test_the_change_feed_of_files_that_went_whole(spark, engine, uri, part):
    """Then the feed is in the log alone."""
    data = pa.table([[1, 2], [part, part], ["a", None]], schema=SCHEMA)
    spark.ask(
        sql.create(uri, SCHEMA, partition_by=["p"], having=FEED),
        sql.insert(uri, data),
        f"INSERT OVERWRITE {sql.at(uri)} {sql.rows(rows([5]))}",
    )
    names = ("_commit_version", "_change_type", "id", "p", "v")
    came = [(1, "insert", *row.values()) for row in data.to_pylist()]
    went = [(2, "delete", *row.values()) for row in data.to_pylist()]
    changes = [*came, *went, (2, "insert", 5, "p=2", "v")]
    expected = [dict(zip(names, row, strict=True)) for row in changes]
    same(spark.rows(f"SELECT {', '.join(names)} FROM table_changes_by_path('{uri}', 0)"), expected)
    own = engine.changes(uri, 0).to_pylist()
    same([{name: row[name] for name in names} for row in own], expected)


def test_a_table_after_optimize_order_and_restore(spark, engine, uri, read):
    spark.ask(
        sql.create(uri, SCHEMA, partition_by=["p"]),
        *(sql.insert(uri, rows([n, n + 10, n + 20])) for n in range(3)),
        f"OPTIMIZE {sql.at(uri)}",
        f"DELETE FROM {sql.at(uri)} WHERE id = 0",
        f"OPTIMIZE {sql.at(uri)} ZORDER BY (id)",
        f"RESTORE TABLE {sql.at(uri)} TO VERSION AS OF 2",
    )
    three = rows([n + ten for n in range(3) for ten in (0, 10, 20)]).to_pylist()
    later = [row for row in three if row["id"] != 0]
    before = rows([n + ten for n in range(2) for ten in (0, 10, 20)]).to_pylist()
    for version, expected in {3: three, 4: three, 5: later, 6: later, 7: before}.items():
        same(read(uri, version), expected)
    engine.optimize(uri)
    engine.restore(uri, 5)
    same(read(uri), later)
    same(spark.rows(sql.select(uri)), later)


def test_a_clustered_table_is_read(spark, engine, uri, read):
    spark.ask(
        f"CREATE TABLE {sql.at(uri)} (id bigint, v string) USING delta CLUSTER BY (id)",
        f"INSERT INTO {sql.at(uri)} VALUES (1, 'a'), (2, NULL)",
        f"OPTIMIZE {sql.at(uri)}",
    )
    same(read(uri), [{"id": 1, "v": "a"}, {"id": 2, "v": None}])


def test_instants_of_in_commit_timestamps_are_travelled_to(spark, engine, uri):
    having = {"delta.enableInCommitTimestamps": "true"}
    spark.ask(
        sql.create(uri, SCHEMA, having=having),
        sql.insert(uri, rows([1])),
        sql.insert(uri, rows([2])),
    )
    (history,) = spark.ask(f"DESCRIBE HISTORY {sql.at(uri)}")
    instants = {row["version"]: row["timestamp"] for row in history.rows}
    for version in (1, 2):
        source = fusiondelta.DeltaSource(uri, as_of=instants[version])
        result = engine.query("SELECT id FROM t", sources={"t": source})
        assert len(result.to_pylist()) == version
        assert result.snapshots[0].version == version


def test_generated_columns_are_kept_true(spark, uri):
    """Spark's SQL makes none; its log does."""
    spark.ask(
        f"CREATE TABLE {sql.at(uri.with_name('plain'))} (id bigint, twice bigint) USING delta"
    )
    shutil.copytree(uri.with_name("plain"), uri)
    log = newest(uri)
    made = actions(log)
    for action in made:
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": 1, "minWriterVersion": 4}
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            schema["fields"][1]["metadata"]["delta.generationExpression"] = "id * 2"
            action["metaData"]["schemaString"] = json.dumps(schema)
    log.write_text("".join(json.dumps(action) + "\n" for action in made), "utf-8")
    log.with_name(f".{log.name}.crc").unlink(missing_ok=True)
    log.with_suffix(".crc").unlink(missing_ok=True)
    spark.ask(f"INSERT INTO {sql.at(uri)} (id) VALUES (1)")
    same(spark.rows(sql.select(uri)), [{"id": 1, "twice": 2}])
    with fusiondelta.FusionDeltaEngine() as engine:
        with pytest.raises(fusiondelta.FusionDeltaError):
            engine.write_delta(uri, pa.table({"id": [2], "twice": [5]}))
        with contextlib.suppress(fusiondelta.FusionDeltaError):
            engine.update(uri, {"id": "3"})
    (row,) = spark.rows(sql.select(uri))
    assert row["twice"] == row["id"] * 2
