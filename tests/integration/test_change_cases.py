"""What the text of a change means, to its last character, and that NULL is not true.

The same predicates are tried with tables of one file, of several, in partitions, and with deletion
vectors: what is pruned or decided by partition values must not decide differently.
"""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from datafusion import udf

from fusiondelta import (
    ExecutionError,
    FusionDeltaError,
    ParameterError,
    SqlError,
)
from tests.harness.changes import VECTORS, column, make, refused
from tests.harness.readers import read_back

pytestmark = pytest.mark.integration

UTC = dt.timezone.utc
T = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "n": pa.array([10, 20, None, 40], pa.int64()),
        "s": ["a", "b", None, "d"],
    }
)
SOURCE = pa.table({"id": [1, 2, 9], "n": [100, 200, 900], "s": ["x", "y", "z"]})
ALL = {1, 2, 3, 4}
NONE: set[int] = set()
LAYOUTS = {
    "one file": {},
    "files": {"files": 4},
    "partitions": {"by": "s"},
    "vectors": {"properties": VECTORS},
    "vectors in files": {"files": 2, "properties": VECTORS},
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


@pytest.fixture
def table(engine, tmp_path, layout):
    return make(engine, tmp_path / "t", T, **layout)


@pytest.fixture
def plain(engine, tmp_path):
    return make(engine, tmp_path / "t", T)


# Text that is not understood

#: Everything that takes a condition, as a call with its text.
PLACES = {
    "delete": lambda e, uri, text: e.delete(uri, text),
    "update": lambda e, uri, text: e.update(uri, {"n": "0"}, text),
    "value": lambda e, uri, text: e.update(uri, {"n": text}, "id = 1"),
    "on": lambda e, uri, text: e.merge(uri, SOURCE, text).when_matched_delete().execute(),
    "matched": lambda e, uri, text: (
        e.merge(uri, SOURCE, ["id"]).when_matched_update({"n": "0"}, text).execute()
    ),
    "insert": lambda e, uri, text: (
        e.merge(uri, SOURCE, ["id"]).when_not_matched_insert_all(text).execute()
    ),
    "by source": lambda e, uri, text: (
        e.merge(uri, SOURCE, ["id"]).when_not_matched_by_source_delete(text).execute()
    ),
    "replace": lambda e, uri, text: e.write_delta(
        uri, T.slice(0, 1), mode="overwrite", replace_where=text
    ),
    "constraint": lambda e, uri, text: e.add_constraint(uri, "c", text, allow_metadata_change=True),
}

LEFT_OVER = [
    ("id > 0 adn n = 30", "adn"),
    ("id > 0; select 1", ";"),
    ("s = 'a' 'b'", "'b'"),
    ("(id > 1) foo bar", "foo"),
    ("id = 1 foo bar", "foo"),
    ("target.id = source.id adn true", "adn"),
    ("id > 0 adn n > 0", "adn"),
    ("id = 1)", ")"),
    ("id = 1, n = 2", ","),
    ("id = 1 AS x", "AS"),
    ("id = 1 WHERE n = 2", "WHERE"),
    ("id = 1 LIMIT 0", "LIMIT"),
    ("id = 1 UNION SELECT 1", "UNION"),
    ("id > 0\n  adn n = 30", "adn"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("text", "token"), LEFT_OVER)
def test_what_is_left_over_is_an_error_where_it_stands(engine, plain, place, text, token):
    with refused(plain, SqlError) as caught:
        PLACES[place](engine, plain, text)
    before = text[: text.index(token)]
    line = before.count("\n") + 1
    at = len(before) - (before.rfind("\n") + 1) + 1
    assert (caught.value.line, caught.value.column) == (line, at)


def test_a_value_with_something_left_over(engine, plain):
    with refused(plain, SqlError) as caught:
        engine.update(plain, {"n": "n + 1 garbage here"}, "id = 1")
    assert (caught.value.line, caught.value.column) == (1, 7)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "-- id = 1",
        "id =",
        "id = = 1",
        "(id = 1",
        "s = 'a",
        "NOT",
        "CASE WHEN id = 1",
        "*",
    ],
)
def test_half_a_condition_is_an_error(engine, plain, place, text):
    with refused(plain, SqlError):
        PLACES[place](engine, plain, text)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        "sum(1) > 1",
        "count(*) > 0",
        "4 = max(4)",
        "row_number() OVER () = 1",
        "1 IN (DELETE FROM target)",
        "EXISTS (UPDATE target SET n = 0)",
        "(DROP TABLE target)",
        "true AND (INSERT INTO target VALUES (1, 1, 'a'))",
        "DELETE FROM target",
        "SELECT true",
    ],
)
def test_aggregates_and_statements_are_no_conditions(engine, plain, place, text):
    with refused(plain, SqlError):
        PLACES[place](engine, plain, text)


@pytest.mark.parametrize("place", [name for name in PLACES if name != "value"])
@pytest.mark.parametrize("text", ["1", "1 + 1", "'a' || 'b'", "DATE '2020-01-01'"])
def test_a_condition_is_true_or_false(engine, plain, place, text):
    with refused(plain, SqlError):
        PLACES[place](engine, plain, text)


@pytest.mark.parametrize(
    ("text", "near", "at"),
    [
        ("n = 10 AND idd = 1", r"\bid\b", 12),
        ("n = 10 AND upperr(s) = 'A'", r"\bupper\b", 12),
        ("other.id = 1", "other", 1),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(engine, plain, text, near, at):
    with refused(plain, SqlError, match=near) as caught:
        engine.delete(plain, text)
    assert (caught.value.line, caught.value.column) == (1, at)


@pytest.mark.parametrize("text", ["id = 1 -- the first", "id /* the key */ = 1", "\n id\n = 1\n"])
def test_comments_and_lines_are_no_remainder(engine, plain, text):
    engine.delete(plain, text)
    assert column(engine, plain) == [2, 3, 4]


def clause(name, *given):
    def change(engine, uri):
        merge = engine.merge(uri, SOURCE, ["id"])
        return getattr(merge, f"when_{name}")(*given).execute()

    return change


@pytest.mark.parametrize(
    ("change", "token", "text"),
    [
        (
            clause("not_matched_by_source_update", {"n": "source.n"}),
            "source",
            "source.n",
        ),
        (clause("not_matched_by_source_update", {"n": "1 + source.n"}), "source", "1 + source.n"),
        (clause("not_matched_by_source_delete", "source.n = 1"), "source", "source.n = 1"),
        (
            clause("not_matched_insert", {"id": "source.id", "n": "target.n"}),
            "target",
            "target.n",
        ),
        (clause("not_matched_insert_all", "target.n IS NULL"), "target", "target.n IS NULL"),
        (clause("matched_update", {"n": "nobody.n"}), "nobody", "nobody.n"),
        (clause("matched_update", {"n": "n + 1"}), "n", "n + 1"),
    ],
)
def test_a_clause_names_only_the_sides_it_sees(engine, plain, change, token, text):
    with refused(plain, SqlError, match=token) as caught:
        change(engine, plain)
    assert (caught.value.line, caught.value.column) == (1, text.index(token) + 1)


def test_a_clause_that_sees_one_side_needs_no_alias(engine, plain):
    (
        engine.merge(plain, SOURCE, ["id"])
        .when_not_matched_insert({"id": "id", "n": "n + 1"})
        .when_not_matched_by_source_update({"n": "coalesce(n, 0) + 1"})
        .execute()
    )
    found = {row["id"]: row["n"] for row in read_back(engine, plain)}
    assert found == {1: 10, 2: 20, 3: 1, 4: 41, 9: 901}


# NULL is not true

CONDITIONS = [
    ("n = NULL", NONE),
    ("n > NULL", NONE),
    ("n <> NULL", NONE),
    ("NOT (n = NULL)", NONE),
    ("nullif(1, 1) = 1", NONE),
    ("n NOT IN (1, NULL)", NONE),
    ("n not in (1, NULL)", NONE),
    ("cast(NULL as boolean)", NONE),
    ("NULL", NONE),
    ("NOT NULL", NONE),
    ("NULL = NULL", NONE),
    ("n IN (NULL)", NONE),
    ("n BETWEEN NULL AND 50", NONE),
    ("n = NULL AND id > 0", NONE),
    ("s = 'a' AND n = NULL", NONE),
    ("s IN ('a', NULL) AND n = NULL", NONE),
    ("s LIKE NULL", NONE),
    ("s || NULL = 'a'", NONE),
    ("CASE WHEN n = NULL THEN true END", NONE),
    ("n = (SELECT max(n) FROM target WHERE false)", NONE),
    ("n NOT IN (SELECT n FROM target)", NONE),
    ("false", NONE),
    ("true", ALL),
    ("s = 'a' OR n = NULL", {1}),
    ("n IN (10, NULL)", {1}),
    ("s IN ('b', NULL)", {2}),
    ("NOT (n IN (10, NULL))", NONE),
    ("NOT (n = 20)", {1, 4}),
    ("NOT (s = 'a')", {2, 4}),
    ("s <> 'a'", {2, 4}),
    ("s = s", {1, 2, 4}),
    ("s NOT IN ('a', 'b')", {4}),
    ("n <> 10 OR NULL", {2, 4}),
    ("n IS NULL OR NULL", {3}),
    ("s IS NULL", {3}),
    ("s IS NOT NULL AND n IS NOT NULL", {1, 2, 4}),
    ("NOT (n BETWEEN NULL AND 15)", {2, 4}),
    ("n IS NOT DISTINCT FROM NULL", {3}),
    ("n IS DISTINCT FROM 10", {2, 3, 4}),
    ("s IS NOT DISTINCT FROM NULL AND id > 2", {3}),
    ("n IS NOT DISTINCT FROM 20 AND s = 'b'", {2}),
    ("n IS NOT DISTINCT FROM 20 OR s = 'a'", {1, 2}),
    ("(n = 20) IS NOT TRUE", {1, 3, 4}),
    ("(s = 'b') IS UNKNOWN", {3}),
    ("(n = NULL) IS NULL", ALL),
    ("coalesce(n, 0) = 0", {3}),
    ("coalesce(s, 'd') = 'd'", {3, 4}),
]


@pytest.mark.parametrize(("text", "gone"), CONDITIONS)
def test_delete_removes_what_is_true(engine, table, text, gone):
    done = engine.delete(table, text)
    assert set(column(engine, table)) == ALL - gone
    assert done.outcome == ("COMMITTED" if gone else "UNCHANGED")
    assert done.operation_metrics["num_deleted_rows"] == len(gone)


def test_a_query_finds_what_is_true(engine, table):
    for text, gone in CONDITIONS:
        for source in (table, T):
            sql = f"SELECT id FROM target WHERE {text}"
            found = engine.query(sql, sources={"target": source}).to_pylist()
            assert {row["id"] for row in found} == gone, text


@pytest.mark.parametrize("layout", [LAYOUTS["partitions"], LAYOUTS["vectors"]], ids=str)
@pytest.mark.parametrize(("text", "there"), CONDITIONS)
def test_update_sets_what_is_true(engine, table, text, there):
    engine.update(table, {"n": "-1"}, text)
    found = read_back(engine, table)
    assert {row["id"] for row in found} == ALL
    assert {row["id"] for row in found if row["n"] == -1} == there


@pytest.mark.parametrize("layout", [LAYOUTS["partitions"], LAYOUTS["vectors"]], ids=str)
@pytest.mark.parametrize(("text", "gone"), [one for one in CONDITIONS if "target" not in one[0]])
def test_replace_where_replaces_what_is_true(engine, table, text, gone):
    engine.write_delta(table, T.slice(0, 0), mode="overwrite", replace_where=text)
    assert set(column(engine, table)) == ALL - gone


@pytest.mark.parametrize(
    ("text", "there"), [("n = NULL", NONE), ("n NOT IN (10, NULL)", NONE), ("n > 15", {2})]
)
def test_clauses_of_a_merge_do_what_is_true(engine, table, text, there):
    merge = engine.merge(table, SOURCE, ["id"])
    merge.when_matched_delete(text.replace("n ", "target.n ")).execute()
    assert set(column(engine, table)) == ALL - there


def test_null_keys_match_nothing(engine, table):
    source = pa.table({"n": pa.array([None, 10], pa.int64()), "id": [30, 11]})
    merge = engine.merge(table, source, "target.n = source.n").when_matched_update_all()
    merge.when_not_matched_insert_all().execute()
    found = [(row["id"], row["n"]) for row in read_back(engine, table)]
    assert sorted(found, key=repr) == [(11, 10), (2, 20), (3, None), (30, None), (4, 40)]


def test_null_keys_match_where_it_is_asked(engine, table):
    source = pa.table({"n": pa.array([None, 50], pa.int64()), "s": ["none", "fifty"]})
    on = "target.n IS NOT DISTINCT FROM source.n AND target.id > 1"
    merge = engine.merge(table, source, on).when_matched_update({"s": "source.s"})
    merge.when_not_matched_by_source_delete().execute()
    assert read_back(engine, table) == [{"id": 3, "n": None, "s": "none"}]


YEARS = pa.table({"id": [1, 2, 3, 4], "year": pa.array([2020, 2021, 2022, None], pa.int32())})


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("year + 1 = 2022", {2}),
        ("year - 2020 IN (0, 2)", {1, 3}),
        ("CASE WHEN year = 2021 THEN true ELSE false END", {2}),
        ("year + 1 IS NULL", {4}),
        ("year % 2 = 0", {1, 3}),
        ("year = 2021.5", NONE),
        ("year > 2020.5 AND year < NULL", NONE),
        ("year IN (2021, NULL)", {2}),
        ("NOT (year = 2021 AND id = 2)", {1, 3, 4}),
        ("CAST(year AS VARCHAR) LIKE '%1'", {2}),
        ("abs(year) > 2020", {2, 3}),
    ],
)
@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_computed_partition_values(engine, tmp_path, properties, text, gone):
    uri = make(engine, tmp_path / "t", YEARS, by="year", properties=properties)
    again = make(engine, tmp_path / "again", YEARS, by="year", properties=properties)
    engine.delete(uri, text)
    engine.write_delta(again, YEARS.slice(0, 0), mode="overwrite", replace_where=text)
    assert set(column(engine, uri)) == set(column(engine, again)) == ALL - gone


# Ordinary SQL

ORDINARY = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "ts": pa.array(
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 12, 31), None], pa.timestamp("us")
        ),
        "at": pa.array(
            [dt.datetime(2020, 1, 1, 23, tzinfo=UTC), dt.datetime(2020, 6, 1, tzinfo=UTC), None],
            pa.timestamp("us", "UTC"),
        ),
        "l": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
        "p": pa.array([{"x": 1}, {"x": None}, None], pa.struct([("x", pa.int64())])),
        "s": ["a", "bb", None],
    }
)
OTHER = pa.table({"k": [2, 3], "cap": [5, None]})


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("ts < TIMESTAMP '2020-06-01'", {1}),
        ("at < TIMESTAMP WITH TIME ZONE '2020-01-02T01:30:00+02:00'", {1}),
        ("ts < now() AND at < now()", {1, 2}),
        ("id = 1::smallint", {1}),
        ("l IS NULL", {2}),
        ("array_length(l) = 2", {1}),
        ("l[1] = 1", {1}),
        ("p IS NULL", {3}),
        ("p['x'] = 1", {1}),
        ("p['x'] IS NULL", {2, 3}),
        ("id = (SELECT max(id) FROM target)", {3}),
        ("id < (SELECT avg(id) FROM target)", {1}),
        ("id IN (SELECT k FROM other)", {2, 3}),
        ("id NOT IN (SELECT k FROM other)", {1}),
        ("NOT EXISTS (SELECT 1 FROM other WHERE other.k = target.id)", {1}),
        ("EXISTS (SELECT 1 FROM other o WHERE o.k = id AND o.cap IS NULL)", {3}),
        ("length(NULL) = 1", set()),
        ("length(NULL) IS NULL", {1, 2, 3}),
        ("length(s) < 2", {1}),
        ("extract(year FROM ts) = 2020", {1, 2}),
        ("ts + INTERVAL '1 day' > TIMESTAMP '2020-12-31 12:00:00'", {2}),
        ("CASE s WHEN 'a' THEN 1 WHEN 'bb' THEN 2 END = 2", {2}),
        ("s ~ '^b+$'", {2}),
        ("s LIKE '_'", {1}),
        ("doubled(id) = 4", {2}),
    ],
)
@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
def test_ordinary_sql_works(engine, tmp_path, properties, text, gone):
    kinds = [pa.int64()], pa.int64()
    engine.register_udf(udf(double, *kinds, "immutable", name="doubled"))
    uri = make(engine, tmp_path / "t", ORDINARY, files=3, properties=properties)
    engine.delete(uri, text, sources={"other": OTHER})
    assert set(column(engine, uri)) == {1, 2, 3} - gone


def double(values):
    return pa.array([2 * value.as_py() for value in values], pa.int64())


def test_values_may_be_any_sql(engine, table):
    names = pa.table({"k": [1, 2], "name": ["one", "two"]})
    value = "coalesce((SELECT max(name) FROM names WHERE k = target.id), upper(s), 'none')"
    engine.update(table, {"s": value}, sources={"names": names})
    assert [row["s"] for row in read_back(engine, table)] == ["one", "two", "none", "D"]


def test_values_are_those_before_the_update(engine, table):
    engine.update(table, {"id": "n", "n": "id"}, "n IS NOT NULL")
    found = {(row["id"], row["n"]) for row in read_back(engine, table)}
    assert found == {(10, 1), (20, 2), (3, None), (40, 4)}


@pytest.mark.parametrize(
    ("text", "values", "gone"),
    [
        ("n = $x", {"x": 20}, {2}),
        ("n = $x", {"x": None}, NONE),
        ("n IS NOT DISTINCT FROM $x", {"x": None}, {3}),
        ("s = $s AND n < $n", {"s": "a", "n": 10.5}, {1}),
        ("s = $1 OR n >= $2", ["a", 40], {1, 4}),
        ("s = $s", {"s": "a' OR true --"}, NONE),
    ],
)
def test_parameters(engine, table, text, values, gone):
    engine.delete(table, text, param_values=values)
    assert set(column(engine, table)) == ALL - gone


def test_parameters_of_every_change(engine, table):
    engine.update(table, {"s": "$s"}, "id = $id", param_values={"s": "it's", "id": 1})
    (
        engine.merge(
            table, SOURCE, "target.id = source.id AND source.n < $n", param_values={"n": 150}
        )
        .when_matched_update({"n": "source.n + $n"})
        .execute()
    )
    new = pa.table({"id": [2], "n": [21], "s": ["b"]})
    values = {"id": 2}
    engine.write_delta(table, new, mode="overwrite", replace_where="id = $id", param_values=values)
    found = {row["id"]: (row["n"], row["s"]) for row in read_back(engine, table)}
    assert found == {1: (250, "it's"), 2: (21, "b"), 3: (None, None), 4: (40, "d")}


@pytest.mark.parametrize("values", [None, {}, {"y": 1}, [1]], ids=str)
def test_a_parameter_needs_its_value(engine, plain, values):
    with refused(plain, ParameterError):
        engine.delete(plain, "n = $x", param_values=values)


def test_texts_of_any_kind_never_panic(engine, plain):
    """Whatever comes out is a result or an error of ours, and the same as of a query.

    But for what only planning finds: a query meets that when it runs.
    """
    for text in ("length(NULL)", "NULL[1] = 1", "1 = ANY (NULL)", "arrow_cast(1, 'Nope') = 1"):
        outcomes = []
        for ask in (
            lambda t=text: engine.query(f"SELECT * FROM t WHERE {t}", sources={"t": T}).to_table(),
            lambda t=text: engine.delete(plain, t),
        ):
            try:
                ask()
                outcomes.append(None)
            except FusionDeltaError as error:
                outcomes.append(type(error))
        if "arrow_cast" in text:
            assert outcomes == [ExecutionError, SqlError]
        else:
            assert outcomes[0] == outcomes[1], text
        assert FusionDeltaError not in outcomes, "a bug of ours"


@pytest.mark.parametrize(
    ("predicate", "left"),
    [
        ("NOT a IS DISTINCT FROM b AND d = 2", [(1, 1, 1), (1, 2, 2)]),
        ("d = 9 AND a IS DISTINCT FROM b OR d = 1", [(1, 1, 2), (1, 2, 2)]),
        ("a IS NOT DISTINCT FROM b AND d = 2 OR d = 1", [(1, 2, 2)]),
    ],
)
def test_and_and_or_bind_after_distinct_from(engine, uri, predicate, left):
    rows = pa.table({"a": [1, 1, 1], "b": [1, 1, 2], "d": [1, 2, 2]})
    engine.write_delta(uri, rows)
    engine.delete(uri, predicate)
    found = engine.query("SELECT a, b, d FROM t ORDER BY a, b, d", sources={"t": uri}).to_pylist()
    assert [tuple(row.values()) for row in found] == left
