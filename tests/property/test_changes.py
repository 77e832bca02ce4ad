"""A change does to a table what its text means in a query over the same rows in memory.

Deletes are compared with queries, for random tables of all types in random files and partitions;
updates and merges with a model of plain Python.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusiondelta
from fusiondelta import ExecutionError, FusionDeltaError
from tests.harness.changes import VECTORS
from tests.harness.readers import bag, read_back
from tests.property import models
from tests.property.conditions import Random, conditions, tables

pytestmark = [pytest.mark.property, pytest.mark.integration]

#: One location per example: a failed change must not decide what the next one finds.
places = map("memory://changes/{}".format, itertools.count())


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


def write(engine, uri, table: Random, *, whole=False, properties=None):
    """The table in one file or one for each of its parts, and in its partitions."""
    cuts = [0] if whole else list(table.cuts)
    for start, end in itertools.pairwise([*cuts, table.source.num_rows]):
        part = table.source.slice(start, end - start)
        engine.write_delta(uri, part, partition_by=table.by, properties=properties)
    return uri


def rows(engine, source, sql="SELECT * FROM target"):
    return engine.query(sql, sources={"target": source}).to_pylist()


def attempt(ask):
    """What comes of it, an error of ours included."""
    try:
        return ask()
    except FusionDeltaError as error:
        return error


def failed(outcome):
    """Whether it is an error, which is none of the engine's own making."""
    assert type(outcome) is not FusionDeltaError, f"a bug of ours: {outcome}"
    return isinstance(outcome, FusionDeltaError)


def found_in_memory(engine, table, condition):
    """Rows for which it is true, or the error; and whether that depends on the rows read."""

    def ask():
        text = f"({condition.text}) IS TRUE"
        found = {row["row"] for row in rows(engine, table.memory, f"{SELECT} WHERE {text}")}
        if not condition.risky and "target" not in condition.text:
            computed = rows(engine, table.memory, f"SELECT row, {text} AS hit FROM target")
            assert found == {row["row"] for row in computed if row["hit"]}, "in memory"
        return found

    wanted = attempt(ask)
    failed(wanted)
    return wanted, condition.risky or isinstance(wanted, ExecutionError)


SELECT = "SELECT row FROM target"
LAYOUTS = {
    "one file": {"whole": True},
    "files": {},
    "vectors": {"properties": VECTORS},
}


@settings(max_examples=80)
@given(data=st.data())
def test_delete_removes_what_a_query_finds(engine, data):
    table = data.draw(tables())
    condition = data.draw(conditions(table))
    there = table.memory.to_pylist()
    wanted, risky = found_in_memory(engine, table, condition)
    for layout, options in LAYOUTS.items():
        uri = write(engine, next(places), table, **options)
        assert bag(rows(engine, uri)) == bag(there), layout
        done = attempt(lambda uri=uri: engine.delete(uri, condition.text))
        if failed(done):
            assert risky or failed(wanted), (layout, done)
            assert bag(rows(engine, uri)) == bag(there), layout
        elif failed(wanted):
            # An error at a row that statistics or another condition rule out need not happen.
            assert risky, (layout, wanted)
        else:
            left = [row for row in there if row["row"] not in wanted]
            assert bag(rows(engine, uri)) == bag(left), layout
            assert done.operation_metrics["num_deleted_rows"] == len(wanted), layout
            assert done.outcome == ("COMMITTED" if wanted else "UNCHANGED"), layout


@settings(max_examples=60)
@given(data=st.data())
def test_a_query_finds_the_same_in_a_table(engine, data):
    """What is pruned by partition values and statistics is what is not true."""
    table = data.draw(tables())
    condition = data.draw(conditions(table))
    wanted, risky = found_in_memory(engine, table, condition)
    uri = write(engine, next(places), table)
    sql = f"{SELECT} WHERE {condition.text}"
    found = attempt(lambda: {row["row"] for row in rows(engine, uri, sql)})
    if failed(found) or failed(wanted):
        assert risky or failed(found) is failed(wanted), (found, wanted)
    else:
        assert found == wanted


@settings(max_examples=30)
@given(data=st.data())
def test_replace_where_replaces_what_a_query_finds(engine, data):
    table = data.draw(tables())
    condition = data.draw(conditions(table, depth=1).filter(lambda c: "target" not in c.text))
    there = table.memory.to_pylist()
    wanted, risky = found_in_memory(engine, table, condition)
    uri = write(engine, next(places), table)
    empty = table.source.slice(0, 0)
    done = attempt(
        lambda: engine.write_delta(uri, empty, mode="overwrite", replace_where=condition.text)
    )
    if failed(done) or failed(wanted):
        assert risky or failed(done) is failed(wanted), (done, wanted)
    else:
        assert bag(rows(engine, uri)) == bag([row for row in there if row["row"] not in wanted])


@settings(max_examples=12)
@given(data=st.data())
def test_every_reader_finds_the_rows_that_are_left(engine, data):
    table = data.draw(tables(most=6))
    gone = data.draw(st.sets(st.integers(0, 5)))
    text = f"row IN ({', '.join(map(str, sorted(gone)))})" if gone else "false"
    properties = data.draw(st.sampled_from([None, VECTORS]))
    with tempfile.TemporaryDirectory(prefix="fusiondelta-") as folder:
        uri = write(engine, Path(folder) / "t", table, properties=properties)
        engine.delete(uri, text)
        engine.update(uri, {"row": "row + 100"}, "row > 3")
        expected = [
            {**row, "row": row["row"] + 100 * (row["row"] > 3)}
            for row in table.memory.to_pylist()
            if row["row"] not in gone
        ]
        assert read_back(engine, uri) == bag(expected)
        engine.merge(uri, table.source, ["row"]).when_not_matched_insert_all().execute()
        kept = {row["row"] for row in expected}
        expected += [row for row in table.memory.to_pylist() if row["row"] not in kept]
        assert read_back(engine, uri) == bag(expected)


SCHEMA = pa.schema([("k", pa.int64()), ("n", pa.int64()), ("s", pa.string())])
CELLS = {
    "k": st.none() | st.integers(0, 4),
    "n": st.none() | st.integers(-1, 3),
    "s": st.sampled_from([None, "a", "ab", "b"]),
}
MODEL_ROWS = st.lists(st.fixed_dictionaries(CELLS), max_size=7)
ARRANGED = st.sampled_from(
    [
        {"files": 1},
        {"files": 3},
        {"files": 2, "by": "s"},
        {"files": 1, "properties": VECTORS},
        {"files": 3, "properties": VECTORS},
        {"files": 2, "by": "s", "properties": VECTORS},
    ]
)


def arrange(engine, there, files, by=None, properties=None):
    uri = next(places)
    step = max(1, -(-len(there) // files))
    for start in range(0, max(1, len(there)), step):
        part = pa.Table.from_pylist(there[start : start + step], SCHEMA)
        engine.write_delta(uri, part, partition_by=by, properties=properties)
    return uri


@settings(max_examples=40)
@given(there=MODEL_ROWS, layout=ARRANGED, data=st.data())
def test_update_does_what_the_model_does(engine, there, layout, data):
    updates = data.draw(models.assignments(models.VALUES))
    predicate = data.draw(st.none() | st.sampled_from(models.PREDICATES))
    uri = arrange(engine, there, **layout)
    done = engine.update(
        uri, {name: value.text for name, value in updates.items()}, predicate and predicate.text
    )
    expected = models.updated(there, updates, predicate)
    assert bag(rows(engine, uri)) == bag(expected)
    chosen = sum(predicate is None or predicate.of(row) is True for row in there)
    assert done.operation_metrics["num_updated_rows"] == chosen


@settings(max_examples=80)
@given(there=MODEL_ROWS, source=MODEL_ROWS, layout=ARRANGED, data=st.data())
def test_merge_does_what_the_model_does(engine, there, source, layout, data):
    on = data.draw(st.sampled_from(models.MATCHES))
    clauses = data.draw(models.clauses())
    uri = arrange(engine, there, **layout)
    merge = engine.merge(uri, pa.Table.from_pylist(source, SCHEMA), on.text)
    for clause in clauses:
        merge = clause.put(merge)
    expected = models.merged(there, source, on, clauses)
    if expected is models.REFUSED:
        with pytest.raises(ExecutionError):
            merge.execute()
        assert bag(rows(engine, uri)) == bag(there)
        return
    if expected is models.EITHER:
        done = attempt(merge.execute)
        if failed(done):
            assert isinstance(done, ExecutionError)
            assert bag(rows(engine, uri)) == bag(there)
        return
    merge.execute()
    assert bag(rows(engine, uri)) == bag(expected)


@settings(max_examples=20)
@given(there=MODEL_ROWS, source=MODEL_ROWS, layout=ARRANGED)
def test_an_upsert_by_names_of_columns(engine, there, source, layout):
    unique = list({row["k"]: row for row in source}.values())
    uri = arrange(engine, there, **layout)
    merge = engine.merge(uri, pa.Table.from_pylist(unique, SCHEMA), on=["k"])
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    by_key = {row["k"]: row for row in unique if row["k"] is not None}
    keys = {row["k"] for row in there}
    expected = [by_key.get(row["k"], row) for row in there]
    # A key that is null equals none.
    expected += [row for row in unique if row["k"] is None or row["k"] not in keys]
    assert bag(rows(engine, uri)) == bag(expected)
