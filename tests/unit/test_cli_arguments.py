"""What is written on the command line, as values."""

from __future__ import annotations

import datetime as dt

import click
import pytest

import fusiondelta
from fusiondelta.cli import _arguments
from tests.unit.cli_fakes import FakeSource

pytestmark = pytest.mark.unit

UTC = dt.timezone.utc


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
    monkeypatch.setattr(fusiondelta, "DeltaSource", FakeSource)
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


def test_tags_are_text_by_name():
    assert _arguments.parse_tags(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("arguments", [["a"], ["=1"], ["a=1", "a=2"]])
def test_tags_of_another_form_are_refused(arguments):
    with pytest.raises(click.BadParameter):
        _arguments.parse_tags(arguments)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604_800),
        ("1d12h", 129_600),
        ("90m", 5400),
        ("45s", 45),
        ("2w", 1_209_600),
        ("3600", 3600),
        ("0.5", 0.5),
        ("0", 0),
    ],
)
def test_a_duration(text, seconds):
    assert _arguments.parse_duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "d", "7 days", "-1", "1y", "nan", "9" * 40, "9" * 40 + "d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(click.BadParameter, match="no duration"):
        _arguments.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "filter_"),
    [
        ("day=2024-05-01", ("day", "=", "2024-05-01")),
        ("day == 2024-05-01", ("day", "=", "2024-05-01")),
        ("n>=3", ("n", ">=", "3")),
        ("n <> 3", ("n", "!=", "3")),
        ("name = 'O''Neill, A=B'", ("name", "=", "O'Neill, A=B")),
        ("name = ", ("name", "=", "")),
        ("\"a b\" < 'x'", ("a b", "<", "x")),
        ("c in (DE, 'A,T' ,x)", ("c", "in", ["DE", "A,T", "x"])),
        ("c NOT  IN (1)", ("c", "not in", ["1"])),
        ("index in (1)", ("index", "in", ["1"])),
        ("inn = in", ("inn", "=", "in")),
    ],
)
def test_a_comparison_of_a_partition_column(text, filter_):
    assert _arguments.parse_filters([text]) == [filter_]


@pytest.mark.parametrize("text", ["", "day", "= 3", "day ~ 3", "c in 3", "c in ()", "day like 'x'"])
def test_a_comparison_of_another_form_is_refused(text):
    with pytest.raises(click.BadParameter):
        _arguments.parse_filters([text])
