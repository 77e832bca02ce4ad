"""Parameters: Python values as typed scalars, bound after parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from fusiondelta.errors import ParameterError


def bind(needed: Sequence[str], values: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    """Arrow scalars for the placeholders of a query.

    Args:
        needed: Names of the placeholders (``$name`` or ``$1``, without the dollar sign).
        values: By name, or by position from 1. int, float, Decimal, str, bytes, bool, date, time,
            datetime with or without zone, timedelta, None, lists of these, `pyarrow.Scalar`.

    Returns:
        ``pyarrow.Scalar`` by placeholder name, without the dollar sign.

    Raises:
        ParameterError: One is missing, one is not used, or a value has no SQL type.
    """
    if values is None:
        given: dict[str, Any] = {}
    elif isinstance(values, Mapping):
        given = {str(name).removeprefix("$"): value for name, value in values.items()}
    elif not isinstance(values, str | bytes | bytearray) and _is_sequence(values):
        given = {str(i): value for i, value in enumerate(values, start=1)}
    else:
        raise ParameterError(
            f"param_values is a mapping by name or a list by position, not {type(values).__name__}"
        )
    for name in needed:
        if name not in given:
            close = get_close_matches(name, list(given), n=1)
            hint = f"; did you mean it by {close[0]!r}?" if close else ""
            raise ParameterError(
                f"the parameter ${name} has no value among param_values{hint}",
                details={"parameter": name},
            )
    for name in given:
        if name not in needed:
            known = ", ".join(f"${n}" for n in needed) or "none"
            raise ParameterError(
                f"param_values has {name!r}, which is not used; the parameters: {known}",
                details={"parameter": name},
            )
    return {name: _scalar(name, value) for name, value in given.items()}


def bind_texts(
    texts: Sequence[str], values: Mapping[str, Any] | Sequence[Any] | None, *, dialect: str
) -> dict[str, Any]:
    """Arrow scalars for the placeholders of several texts together; as `bind`.

    Args:
        texts: SQL.
        values: As of `bind`.
        dialect: DataFusion setting ``datafusion.sql_parser.dialect``.
    """
    from fusiondelta._native import placeholders

    needed = dict.fromkeys(name for sql in texts for name in placeholders(sql, dialect))
    return bind(list(needed), values)


def as_arrays(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Bound parameters as the extension takes them: ``pyarrow.Array`` of one value by name."""
    import pyarrow as pa

    return [(name, pa.repeat(scalar, 1)) for name, scalar in parameters.items()]


def _large(name: str, value: int) -> Any:
    """A number that no 64 bits hold with their sign: unsigned, or a decimal."""
    import decimal

    import pyarrow as pa

    try:
        if 0 <= value < 2**64:
            return pa.scalar(value, pa.uint64())
        return pa.scalar(decimal.Decimal(value), pa.decimal128(38, 0))
    except pa.ArrowException as error:
        raise ParameterError(
            f"the value of ${name} has more than the 38 digits of a number in SQL",
            details={"parameter": name},
        ) from error


def _is_sequence(values: object) -> bool:
    return isinstance(values, Sequence)


def _scalar(name: str, value: Any) -> Any:
    import datetime as dt

    import pyarrow as pa

    if isinstance(value, pa.Scalar):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 63:
        return _large(name, value)
    if isinstance(value, dt.time) and value.tzinfo is None:
        return pa.scalar(value, pa.time64("ns"))  # the type of TIME literals, which is not coerced
    try:
        return pa.scalar(value)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ParameterError(
            f"the value of ${name}, a {type(value).__name__}, has no SQL type: {error}",
            details={"parameter": name},
        ) from error
