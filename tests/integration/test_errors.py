"""Whatever is wrong is said by a typed error that names the thing, and what to do about it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

import fusiondelta
from fusiondelta import (
    ConfigurationError,
    DeltaSource,
    EngineClosedError,
    EngineProfile,
    ExecutionError,
    FusionDeltaEngine,
    FusionDeltaError,
    MaterializeLimits,
    ObjectNotFoundError,
    QueryError,
    QuerySpec,
    ResourcesExhaustedError,
    ResultTooLargeError,
    SchemaMismatchError,
    SnapshotExpiredError,
    SnapshotNotFoundError,
    SourceError,
    SqlError,
    StreamConsumedError,
)

pytestmark = pytest.mark.integration

TABLE = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", "c"]})


@pytest.fixture
def table(engine, uri):
    """A table at version 2."""
    for _ in range(3):
        engine.write_delta(uri, TABLE)
    return uri


def fails(error, call):
    """The error of a call, of exactly this class, short, plain and complete."""
    with pytest.raises(FusionDeltaError) as caught:
        call()
    raised = caught.value
    assert type(raised) is error, repr(raised)
    assert raised.kind == error.default_kind
    for noise in ("\x1b", "backtrace", "panicked", "Traceback"):
        assert noise not in raised.message, raised.message
    copy = pickle.loads(pickle.dumps(raised))
    assert (type(copy), str(copy), copy.details) == (error, str(raised), raised.details)
    return raised


# SQL

TYPOS = {
    "a keyword": ("SELCT id FROM t", 1, 1, "SELCT", None),
    "the end": ("SELECT id\nFROM ", 2, 6, "EOF", None),
    "a parenthesis": ("SELECT (id FROM t", 1, 12, "FROM", None),
    "a quote": ("SELECT 'id FROM t", 1, 8, "nterminated", None),
    "on the third line": ("SELECT id\nFROM t\nWHER id = 1", 3, 6, "id", None),
    "a table": ("SELECT id FROM orderz", 1, 16, "orderz", "orders"),
    "a table on the second line": ("SELECT id\n  FROM orderz", 2, 8, "orderz", "orders"),
    "a table inside": ("WITH a AS (SELECT * FROM ordes) SELECT * FROM a", 1, 26, "ordes", "orders"),
    "a table far from any": ("SELECT 1 FROM nothing", 1, 15, "nothing", None),
    "a column": ("SELECT nmae FROM orders", 1, 8, "nmae", "name"),
    "a column of an alias": ("SELECT o.nam FROM orders o", 1, 10, "nam", "name"),
    "a column on the second line": ("SELECT id\nFROM orders WHERE idd = 1", 2, 19, "idd", "id"),
    "a column far from any": ("SELECT zzz FROM orders", 1, 8, "zzz", None),
    "a function": ("SELECT uper(name) FROM orders", 1, 8, "uper", "upper"),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_in_sql_is_placed_and_the_nearest_name_given(engine, typo):
    sql, line, column, named, nearest = TYPOS[typo]
    sources = {"orders": TABLE, "t": TABLE}
    error = fails(SqlError, lambda: engine.query(sql, sources=sources))
    assert named in error.message
    assert error.line == line
    assert error.column == column or column is None
    assert (f"did you mean {nearest!r}" in error.message) is (nearest is not None)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("sql", ["", " ", ";", "-- nothing"])
def test_no_statement(engine, sql):
    fails(QueryError, lambda: engine.query(sql))


@pytest.mark.parametrize("query", [None, 7, b"SELECT 1", ["SELECT 1"]])
def test_what_is_no_query(engine, query):
    with pytest.raises(FusionDeltaError, match=type(query).__name__):
        engine.query(query)
    with pytest.raises(ConfigurationError, match="sql is text"):
        QuerySpec(sql=query)


FAILING = {
    "division": "SELECT 1 / (id - id) AS x FROM t",
    "cast": "SELECT CAST(name AS INT) AS x FROM t",
    "constant": "SELECT 1 / 0 AS x",
    "overflow": "SELECT CAST(id + 1000 AS TINYINT) AS x FROM t",
    "date": "SELECT to_date(name) AS x FROM t",
}


@pytest.mark.parametrize("cause", FAILING)
def test_rows_that_do_not_fit_the_query(engine, cause):
    run = lambda: engine.query(FAILING[cause], sources={"t": TABLE}).to_table()  # noqa: E731
    fails(ExecutionError, run)


# tables


def test_a_missing_table(engine, uri):
    for call in (
        lambda: engine.open_delta(uri),
        lambda: engine.query("SELECT * FROM t", sources={"t": uri}),
        lambda: engine.reachable_versions(uri),
        lambda: engine.open_delta(uri, 3),
        lambda: engine.open_delta(uri, "2024-01-01T00:00:00Z"),
    ):
        error = fails(SourceError, call)
        assert "no table" in error.message
        assert uri in error.message
    assert not Path(uri).exists()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("version", [3, 99, 2**40])
def test_a_missing_version_says_which_exist(engine, table, version):
    for call in (
        lambda: engine.open_delta(table, version),
        lambda: engine.query("SELECT * FROM t", sources={"t": DeltaSource(table, version)}),
    ):
        error = fails(SnapshotNotFoundError, call)
        assert f"version {version} of file://{table}" in error.message
        assert "versions 0 to 2 can" in error.message
        assert (error.details["oldest"], error.details["newest"]) == ("0", "2")
        assert isinstance(error, LookupError)
    assert engine.open_delta(table, 2).snapshot.version == 2


@pytest.mark.parametrize("as_of", [-1, True, 1.5, "yesterday", "3", object(), b"latest"])
def test_what_is_no_version(engine, table, as_of):
    fails(ConfigurationError, lambda: engine.open_delta(table, as_of))


def test_a_folder_that_is_no_delta_table(engine, tmp_path):
    pa.parquet.write_table(TABLE, tmp_path / "a.parquet")
    error = fails(SourceError, lambda: engine.open_delta(tmp_path))
    assert "not a Delta table" in error.message
    assert "ParquetSource" in error.message
    assert str(tmp_path) in error.message


def test_an_empty_log_folder(engine, uri):
    Path(uri, "_delta_log").mkdir(parents=True)
    assert uri in fails(SourceError, lambda: engine.open_delta(uri)).message


def test_a_file_of_no_known_suffix(engine, tmp_path):
    (tmp_path / "data.txt").write_text("x")
    path = str(tmp_path / "data.txt")
    error = fails(SourceError, lambda: engine.query("SELECT * FROM t", sources={"t": path}))
    assert "data.txt" in error.message


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json", "arrow"])
def test_a_missing_or_broken_file(engine, tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    read = lambda: engine.query("SELECT * FROM t", sources={"t": path}).to_table()  # noqa: E731
    with pytest.raises(FusionDeltaError, match=f"data.{suffix}"):
        read()
    if suffix != "csv":
        path.write_bytes(b"{nonsense" * 100)
        with pytest.raises(FusionDeltaError):
            read()


@pytest.mark.parametrize("source", [None, 7, object(), [1], {"a": [1]}])
def test_what_is_no_source(engine, source):
    error = fails(SourceError, lambda: engine.query("SELECT * FROM t", sources={"t": source}))
    assert "'t'" in error.message
    assert type(source).__name__ in error.message


DAMAGE = {
    "cut in the middle of an action": lambda text: text[: len(text) // 2],
    "not JSON": lambda text: "nonsense\n",
    "binary": lambda text: "\0\1\2",
    "not an action": lambda text: "[1, 2]\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupt_log(table, damage):
    path = Path(table, "_delta_log", f"{1:020}.json")
    path.write_text(DAMAGE[damage](path.read_text()))
    with FusionDeltaEngine() as engine:
        for call in (
            lambda: engine.open_delta(table),
            lambda: engine.query("SELECT * FROM t", sources={"t": table}),
            lambda: engine.write_delta(table, TABLE),
        ):
            assert table in fails(SourceError, call).message
        read = engine.query("SELECT id FROM t", sources={"t": DeltaSource(table, 0)})
        assert read.to_table().num_rows == 3, "what came before can be read"
    assert not Path(table, "_delta_log", f"{3:020}.json").exists()


def test_a_log_with_a_commit_missing(table):
    Path(table, "_delta_log", f"{1:020}.json").unlink()
    with FusionDeltaEngine() as engine:
        assert table in fails(SourceError, lambda: engine.open_delta(table)).message


def test_a_missing_data_file(table):
    gone = sorted(Path(table).glob("*.parquet"))[0]
    gone.unlink()
    with FusionDeltaEngine() as engine:
        with pytest.raises((ObjectNotFoundError, SnapshotExpiredError)) as caught:
            engine.query("SELECT * FROM t", sources={"t": table}).to_table()
        assert gone.name in str(caught.value)
        count = engine.query("SELECT count(*) AS n FROM t", sources={"t": table})
        assert count.to_pylist() == [{"n": 9}], "the log alone answers this"


def test_a_damaged_data_file(table):
    damaged = sorted(Path(table).glob("*.parquet"))[0]
    damaged.write_bytes(b"nonsense" * 200)
    with FusionDeltaEngine() as engine, pytest.raises(FusionDeltaError, match=damaged.name):
        engine.query("SELECT * FROM t", sources={"t": table}).to_table()


@pytest.mark.parametrize("bytes_lost", [1, 8, 300])
def test_a_data_file_that_was_cut_off(table, bytes_lost):
    cut = sorted(Path(table).glob("*.parquet"))[0]
    cut.write_bytes(cut.read_bytes()[:-bytes_lost])
    with FusionDeltaEngine() as engine:
        with pytest.raises(FusionDeltaError, match=cut.name) as caught:
            engine.query("SELECT * FROM t", sources={"t": table}).to_table()
        assert caught.value.kind != fusiondelta.ErrorKind.INTERNAL


# writes


def test_a_type_mismatch_names_each_column(engine, table):
    data = pa.table({"id": ["x"], "nam": ["y"], "price": [1.5]})
    error = fails(SchemaMismatchError, lambda: engine.write_delta(table, data))
    assert table in error.message
    assert "at version 2" in error.message
    assert error.details["columns"].splitlines() == [
        "id: long in the table, string in the data",
        "name: string in the table, missing in the data",
        "nam: string in the data, not in the table",
        "price: double in the data, not in the table",
    ]
    assert isinstance(error, TypeError)
    query = engine.query("SELECT 'x' AS id, 'y' AS name")
    assert (
        "id: long" in fails(SchemaMismatchError, lambda: engine.write_delta(table, query)).message
    )
    assert engine.open_delta(table).snapshot.version == 2


def test_nested_types_that_do_not_match(engine, uri):
    engine.write_delta(uri, pa.table({"s": [{"a": [1]}]}))
    data = pa.table({"s": [{"a": ["x"]}]})
    assert "s: " in fails(SchemaMismatchError, lambda: engine.write_delta(uri, data)).message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mode": "apend"}, "append"),
        ({"mode": "upsert"}, "overwrite"),
        ({"schema_mode": "merg"}, "merge"),
        ({"replace_where": "id = 1"}, "overwrite"),
        ({"schema_mode": "overwrite", "allow_metadata_change": True}, "overwrite"),
        ({"target_file_size": "12 parsecs"}, "target_file_size"),
        ({"target_file_size": 0}, "target_file_size"),
        ({"timeout": -1}, "timeout"),
        ({"metadata": {"n": 1}}, "metadata 'n'"),
    ],
)
def test_wrong_options_of_a_write(engine, uri, options, named):
    error = fails(ConfigurationError, lambda: engine.write_delta(uri, TABLE, **options))
    assert named in error.message
    assert not Path(uri).exists()


def test_partition_columns_that_are_not_there(engine, uri):
    partition = lambda by: engine.write_delta(uri, TABLE, partition_by=by)  # noqa: E731
    assert '"nme"' in fails(SchemaMismatchError, lambda: partition(["nme"])).message
    assert "every column" in fails(SchemaMismatchError, lambda: partition(["id", "name"])).message
    partition("name")
    with pytest.raises(FusionDeltaError, match="partition"):
        partition("id")
    assert engine.open_delta(uri).snapshot.version == 0


def test_a_location_that_cannot_be_written(engine, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FusionDeltaError, match="file"):
        engine.write_delta(tmp_path / "file" / "t", TABLE)


# configuration


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("datafusion.execution.batchsize", "datafusion.execution.batch_size"),
        ("datafusion.optimiser.prefer_hash_join", "datafusion.optimizer.prefer_hash_join"),
        ("datafusion.runtime.memory_limits", "datafusion.runtime.memory_limit"),
    ],
)
def test_an_unknown_option_names_the_nearest(name, nearest):
    error = fails(ConfigurationError, lambda: EngineProfile(options={name: "1"}))
    assert f"did you mean {nearest!r}" in error.message


def test_a_setting_with_a_value_that_is_none():
    def use():
        profile = EngineProfile(options={"datafusion.execution.batch_size": "many"})
        with FusionDeltaEngine(profile) as engine:
            engine.query("SELECT 1")

    assert "batch_size" in fails(ConfigurationError, use).message


@pytest.mark.parametrize(
    "uri", ["s3://bucket/t", "gs://bucket/t", "ftp://host/t", "s3:/bucket/t", "", "a\0b"]
)
def test_a_location_that_is_not_served(engine, uri):
    fails(ConfigurationError, lambda: engine.open_delta(uri))
    fails(ConfigurationError, lambda: engine.write_delta(uri, TABLE))


@pytest.mark.parametrize("options", [{"timeout": -1}, {"timeout": "soon"}, {"memory_limit": "x"}])
def test_wrong_options_of_a_query(engine, options):
    fails(ConfigurationError, lambda: engine.query("SELECT 1", **options))


def test_a_name_that_is_not_registered(engine):
    engine.register("orders", TABLE)
    assert "orders" in fails(ConfigurationError, lambda: engine.deregister("order")).message


# states and limits


def test_a_closed_engine(engine, uri):
    engine.close()
    fails(EngineClosedError, lambda: engine.query("SELECT 1"))
    fails(EngineClosedError, lambda: engine.write_delta(uri, TABLE))


def test_a_consumed_stream(engine):
    result = engine.query("SELECT 1")
    result.to_table()
    assert "again" in fails(StreamConsumedError, result.to_table).message


SORT = (
    "SELECT * FROM (SELECT value, CAST(value AS VARCHAR) || repeat('x', 100) AS s "
    "FROM generate_series(1, 400000)) ORDER BY s"
)


def exhausted(profile, **options):
    with FusionDeltaEngine(profile) as engine:
        error = fails(ResourcesExhaustedError, lambda: list(engine.query(SORT, **options)))
        assert isinstance(error, MemoryError)
        assert engine.query("SELECT 1 AS n").to_pylist() == [{"n": 1}], "the engine lives on"
        return error.message


def test_too_little_memory_and_no_spilling():
    exhausted(EngineProfile(memory_limit="20MiB", max_spill=0))


def test_too_little_room_to_spill():
    message = exhausted(EngineProfile(memory_limit="60MiB", max_spill="1MiB"))
    assert "max_temp_directory_size" in message or "max_spill" in message


def test_too_little_memory_for_one_query():
    assert "memory_limit" in exhausted(EngineProfile(), memory_limit="1MiB")


def test_a_sort_larger_than_memory_spills(tmp_path):
    profile = EngineProfile(memory_limit="60MiB", target_partitions=1, spill_dir=tmp_path)
    with FusionDeltaEngine(profile) as engine:
        result = engine.query(SORT)
        assert sum(batch.num_rows for batch in result) == 400_000
        metrics = result.metrics().to_pylist()
        assert sum(m["metric_value"] for m in metrics if m["metric_name"] == "spill_count") > 0


def test_guards_of_what_is_collected(engine):
    rows = "SELECT value AS n FROM generate_series(1, 1000)"
    for way in ("to_table", "to_pandas", "to_polars", "to_pylist"):
        for limit in ({"max_rows": 999}, {"max_bytes": 7999}):
            error = fails(ResultTooLargeError, lambda w=way, k=limit: collect(engine, rows, w, k))
            assert isinstance(error, MemoryError)
            assert next(iter(limit)) in error.message
        assert len(collect(engine, rows, way, {"max_rows": 1000})) == 1000


def collect(engine, sql, way, limit):
    return getattr(engine.query(sql), way)(**limit)


def test_guards_of_the_profile_hold_where_nothing_is_said():
    with FusionDeltaEngine(EngineProfile(limits=MaterializeLimits(max_rows=10))) as engine:
        rows = "SELECT value AS n FROM generate_series(1, 11)"
        fails(ResultTooLargeError, engine.query(rows).to_table)
        assert engine.query(rows).to_table(max_rows=11).num_rows == 11
        assert engine.query(rows).reader().read_all().num_rows == 11, "a stream has no guard"


def test_every_error_is_exported_and_says_its_kind():
    for kind in fusiondelta.ErrorKind:
        if kind != "internal":
            error = fusiondelta.errors.from_native(kind.value, "message", {})
            assert type(error).default_kind == kind
            assert getattr(fusiondelta, type(error).__name__) is type(error)
