"""The commands that change tables: what a dry run says is what a run does."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pytest
from click.testing import CliRunner

from fusiondelta.cli import cli

pytestmark = pytest.mark.integration

#: Tables that promise nothing themselves.
NOTHING = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
}


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('[retention]\nmin_retention = "0s"\n', "utf-8")

    def invoke(*args, code=0):
        result = CliRunner().invoke(cli, [*map(str, args), "--config", str(config)])
        assert result.exit_code == code, result.output
        return result

    return invoke


def rows(n, size=100):
    return pa.table({"id": range(n * size, (n + 1) * size), "d": ["x", "y"] * (size // 2)})


@pytest.fixture
def table(tmp_path, engine):
    """Six versions, each of a file in both partitions."""
    uri = tmp_path / "t"
    for n in range(6):
        engine.write_delta(uri, rows(n), partition_by="d", properties=NOTHING)
    return uri


def data_files(table):
    return {
        path.relative_to(table).as_posix(): path.stat().st_size
        for path in table.rglob("*.parquet")
        if "_delta_log" not in path.parts
    }


def state(engine, table):
    opened = engine.open_delta(table)
    files = opened.files()
    return opened.snapshot.version, dict(
        zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True)
    )


def both(run, *args):
    """What a dry run says, and what the run does."""
    return [json.loads(run(*args, "--json", *more).stdout) for more in ([], ["--run"])]


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ([], 12),
        (["--where", "d = x"], 6),
        (["--where", "d in (y)", "--where", "d != x"], 6),
        (["--where", "d not in (x, y)"], 0),
        (["--where", "d > x"], 6),
        (["--z-order", "id"], 12),
        (["--z-order", "id", "--where", "d=y"], 6),
    ],
)
def test_optimize_does_what_it_says(run, engine, table, options, files):
    version, before = state(engine, table)
    would, did = both(run, "optimize", table, *options)
    assert would["version"] == version
    assert would["files_removed"] == did["files_removed"] == files
    _, after = state(engine, table)
    gone = {path: size for path, size in before.items() if path not in after}
    assert (len(gone), sum(gone.values())) == (files, would["bytes_removed"])
    if "--z-order" not in options:
        assert would["files_added"] == did["files_added"]
    assert did["outcome"] == ("COMMITTED" if files else "UNCHANGED")


def test_optimize_knows_which_files_fit_together(run, engine, tmp_path):
    uri = tmp_path / "t"
    for n, size in enumerate([10, 4000, 10, 10, 4000, 10, 2000, 2000, 10]):
        engine.write_delta(uri, rows(n, size))
    sizes = sorted(state(engine, uri)[1].values())
    target = sizes[-2] + sizes[0] + 1
    would, did = both(run, "optimize", uri, "--target-size", target)
    assert 0 < would["files_removed"] < len(sizes)
    assert would["files_removed"] == did["files_removed"]
    assert would["files_added"] == did["files_added"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "id = 1"], "id is no partition column"),
        (["--z-order", "d"], "d is a partition column"),
    ],
)
def test_optimize_refuses_what_cannot_be(run, table, options, message):
    result = run("optimize", table, *options, code=1)
    assert result.stderr.startswith("error[configuration]: ")
    assert message in result.stderr
    assert run("optimize", table, *options, "--run", code=1).stderr == result.stderr


def test_a_dry_run_changes_nothing(run, engine, table):
    before = state(engine, table), data_files(table)
    for args in (["optimize"], ["restore"], ["vacuum"], ["cleanup-metadata"]):
        more = ["0"] if args == ["restore"] else []
        assert "--run does it" in run(*args, table, *more).stdout
    assert (state(engine, table), data_files(table)) == before


def test_restore_does_what_it_says(run, engine, table):
    engine.delete(table, "id < 50")
    version, before = state(engine, table)
    would, did = both(run, "restore", table, "2")
    assert (would["from_version"], would["to_version"], would["is_readable"]) == (version, 2, True)
    assert did["version"] == version + 1
    _, after = state(engine, table)
    added = [size for path, size in after.items() if path not in before]
    removed = [size for path, size in before.items() if path not in after]
    assert (would["files_added"], would["bytes_added"]) == (len(added), sum(added))
    assert (would["files_removed"], would["bytes_removed"]) == (len(removed), sum(removed))
    assert (did["files_added"], did["files_removed"]) == (len(added), len(removed))
    assert json.loads(run("restore", table, "2", "--json").stdout)["files_added"] == 0


def test_restore_to_a_time(run, engine, table):
    when = engine.open_delta(table, as_of=3).detail()["committed_at_ms"]
    instant = pa.scalar(when, pa.timestamp("ms")).as_py().isoformat()
    would = json.loads(run("restore", table, instant, "--json").stdout)
    assert would["to_version"] >= 3
    result = run("restore", table, "2001-01-01", code=1)
    assert result.stderr.startswith("error[snapshot_not_found]")
    assert run("restore", table, "77", code=1).stderr.startswith("error[snapshot_not_found]")


def test_restore_to_what_was_vacuumed(run, engine, table):
    engine.write_delta(table, rows(9), mode="overwrite")
    run("vacuum", table, "--run")
    would = json.loads(run("restore", table, "2", "--json").stdout)
    assert would["is_readable"] is False
    assert run("restore", table, "2", "--run", code=1).stderr.startswith("error[")
    did = json.loads(run("restore", table, "2", "--run", "--ignore-missing-files", "--json").stdout)
    assert did["outcome"] == "COMMITTED"


def test_vacuum_does_what_it_says(run, engine, table):
    engine.optimize(table)
    before = data_files(table)
    would, did = both(run, "vacuum", table)
    assert sorted(would["files"]) == sorted(did["files"])
    gone = {name: size for name, size in before.items() if name not in data_files(table)}
    assert sorted(gone) == sorted(would["files"])
    assert len(gone) == 12
    assert would["bytes"] == did["bytes"] == sum(gone.values())
    assert "0 files of 0 B would be removed" in run("vacuum", table).stdout


def test_vacuum_keeps_what_it_is_told(run, engine, table):
    engine.optimize(table)
    would = json.loads(run("vacuum", table, "--keep-version", "5", "--json").stdout)
    assert would["files"] == []
    orphan = table / "d=x" / "orphan.parquet"
    orphan.write_bytes(b"PAR1")
    os.utime(orphan, (0, 0))
    kept = ["--keep-version", "5", "--json"]
    assert json.loads(run("vacuum", table, *kept).stdout)["files"] == []
    assert json.loads(run("vacuum", table, *kept, "--full").stdout)["files"] == [
        "d=x/orphan.parquet"
    ]


def test_without_a_config_the_retention_is_a_week(table):
    result = CliRunner().invoke(cli, ["vacuum", str(table), "--retention", "1h"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error[configuration]: retention 1:00:00 is shorter")


def test_checkpoint_and_cleanup(run, engine, table):
    told = json.loads(run("checkpoint", table, "--json").stdout)
    assert told["version"] == 5
    assert (table / "_delta_log" / "00000000000000000005.checkpoint.parquet").exists()
    engine.write_delta(table, rows(9))
    before = {*os.listdir(table / "_delta_log")}
    would, did = both(run, "cleanup-metadata", table)
    assert would["files"] == did["files"]
    assert (would["dry_run"], did["dry_run"]) == (True, False)
    assert before - {*os.listdir(table / "_delta_log")} == {*did["files"]}
    assert len(did["files"]) >= 5


def test_changes_of_what_is_no_table(run, tmp_path):
    for args in (["vacuum"], ["optimize"], ["checkpoint"], ["cleanup-metadata"]):
        result = run(*args, tmp_path / "none", code=1)
        assert result.stderr.startswith("error[source]: ")
        assert len(result.stderr.splitlines()) == 1
