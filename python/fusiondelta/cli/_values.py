"""Values of Arrow as JSON and text have them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def values(array: Any) -> list[Any]:
    """The values of an Arrow array as None, bool, int, float, str, list and dict.

    Times and decimals become strings with every digit they have (Python's own types hold neither
    nanoseconds nor the year 10000), durations counts of their unit, bytes hexadecimal digits. Maps
    become objects where their keys are strings, else lists of pairs.

    Args:
        array: A ``pyarrow.Array``.
    """
    type_, types = array.type, pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return values(array.storage)
    if types.is_dictionary(type_):
        return values(array.dictionary_decode())
    if types.is_run_end_encoded(type_):
        import pyarrow.compute

        return values(pyarrow.compute.run_end_decode(array))
    if types.is_duration(type_):
        return _plain(array.cast(pa.int64()))
    if types.is_decimal(type_):
        return [None if value is None else format(value, "f") for value in array.to_pylist()]
    if types.is_temporal(type_) and not types.is_interval(type_):
        return _plain(array.cast(pa.string()))
    if types.is_interval(type_):
        return [None if value is None else list(value) for value in array.to_pylist()]
    if types.is_struct(type_):
        names = [field.name for field in type_]
        columns = [values(column) for column in array.flatten()]
        return [
            {name: column[row] for name, column in zip(names, columns, strict=True)}
            if valid
            else None
            for row, valid in enumerate(array.is_valid().to_pylist())
        ]
    if types.is_map(type_):
        entries = [None if scalar.values is None else values(scalar.values) for scalar in array]
        keyed = types.is_string(type_.key_type) or types.is_large_string(type_.key_type)
        return [_map(entry, type_, keyed) for entry in entries]
    if types.is_nested(type_) and not types.is_union(type_):
        return [None if scalar.values is None else values(scalar.values) for scalar in array]
    return _plain(array)


def _map(entries: list[dict[str, Any]] | None, type_: Any, keyed: bool) -> Any:
    if entries is None:
        return None
    key, item = type_.key_field.name, type_.item_field.name
    pairs = [(entry[key], entry[item]) for entry in entries]
    return dict(pairs) if keyed else [list(pair) for pair in pairs]


def _plain(array: Any) -> list[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in array.to_pylist()]
