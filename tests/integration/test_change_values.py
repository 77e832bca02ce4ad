"""What changes store can be read, by three readers, or is refused before anything is committed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import SchemaMismatchError
from tests.harness.changes import FEED, VECTORS, column, make, refused
from tests.harness.log_files import active
from tests.harness.readers import bag, by_engine, by_hand, comparable, not_plain, read_back

pytestmark = pytest.mark.integration

UTC = dt.timezone.utc

# Types

UNSIGNED = {
    pa.uint8(): 2**8 - 1,
    pa.uint16(): 2**16 - 1,
    pa.uint32(): 2**32 - 1,
    pa.uint64(): 2**64 - 1,
}
SHAPES = {
    "plain": lambda kind, value: (kind, value),
    "list": lambda kind, value: (pa.list_(kind), [value, None, 0]),
    "struct": lambda kind, value: (pa.struct([("a", kind)]), {"a": value}),
    "map": lambda kind, value: (pa.map_(pa.string(), kind), [("k", value)]),
    "key": lambda kind, value: (pa.map_(kind, pa.string()), [(value, "v")]),
    "deep": lambda kind, value: (pa.list_(pa.struct([("a", pa.list_(kind))])), [{"a": [value]}]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "largest"), UNSIGNED.items(), ids=str)
def test_unsigned_numbers_at_every_depth(engine, tmp_path, shape, kind, largest):
    made, value = SHAPES[shape](kind, largest)
    data = pa.table({"id": [1], "u": pa.array([value], made)})
    there = comparable(as_decimals(value) if kind == pa.uint64() else value)

    def holds(uri, *ids):
        found = read_back(engine, uri)
        assert [(row["id"], row["u"]) for row in found if row["u"] is not None] == [
            (one, there) for one in ids
        ]

    new = make(engine, tmp_path / "new", data)
    holds(new, 1)
    # The same frame fits again.
    engine.write_delta(new, data)
    holds(new, 1, 1)
    engine.update(new, {"id": "2"}, "id = 1")
    holds(new, 2, 2)
    merge = engine.merge(new, data, ["id"]).when_not_matched_insert_all()
    merge.when_not_matched_by_source_delete().execute()
    holds(new, 1)
    engine.write_delta(new, data, mode="overwrite", replace_where="id = 1")
    holds(new, 1)
    wider = make(engine, tmp_path / "wider", pa.table({"id": [9]}))
    engine.write_delta(wider, data, schema_mode="merge")
    engine.write_delta(wider, data)
    holds(wider, 1, 1)
    merged = make(engine, tmp_path / "merged", pa.table({"id": [1, 9]}))
    engine.merge(merged, data, ["id"], merge_schema=True).when_matched_update_all().execute()
    holds(merged, 1)


def as_decimals(value):
    """What a table holds of 64 bits without a sign."""
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, dict):
        return {key: as_decimals(one) for key, one in value.items()}
    return [as_decimals(one) for one in value] if isinstance(value, list | tuple) else value


WORDS = ["a", "b", "a", None]
CATEGORIES = {
    "dictionary": pa.array(WORDS).dictionary_encode(),
    "large": pa.array(WORDS, pa.large_string()).dictionary_encode(),
    "view": pa.array(WORDS, pa.string_view()),
    "categorical": pl.Series(WORDS, dtype=pl.Categorical),
    "enum": pl.Series(WORDS, dtype=pl.Enum(["a", "b"])),
    "small index": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 0, None], pa.int8()), pa.array(["a", "b"])
    ),
}


@pytest.mark.parametrize("by", [None, "c"], ids=["column", "partition"])
@pytest.mark.parametrize("name", CATEGORIES)
def test_categories(engine, tmp_path, name, by):
    values = CATEGORIES[name]
    make_frame = pl.DataFrame if isinstance(values, pl.Series) else pa.table
    data = make_frame({"id": [1, 2, 3, 4], "c": values})
    uri = tmp_path / "t"
    engine.write_delta(uri, data, partition_by=by)
    engine.write_delta(uri, data)
    expected = [{"id": at, "c": one} for at, one in enumerate(WORDS, 1)]
    assert read_back(engine, uri) == bag(expected * 2)
    merge = engine.merge(uri, data, ["id", "c"]).when_matched_delete("target.id = 1")
    merge.when_not_matched_insert_all().execute()
    engine.delete(uri, "c = 'b'")
    engine.update(uri, {"c": "c || '!'"}, "c IS NOT NULL")
    # NULL matches nothing, so that the row with it is inserted once more.
    assert [row["c"] for row in read_back(engine, uri)] == ["a!", "a!", None, None, None]


def test_numbers_in_a_dictionary(engine, tmp_path):
    data = pa.table({"d": pa.array([7, 8, 7]).dictionary_encode(), "id": [1, 2, 3]})
    for by in (None, "d"):
        uri = make(engine, tmp_path / str(by), data, by=by)
        engine.delete(uri, "d = 8")
        assert column(engine, uri, "d") == [7, 7]


# What must not be null


@pytest.mark.parametrize(
    ("kind", "value", "empty", "literal"),
    [(pa.string(), "x", "", "''"), (pa.binary(), b"x", b"", "X''")],
    ids=["text", "binary"],
)
def test_no_empty_value_in_a_partition_column_that_is_not_null(
    engine, tmp_path, kind, value, empty, literal
):
    """In a partition it would be null, as the protocol says."""
    schema = pa.schema([pa.field("p", kind, nullable=False), ("id", pa.int64())])
    fine = pa.table({"p": [value], "id": [1]}, schema)
    empty = pa.table({"p": [empty], "id": [2]}, schema)
    new = tmp_path / "new"
    with refused(new, SchemaMismatchError, match=r"\bp\b"):
        engine.write_delta(new, empty, partition_by="p")
    uri = make(engine, tmp_path / "t", fine, by="p")
    for change in (
        lambda: engine.write_delta(uri, empty),
        lambda: engine.write_delta(uri, empty, mode="overwrite"),
        lambda: engine.update(uri, {"p": literal}),
        lambda: engine.merge(uri, empty, ["id"]).when_not_matched_insert_all().execute(),
    ):
        with refused(uri, SchemaMismatchError, match=r"\bp\b"):
            change()
    assert column(engine, uri) == [1]


@pytest.mark.parametrize(("kind", "empty"), [(pa.string(), ""), (pa.binary(), b"")], ids=str)
def test_an_empty_value_of_a_partition_is_null(engine, tmp_path, kind, empty):
    data = pa.table({"p": pa.array([empty, None], kind), "id": [1, 2]})
    uri = make(engine, tmp_path / "t", data, by="p")
    assert read_back(engine, uri) == [{"id": 1, "p": None}, {"id": 2, "p": None}]
    engine.delete(uri, "p IS NULL AND id = 1")
    assert column(engine, uri) == [2]


def not_null(kind):
    return pa.field("element", kind, nullable=False)


INT = pa.int64()
#: A type that allows no null inside, the same one that does, a value without and one with a null.
STRICT = {
    "column": (pa.field("c", INT, nullable=False), INT, 1, None),
    "list": (pa.list_(not_null(INT)), pa.list_(INT), [1], [1, None]),
    "struct": (
        pa.struct([pa.field("a", INT, nullable=False)]),
        pa.struct([("a", INT)]),
        {"a": 1},
        {"a": None},
    ),
    "map": (
        pa.map_(pa.string(), pa.field("value", INT, nullable=False)),
        pa.map_(pa.string(), INT),
        [("k", 1)],
        [("k", None)],
    ),
    "list of struct": (
        pa.list_(pa.struct([pa.field("a", INT, nullable=False)])),
        pa.list_(pa.struct([("a", INT)])),
        [{"a": 1}, None],
        [{"a": 1}, {"a": None}],
    ),
    "struct of list": (
        pa.struct([("a", pa.list_(not_null(INT)))]),
        pa.struct([("a", pa.list_(INT))]),
        {"a": None},
        {"a": [None]},
    ),
}


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
@pytest.mark.parametrize("name", STRICT)
def test_not_null_holds_at_every_depth(engine, tmp_path, name, properties):
    strict, loose, fine, bad = STRICT[name]
    field = strict if isinstance(strict, pa.Field) else pa.field("c", strict)
    schema = pa.schema([field, pa.field("id", INT)])

    def table(one, value, kind):
        return pa.table({"c": pa.array([value], kind), "id": pa.array([one], INT)})

    first = pa.table([pa.array([fine], field.type), pa.array([1], INT)], schema=schema)
    uri = make(engine, tmp_path / "t", first, properties=properties)
    engine.write_delta(uri, table(2, fine, loose))
    wrong, upsert = table(3, bad, loose), table(2, bad, loose)
    changes = [
        lambda: engine.write_delta(uri, wrong),
        lambda: engine.write_delta(uri, wrong, schema_mode="merge"),
        lambda: engine.write_delta(uri, wrong, mode="overwrite"),
        lambda: engine.write_delta(uri, wrong, mode="overwrite", replace_where="id = 3"),
        lambda: engine.merge(uri, wrong, ["id"]).when_not_matched_insert_all().execute(),
        lambda: engine.merge(uri, upsert, ["id"]).when_matched_update_all().execute(),
    ]
    if name == "column":
        changes.append(lambda: engine.update(uri, {"c": "NULL"}, "id = 2"))
        changes.append(lambda: engine.update(uri, {"c": "nullif(c, 1)"}))
    for change in changes:
        with refused(uri, SchemaMismatchError, match=r"\bc\b"):
            change()
    # A stream that says that it has no nulls, and has.
    lying = pa.Table.from_arrays([pa.array([bad], field.type), pa.array([4], INT)], schema=schema)
    with refused(uri, SchemaMismatchError):
        engine.write_delta(uri, lying)
    assert column(engine, uri) == [1, 2]
    if isinstance(strict, pa.DataType):
        engine.update(uri, {"c": "NULL"}, "id = 2")
        assert {row["id"]: row["c"] for row in read_back(engine, uri)}[2] is None


# Partition values and names

PARTITIONS = {
    pa.binary(): [b"abc", b"x=y", "ü".encode()],
    pa.date32(): [dt.date(1969, 12, 31), dt.date(2024, 2, 29)],
    pa.timestamp("us", "UTC"): [
        dt.datetime(2024, 5, 1, 12, 30, 15, 123456, UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
    pa.timestamp("us"): [dt.datetime(2024, 5, 1), dt.datetime(2024, 5, 1, 0, 0, 0, 1)],
    pa.decimal128(38, 10): [Decimal("-2.5000000001"), Decimal("1234567890123456789.5")],
    pa.decimal128(5, 2): [Decimal("1.50"), Decimal("-2.00")],
    pa.bool_(): [True, False],
    pa.int8(): [-128, 127],
    pa.int64(): [-(2**63), 2**63 - 1],
    pa.float64(): [0.1, -1e100],
    pa.float32(): [0.5, -1.25],
    pa.string(): ["a", "NULL", "null", "1"],
}


@pytest.mark.parametrize("properties", [None, VECTORS], ids=["plain", "vectors"])
@pytest.mark.parametrize(("kind", "values"), PARTITIONS.items(), ids=str)
def test_partition_values_come_back(engine, tmp_path, kind, values, properties):
    values = [*values, None]
    count = len(values)
    data = pa.table({"p": pa.array(values * 2, kind), "id": list(range(2 * count))})
    uri = make(engine, tmp_path / "t", data, by="p", properties=properties)
    assert read_back(engine, uri) == bag(data.to_pylist())
    for at, value in enumerate(values[:-1]):
        found = engine.query(
            "SELECT id FROM t WHERE p = $v", sources={"t": uri}, param_values={"v": value}
        )
        assert sorted(row["id"] for row in found.to_pylist()) == [at, at + count]
    engine.delete(uri, "p = $v AND id < $n", param_values={"v": values[0], "n": count})
    engine.merge(uri, data.slice(0, count), ["id"]).when_not_matched_insert_all().execute()
    engine.update(uri, {"id": "id + 100"}, "p = $v", param_values={"v": values[1]})
    wanted = [
        {**row, "id": row["id"] + 100} if row["p"] == values[1] else row for row in data.to_pylist()
    ]
    assert read_back(engine, uri) == bag(wanted)
    engine.optimize(uri)
    assert read_back(engine, uri) == bag(wanted)


def test_bytes_that_are_no_text_come_back_from_a_partition(engine, tmp_path):
    """The protocol has no way that all readers know; ours has to know its own, or refuse."""
    data = pa.table({"p": [b"\xff\x00", b"\x80", b"a"], "id": [1, 2, 3]})
    uri = tmp_path / "t"
    try:
        engine.write_delta(uri, data, partition_by="p")
    except SchemaMismatchError:
        assert not (uri / "_delta_log").exists()
        return
    assert by_engine(engine, uri) == bag(data.to_pylist())
    engine.delete(uri, r"p = X'ff00'")
    assert by_engine(engine, uri) == bag(data.to_pylist()[1:])


ODD = [
    *("~", "a~b", "%", "%41", "a%20b", "a b", " lead", "trail ", "a/b", "a\\b", "a=b", "a:b"),
    *("a+b", "a&b", "a?b#c", "a;b,c", "'", '"', "{x}", "[y]", "ü", "日本", "\u00a0", "\n", "\t"),
    *(".", "..", "*", "|", "__HIVE_DEFAULT_PARTITION__", "x" * 100),
]


def test_odd_partition_values(engine, tmp_path):
    data = pa.table({"p": ODD, "id": list(range(len(ODD)))})
    uri = make(engine, tmp_path / "t", data, by="p")
    engine.write_delta(uri, data)
    expected = data.to_pylist() * 2
    assert read_back(engine, uri) == bag(expected)
    engine.optimize(uri)
    assert read_back(engine, uri) == bag(expected)
    engine.delete(uri, "id < 10 AND p NOT IN ('~', ' lead')")
    expected = [row for row in expected if row["id"] >= 10 or row["p"] in ("~", " lead")]
    engine.update(uri, {"id": "-1"}, "p = '~'")
    expected = [{**row, "id": -1} if row["p"] == "~" else row for row in expected]
    merge = engine.merge(uri, data, ["p"]).when_matched_update({"id": "target.id + 1"})
    merge.when_not_matched_insert_all().execute()
    there = {row["p"] for row in expected}
    expected = [{**row, "id": row["id"] + 1} for row in expected]
    expected += [row for row in data.to_pylist() if row["p"] not in there]
    assert read_back(engine, uri) == bag(expected)
    for value in ODD:
        found = engine.query(
            "SELECT count(*) AS n FROM t WHERE p = $v",
            sources={"t": uri},
            param_values={"v": value},
        )
        assert found.to_pylist() == [{"n": sum(row["p"] == value for row in expected)}], value


NAMES = [
    "a:b",
    "x=y",
    "a/b",
    "p%q",
    "%41",
    " lead",
    "trail ",
    "ü",
    "a.b",
    "a b",
    "~",
    "A",
    "sel'ect",
]


@pytest.mark.parametrize("by", [True, False], ids=["partition", "column"])
@pytest.mark.parametrize("name", NAMES)
def test_odd_names_of_columns(engine, tmp_path, name, by):
    data = pa.table({name: ["u", "v"], "id": [1, 2]})
    uri = make(engine, tmp_path / "t", data, by=name if by else None)
    quoted = '"' + name.replace('"', '""') + '"'
    source = pa.table({name: ["V", "w"], "id": [2, 3]})
    merge = engine.merge(uri, source, ["id"]).when_matched_update_all()
    merge.when_not_matched_insert_all().execute()
    engine.merge(uri, source, [name]).when_matched_update({"id": "target.id + 10"}).execute()
    engine.delete(uri, f"{quoted} = 'u'")
    engine.update(uri, {name: f"{quoted} || '!'"}, f"{quoted} = 'w'")
    engine.optimize(uri)
    assert read_back(engine, uri) == bag([{name: "V", "id": 12}, {name: "w!", "id": 13}])


@pytest.mark.parametrize("folder", ["100%", "a%20b", "%41", "%", "a~b", "a#b?c", "a b", "ü"])
def test_odd_folders_have_a_history(engine, tmp_path, folder):
    uri = make(engine, tmp_path / folder / "t", pa.table({"id": [1, 2], "p": ["a", "b"]}), by="p")
    engine.delete(uri, "id = 1")
    engine.write_delta(uri, pa.table({"id": [3], "p": ["b"]}))
    engine.optimize(uri)
    engine.restore(uri, 2)
    # Not every reader finds a folder whose name looks escaped.
    assert [row["id"] for row in by_engine(engine, uri)] == [2, 3]
    assert bag(by_hand(uri)) == by_engine(engine, uri)
    assert list(engine.reachable_versions(uri)) == [0, 1, 2, 3, 4]
    history = engine.open_delta(uri).history()
    assert [commit["version"] for commit in history] == [4, 3, 2, 1, 0]
    assert engine.vacuum(uri).operation_metrics["dry_run"] is True


# Files

FOREIGN = pa.schema(
    [
        pa.field("id", INT, metadata={"PARQUET:field_id": "7", "note": "mine"}),
        pa.field(
            "s",
            pa.struct([pa.field("a", pa.string(), metadata={"PARQUET:field_id": "8"})]),
            metadata={"PARQUET:field_id": "9"},
        ),
    ],
    metadata={"pandas": "{}"},
)


def foreign(*ids):
    data = [pa.array(ids, INT), pa.array([{"a": str(one)} for one in ids], FOREIGN.field("s").type)]
    return pa.table(data, schema=FOREIGN)


def test_field_ids_of_a_source_stay_there(engine, tmp_path):
    def holds(uri, *ids):
        found = read_back(engine, uri)
        assert [row["id"] for row in found] == sorted(ids, key=str)
        assert all(row["s"]["a"] in "12345" for row in found)

    uri = make(engine, tmp_path / "new", foreign(1, 2))
    holds(uri, 1, 2)
    engine.write_delta(uri, foreign(3))
    engine.update(uri, {"id": "id + 10"}, "id = 1")
    merge = engine.merge(uri, foreign(2, 4), ["id"]).when_matched_update_all()
    merge.when_not_matched_insert_all().execute()
    engine.write_delta(uri, foreign(3), mode="overwrite", replace_where="id = 3")
    holds(uri, 2, 3, 4, 11)
    engine.write_delta(
        uri, foreign(5), mode="overwrite", schema_mode="overwrite", allow_metadata_change=True
    )
    holds(uri, 5)
    wider = make(engine, tmp_path / "wider", pa.table({"id": [1]}))
    engine.write_delta(wider, foreign(2), schema_mode="merge")
    assert not_plain(wider) == []
    assert column(engine, wider) == [1, 2]
    merged = make(engine, tmp_path / "merged", pa.table({"id": [1]}))
    merge = engine.merge(merged, foreign(2), ["id"], merge_schema=True)
    merge.when_not_matched_insert_all().execute()
    assert column(engine, merged) == [1, 2]
    # A file that has ids of its own, as Iceberg's have.
    file = tmp_path / "ids.parquet"
    pq.write_table(foreign(1, 2), file)
    engine.write_delta(tmp_path / "copy", pq.read_table(file))
    holds(tmp_path / "copy", 1, 2)
    query = engine.query("SELECT * FROM f", sources={"f": file})
    engine.write_delta(tmp_path / "query", query)
    holds(tmp_path / "query", 1, 2)


@pytest.mark.parametrize("properties", [None, FEED, VECTORS], ids=["plain", "feed", "vectors"])
def test_files_that_changes_write_have_plain_types(engine, tmp_path, properties):
    data = pa.table(
        {
            "id": [1, 2, 3, 4],
            "s": ["a", "b", "c", "d"],
            "b": [b"a", b"b", b"c", b"d"],
            "l": [["x"], [], None, [None]],
            "n": [{"t": "x", "l": [{"u": "y"}]}] * 4,
        }
    )
    uri = make(engine, tmp_path / "t", data, files=2, properties=properties)

    def every_file_is_read():
        read_back(engine, uri)
        for path in active(uri):
            table = pq.read_table(uri / unquote(path), filters=[("s", ">=", "b")])
            assert all(value >= "b" for value in table.column("s").to_pylist())
        for file in uri.glob("_change_data/*.parquet"):
            assert "view" not in str(pq.read_schema(file))

    every_file_is_read()
    engine.delete(uri, "id = 1")
    every_file_is_read()
    engine.update(uri, {"s": "upper(s) || s", "b": "X'00'"}, "id = 2")
    every_file_is_read()
    merge = engine.merge(
        uri, pl.from_arrow(data.slice(2)).with_columns(id=pl.col("id") + 1), ["id"]
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    every_file_is_read()
    engine.write_delta(uri, data.slice(2, 1), mode="overwrite", replace_where="id = 3")
    every_file_is_read()
    engine.optimize(uri)
    every_file_is_read()
    assert column(engine, uri) == [2, 3, 4, 5]


# Sources of merges are checked as writes are

AT = dt.datetime(2024, 5, 1, 12)
NS = pa.timestamp("ns")


@pytest.fixture
def timed(engine, tmp_path):
    data = pa.table({"at": pa.array([AT], pa.timestamp("us")), "v": [1]})
    return make(engine, tmp_path / "t", data)


def upsert(engine, uri, source, on, **options):
    merge = engine.merge(uri, source, on, **options).when_matched_update_all()
    return merge.when_not_matched_insert_all().execute()


def test_nanoseconds_of_a_key_are_not_cut(engine, timed):
    start = pa.scalar(AT, NS).value
    cut = pa.table({"at": pa.array([start + 1, start + 1000], NS), "v": [2, 3]})
    with refused(timed, SchemaMismatchError, match="nanoseconds"):
        upsert(engine, timed, cut, ["at"])
    whole = pa.table({"at": pa.array([start, start + 1000], NS), "v": [2, 3]})
    for _ in range(3):
        upsert(engine, timed, whole, ["at"])
    assert column(engine, timed, "v") == [2, 3]


STRICTLY = pa.table(
    {
        "id": pa.array([1], INT),
        "zoned": pa.array([AT], pa.timestamp("us", "UTC")),
        "naive": pa.array([AT], pa.timestamp("us")),
        "day": pa.array([AT.date()], pa.date32()),
        "flag": [True],
        "real": pa.array([1.5], pa.float32()),
        "n": pa.array([1], pa.int32()),
        "s": ["a"],
    }
)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("id", [1.4]),
        ("id", ["1"]),
        ("zoned", pa.array([AT], pa.timestamp("us"))),
        ("naive", pa.array([AT], pa.timestamp("us", "UTC"))),
        ("day", pa.array([AT], pa.timestamp("us"))),
        ("flag", [2]),
        ("real", [1e300]),
        ("n", [1.0]),
    ],
)
def test_types_of_a_source_are_those_of_the_table(engine, tmp_path, name, values):
    uri = make(engine, tmp_path / "t", STRICTLY)
    at = STRICTLY.column_names.index(name)
    source = STRICTLY.set_column(at, name, [values])
    wider = source.append_column("new", [[1]])
    on = ["s"] if name == "id" else ["id"]
    for change in (
        lambda: engine.write_delta(uri, source),
        lambda: engine.write_delta(uri, wider, schema_mode="merge"),
        lambda: upsert(engine, uri, source, on),
        lambda: upsert(engine, uri, wider, on, merge_schema=True),
        lambda: (
            engine.merge(uri, source, on).when_matched_update({name: f"source.{name}"}).execute()
        ),
    ):
        with refused(uri, SchemaMismatchError, match=rf"\b{name}\b"):
            change()


def test_fields_of_a_struct_go_by_name(engine, tmp_path):
    kinds = [("a", INT), ("b", pa.string()), ("c", pa.struct([("x", INT), ("y", INT)]))]
    other = [("c", pa.struct([("y", INT), ("x", INT)])), ("b", pa.string()), ("a", INT)]
    value = {"a": 1, "b": "one", "c": {"x": 1, "y": 2}}
    new = {"a": 3, "b": "three", "c": {"x": 5, "y": 6}}
    table = pa.table({"id": [1, 2], "s": pa.array([value, value], pa.struct(kinds))})
    source = pa.table({"s": pa.array([new, new], pa.struct(other)), "id": [2, 3]})
    uri = make(engine, tmp_path / "t", table)
    upsert(engine, uri, source, ["id"])
    engine.write_delta(uri, source.slice(1), mode="overwrite", replace_where="id = 3")
    found = {row["id"]: row["s"] for row in read_back(engine, uri)}
    assert found == {1: value, 2: new, 3: new}
