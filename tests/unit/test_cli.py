"""The command line without an engine: arguments, formats, exit codes, what is called and closed."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal

import click
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import fusiondelta
from fusiondelta.cli import _arguments, _commands, _output, cli
from fusiondelta.errors import SnapshotNotFoundError, SqlError

pytestmark = pytest.mark.unit

UTC = dt.timezone.utc


class FakeSource:
    def __init__(self, uri, as_of=None):
        self.uri, self.as_of = uri, as_of

    def __eq__(self, other):
        return (self.uri, self.as_of) == (other.uri, other.as_of)

    __hash__ = None


class FakeTable:
    def __init__(self, as_of=None):
        self.as_of = as_of

    def history(self, limit=None):
        commits = [
            {"version": 1, "timestamp": 0, "operation": "WRITE", "operationParameters": {"a": 1}},
            {"version": 0, "timestamp": 0, "operation": "CREATE", "userName": "ada"},
        ]
        return commits[:limit]

    def detail(self):
        return {"as_of": self.as_of, "schema": {"id": "long"}}


class FakeEngine:
    """One query, answered with `batches`; an exception among them is raised in its turn."""

    def __init__(self, batches=()):
        self.batches = list(batches)
        self.schema = getattr(self.batches[0], "schema", None) if self.batches else None
        self.profile = self.storage = self.asked = None
        self.pulled = self.closed_results = self.closed = 0

    def __call__(self, profile=None, storage=None):
        self.profile, self.storage = profile, storage
        return self

    def query(self, sql, *, sources=None, param_values=None):
        self.asked = (sql, sources, param_values)
        if isinstance(self.batches[0], SqlError):
            raise self.batches[0]
        return FakeResult(self)

    def open_delta(self, uri, as_of=None):
        if uri == "missing":
            raise SnapshotNotFoundError("no table here")
        return FakeTable(as_of)

    def close(self):
        self.closed += 1


class FakeResult:
    def __init__(self, engine):
        self.engine = engine

    def reader(self):
        return pa.RecordBatchReader.from_batches(self.engine.schema, self._pull())

    def _pull(self):
        for batch in self.engine.batches:
            self.engine.pulled += 1
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def explain(self):
        return "Projection: x"

    def close(self):
        self.engine.closed_results += 1


def batch(**columns):
    return pa.RecordBatch.from_pydict(columns)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(fusiondelta, "DeltaSource", FakeSource, raising=False)

    def invoke(engine, *args, **kwargs):
        monkeypatch.setattr(fusiondelta, "FusionDeltaEngine", engine, raising=False)
        return CliRunner().invoke(cli, args, **kwargs)

    return invoke


def reader_of(*batches):
    return pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))


def written(format_, *batches, limit=None):
    raw = io.BytesIO()
    _output.write(reader_of(*batches), format_, _output.Sink(raw), limit)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("text", "uri", "as_of"),
    [
        ("t=/data/t", "/data/t", None),
        ("t=/data/t@3", "/data/t", 3),
        ("t=/data/t@0", "/data/t", 0),
        ("t=/data/me@home/t", "/data/me@home/t", None),
        ("t=/data/t@v2", "/data/t@v2", None),
        ("t=/data/t@5@7", "/data/t@5", 7),
        ("t=/data/t@", "/data/t@", None),
        ("t=/data/a=b/t@3", "/data/a=b/t", 3),
        ("t=abfss://box@account.dfs.core.windows.net/t", None, None),
        ("t=/t@2024-05-01", "/t", dt.datetime(2024, 5, 1, tzinfo=UTC)),
        ("t=/t@2024-05-01T12:30Z", "/t", dt.datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
        ("t=/t@2024-05-01T12:00:00+0200", "/t", dt.datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("t=/t@2024-05-01 12:00:00.5", "/t", dt.datetime(2024, 5, 1, 12, 0, 0, 500000, UTC)),
        ("t=/t@2024-13-01", "/t@2024-13-01", None),
    ],
)
def test_a_version_or_a_time_after_the_last_at_is_one(text, uri, as_of):
    (source,) = _arguments.parse_sources([text]).values()
    assert source == _arguments.SourceArgument(uri or text[2:], as_of)


@pytest.mark.parametrize(
    "arguments", [["t"], ["=/t"], ["t="], ["t=/a", "t=/b"], ["t=@3"], ["t=/a@-1"]]
)
def test_a_source_of_another_form_is_refused(arguments):
    with pytest.raises(click.BadParameter):
        _arguments.parse_sources(arguments)


def test_files_go_bare_and_tables_pinned(monkeypatch):
    monkeypatch.setattr(fusiondelta, "DeltaSource", FakeSource, raising=False)
    sources = _arguments.parse_sources(["a=x.CSV", "b=/t", "c=/t.parquet@2", "d=x.arrow"])
    assert {name: source.to_source() for name, source in sources.items()} == {
        "a": "x.CSV",
        "b": FakeSource("/t"),
        "c": FakeSource("/t.parquet", 2),
        "d": "x.arrow",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.5", 3.5),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("007", "007"),
        ("", ""),
        ("abc", "abc"),
        ("NaN", "NaN"),
        ("[1]", "[1]"),
        ('{"a": 1}', '{"a": 1}'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_parameter_is_a_json_scalar_or_text(text, value):
    parsed = _arguments.parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_parameters_by_name_and_by_position():
    assert _arguments.parse_params([]) is None
    assert _arguments.parse_params(["a=1", "b=x=y"]) == {"a": 1, "b": "x=y"}
    assert _arguments.parse_params(["2=b", "1=a"]) == ["a", "b"]


@pytest.mark.parametrize(
    "arguments", [["a"], ["=1"], ["0=1"], ["a-b=1"], ["a=1", "a=2"], ["a=1", "1=2"], ["2=x"]]
)
def test_parameters_of_another_form_are_refused(arguments):
    with pytest.raises(click.BadParameter):
        _arguments.parse_params(arguments)


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


def test_a_table_of_exactly_the_limit_says_nothing_of_more():
    assert b"more" not in written("table", batch(x=[1, 2]), limit=2)
    assert b"more" in written("table", batch(x=[1, 2]), limit=1)


def test_a_table_is_aligned_and_does_not_steer_the_terminal():
    shown = written("table", batch(name=["日本", "é", "a\nb\x1b[31m"], n=[1, 10, None])).decode()
    assert shown.splitlines() == [
        "name" + " " * 10 + "   n",
        "-" * 12 + "  ----",
        "日本" + " " * 8 + "     1",
        "é" + " " * 11 + "    10",
        "a\\nb\\x1b[31m  NULL",
    ]


def test_json_is_one_object_a_line_with_every_digit():
    out = written(
        "json",
        pa.RecordBatch.from_arrays(
            [
                pa.array([1, None], pa.timestamp("ns", "UTC")),
                pa.array([Decimal("1.50"), None]),
                pa.array([float("nan"), 0.5]),
                pa.array([{"d": b"\x01\xff", "l": [1, None]}, None]),
                pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
                pa.array([3_000_000, None], pa.int32()).cast(pa.date32()),
            ],
            names=["t", "d", "f", "s", "m", "day"],
        ),
    )
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "t": "1970-01-01 00:00:00.000000001Z",
            "d": "1.50",
            "f": None,
            "s": {"d": "01ff", "l": [1, None]},
            "m": {"k": 1},
            "day": "10183-09-21",
        },
        {"t": None, "d": None, "f": 0.5, "s": None, "m": None, "day": None},
    ]


def test_json_does_not_lose_a_column_that_shares_its_name(run):
    same = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    result = run(FakeEngine([same]), "query", "SELECT 1", "--format", "json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: a JSON object")


def test_csv_has_text_for_what_arrow_has_none():
    out = written(
        "csv",
        pa.RecordBatch.from_arrays(
            [
                pa.array(["a,b", None], pa.string_view()),
                pa.array([[1, 2], None]),
                pa.array([b"\xff", None]),
                pa.array(["x", "y"]).dictionary_encode(),
                pa.array(["", None]),
            ],
            names=["s", "l", "b", "d", "e"],
        ),
    )
    assert out.decode().splitlines() == [
        '"s","l","b","d","e"',
        '"a,b","[1, 2]","ff","x",""',
        ',,,"y",',
    ]


def test_parquet_and_arrow_are_read_back_and_limited():
    batches = [batch(x=[1, 2]), batch(x=[3])]
    whole = written("parquet", *batches)
    assert pyarrow.parquet.read_table(io.BytesIO(whole)).to_pydict() == {"x": [1, 2, 3]}
    part = written("arrow", *batches, limit=2)
    assert pa.ipc.open_stream(part).read_all().to_pydict() == {"x": [1, 2]}
    none = written("parquet", *batches, limit=0)
    assert pyarrow.parquet.read_table(io.BytesIO(none)).num_rows == 0


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
        ["detail", "/t", "--version", "newest"],
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

    monkeypatch.setattr(_commands, "sys", FakeSys)
    result = run(FakeEngine(), "query", "SELECT 1", "--format", "parquet")
    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_explain_prints_the_plan(run):
    engine = FakeEngine([batch(x=[1])])
    result = run(engine, "explain", "SELECT 1")
    assert (result.exit_code, result.stdout) == (0, "Projection: x\n")
    assert (engine.pulled, engine.closed_results) == (0, 1)


def test_history_and_detail(run):
    table = run(FakeEngine(), "history", "/t").stdout
    assert '1970-01-01T00:00:00+00:00  WRITE      {"a": 1}' in table
    lines = run(FakeEngine(), "history", "/t", "--limit", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["version"] for line in lines] == [1]
    facts = run(FakeEngine(), "detail", "/t", "--version", "4", "--json").stdout
    assert json.loads(facts) == {"as_of": 4, "schema": {"id": "long"}}
    assert '{"id": "long"}' in run(FakeEngine(), "detail", "/t").stdout


def test_versions_names_what_the_package_stands_on(run):
    result = run(FakeEngine(), "versions")
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()} >= {
        "python",
        "fusiondelta",
        "datafusion",
        "deltalake",
        "pyarrow",
    }


def test_formats_offered_are_formats_written():
    assert _commands._FORMATS == _output.FORMATS


def test_an_interrupt_that_native_code_lost_still_ends_the_query(run, monkeypatch):
    class Seen:
        def is_set(self):
            return True

    monkeypatch.setattr(_commands._interrupt, "_seen", Seen())
    engine = FakeEngine([batch(x=[1]), batch(x=[2])])
    result = run(engine, "query", "SELECT 1", "--format", "csv")
    assert (result.exit_code, result.stderr) == (130, "")
    assert engine.closed_results == 1
