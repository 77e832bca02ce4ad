"""What is written on the command line, as values."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterable
from typing import Any

import click

import fusiondelta

#: Endings of files that are given to the library as they are; it decides what they are.
_FILE_ENDINGS = (".parquet", ".csv", ".json", ".arrow")

_VERSION = re.compile(r"-?[0-9]{1,18}")
_INSTANT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,](?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_FILTER = re.compile(
    r"""(?P<column>"(?:[^"]|"")+"|[^\s"'=!<>()]+)\s*"""
    r"(?P<operator>==|=|!=|<>|<=|>=|<|>|\bnot\s+in\b|\bin\b)\s*"
    r"(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
)
_UNITS = {
    "w": dt.timedelta(weeks=1),
    "d": dt.timedelta(days=1),
    "h": dt.timedelta(hours=1),
    "m": dt.timedelta(minutes=1),
    "s": dt.timedelta(seconds=1),
}


@dataclasses.dataclass(frozen=True)
class SourceArgument:
    """A source as the command line names it.

    Attributes:
        uri: Where it is.
        as_of: Version or instant, None for the newest.
    """

    uri: str
    as_of: int | dt.datetime | None = None

    def to_source(self) -> Any:
        """What ``sources={name: …}`` takes: a `DeltaSource`, or a file's path as it is."""
        if self.as_of is None and self.uri.lower().endswith(_FILE_ENDINGS):
            return self.uri
        return fusiondelta.DeltaSource(self.uri, as_of=self.as_of)


def parse_as_of(text: str) -> int | dt.datetime | None:
    """A version or an ISO 8601 time; None where the text is neither.

    A time without a zone means UTC.

    Raises:
        click.BadParameter: It is a negative version.
    """
    if _VERSION.fullmatch(text):
        version = int(text)
        if version < 0:
            raise click.BadParameter(f"a version is an integer from 0, not {text}")
        return version
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    # Python 3.10 reads neither Z, nor +0200, nor fractions of other than three or six digits.
    iso = f"{match['date']}T{match['time'] or '00:00'}"
    if match["fraction"]:
        if iso.count(":") < 2:
            return None
        iso += f".{match['fraction'][:6].ljust(6, '0')}"
    zone = (match["zone"] or "Z").replace(":", "")
    iso += "+00:00" if zone in "Zz" else f"{zone[:3]}:{zone[3:] or '00'}"
    try:
        return dt.datetime.fromisoformat(iso)
    except ValueError:
        return None


def parse_location(text: str) -> SourceArgument:
    """``URI[@VERSION|@TIME]``; what follows an ``@`` and is neither belongs to the URI."""
    uri, at, suffix = text.rpartition("@")
    as_of = parse_as_of(suffix) if at else None
    if as_of is None:
        return SourceArgument(text)
    if not uri:
        raise click.BadParameter(f"{text!r} has a version and no URI")
    return SourceArgument(uri, as_of)


def parse_sources(arguments: Iterable[str]) -> dict[str, SourceArgument]:
    """The values of ``--source NAME=URI[@VERSION|@TIME]``, by name.

    Raises:
        click.BadParameter: One is of another form, or two have one name.
    """
    sources: dict[str, SourceArgument] = {}
    for argument in arguments:
        name, equals, location = argument.partition("=")
        if not (equals and name and location):
            raise click.BadParameter(f"{argument!r} is not NAME=URI[@VERSION|@TIME]")
        if name in sources:
            raise click.BadParameter(f"the source {name!r} is named twice")
        sources[name] = parse_location(location)
    return sources


def parse_params(arguments: Iterable[str]) -> dict[str, Any] | list[Any] | None:
    """The values of ``--param N=V``: by name, or a list where each N is a position from 1.

    Raises:
        click.BadParameter: One is of another form, one is named twice, positions leave a gap, or
            names and positions are mixed.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        position = re.fullmatch(r"[1-9][0-9]{0,5}", name)
        if not equals or not (position or name.isidentifier()):
            raise click.BadParameter(
                f"{argument!r} is not N=VALUE with a name or a position from 1 as N"
            )
        if name in values:
            raise click.BadParameter(f"the parameter {name} is given twice")
        values[name] = parse_value(text)
    positions = sorted(int(name) for name in values if name.isdigit())
    if not positions:
        return values or None
    if len(positions) != len(values):
        raise click.BadParameter("parameters are all named or all numbered, not mixed")
    if positions != list(range(1, len(positions) + 1)):
        missing = min(set(range(1, positions[-1])) - set(positions))
        raise click.BadParameter(f"position {missing} has no value, and {positions[-1]} has one")
    return [values[str(position)] for position in positions]


def parse_tags(arguments: Iterable[str]) -> dict[str, str]:
    """The values of ``--tag NAME=TEXT``, by name.

    Raises:
        click.BadParameter: One is of another form, or two have one name.
    """
    tags: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not (equals and name):
            raise click.BadParameter(f"{argument!r} is not NAME=TEXT")
        if name in tags:
            raise click.BadParameter(f"the tag {name!r} is given twice")
        tags[name] = text
    return tags


def parse_duration(text: str) -> dt.timedelta:
    """A duration: ``7d``, ``1d12h``, ``90m``, or seconds as a number.

    Raises:
        click.BadParameter: It is none, or too long.
    """
    try:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            return dt.timedelta(seconds=float(text))
        if re.fullmatch(r"([0-9]+[wdhms])+", text):
            parts = re.findall(r"([0-9]+)([wdhms])", text)
            return sum((int(n) * _UNITS[unit] for n, unit in parts), dt.timedelta())
    except OverflowError:
        pass
    raise click.BadParameter(f"{text!r} is no duration like 7d, 12h, 30m, 45s or seconds")


def parse_filters(arguments: Iterable[str]) -> list[tuple[str, str, Any]]:
    """The values of ``--where``: comparisons of partition columns, as `optimize` takes them.

    Raises:
        click.BadParameter: One is of another form.
    """
    return [_filter(argument) for argument in arguments]


def _filter(text: str) -> tuple[str, str, Any]:
    match = _FILTER.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(
            f'{text!r} is not COLUMN OPERATOR VALUE, as in "day >= 2024-05-01" or '
            '"country in (DE, AT)"'
        )
    column = _unquoted(match["column"], '"')
    operator = " ".join(match["operator"].lower().split())
    operator = {"==": "=", "<>": "!="}.get(operator, operator)
    value = match["value"].strip()
    if not operator.endswith("in"):
        return column, operator, _unquoted(value, "'")
    if not (value.startswith("(") and value.endswith(")")):
        raise click.BadParameter(f"{text!r}: the values of {operator} stand in parentheses")
    listed = csv.reader([value[1:-1]], quotechar="'", skipinitialspace=True)
    found = [one.strip() for line in listed for one in line]
    if not any(found):
        raise click.BadParameter(f"{text!r} has no values")
    return column, operator, found


def _unquoted(text: str, quote: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == quote:
        return text[1:-1].replace(quote * 2, quote)
    return text


def parse_value(text: str) -> Any:
    """A JSON scalar where the text is one, else the text."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, (dict, list)) else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
