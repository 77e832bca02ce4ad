"""The command line without an engine: queries, exit codes, what is called and closed."""

from __future__ import annotations

import io
import json
import sys

import pyarrow as pa
import pytest

import fusiondelta.progress
from fusiondelta.account import QueryProgress
from fusiondelta.account._account import Phase
from fusiondelta.cli import _interrupt, _queries, _session
from fusiondelta.errors import ConfigurationError, SqlError
from tests.unit.cli_fakes import HOSTILE, FakeEngine, FakeSource, account, batch, runner

pytestmark = pytest.mark.unit


@pytest.fixture
def run(monkeypatch):
    return runner(monkeypatch)


def test_query_hands_over_sources_and_parameters_and_closes_everything(run):
    engine = FakeEngine([batch(x=[1, 22], s=["a", None])])
    result = run(engine, "query", "-", "--source", "t=/t@3", "--param", "n=1", input="SELECT 1\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == " x  s\n--  ----\n 1  a\n22  NULL\n"
    assert engine.asked == ("SELECT 1\n", {"t": FakeSource("/t", 3)}, {"n": 1})
    assert (engine.closed_results, engine.closed) == (1, 1)


def test_a_table_stops_reading_after_the_limit(run):
    engine = FakeEngine([batch(x=[1, 2]), batch(x=[3, 4]), AssertionError("read too far")])
    result = run(engine, "query", "SELECT 1", "--limit-rows", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[2:4] == ["1", "2"]
    assert "at least 1 more row not shown" in result.stdout
    assert engine.pulled == 2
    assert engine.closed_results == 1


@pytest.mark.parametrize("format_", ["parquet", "arrow", "csv"])
def test_a_failed_query_leaves_no_proper_end(run, format_):
    engine = FakeEngine([batch(x=[1]), pa.ArrowInvalid("division by zero")])
    result = run(engine, "query", "SELECT 1", "--format", format_)
    assert (result.exit_code, result.stderr) == (1, "error: division by zero\n")
    assert engine.closed_results == 1
    if format_ == "parquet":
        assert not result.stdout_bytes.endswith(b"PAR1") or len(result.stdout_bytes) == 4
    if format_ == "arrow":
        assert not result.stdout_bytes.endswith(b"\xff\xff\xff\xff\0\0\0\0")


def test_errors_show_their_kind_and_no_traceback(run):
    result = run(FakeEngine([SqlError("no table named t")]), "query", "SELECT 1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error[sql]: no table named t\n"
    result = run(FakeEngine(), "history", "missing")
    assert (result.exit_code, result.stderr) == (1, "error[snapshot_not_found]: no table here\n")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(32, "Broken pipe"), 1)]
)
def test_interruption_and_a_broken_pipe_end_quietly(run, error, code):
    result = run(FakeEngine([batch(x=[1]), error]), "query", "SELECT 1", "--format", "csv")
    assert (result.exit_code, result.stderr) == (code, "")


@pytest.mark.parametrize(
    "args",
    [
        ["query"],
        ["query", "  "],
        ["query", "SELECT 1", "--source", "t"],
        ["query", "SELECT 1", "--param", "t"],
        ["query", "SELECT 1", "--format", "xml"],
        ["query", "SELECT 1", "--config", "/no/such/file.toml"],
        ["query", "SELECT 1", "--memory-limit", "much"],
        ["query", "SELECT 1", "--timeout", "0"],
        ["query", "SELECT 1", "--tag", "t"],
        ["query", "SELECT 1", "--digest"],
        ["detail", "/t", "--version", "newest"],
        ["restore", "/t", "newest"],
        ["vacuum", "/t", "--retention", "soon"],
        ["optimize", "/t", "--where", "day"],
        ["optimize", "/t", "--z-order", " , "],
        ["diff", "a.json"],
        ["history", "/t", "--limit", "0"],
        ["nonsense"],
    ],
)
def test_usage_errors_exit_with_2(run, args):
    assert run(FakeEngine(), *args).exit_code == 2


def test_binary_formats_are_kept_from_a_terminal(run, monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    class FakeSys:
        stdout = Terminal()

    monkeypatch.setattr(_queries, "sys", FakeSys)
    result = run(FakeEngine(), "query", "SELECT 1", "--format", "parquet")
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_what_the_query_may_use_and_how_it_is_called_is_handed_over(run):
    engine = FakeEngine([batch(x=[1])])
    limits = ["--timeout", "2.5", "--memory-limit", "1GiB", "--max-scan-bytes", "7"]
    result = run(engine, "query", "SELECT 1", *limits, "--tag", "who=me", "--tag", "why=")
    assert result.exit_code == 0, result.output
    assert engine.calls["query"] == {
        "timeout": 2.5,
        "memory_limit": 2**30,
        "max_scan_bytes": 7,
        "tags": {"who": "me", "why": ""},
    }
    assert engine.options == {}


def test_what_is_accounted_for_runs_to_its_end_and_is_kept(run):
    engine = FakeEngine([batch(x=[1, 2]), batch(x=[3]), batch(x=[4])])
    kept = ["--artifacts", "/a", "--manifest", "/m.json", "--digest"]
    result = run(engine, "query", "SELECT 1", "--limit-rows", "1", *kept)
    assert result.exit_code == 0, result.output
    assert "(3 more rows not shown" in result.stdout
    assert str(engine.options["artifacts"]) == "/a"
    assert engine.calls["query"] == {"digest": True}
    assert engine.manifests == [("/m.json", 3)]
    engine = FakeEngine([batch(x=[1, 2]), batch(x=[3])])
    run(engine, "query", "SELECT 1", "--format", "csv", "--limit-rows", "1", "--manifest", "/m")
    assert engine.manifests == [("/m", 2)]


def test_a_failed_query_leaves_its_manifest_and_its_own_error(run, monkeypatch):
    engine = FakeEngine([batch(x=[1]), pa.ArrowInvalid("division by zero")])
    result = run(engine, "query", "SELECT 1", "--manifest", "/m")
    assert (result.exit_code, result.stderr) == (1, "error: division by zero\n")
    assert engine.manifests == [("/m", 2)]

    def broken(*_):
        raise ConfigurationError("no room")

    monkeypatch.setattr(_session, "_keep_manifest", broken)
    result = run(engine, "query", "SELECT 1", "--manifest", "/m")
    assert result.stderr == "error: division by zero\n"


def test_errors_are_one_line_that_does_not_steer_the_terminal(run):
    result = run(FakeEngine([SqlError(HOSTILE)]), "query", "SELECT 1")
    assert result.stderr == "error[sql]: a\\x1b[31mb c\\u202ed\\x9b1m e\n"
    result = run(FakeEngine([batch(x=[1]), pa.ArrowInvalid(HOSTILE)]), "query", "SELECT 1")
    assert result.stderr == "error: a\\x1b[31mb c\\u202ed\\x9b1m e\n"


def test_what_is_not_installed_is_told_in_one_line(run):
    result = run(FakeEngine([batch(x=[1]), ImportError("no polars")]), "query", "SELECT 1")
    assert (result.exit_code, result.stderr) == (1, "error: no polars\n")


def test_explain_prints_the_plan(run):
    engine = FakeEngine([batch(x=[1])])
    result = run(engine, "explain", "SELECT 1")
    assert result.exit_code == 0
    assert result.stdout.startswith("Projection: a\\x1b[31mb")
    assert "measured" not in result.stdout
    assert (engine.pulled, engine.closed_results) == (0, 1)


def test_explain_runs_the_query_where_asked_and_shows_all_plans(run):
    engine = FakeEngine([batch(x=[1]), batch(x=[2])])
    result = run(engine, "explain", "SELECT 1", "--analyze", "--verbose")
    assert result.exit_code == 0, result.output
    assert engine.pulled == 2
    assert result.stdout.startswith("-- logical\nL\n\n-- optimized\nO\n\n-- physical\nProjection")
    assert result.stdout.endswith("measured\n")


def test_explain_as_json(run):
    engine = FakeEngine([batch(x=[1])])
    told = json.loads(run(engine, "explain", "SELECT 1", "--json").stdout)
    assert told == {"plan": {"physical_plan": "P"}, "operators": None}
    told = json.loads(run(engine, "explain", "SELECT 1", "--json", "--analyze").stdout)
    assert [one["operator"] for one in told["operators"]] == ["FilterExec", "DataSourceExec"]


def test_profile_tells_the_most_expensive_operators_first(run):
    engine = FakeEngine([batch(x=[1]), batch(x=[2])])
    result = run(engine, "profile", "SELECT 1")
    assert result.exit_code == 0, result.output
    assert engine.pulled == 2
    lines = result.stdout.split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "2 rows in 3.00 s: planning 1.00 s, execution 2.00 s"
    assert lines[1] == "2.00 KiB read in 3 requests; 1.00 KiB of memory at most"
    assert lines[3].split() == ["share", "time", "rows", "memory", "node", "operator"]
    assert lines[5].split()[:6] == ["75", "%", "3.00", "s", "7", "4.00"]
    assert "0.0   a\\x1b[31mb" in lines[5]
    assert lines[6].endswith("FilterExec")
    assert lines[7:9] == ["", "no problems found"]


def test_profile_names_problems_with_advice(run):
    engine = FakeEngine([batch(x=[1])])
    engine.account = account(phases=(Phase("wait", 0, 2.0),))
    lines = run(engine, "profile", "SELECT 1").stdout.split("\n")
    assert any(line.partition(": ")[2] == "waited_for_context" for line in lines)
    assert all(line.isprintable() for line in lines)
    told = json.loads(run(engine, "profile", "SELECT 1", "--json").stdout)
    assert [one["name"] for one in told["problems"]] == ["waited_for_context"]
    assert told["problems"][0]["advice"]
    assert [one["id"] for one in told["operators"]] == ["0.0", "0"]
    assert [one["share"] for one in told["operators"]] == [0.75, 0.25]
    assert (told["rows"], told["seconds"], told["io"]["bytes_read"]) == (2, 3.0, 2048)


def test_an_interrupt_that_native_code_lost_still_ends_the_query(run, monkeypatch):
    class Seen:
        def is_set(self):
            return True

    monkeypatch.setattr(_interrupt, "_seen", Seen())
    engine = FakeEngine([batch(x=[1]), batch(x=[2])])
    result = run(engine, "query", "SELECT 1", "--format", "csv")
    assert (result.exit_code, result.stderr) == (130, "")
    assert engine.closed_results == 1


class Stream(io.StringIO):
    """Standard error that is a terminal, or is none."""

    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "progress", "is_shown"),
    [
        (True, None, True),
        (True, False, False),
        (True, True, True),
        (False, None, False),
        (False, True, True),
    ],
)
def test_a_bar_is_shown_on_a_terminal_or_where_asked(monkeypatch, is_terminal, progress, is_shown):
    stream = Stream(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with _session.bar_shown(progress) as bar:
        assert (bar is not None) is is_shown
        if bar is not None:
            bar(QueryProgress(seconds=1.0, rows=7, bytes_read=0, requests=0))
            assert "7 rows" in stream.getvalue()
    # It is gone when the block ends.
    assert stream.getvalue().endswith("\r" if is_shown else "")
    assert "\n" not in stream.getvalue()
    with _session.bars_shown(progress):
        assert fusiondelta.progress.enabled() is is_shown
    assert not fusiondelta.progress.enabled()


def test_without_tqdm_a_bar_is_missing_only_where_it_was_asked_for(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.std", None)
    monkeypatch.setattr(sys, "stderr", Stream(True))
    with _session.bar_shown(None) as bar:
        assert bar is None
    monkeypatch.undo()


def test_a_query_gets_the_bar_it_was_asked_to_show(run):
    engine = FakeEngine([batch(x=[1])])
    assert run(engine, "query", "SELECT 1", "--progress").exit_code == 0
    assert isinstance(engine.calls["query"]["progress"], fusiondelta.progress.Bar)
    run(engine, "query", "SELECT 1", "--no-progress")
    assert engine.calls["query"] == {}
    run(engine, "query", "SELECT 1")
    assert engine.calls["query"] == {}
