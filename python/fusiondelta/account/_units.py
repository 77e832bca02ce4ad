"""Numbers as people read them: sizes, counts, times, parts."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

#: What stands where a number is not known.
UNKNOWN = "–"  # noqa: RUF001 the dash that stands for nothing in tables

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SIZES = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _three(value: float) -> str:
    """Three digits that count, trailing zeros kept: 1.23, 12.3, 123."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def size(value: float | None) -> str:
    """Bytes: ``12.3 MiB``, ``640 B``."""
    known = _known(value)
    if known is None:
        return UNKNOWN
    sign, known = ("-" if known < 0 else ""), abs(known)
    if known < 1024:
        return f"{sign}{known:.0f} B"
    # What would be written as 1,024 of a unit is 1 of the next.
    for unit in _SIZES:
        known /= 1024
        if known < 1023.5 or unit == _SIZES[-1]:
            return f"{sign}{_three(known)} {unit}"
    raise AssertionError


def count(value: float | None) -> str:
    """A whole number: ``1,234``."""
    known = _known(value)
    return UNKNOWN if known is None else f"{known:,.0f}"


def counted(value: float | None, one: str, many: str = "") -> str:
    """A number and what it counts: ``1 file``, ``1,234 files``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def seconds(value: float | None) -> str:
    """A time: ``840 ns``, ``4.20 ms``, ``1.23 s``, ``2 min 03 s``, ``1 h 02 min``."""
    known = _known(value)
    if known is None:
        return UNKNOWN
    sign, known = ("-" if known < 0 else ""), abs(known)
    if known == 0:
        return "0 s"
    if known < 0.9995e-6:
        return f"{sign}{known * 1e9:.0f} ns"
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if known * factor < 999.5:
            return f"{sign}{_three(known * factor)} {unit}"
    if known < 59.95:
        return f"{sign}{_three(known)} s"
    whole = round(known)
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60:02} s"
    return f"{sign}{whole // 3600:,} h {whole % 3600 // 60:02} min"


def tick(value: float) -> str:
    """A round moment on an axis, without the zeros that `seconds` keeps: ``1.5 s``, ``20 ms``."""
    number, _, unit = seconds(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def part(value: float | None) -> str:
    """A part of a whole, 0 to 1, in per cent: ``43 %``, ``<1 %``."""
    known = _known(value)
    if known is None:
        return UNKNOWN
    if 0 < known < 0.005:
        return "<1 %"
    if 0.995 <= known < 1:
        return ">99 %"
    return f"{known * 100:,.0f} %"


def times(value: float | None) -> str:
    """How many times as much: 3.2 and the sign of multiplication."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}×" if value >= 99.5 else f"{value:.2g}×"  # noqa: RUF001 the sign


def moment(nanos: float) -> str:
    """An instant: ``2030-01-02 03:04:05.678 UTC``."""
    known = _known(nanos)
    if not known or known < 0:
        return UNKNOWN
    try:
        at = _EPOCH + timedelta(microseconds=int(known) // 1000)
    except OverflowError:
        return UNKNOWN
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC"


def metric(name: str, value: float, unit: str, origin: float = 0) -> str:
    """A metric with its unit; timestamps as the time since an origin.

    Args:
        name: As in ``output_rows``.
        value: The number.
        unit: ns, bytes, rows, count or ratio.
        origin: Nanoseconds since 1970.
    """
    if name.endswith("_timestamp"):
        return f"+{seconds(max(value - origin, 0) / 1e9)}" if origin else moment(value)
    if unit == "ns":
        return seconds(value / 1e9)
    if unit == "bytes":
        return size(value)
    return part(value) if unit == "ratio" else count(value)
