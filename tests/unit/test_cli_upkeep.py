"""The commands that change tables, without an engine: what is done, and what would be."""

from __future__ import annotations

import datetime as dt
import json

import pyarrow as pa
import pytest

from fusiondelta.cli._estimate import _bins, check_columns, estimate
from fusiondelta.errors import ConfigurationError
from tests.unit.cli_fakes import HOSTILE, FakeCleanup, FakeEngine, FakeTable, FakeWrite, runner

pytestmark = pytest.mark.unit

MIB = 2**20


@pytest.fixture
def run(monkeypatch):
    return runner(monkeypatch)


def done(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def test_vacuum_is_a_dry_run_until_told(run):
    engine = FakeEngine()
    engine.write = FakeWrite({"files": ["a.parquet", HOSTILE], "bytes": 2048})
    lines = done(run(engine, "vacuum", "/t")).split("\n")
    assert lines[0] == "a.parquet"
    assert all(line.isprintable() for line in lines)
    assert lines[2] == "2 files of 2.00 KiB would be removed; --run does it"
    assert engine.calls["vacuum"][1] == {
        "retention": None,
        "dry_run": True,
        "full": False,
        "keep_versions": (),
    }
    options = ["--run", "--retention", "8d", "--full", "--keep-version", "3"]
    assert done(run(engine, "vacuum", "/t", *options)).splitlines()[-1] == (
        "2 files of 2.00 KiB removed"
    )
    assert engine.calls["vacuum"] == (
        "/t",
        {
            "retention": dt.timedelta(days=8),
            "dry_run": False,
            "full": True,
            "keep_versions": (3,),
        },
    )


def test_vacuum_names_many_files_in_json_alone(run):
    engine = FakeEngine()
    engine.write = FakeWrite({"files": [f"{n}.parquet" for n in range(250)]})
    lines = done(run(engine, "vacuum", "/t")).splitlines()
    assert len(lines) == 102
    assert lines[100] == "… and 150 more; --json names all"
    assert lines[101] == "250 files would be removed; --run does it"
    told = json.loads(done(run(engine, "vacuum", "/t", "--json")))
    assert (len(told["files"]), told["bytes"], told["dry_run"]) == (250, None, True)


def test_cleanup_metadata_is_a_dry_run_until_told(run):
    engine = FakeEngine()
    engine.write = FakeCleanup(("0.json", "1.json"), 2)
    assert done(run(engine, "cleanup-metadata", "/t")).splitlines() == [
        "0.json",
        "1.json",
        "2 files would be removed from the log; --run does it",
    ]
    assert engine.calls["cleanup_metadata"] == ("/t", {"log_retention": None, "dry_run": True})
    told = done(run(engine, "cleanup-metadata", "/t", "--run", "--json", "--retention", "30d"))
    assert json.loads(told) == {
        "uri": "/t",
        "dry_run": False,
        "files": ["0.json", "1.json"],
        "oldest": 2,
    }
    assert engine.calls["cleanup_metadata"][1]["log_retention"] == dt.timedelta(days=30)


def test_checkpoint_names_its_version(run):
    engine = FakeEngine()
    engine.write = FakeWrite().snapshot
    assert done(run(engine, "checkpoint", "/t")) == "checkpoint of version 4 written\n"
    told = done(run(engine, "checkpoint", "/t", "--json"))
    assert json.loads(told) == {"uri": "/t", "version": 4}


def test_restore_says_what_it_would_exchange(run):
    files = {"a": 1024, "b": 2048}
    engine = FakeEngine(
        tables={None: FakeTable(9, {**files, "c": 4096}), 3: FakeTable(3, {**files, "d": 10})}
    )
    told = json.loads(done(run(engine, "restore", "/t", "3", "--json")))
    assert told == {
        "uri": "/t",
        "dry_run": True,
        "from_version": 9,
        "to_version": 3,
        "files_added": 1,
        "bytes_added": 10,
        "files_removed": 1,
        "bytes_removed": 4096,
        "is_readable": True,
    }
    text = done(run(engine, "restore", "/t", "3"))
    assert "bytes_removed  4.00 KiB" in text
    assert text.endswith("nothing was changed; --run does it\n")
    assert engine.calls == {}


def test_restore_to_a_time_and_to_what_was_vacuumed(run):
    instant = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)
    engine = FakeEngine(tables={instant: FakeTable(1, {"a": 1})})
    told = json.loads(done(run(engine, "restore", "/t", "2024-05-01", "--json")))
    assert (told["to_version"], told["is_readable"]) == (1, False)
    engine.write = FakeWrite()
    allowed = ["--ignore-missing-files", "--allow-metadata-change"]
    told = json.loads(done(run(engine, "restore", "/t", "2024-05-01", "--run", "--json", *allowed)))
    assert engine.calls["restore"] == (
        "/t",
        1,
        {"allow_metadata_change": True, "ignore_missing_files": True},
    )
    assert (told["to_version"], told["from_version"], told["version"]) == (1, 3, 4)
    assert (told["files_removed"], told["files_added"], told["dry_run"]) == (5, 1, False)


def test_deleted_rows_make_a_file_another(run):
    class Marked(FakeTable):
        def files(self):
            return (
                super().files().append_column("deletion_vector.offset", [[self.snapshot.version]])
            )

    engine = FakeEngine(tables={None: Marked(9, {"a": 7}), 3: Marked(3, {"a": 7})})
    told = json.loads(done(run(engine, "restore", "/t", "3", "--json")))
    assert (told["files_added"], told["files_removed"]) == (1, 1)


def test_optimize_says_what_it_would_rewrite(run):
    files = {"d=1/a": MIB, "d=1/b": 2 * MIB, "d=1/c": 500 * MIB, "d=2/e": MIB}
    engine = FakeEngine(tables={None: FakeTable(9, files, ("d",))})
    told = json.loads(done(run(engine, "optimize", "/t", "--json")))
    assert told == {
        "uri": "/t",
        "dry_run": True,
        "version": 9,
        "files": 4,
        "files_removed": 2,
        "bytes_removed": 3 * MIB,
        "files_added": 1,
        "partitions": 1,
        "target_size": 100 * MIB,
    }
    assert engine.calls == {}
    text = done(run(engine, "optimize", "/t", "--where", "d=2", "--z-order", "x"))
    assert "files_removed  1\n" in text
    assert "files_added" not in text
    assert "target_size    100 MiB" in text
    assert text.endswith("nothing was changed; --run does it\n")


def test_optimize_hands_over_what_it_was_told(run):
    engine = FakeEngine(tables={None: FakeTable(9, {}, ("d",))})
    engine.write = FakeWrite({"num_files_removed": 5})
    options = ["--z-order", "a, b", "--where", "d in (1, 2)", "--target-size", "1MiB", "--run"]
    told = json.loads(done(run(engine, "optimize", "/t", "--json", *options)))
    assert engine.calls["optimize"] == (
        "/t",
        {
            "z_order": ["a", "b"],
            "partition_filters": [("d", "in", ["1", "2"])],
            "target_file_size": MIB,
        },
    )
    assert told["operation_metrics"] == {"num_files_removed": 5}
    assert (told["outcome"], told["bytes_added"], told["dry_run"]) == ("COMMITTED", 2048, False)


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([], []),
        ([5], []),
        ([5, 5], [[5, 5]]),
        ([5, 6], []),
        ([10, 1], []),
        ([4, 4, 4, 4], [[4, 4], [4, 4]]),
        ([1, 11, 1, 1], [[1, 1]]),
        ([1, 1, 11, 1], [[1, 1]]),
        ([0, 10, 0], [[0, 10, 0]]),
    ],
)
def test_neighbours_that_fit_into_one_file_together(sizes, found):
    assert list(_bins(sizes, 10)) == found


def chosen(*where):
    table = FakeTable(9, {"d=1/a": 1, "d=2/b": 1, "d=3/c": 1}, ("d",))
    found = estimate(
        table.files(), {}, partition_columns=["d"], where=where, z_order=(), target_size=None
    )
    return found.files


@pytest.mark.parametrize(
    ("operator", "value", "files"),
    [
        ("=", "2", 1),
        ("!=", "2", 2),
        ("<", "2", 1),
        ("<=", "2", 2),
        (">", "2", 1),
        (">=", "2", 2),
        ("in", ["1", "3", "9"], 2),
        ("not in", ["1"], 2),
    ],
)
def test_filters_choose_partitions(operator, value, files):
    assert chosen(("d", operator, value)) == files


def test_filters_all_have_to_hold():
    assert chosen(("d", ">", "1"), ("d", "<", "3")) == 1


def test_filters_name_partition_columns_and_orders_others():
    check_columns(["d"], [("d", "=", "1")], ["x"])
    with pytest.raises(ConfigurationError, match="x is no partition column; the table has: d"):
        check_columns(["d"], [("x", "=", "1")], [])
    with pytest.raises(ConfigurationError, match="d is a partition column"):
        check_columns(["d"], [], ["d"])


def test_a_value_of_a_filter_is_of_the_type_of_its_column():
    files = pa.table({"path": ["a"], "size_bytes": [1], "partition.d": pa.array([1], pa.int64())})
    told = {"partition_columns": ["d"], "z_order": [], "target_size": None}
    assert estimate(files, {}, where=[("d", "<", "10")], **told).files == 1
    with pytest.raises(ConfigurationError, match="d is int64"):
        estimate(files, {}, where=[("d", "=", "one")], **told)


def test_the_target_is_what_the_table_says():
    files = pa.table({"path": ["a", "b"], "size_bytes": [600, 600]})
    told = {"partition_columns": [], "where": [], "z_order": [], "target_size": None}
    found = estimate(files, {"delta.targetFileSize": "1kb"}, **told)
    assert (found.target_size, found.files_removed) == (1000, 0)
