"""The command line on local files: as a process on a real table, and what it reads and leaves."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys

import click
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import fusiondelta
from fusiondelta.cli import _arguments, _config, _output
from fusiondelta.cli._storage import profiles_for
from fusiondelta.errors import ConfigurationError

pytestmark = pytest.mark.integration


def start(*args, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", "fusiondelta.cli", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **kwargs,
    )


def run(*args, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "fusiondelta.cli", *map(str, args)],
        input=stdin,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    uri = str(tmp_path_factory.mktemp("me@home") / "t")
    with fusiondelta.FusionDeltaEngine() as engine:
        engine.write_delta(uri, pa.table({"id": pa.array([1, 2], pa.int64()), "s": ["a", "b"]}))
        engine.write_delta(uri, pa.table({"id": pa.array([3], pa.int64()), "s": ["c"]}))
    return uri


def ids(output):
    return sorted(json.loads(line)["id"] for line in output.splitlines())


def test_query_reads_the_version_asked_for(table):
    sql = "SELECT id FROM t"
    newest = run("query", sql, "--source", f"t={table}", "--format", "json")
    assert newest.returncode == 0, newest.stderr.decode()
    assert ids(newest.stdout) == [1, 2, 3]
    first = run("query", "-", "--source", f"t={table}@0", "--format", "json", stdin=sql.encode())
    assert ids(first.stdout) == [1, 2]


def test_parameters_are_bound(table):
    args = ["--source", f"t={table}", "--format", "json"]
    named = run("query", "SELECT id FROM t WHERE s = $s", *args, "--param", "s=b")
    assert ids(named.stdout) == [2], named.stderr.decode()
    numbered = run("query", "SELECT id FROM t WHERE id >= $1", *args, "--param", "1=2")
    assert ids(numbered.stdout) == [2, 3], numbered.stderr.decode()


def test_formats(table, tmp_path):
    sql = "SELECT id, s FROM t ORDER BY id"
    args = ["query", sql, "--source", f"t={table}"]
    assert run(*args).stdout.decode().splitlines() == ["id  s", "--  -", " 1  a", " 2  b", " 3  c"]
    assert run(*args, "--format", "csv").stdout.decode().splitlines()[1:] == [
        '1,"a"',
        '2,"b"',
        '3,"c"',
    ]
    stream = run(*args, "--format", "arrow").stdout
    assert pa.ipc.open_stream(stream).read_all()["id"].to_pylist() == [1, 2, 3]
    piped = run(*args, "--format", "parquet").stdout
    assert pyarrow.parquet.read_table(pa.BufferReader(piped))["id"].to_pylist() == [1, 2, 3]
    out = tmp_path / "out.parquet"
    assert run(*args, "--output", out).returncode == 0
    assert pyarrow.parquet.read_table(out)["id"].to_pylist() == [1, 2, 3]
    assert os.listdir(tmp_path) == ["out.parquet"]


def test_errors_are_one_line_and_leave_no_file(table, tmp_path):
    out = tmp_path / "out.csv"
    wrong = run("query", "SELECT nope FROM t", "--source", f"t={table}", "--output", out)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(b"error[")
    assert b"Traceback" not in wrong.stderr
    failing = "SELECT 1 / (id - id) AS x FROM t"
    late = run("query", failing, "--source", f"t={table}", "--output", out)
    assert late.returncode == 1
    assert late.stderr.startswith(b"error")
    assert b"Traceback" not in late.stderr
    assert os.listdir(tmp_path) == []


def test_a_config_names_sources_and_settings(table, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(f"[engine]\nbatch_size = 1024\n[sources]\nt = '{table}@0'\n")
    result = run("query", "SELECT id FROM t", "--config", config, "--format", "json")
    assert ids(result.stdout) == [1, 2], result.stderr.decode()
    config.write_text("[engine]\nbatchsize = 1024\n")
    result = run("query", "SELECT 1", "--config", config)
    assert result.returncode == 2
    assert b"did you mean 'batch_size'?" in result.stderr


def test_explain_history_detail_versions(table):
    plan = run("explain", "SELECT id FROM t", "--source", f"t={table}")
    assert plan.returncode == 0, plan.stderr.decode()
    assert plan.stdout.strip()
    commits = run("history", table, "--json")
    assert [json.loads(line)["version"] for line in commits.stdout.splitlines()] == [1, 0]
    assert len(run("history", table, "--limit", "1").stdout.splitlines()) == 3
    facts = run("detail", table, "--version", "0", "--json")
    assert facts.returncode == 0, facts.stderr.decode()
    assert isinstance(json.loads(facts.stdout), dict)
    assert b"deltalake" in run("versions").stdout


NUMBERS = "SELECT value FROM generate_series(1, 100000000)"


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_a_closed_pipe_ends_quietly():
    with start("query", NUMBERS, "--format", "csv") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_ctrl_c_exits_with_130_and_leaves_no_file(tmp_path):
    process = start("query", NUMBERS, "--output", tmp_path / "out.json")
    try:
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()
    assert os.listdir(tmp_path) == []


def test_without_click_the_command_says_what_to_install():
    code = "import sys; sys.modules['click'] = None; import fusiondelta.cli"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.decode() == (
        "error: the command line needs click; install it with: pip install 'fusiondelta[cli]'\n"
    )


def _fail_half_way(out):
    with _output.open_sink(out) as sink:
        sink.write(b"new")
        raise RuntimeError("half way")


def test_a_file_is_replaced_only_when_whole(tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(out)
    assert out.read_bytes() == b"old"
    with _output.open_sink(out) as sink:
        sink.write(b"new")
        assert out.read_bytes() == b"old"
    assert out.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")
def test_links_and_devices_stay_what_they_are(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with _output.open_sink(tmp_path / "link") as sink:
        sink.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"
    os.mkfifo(tmp_path / "fifo")
    held = os.open(tmp_path / "fifo", os.O_RDWR)
    with _output.open_sink(tmp_path / "fifo") as sink:
        sink.write(b"x")
    assert os.read(held, 1) == b"x"
    os.close(held)
    assert (tmp_path / "fifo").is_fifo()


class FakeProfile:
    def __init__(self, *, batch_size=None, memory_limit=None):
        if batch_size == 0:
            raise ConfigurationError("batch_size is from 1")
        self.batch_size = batch_size


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(fusiondelta, "EngineProfile", FakeProfile, raising=False)
    assert "batch_size" in inspect.signature(FakeProfile).parameters

    def load(text):
        path = tmp_path / "c.toml"
        path.write_text(text)
        return _config.load_config(path)

    return load


def test_a_config_file(config):
    loaded = config("[engine]\nbatch_size = 7\n[sources]\na = '/t@3'\nb = 'x.csv'\n")
    assert loaded.profile.batch_size == 7
    assert loaded.sources == {
        "a": _arguments.SourceArgument("/t", 3),
        "b": _arguments.SourceArgument("x.csv"),
    }
    assert config("") == _config.Config()


def test_storage_in_a_config_file(config, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    loaded = config(
        '[storage."s3://lake"]\nregion = "eu-west-1"\nwrite_safety = "conditional_put"\n'
    )
    profile = fusiondelta.StorageProfile.s3(region="eu-west-1", write_safety="conditional_put")
    assert loaded.storage == {"s3://lake": profile}
    # What the file is silent about is reached as the environment says.
    found = profiles_for(["s3://lake/t", "/local/t", "gs://metrics/t"], loaded.storage)
    assert {prefix: each.kind for prefix, each in found.items()} == {
        "s3://lake": "s3",
        "gs://metrics": "gcs",
    }
    assert profiles_for(["s3://other/t"], {})["s3://other"].options["region"] == "eu-north-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\nbatchsize = 1\n", "did you mean 'batch_size'"),
        ("[engin]\n", "did you mean 'engine'"),
        ("engine = 1\n", "is a table"),
        ("[engine]\nbatch_size = 0\n", "batch_size is from 1"),
        ("[sources]\na = 1\n", "is a URI"),
        ("[sources\n", "c.toml"),
        ('[storage]\nregion = "x"\n', "a table for each prefix"),
        ('[storage."s3://b"]\nregoin = "x"\n', "did you mean 'region'"),
    ],
)
def test_a_config_file_that_is_wrong(config, text, message):
    with pytest.raises(click.UsageError, match=message):
        config(text)
