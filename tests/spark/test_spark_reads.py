"""Spark reads what fusiondelta writes: types, partitions, statistics, and tables with a history."""

from __future__ import annotations

import datetime as dt
import json
import math

import pyarrow as pa
import pytest

from tests.harness.log_files import actions, newest
from tests.harness.spark import SparkError
from tests.spark import sql, values
from tests.spark.values import NESTED, ODD_TEXT, PARTITIONS, PRIMITIVES, exact, same

pytestmark = pytest.mark.spark

FEED = {"delta.enableChangeDataFeed": "true"}
VECTORS = {"delta.enableDeletionVectors": "true"}


def holds(spark, uri, data):
    """Spark sees these rows, with these types."""
    __tracebackhide__ = True
    (answer,) = spark.ask(sql.select(uri))
    assert answer.names == data.column_names
    assert answer.types == sql.type_names(data.schema)
    same(answer.rows, data.to_pylist())


# types


@pytest.mark.parametrize("columns", [PRIMITIVES, NESTED], ids=["primitive", "nested"])
def test_every_type(spark, engine, uri, columns):
    data = values.table(columns)
    engine.write_delta(uri, data)
    holds(spark, uri, data)
    engine.write_delta(uri, data.slice(0, 3))
    engine.optimize(uri)
    holds(spark, uri, pa.concat_tables([data, data.slice(0, 3)]))


@pytest.mark.parametrize("columns", [PRIMITIVES, NESTED], ids=["primitive", "nested"])
def test_nulls_alone_and_no_rows_at_all(spark, engine, uri, columns):
    data = values.table(columns)
    engine.write_delta(uri, data.slice(0, 0))
    holds(spark, uri, data.slice(0, 0))
    nulls = data.slice(data.num_rows - 1)
    engine.write_delta(uri, nulls)
    holds(spark, uri, nulls)


def test_columns_that_may_not_be_null(spark, engine, uri):
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("v", pa.string())])
    engine.write_delta(uri, pa.table({"id": [1], "v": [None]}, schema=schema))
    with pytest.raises(SparkError) as refused:
        spark.ask(f"INSERT INTO {sql.at(uri)} VALUES (NULL, 'x')")
    assert refused.value.condition == "DELTA_NOT_NULL_CONSTRAINT_VIOLATED"
    spark.ask(f"INSERT INTO {sql.at(uri)} VALUES (2, 'x')")
    same(spark.rows(sql.select(uri)), [{"id": 1, "v": None}, {"id": 2, "v": "x"}])


def test_odd_names_of_columns(spark, engine, uri):
    names = ["id", "a.b", "ünï", "q'\"`", "UPPER", "select", "1", "a:b/c%20d", "\\", "-"]
    data = pa.table([pa.array([at, None]) for at in range(len(names))], names=names)
    engine.write_delta(uri, data)
    holds(spark, uri, data)


@pytest.mark.parametrize("name", ["ünï", "a.b", "per%20cent", "a/b", "a:b"])
def test_odd_names_of_partition_columns(spark, engine, uri, name):
    data = pa.table({"id": [1, 2], name: ["x", None]})
    engine.write_delta(uri, data, partition_by=name)
    holds(spark, uri, data)


# partitions


def test_a_partition_column_of_every_type(spark, engine, uri):
    data = values.table(PARTITIONS).drop_columns("binary")
    engine.write_delta(uri, data, partition_by=data.column_names[1:])
    holds(spark, uri, data)


def test_a_binary_partition_column(spark, engine, uri, read):
    parts = [b"plain", b"\x01\x7f", b"/%=", "ü".encode(), None]
    data = pa.table({"id": range(len(parts)), "p": pa.array(parts, pa.binary())})
    engine.write_delta(uri, data, partition_by="p")
    same(read(uri), data.to_pylist())
    holds(spark, uri, data)


@pytest.mark.parametrize("name", ["float", "double"])
def test_partitions_of_floats(spark, engine, uri, name):
    """With the digits of the smallest and the largest, in whatever form."""
    kind, numbers = PRIMITIVES[name]
    data = pa.table({"id": range(len(numbers)), "p": pa.array(numbers, kind)})
    engine.write_delta(uri, data, partition_by="p")
    holds(spark, uri, data)


def test_odd_text_in_partitions_is_found(spark, engine, uri):
    odd = [*ODD_TEXT, None]
    data = pa.table({"id": range(len(odd)), "p": pa.array(odd, pa.string())})
    engine.write_delta(uri, data, partition_by="p")
    engine.write_delta(uri, data.slice(0, 5))
    twice = [*data.to_pylist(), *data.slice(0, 5).to_pylist()]
    branches = [
        f"SELECT {n} AS n, id FROM {sql.at(uri)} WHERE p <=> {sql.literal(value, pa.string())}"
        for n, value in enumerate(odd)
    ]
    every, found = spark.ask(sql.select(uri), " UNION ALL ".join(branches))
    same(every.rows, twice)
    same(found.rows, [{"n": row["id"], "id": row["id"]} for row in twice])


def test_an_empty_text_in_a_partition_is_what_both_say(spark, engine, uri, read):
    """Delta has one form for it and for null, though Spark can tell them apart in our tables."""
    data = pa.table({"id": [1, 2, 3], "p": ["", None, "x"]})
    engine.write_delta(uri, data, partition_by="p")
    spark.ask(sql.insert(uri, pa.table({"id": [4, 5], "p": ["", "y"]})))
    by_spark = spark.rows(sql.select(uri))
    same(by_spark, read(uri))
    parts = {row["id"]: row["p"] for row in by_spark}
    assert parts.pop(1) in ("", None)
    assert parts == {2: None, 3: "x", 4: None, 5: "y"}


# statistics, by which readers leave out files


@pytest.fixture(params=["Spark", "fusiondelta"])
def ids(request, spark, engine):
    """Asks a reader for the ids of rows whose columns compare so with values, of each question."""

    def by_spark(uri, questions):
        branches = [
            f"SELECT {n} AS n, id FROM {sql.at(uri)} WHERE {name} {sign} {sql.literal(value, kind)}"
            for n, (name, sign, value, kind) in enumerate(questions)
        ]
        at_once = range(0, len(branches), 16)
        answers = spark.ask(*(" UNION ALL ".join(branches[n : n + 16]) for n in at_once))
        found = [[] for _ in questions]
        for row in (row for answer in answers for row in answer.rows):
            found[row["n"]].append(row["id"])
        return found

    def by_fusiondelta(uri, questions):
        answers = [
            engine.query(
                f"SELECT id FROM t WHERE {name} {sign} $v",
                sources={"t": uri},
                param_values={"v": pa.scalar(value, kind)},
            )
            for name, sign, value, kind in questions
        ]
        return [[row["id"] for row in answer.to_pylist()] for answer in answers]

    ask = by_spark if request.param == "Spark" else by_fusiondelta
    return lambda uri, questions: [sorted(found) for found in ask(uri, questions)]


def test_no_value_is_hidden_by_statistics(engine, uri, ids):
    """A file for each row, so that each value is the smallest and the largest of one."""
    data = values.table(PRIMITIVES)
    data = data.append_column("file", data["id"])
    engine.write_delta(uri, data, partition_by="file")
    questions = [
        (f"`{name}`", "=", value, kind)
        for name, (kind, wanted) in PRIMITIVES.items()
        for value in wanted
        # Which zeros equal which is, for Spark, a matter of how a file is encoded.
        if not (pa.types.is_floating(kind) and value == 0)
    ]
    found = ids(uri, questions)
    hidden = []
    for (name, _, value, _), there in zip(questions, found, strict=True):
        rows = data.to_pylist()
        expected = [row["id"] for row in rows if exact(row[name[1:-1]]) == exact(value)]
        assert expected
        if there != expected:
            hidden.append(f"{name} = {value} gives {there}, not {expected}")
    assert not hidden, "\n".join(hidden)


def test_what_statistics_cut_off_is_found(engine, uri, ids):
    """Long texts are cut in statistics, moments may be, and NaN is above all numbers."""
    late = dt.datetime(2024, 1, 1, 0, 0, 0, 999999, tzinfo=values.UTC)
    high = "z" * 31 + "\U0010ffff" * 10
    data = pa.table(
        {
            "id": [1, 2],
            "text": ["a" * 40, high],
            "at": pa.array([late, late], values.INSTANT),
            "real": [1.0, math.nan],
            "inner": [{"real": math.nan}, {"real": 1.0}],
        }
    )
    engine.write_delta(uri, data)
    questions = [
        ("text", ">=", high, pa.string()),
        ("at", ">=", late, values.INSTANT),
        ("real", ">", 5.0, pa.float64()),
        ("real", "=", math.nan, pa.float64()),
        ("inner.real", ">", 5.0, pa.float64()),
    ]
    found = dict(
        zip([name + sign for name, sign, *_ in questions], ids(uri, questions), strict=True)
    )
    assert found == {"text>=": [2], "at>=": [1, 2], "real>": [2], "real=": [2], "inner.real>": [1]}


def test_counts_and_extremes_that_spark_takes_from_statistics(spark, engine, uri):
    data = pa.table({"id": [5, None, 9], "day": pa.array([None, dt.date(1, 1, 1), None])})
    engine.write_delta(uri, data)
    engine.write_delta(uri, pa.table({"id": [7], "day": [dt.date(9999, 12, 31)]}))
    engine.delete(uri, "id = 9")
    what = "count(*) AS n, min(id) AS least, max(id) AS most, max(day) AS day"
    (row,) = spark.rows(f"SELECT {what} FROM {sql.at(uri)}")
    assert row == {"n": 3, "least": 5, "most": 7, "day": dt.date(9999, 12, 31)}


# histories


def days(ids, value):
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "p": pa.array([None if id % 3 == 0 else f"p={id % 3}" for id in ids], pa.string()),
            "v": pa.array([value if id % 4 else None for id in ids], pa.string()),
        }
    )


@pytest.mark.parametrize("having", [{}, VECTORS], ids=["plain", "vectors"])
def test_a_table_through_every_change_at_every_version(spark, engine, uri, read, having):
    model = {}
    versions = []

    def took(result, change):
        change()
        assert result.snapshot.version == len(versions)
        versions.append([{"id": id, "p": p, "v": v} for id, (p, v) in model.items()])

    def put(data):
        model.update({row["id"]: (row["p"], row["v"]) for row in data.to_pylist()})

    def drop(is_gone):
        for id in [id for id, (p, v) in model.items() if is_gone(id, p, v)]:
            del model[id]

    def alter(is_meant, value):
        for id, (p, v) in list(model.items()):
            if is_meant(id, p, v):
                model[id] = (p, value)

    first, second, third = days(range(12), "a"), days(range(12, 20), "b"), days([1, 4, 40], "o")
    made = engine.write_delta(uri, first, partition_by="p", properties={**having, **FEED})
    took(made, lambda: put(first))
    took(engine.write_delta(uri, second), lambda: put(second))
    one = engine.write_delta(uri, third, mode="overwrite", replace_where="p = 'p=1'")
    took(one, lambda: (drop(lambda id, p, v: p == "p=1"), put(third)))
    took(engine.delete(uri, "id < 4 OR v IS NULL"), lambda: drop(lambda id, p, v: id < 4 or not v))
    two = engine.update(uri, {"v": "'new'"}, "id % 2 = 1")
    took(two, lambda: alter(lambda id, p, v: id % 2, "new"))
    source = days([5, 6, 7, 50, 51], "merged")
    merge = (
        engine.merge(uri, source, on=["id"])
        .when_matched_delete("source.id = 6")
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .when_not_matched_by_source_update({"v": "'left'"})
    )
    took(
        merge.execute(),
        lambda: (alter(lambda *_: True, "left"), put(source), drop(lambda id, p, v: id == 6)),
    )
    more = days(range(70, 76), "more")
    took(engine.write_delta(uri, more), lambda: put(more))
    took(engine.optimize(uri), lambda: None)
    engine.checkpoint(uri)
    whole = days([60], "alone")
    took(engine.write_delta(uri, whole, mode="overwrite"), lambda: (model.clear(), put(whole)))
    back = {row["id"]: (row["p"], row["v"]) for row in versions[4]}
    took(engine.restore(uri, 4), lambda: (model.clear(), model.update(back)))

    seen = spark.ask(*(sql.select(uri, version) for version in range(len(versions))))
    for version, (answer, expected) in enumerate(zip(seen, versions, strict=True)):
        same(answer.rows, expected)
        same(read(uri, version), expected)
    (history,) = spark.ask(f"DESCRIBE HISTORY {sql.at(uri)}")
    assert history.column("version") == list(reversed(range(len(versions))))
    # And goes on from there.
    spark.ask(f"UPDATE {sql.at(uri)} SET v = 'last' WHERE id = 9")
    alter(lambda id, p, v: id == 9, "last")
    same(read(uri), [{"id": id, "p": p, "v": v} for id, (p, v) in model.items()])


@pytest.mark.parametrize("columns", [PARTITIONS, NESTED], ids=["partitions", "nested"])
def test_a_checkpoint_has_all_that_its_log_had(spark, engine, uri, columns):
    data, parted = values.table(columns), None
    if columns is PARTITIONS:
        data = data.drop_columns("binary")  # tested above
        parted = data.column_names[1:]
    engine.write_delta(uri, data, partition_by=parted, idempotency_key=("nightly", 7))
    engine.write_delta(uri, data.slice(0, 2))
    engine.delete(uri, "id = 3")
    engine.checkpoint(uri)
    log = uri / "_delta_log"
    for version in range(2):  # Spark asks the newest commit when it was made
        (log / f"{version:020}.json").unlink()
    kept = [row for row in data.to_pylist() if row["id"] != 3]
    same(spark.rows(sql.select(uri)), [*kept, *data.slice(0, 2).to_pylist()])
    (row,) = spark.rows(
        f"SELECT txn FROM parquet.`{log}/*.checkpoint.parquet` WHERE txn.appId > ''"
    )
    assert (row["txn"]["appId"], row["txn"]["version"]) == ("nightly", 7)
    spark.ask(f"DELETE FROM {sql.at(uri)} WHERE id > 2")
    expected = [row for row in [*kept, *data.slice(0, 2).to_pylist()] if row["id"] <= 2]
    same(spark.rows(sql.select(uri)), expected)


def test_new_columns(spark, engine, uri):
    engine.write_delta(uri, pa.table({"id": [1]}))
    wider = pa.table(
        {"id": [2], "extra": pa.array([[{"x": 1}]], pa.list_(pa.struct([("x", "i4")])))}
    )
    engine.write_delta(uri, wider, schema_mode="merge")
    same(spark.rows(sql.select(uri)), [{"id": 1, "extra": None}, *wider.to_pylist()])


def test_constraints_bind_spark(spark, engine, uri):
    engine.write_delta(uri, pa.table({"id": [1, 2], "v": ["a", "b"]}))
    engine.add_constraint(uri, "small", "id < 100 AND v <> 'bad'", allow_metadata_change=True)
    for row in ("100, 'x'", "3, 'bad'", "3, NULL"):
        with pytest.raises(SparkError) as refused:
            spark.ask(f"INSERT INTO {sql.at(uri)} VALUES ({row})")
        assert "DELTA_VIOLATE_CONSTRAINT" in refused.value.condition, refused.value
    spark.ask(f"INSERT INTO {sql.at(uri)} VALUES (99, 'good')")
    engine.drop_constraint(uri, "small", allow_metadata_change=True)
    spark.ask(f"INSERT INTO {sql.at(uri)} VALUES (100, 'bad')")
    assert sorted(row["id"] for row in spark.rows(sql.select(uri))) == [1, 2, 99, 100]


@pytest.mark.parametrize("having", [{}, VECTORS], ids=["plain", "vectors"])
def test_the_change_feed(spark, engine, uri, having):
    def rows(ids, v):
        return pa.table({"id": pa.array(ids, pa.int64()), "p": [f"{i % 2}" for i in ids], "v": v})

    first, more = rows([1, 2, 3, 4, 5], ["a", "b", None, "d", "e"]), rows([6], ["f"])
    engine.write_delta(uri, first, partition_by="p", properties={**FEED, **having})
    engine.write_delta(uri, more)
    engine.update(uri, {"v": "'u'"}, "id = 1 OR v IS NULL")
    engine.delete(uri, "id = 2")
    (
        engine.merge(uri, rows([4, 5, 7], ["m", "m", "m"]), on=["id"])
        .when_matched_delete("source.id = 5")
        .when_matched_update({"v": "source.v"})
        .when_not_matched_insert_all()
        .execute()
    )
    engine.optimize(uri)
    engine.write_delta(uri, rows([8], ["z"]), mode="overwrite", replace_where="p = '0'")
    expected = [
        *((0, "insert", *row.values()) for row in first.to_pylist()),
        (1, "insert", 6, "0", "f"),
        *((2, "update_preimage", 1, "1", "a"), (2, "update_postimage", 1, "1", "u")),
        *((2, "update_preimage", 3, "1", None), (2, "update_postimage", 3, "1", "u")),
        (3, "delete", 2, "0", "b"),
        *((4, "update_preimage", 4, "0", "d"), (4, "update_postimage", 4, "0", "m")),
        *((4, "delete", 5, "1", "e"), (4, "insert", 7, "1", "m")),
        *((6, "delete", 4, "0", "m"), (6, "delete", 6, "0", "f"), (6, "insert", 8, "0", "z")),
    ]
    names = ("_commit_version", "_change_type", "id", "p", "v")
    expected = [dict(zip(names, row, strict=True)) for row in expected]
    by_spark = spark.rows(f"SELECT {', '.join(names)} FROM table_changes_by_path('{uri}', 0)")
    same(by_spark, expected)
    own = engine.changes(uri, 0).to_pylist()
    same([{name: row[name] for name in names} for row in own], expected)


def test_rows_are_marked_as_deleted_where_the_property_says_so(spark, engine, uri, read):
    engine.write_delta(uri, pa.table({"id": range(100)}), properties=VECTORS)
    gone = []
    for number in (3, 50, 99):
        engine.delete(uri, f"id = {number}")
        gone.append(number)
        (add,) = (a["add"] for a in actions(newest(uri)) if "add" in a)
        assert add["deletionVector"]["cardinality"] == len(gone)
        stats = json.loads(add["stats"])
        assert (stats["numRecords"], stats["tightBounds"]) == (100, False)
        left = [{"id": id} for id in range(100) if id not in gone]
        same(spark.rows(sql.select(uri)), left)
        same(read(uri), left)
    (row,) = spark.rows(f"SELECT count(*) AS n, max(id) AS most FROM {sql.at(uri)}")
    assert row == {"n": 97, "most": 98}
    spark.ask(f"DELETE FROM {sql.at(uri)} WHERE id IN (0, 98)")
    same(read(uri), [{"id": id} for id in range(1, 98) if id not in gone])
