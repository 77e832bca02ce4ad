"""Sizes in bytes and durations, in the spellings people use."""

from __future__ import annotations

import contextlib
import re
from datetime import timedelta
from decimal import Decimal

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._value import Check, Converted

Bytes = Converted[int, int | str]
OptionalBytes = Converted[int | None, int | str | None]
Duration = Converted[timedelta, timedelta | float]
OptionalDuration = Converted[timedelta | None, timedelta | float | None]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_TTL = re.compile(r"(?=\d)(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{rest}": base**power
    for power, letter in enumerate("kmgtp", 1)
    # A bare letter counts in 1024s, as DataFusion's own settings do.
    for rest, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
#: The native side holds sizes in 64 bits, and Python's own limits are signed.
_LARGEST = 2**63 - 1


def parse_bytes(name: str, value: object) -> int:
    """Bytes from an int or a text.

    Args:
        name: What the size is of, for the error.
        value: Bytes, or a number with a unit: ``"8GiB"`` and ``"8G"`` count in 1024s,
            ``"512 MB"`` in 1000s.

    Raises:
        ConfigurationError: Neither of these, negative, or beyond 64 bits.
    """
    size = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = _UNITS.get(match[2].lower())
        if unit is not None:
            size = int(Decimal(match[1]) * unit)
    if not 0 <= size <= _LARGEST:
        raise ConfigurationError(
            f"{name} must be a size: bytes as an int from 0, or a text like '8GiB' or '512 MB', "
            f"not {value!r}"
        )
    return size


def parse_duration(name: str, value: object) -> timedelta:
    """A duration from a timedelta or seconds.

    Args:
        name: What the duration is of, for the error.
        value: A timedelta, or seconds as a number.

    Raises:
        ConfigurationError: Neither of these, negative, not finite, or too long for a timedelta.
    """
    duration = timedelta(seconds=-1)
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError, ValueError):
            duration = timedelta(seconds=value)
    if duration < timedelta(0):
        raise ConfigurationError(
            f"{name} must be a duration: a timedelta or seconds as a number from 0, not {value!r}"
        )
    return duration


def longer_than_zero(hint: str = "give a longer one") -> Check:
    """A duration that is not zero; `hint` says what to do instead."""

    def check(name: str, value: object) -> timedelta:
        duration = parse_duration(name, value)
        if not duration:
            raise ConfigurationError(f"{name} must be longer than zero; {hint}")
        return duration

    return check


def parse_ttl(name: str, value: str) -> timedelta:
    """A duration in DataFusion's spelling: ``"30s"``, ``"2m"``, ``"1m30s"``.

    Raises:
        ConfigurationError: Not that, zero, or too long.
    """
    match = _TTL.fullmatch(value)
    seconds = 60 * int(match[1] or 0) + int(match[2] or 0) if match else 0
    if not seconds:
        raise ConfigurationError(
            f"{name} must be minutes and seconds above zero, like '30s' or '1m30s', not {value!r}"
        )
    return parse_duration(name, seconds)
