"""Accounts of the command line: manifests, profiles, diff and replay, and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from click.testing import CliRunner

import fusiondelta
from fusiondelta import RunManifest
from fusiondelta.cli import cli

pytestmark = pytest.mark.integration

HOSTILE = "n\x1b[31m<script>\u202e"


def run(*args, code=0):
    result = CliRunner().invoke(cli, [*map(str, args)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def table(tmp_path):
    uri = tmp_path / "t"
    with fusiondelta.FusionDeltaEngine() as engine:
        for n in range(3):
            engine.write_delta(uri, pa.table({"id": pa.array([3 * n, 3 * n + 1], pa.int64())}))
    return uri


@pytest.fixture
def manifest(table, tmp_path):
    """Makes manifests of queries on a version."""

    def make(name, at="", sql="SELECT id FROM t ORDER BY id"):
        path = tmp_path / name
        run("query", sql, "--source", f"t={table}{at}", "--manifest", path, "--digest")
        return path

    return make


def test_a_manifest_tells_of_the_whole_query(table, tmp_path):
    path, folder = tmp_path / "m.json", tmp_path / "artifacts"
    kept = ["--manifest", path, "--artifacts", folder, "--digest"]
    asked = ["--tag", "who=me", "--param", "n=2", "--limit-rows", "1"]
    sql = "SELECT id FROM t WHERE id > $n"
    result = run("query", sql, "--source", f"t={table}", *asked, *kept)
    assert "(3 more rows not shown" in result.stdout
    found = RunManifest.from_file(path).to_dict()
    assert found["status"] == "finished"
    assert found["result"]["rows"] == found["result"]["digest"]["rows"] == 4
    assert found["tags"] == {"who": "me"}
    assert found["query"]["parameters"] == {"n": "2"}
    assert len(os.listdir(folder)) == 1
    for extra in ("explain", "profile"):
        run(extra, "SELECT 1", "--artifacts", folder, "--manifest", path)
        assert RunManifest.from_file(path).status == "finished"
    assert len(os.listdir(folder)) == 3


def test_a_failed_query_leaves_its_manifest(table, tmp_path):
    path = tmp_path / "m.json"
    sql = "SELECT 1 / (id - id) AS x FROM t"
    result = run("query", sql, "--source", f"t={table}", "--manifest", path, code=1)
    assert result.stderr.startswith("error")
    found = RunManifest.from_file(path)
    assert (found.status, found.error["kind"]) == ("failed", "execution")


def test_a_query_that_holds_too_much_is_not_run(table):
    limit = ["--max-scan-bytes", "1"]
    result = run("query", "SELECT id FROM t", "--source", f"t={table}", *limit, code=1)
    assert result.stderr.startswith("error[")
    assert "max_scan_bytes" in result.stderr


def test_diff_says_what_is_different_and_exits_alike(manifest, tmp_path):
    newest, older, again = manifest("a"), manifest("b", "@0"), manifest("c")
    told = run("diff", newest, older, code=1).stdout
    assert "version" in told
    found = json.loads(run("diff", newest, older, "--json", code=1).stdout)
    assert found["equal"] is False
    assert found["findings"]
    assert json.loads(run("diff", newest, newest, "--json").stdout)["equal"] is True
    assert run("diff", newest, again, "--json").exit_code == 0


def test_diff_exits_with_2_where_there_is_nothing_to_compare(manifest, tmp_path):
    one = manifest("a")
    broken, other = tmp_path / "broken", tmp_path / "other"
    broken.write_text("{", "utf-8")
    other.write_text('{"schema_version": 1}', "utf-8")
    for path in (tmp_path / "none", broken, other, tmp_path):
        result = run("diff", one, path, code=2)
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert "rror" in result.stderr
    for path in (tmp_path / "none", broken, other):
        assert len(run("diff", one, path, code=2).stderr.splitlines()) == 1


def test_replay_says_whether_the_answer_is_the_same(manifest, table):
    one = manifest("a")
    with fusiondelta.FusionDeltaEngine() as engine:
        engine.write_delta(table, pa.table({"id": pa.array([99], pa.int64())}))
    assert run("replay", one).stdout
    found = json.loads(run("replay", one, "--json").stdout)
    assert found["equal"] is True
    assert found["digest"]["equal"] is True
    document = json.loads(one.read_text("utf-8"))
    document["result"]["digest"]["value"] = document["result"]["digest"]["exact"] = "0" * 32
    one.write_text(json.dumps(document), "utf-8")
    assert json.loads(run("replay", one, "--json", code=1).stdout)["equal"] is False
    assert run("replay", one, code=1).stdout


def test_replay_exits_with_2_where_it_cannot_run_again(manifest, table, tmp_path):
    one = manifest("a")
    run("replay", tmp_path / "none", code=2)
    for path in table.iterdir():
        if path.is_file():
            path.unlink()
    result = run("replay", one, code=2)
    assert result.stderr.startswith("error[")
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 1)


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_is_no_answer_of_diff(manifest):
    one = manifest("a")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "fusiondelta.cli", "diff", str(one), str(one)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (2, b"")


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_profile_writes_a_page_or_a_summary(table, tmp_path):
    page = tmp_path / "p.html"
    args = [f'SELECT id AS "{HOSTILE}" FROM t', "--source", f"t={table}"]
    assert run("profile", *args, "--html", page).stdout == ""
    parsed = Page()
    parsed.feed(page.read_text("utf-8"))
    assert "html" in parsed.tags
    assert HOSTILE not in page.read_text("utf-8")
    told = run("profile", *args).stdout
    assert told.startswith("6 rows in ")
    assert "operator" in told
    found = json.loads(run("profile", *args, "--json", "--html", page).stdout)
    assert (found["rows"], found["status"]) == (6, "finished")
    assert sum(one["share"] for one in found["operators"]) == pytest.approx(1)
    assert found["io"]["bytes_read"] > 0
    result = run("profile", *args, "--html", tmp_path / "no" / "p.html", code=1)
    assert result.stderr.startswith("error")


def test_explain_shows_what_was_measured(table):
    args = ["explain", "SELECT id FROM t WHERE id > 1", "--source", f"t={table}"]
    assert "output_rows" not in run(*args).stdout
    assert "output_rows" in run(*args, "--analyze").stdout
    verbose = run(*args, "--verbose").stdout
    assert verbose.startswith("-- logical\n")
    assert "\n-- physical\n" in verbose
    found = json.loads(run(*args, "--json", "--analyze").stdout)
    assert found["plan"]["sql"] == args[1]
    assert found["operators"][0]["metrics"]["output_rows"] == 4
