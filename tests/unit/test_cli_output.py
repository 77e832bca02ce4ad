"""Rows in the formats of the command line, and text that would steer a terminal."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from fusiondelta.cli import _output, _queries
from fusiondelta.cli._json import json_line
from fusiondelta.cli._text import one_line, plain
from tests.unit.cli_fakes import HOSTILE, FakeEngine, batch, runner

pytestmark = pytest.mark.unit


@pytest.fixture
def run(monkeypatch):
    return runner(monkeypatch)


def reader_of(*batches):
    return pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))


def written(format_, *batches, limit=None):
    raw = io.BytesIO()
    _output.write(reader_of(*batches), format_, _output.Sink(raw), limit)
    return raw.getvalue()


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


def test_the_rows_that_are_not_shown_are_counted_where_they_are_read():
    reader = reader_of(batch(x=[1, 2]), batch(x=[3, 4, 5]))
    raw = io.BytesIO()
    _output.write(reader, "table", _output.Sink(raw), 1, whole=True)
    assert raw.getvalue().decode().splitlines()[-1].startswith("(4 more rows not shown")


def test_formats_offered_are_formats_written():
    assert _queries._FORMATS == _output.FORMATS


def test_a_sink_says_before_its_first_byte():
    said = []
    raw = io.BytesIO()
    sink = _output.Sink(raw, lambda: said.append(raw.getvalue()))
    sink.write(b"")
    assert said == []
    sink.write(b"a")
    sink.write(b"b")
    assert (said, raw.getvalue()) == ([b""], b"ab")


def test_text_does_not_steer_a_terminal():
    assert plain(HOSTILE) == r"a\x1b[31mb\r\nc\u202ed\x9b1m\u2028e"
    assert plain("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert plain("日本 é \ud800") == "日本 é \\ud800"
    assert one_line("a\n   b\x1b") == "a b\\x1b"


def test_json_does_not_steer_a_terminal_and_means_the_same():
    line = json_line({HOSTILE: [HOSTILE + "\ud800"]})
    assert json.loads(line) == {HOSTILE: [HOSTILE + "\ud800"]}
    assert line.rstrip("\n").isprintable()
    assert line.endswith("\n")
    assert "é" in json_line("é")
    line.encode()


def test_a_table_with_hostile_names(run):
    result = run(FakeEngine([pa.record_batch({HOSTILE: [HOSTILE]})]), "query", "SELECT 1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
