"""What a table demands of its rows, and changes that are refused for it."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from fusiondelta import (
    ConfigurationError,
    DeltaChanges,
    ExecutionError,
    SqlError,
    UnsupportedTableFeatureError,
)
from tests.harness.changes import FEED, VECTORS, column, create_by_hand, make, refused
from tests.harness.readers import bag, read_back, schema_fields

pytestmark = pytest.mark.integration

INT = pa.int64()
UTC = dt.timezone.utc
T = pa.table({"id": pa.array([1, 2, 3, 4], INT), "n": pa.array([10, 20, None, 40], INT)})
ALLOW = {"allow_metadata_change": True}


# Constraints


def pair(a, b):
    return pa.table({"id": [0], "a": pa.array([a], pa.float64()), "b": pa.array([b], pa.float64())})


CONSTRAINTS = [
    ("2 - (1 - a) > 2", [(1.5, 0), (9, None)], [(0.5, 0), (1, 0), (-5, 0), (None, 0)]),
    ("-(a + b) < 0", [(1, 2)], [(-1, 0), (1, -2), (None, 2)]),
    ("(a > 1 OR b > 1) IS TRUE", [(2, None), (None, 2)], [(None, None), (0, None), (1, 1)]),
    ("NOT (a > 1 AND b > 1)", [(2, 0), (0, None)], [(2, 2), (2, None)]),
    ("a > 1 AND (b > 1 OR b < -1)", [(2, 2), (2, -2)], [(0, -2), (2, 0), (0, 2)]),
    ("CASE WHEN a > 1 THEN b > 1 ELSE b < 1 END", [(2, 2), (0, 0)], [(2, 0), (0, 2), (2, None)]),
    ("a IS NOT DISTINCT FROM b AND a > 1", [(2, 2)], [(1, 1), (2, 3), (None, None)]),
    ("a / (b - 1) > 1 + 1", [(9, 2)], [(1, 2), (9, 9)]),
    ("(a - b) * 2 = 4", [(3, 1)], [(4, 0), (6, 1)]),
    ("a BETWEEN (1 + 1) AND (b)", [(2, 2), (3, 9)], [(1, 9), (9, 3), (3, None)]),
    ("length(CAST(a AS VARCHAR)) < 5 -- short", [(1, 0)], [(123456, 0)]),
    ("a\n  > 1", [(2, 0)], [(1, 0)]),
]


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
@pytest.mark.parametrize(("text", "good", "bad"), CONSTRAINTS)
def test_a_constraint_is_what_was_written(engine, tmp_path, properties, text, good, bad):
    uri = make(engine, tmp_path / "t", pair(*good[0]), properties=properties)
    engine.add_constraint(uri, "kept", text, **ALLOW)
    assert engine.open_delta(uri).properties["delta.constraints.kept"] == text
    for row in good:
        engine.write_delta(uri, pair(*row))
    for row in bad:
        a, b = ("NULL" if one is None else str(float(one)) for one in row)
        for change in (
            lambda row=row: engine.write_delta(uri, pair(*row)),
            lambda row=row: engine.write_delta(
                uri, pair(*row), mode="overwrite", replace_where="id = 0"
            ),
            lambda a=a, b=b: engine.update(uri, {"a": a, "b": b}),
            lambda row=row: upsert(engine, uri, pair(*row), "false"),
        ):
            with refused(uri, ExecutionError, match="kept"):
                change()
    # What every row keeps can be added, what one does not keep cannot.
    again = make(engine, tmp_path / "again", pair(*bad[0]))
    with refused(again, ExecutionError, match="kept"):
        engine.add_constraint(again, "kept", text, **ALLOW)
    assert len(read_back(engine, uri)) == len(good) + 1


def upsert(engine, uri, source, on):
    return engine.merge(uri, source, on).when_not_matched_insert_all().execute()


def test_a_constraint_with_a_function_of_texts(engine, tmp_path):
    uri = make(engine, tmp_path / "t", pa.table({"s": ["a"]}))
    engine.add_constraint(uri, "short", "length(s) < 2", **ALLOW)
    engine.write_delta(uri, pa.table({"s": ["b"]}))
    with refused(uri, ExecutionError, match="short"):
        engine.write_delta(uri, pa.table({"s": ["bb"]}))


@pytest.mark.parametrize(
    "text",
    [
        "id > 0 adn n > 0",
        "id IN (SELECT id FROM target)",
        "sum(id) > 0",
        "nope > 0",
        "id",
    ],
)
def test_what_cannot_be_a_constraint(engine, tmp_path, text):
    uri = make(engine, tmp_path / "t", T)
    with refused(uri, SqlError):
        engine.add_constraint(uri, "c", text, **ALLOW)


def test_a_constraint_sees_only_new_rows(engine, tmp_path):
    """A delete needs no check, and rows that an update leaves alone were checked before."""
    uri = make(engine, tmp_path / "t", T, properties=VECTORS)
    engine.add_constraint(uri, "c", "id < 10", **ALLOW)
    engine.update(uri, {"n": "n + 1"}, "id = 1")
    engine.delete(uri, "id = 2")
    with refused(uri, ExecutionError):
        engine.update(uri, {"id": "id + 7"}, "n > 20")
    assert column(engine, uri) == [1, 3, 4]


# Columns that are computed

LONG = {"name": "id", "type": "long"}
DOUBLED = {"name": "g", "type": "long", "metadata": {"delta.generationExpression": "id * 2"}}
DAY = {
    "name": "day",
    "type": "date",
    "metadata": {"delta.generationExpression": "CAST(at AS DATE)"},
}
PROTOCOLS = {
    "version 4": {"minReaderVersion": 1, "minWriterVersion": 4},
    "feature": {
        "minReaderVersion": 1,
        "minWriterVersion": 7,
        "writerFeatures": ["generatedColumns", "appendOnly", "invariants"],
    },
}


@pytest.fixture(params=PROTOCOLS)
def generated(tmp_path, request):
    return create_by_hand(tmp_path / "t", [LONG, DOUBLED], protocol=PROTOCOLS[request.param])


def test_generated_columns_are_computed(engine, generated):
    engine.write_delta(generated, pa.table({"id": [1, 2]}))
    engine.write_delta(generated, pa.table({"id": [3], "g": [6]}))
    engine.update(generated, {"id": "id + 10"}, "id = 1")
    merge = engine.merge(generated, pa.table({"id": [2, 4]}), ["id"])
    merge.when_matched_update({"id": "target.id + 20"}).when_not_matched_insert_all().execute()
    engine.write_delta(generated, pa.table({"id": [5]}), mode="overwrite", replace_where="id = 5")
    expected = [{"id": one, "g": 2 * one} for one in (11, 22, 3, 4, 5)]
    assert read_back(engine, generated) == bag(expected)
    assert schema_fields(generated)[1]["metadata"] == DOUBLED["metadata"]


def test_generated_columns_are_checked(engine, generated):
    engine.write_delta(generated, pa.table({"id": [1]}))
    for change in (
        lambda: engine.write_delta(generated, pa.table({"id": [2], "g": [5]})),
        lambda: engine.write_delta(generated, pa.table({"id": [2], "g": pa.array([None], INT)})),
        lambda: engine.update(generated, {"g": "1"}),
        lambda: engine.update(generated, {"id": "5", "g": "1"}),
        lambda: upsert(engine, generated, pa.table({"id": [2], "g": [5]}), ["id"]),
    ):
        with refused(generated, ExecutionError, match=r"\bg\b"):
            change()
    engine.update(generated, {"id": "5", "g": "10"})
    assert read_back(engine, generated) == [{"g": 10, "id": 5}]


def test_generated_partitions(engine, tmp_path):
    at = {"name": "at", "type": "timestamp"}
    fields = [LONG, at, DAY]
    uri = create_by_hand(tmp_path / "t", fields, protocol=PROTOCOLS["version 4"], by=["day"])
    times = [dt.datetime(2024, 5, day, 23, 30, tzinfo=UTC) for day in (1, 2)]
    data = pa.table({"id": [1, 2], "at": pa.array(times, pa.timestamp("us", "UTC"))})
    engine.write_delta(uri, data)
    engine.update(uri, {"at": "at + INTERVAL '1 hour'"}, "day = DATE '2024-05-01'")
    found = {row["id"]: row["day"] for row in read_back(engine, uri)}
    assert found == {1: dt.date(2024, 5, 2), 2: dt.date(2024, 5, 2)}
    engine.delete(uri, "day = DATE '2024-05-02' AND id = 1")
    assert column(engine, uri) == [2]


def test_defaults_are_filled_in(engine, tmp_path):
    fields = [
        LONG,
        {"name": "d", "type": "long", "metadata": {"CURRENT_DEFAULT": "3 + 4"}},
        {"name": "s", "type": "string", "metadata": {"CURRENT_DEFAULT": "'it''s'"}},
    ]
    protocol = {
        "minReaderVersion": 1,
        "minWriterVersion": 7,
        "writerFeatures": ["allowColumnDefaults"],
    }
    uri = create_by_hand(
        tmp_path / "t",
        fields,
        protocol=protocol,
        properties={"delta.feature.allowColumnDefaults": "supported"},
    )
    engine.write_delta(uri, pa.table({"id": [1]}))
    engine.write_delta(uri, pa.table({"id": [2], "d": pa.array([None], INT), "s": ["x"]}))
    merge = engine.merge(uri, pa.table({"id": [3]}), ["id"])
    merge.when_not_matched_insert({"id": "source.id", "s": "'y'"}).execute()
    engine.update(uri, {"s": "s || '!'"}, "id = 1")
    expected = [
        {"id": 1, "d": 7, "s": "it's!"},
        {"id": 2, "d": None, "s": "x"},
        {"id": 3, "d": 7, "s": "y"},
    ]
    assert read_back(engine, uri) == bag(expected)


def test_identity_columns_are_refused_by_name(engine, tmp_path):
    metadata = {
        "delta.identity.start": 1,
        "delta.identity.step": 1,
        "delta.identity.allowExplicitInsert": False,
    }
    fields = [LONG, {"name": "key", "type": "long", "nullable": False, "metadata": metadata}]
    protocol = {"minReaderVersion": 1, "minWriterVersion": 6}
    uri = create_by_hand(tmp_path / "t", fields, protocol=protocol)
    new = pa.table({"id": [1], "key": [1]})
    for change in (
        lambda: engine.write_delta(uri, pa.table({"id": [1]})),
        lambda: engine.write_delta(uri, new),
        lambda: upsert(engine, uri, new, ["id"]),
    ):
        with refused(uri, UnsupportedTableFeatureError, match=r"(?i)identity|\bkey\b"):
            change()


# Properties


@pytest.mark.parametrize("remove", ["delete", "update", "merge", "overwrite", "restore"])
def test_an_append_only_table_keeps_its_rows(engine, tmp_path, remove):
    uri = make(engine, tmp_path / "t", T, files=2, properties={"delta.appendOnly": "true"})
    change = {
        "delete": lambda: engine.delete(uri, "id = 1"),
        "update": lambda: engine.update(uri, {"n": "0"}, "id = 1"),
        "merge": lambda: engine.merge(uri, T, ["id"]).when_matched_delete().execute(),
        "overwrite": lambda: engine.write_delta(uri, T, mode="overwrite"),
        "restore": lambda: engine.restore(uri, 0),
    }[remove]
    with refused(uri, UnsupportedTableFeatureError, match="append-only"):
        change()
    engine.write_delta(uri, pa.table({"id": [5], "n": [50]}))
    assert column(engine, uri) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta.checkpointInterval", "abc"),
        ("delta.checkpointInterval", "0"),
        ("delta.checkpointInterval", "-5"),
        ("delta.appendOnly", "perhaps"),
        ("delta.enableChangeDataFeed", "1"),
        ("delta.enableDeletionVectors", "on"),
        ("delta.logRetentionDuration", "soon"),
        ("delta.deletedFileRetentionDuration", "interval many days"),
        ("delta.dataSkippingNumIndexedCols", "x"),
    ],
)
def test_values_of_properties_are_checked(engine, tmp_path, name, value):
    with refused(tmp_path / "new", ConfigurationError, match=name):
        engine.write_delta(tmp_path / "new", T, properties={name: value})
    uri = make(engine, tmp_path / "t", T)
    with refused(uri, ConfigurationError, match=name):
        engine.set_properties(uri, {name: value}, **ALLOW)


def test_changes_of_versions_before_the_feed(engine, tmp_path):
    uri = make(engine, tmp_path / "t", T)
    engine.delete(uri, "id = 1")
    engine.set_properties(uri, FEED, **ALLOW)
    engine.delete(uri, "id = 2")
    for start in (0, 1):
        with pytest.raises(UnsupportedTableFeatureError, match="version"):
            engine.changes(uri, start)
        with pytest.raises(UnsupportedTableFeatureError, match="version"):
            engine.query("SELECT * FROM c", sources={"c": DeltaChanges(uri, start)}).to_table()
    (row,) = engine.changes(uri, 3).to_pylist()
    assert (row["id"], row["_change_type"]) == (2, "delete")


# Errors


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_rows_that_replace_others_satisfy_the_condition(engine, tmp_path, properties):
    uri = make(engine, tmp_path / "t", T, properties=properties)
    for text in ("n > 15 AND id < 4", "n = NULL", "id = 2 OR n IS NULL"):
        new = pa.table({"id": [4], "n": [99]})
        with refused(uri, ExecutionError) as caught:
            engine.write_delta(uri, new, mode="overwrite", replace_where=text)
        assert text in str(caught.value)
        assert "__" not in str(caught.value), "a name that no user knows"


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_two_rows_of_a_source_for_one_of_the_table(engine, tmp_path, properties):
    uri = make(engine, tmp_path / "t", T, files=2, properties=properties)
    twice = pa.table({"id": [1, 1, 7], "n": [1, 2, 3]})
    merge = engine.merge(uri, twice, ["id"])
    for change in (
        merge.when_matched_update_all(),
        merge.when_matched_update({"n": "source.n"}).when_not_matched_insert_all(),
        merge.when_matched_delete("source.n > 5").when_matched_update_all(),
        merge.when_matched_update({"n": "0"}).when_not_matched_by_source_delete(),
    ):
        with refused(uri, ExecutionError) as caught:
            change.execute()
        assert caught.value.details["outcome"] == "not_committed"
        assert "__" not in str(caught.value)
    # No row is changed twice here, and rows of the source alone may be there twice.
    merge.when_not_matched_insert_all().execute()
    more = pa.table({"id": [8, 8], "n": [1, 1]})
    engine.merge(
        uri, more, ["id"]
    ).when_matched_update_all().when_not_matched_insert_all().execute()
    assert column(engine, uri) == [1, 2, 3, 4, 7, 8, 8]


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_an_error_at_a_row_is_one_of_data(engine, tmp_path, properties):
    data = pa.table({"id": [1, 2], "s": ["1", "x"], "n": pa.array([1, None], INT)})
    uri = make(engine, tmp_path / "t", data, properties=properties)
    for change in (
        lambda: engine.delete(uri, "CAST(s AS BIGINT) = 1"),
        lambda: engine.update(uri, {"n": "CAST(s AS BIGINT)"}),
        lambda: (
            engine.merge(uri, data, ["id"])
            .when_matched_update({"n": "CAST(source.s AS BIGINT)"})
            .execute()
        ),
        lambda: (
            engine.merge(uri, data, ["id"]).when_matched_delete("1 / (source.id - 1) > 0").execute()
        ),
        lambda: (
            engine.merge(uri, data, "CAST(source.s AS BIGINT) = target.id")
            .when_matched_delete()
            .execute()
        ),
        lambda: engine.add_constraint(uri, "c", "CAST(s AS BIGINT) > 0", **ALLOW),
    ):
        with refused(uri, ExecutionError):
            change()
    # A row that is not chosen is not computed.
    engine.update(uri, {"n": "CAST(s AS BIGINT) + 1"}, "id = 1")
    merge = engine.merge(uri, data, ["id"])
    merge.when_matched_update({"n": "CAST(source.s AS BIGINT) + 5"}, "source.id = 1").execute()
    assert read_back(engine, uri) == [{"id": 1, "n": 6, "s": "1"}, {"id": 2, "n": None, "s": "x"}]


def test_a_column_that_is_not_there(engine, tmp_path):
    uri = make(engine, tmp_path / "t", T)
    for change in (
        lambda: engine.update(uri, {"nn": "1"}),
        lambda: engine.merge(uri, T, ["id"]).when_matched_update({"nn": "1"}).execute(),
        lambda: engine.merge(uri, T, ["id"]).when_not_matched_insert({"nn": "1"}).execute(),
        lambda: engine.merge(uri, T, ["nn"]).when_matched_delete().execute(),
    ):
        with refused(uri, SqlError, match=r"\bn\b"):
            change()
    wider = T.append_column("new", T.column("n"))
    # As in Spark: what only the source has is left out, unless the schema may grow.
    upsert(engine, uri, wider, ["id"])
    assert "new" not in engine.open_delta(uri).schema.names


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_overflow_is_an_error_of_every_change(engine, tmp_path, properties):
    data = pa.table({"id": [1, 2], "c": pa.array([2**62, 1], INT)})
    uri = make(engine, tmp_path / "t", data, properties=properties)
    for change in (
        lambda: engine.update(uri, {"c": "c * 4"}),
        lambda: (
            engine.merge(uri, data, ["id"])
            .when_matched_update({"c": "target.c + source.c"})
            .execute()
        ),
        lambda: engine.delete(uri, "c * 4 > 0"),
    ):
        with refused(uri, ExecutionError):
            change()
    engine.update(uri, {"c": "c * 4"}, "id = 2")
    assert column(engine, uri, "c") == [4, 2**62]
