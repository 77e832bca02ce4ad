"""`assert_same_rows`: the same rows, in whatever order they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows shown of each side.
_SHOWN = 10


def assert_same_rows(actual: Any, expected: Any) -> None:
    """Hold rows to be the same, as often, in any order.

    Names and types of columns are compared first. How a text, binary or list is laid out (large,
    view, dictionary) makes no difference. Floats are compared exactly, but for NaN, which equals
    itself, and the sign of zero: round sums of floats in the query.

    Args:
        actual: A `QueryResult` (its rows are read), any Arrow producer or a list of dictionaries.
        expected: Likewise. A list of dictionaries takes the types of the other side.

    Raises:
        AssertionError: Columns or rows differ; names the columns with both types, or shows rows
            that are on one side only.
        ConfigurationError: Something has no rows, two columns have one name, or both sides are
            lists of dictionaries.
    """
    __tracebackhide__ = True
    one, other = _tables(actual, expected)
    wrong = _columns(one, other)
    if wrong:
        lines = ["the columns are others:", *(f"  {line}" for line in wrong)]
        raise AssertionError("\n".join(lines))
    mine, theirs = Counter(_rows(one)), Counter(_rows(other))
    if mine == theirs:
        return
    here, there = mine - theirs, theirs - mine
    lines = [
        f"the rows are others ({one.num_rows:,} against {other.num_rows:,} expected): "
        f"{here.total():,} are too many, {there.total():,} are missing",
        *_shown("too many", one, here),
        *_shown("missing", other, there),
    ]
    raise AssertionError("\n".join(lines))


def _tables(actual: Any, expected: Any) -> tuple[pa.Table, pa.Table]:
    if isinstance(actual, list) and isinstance(expected, list):
        raise ConfigurationError(
            "two lists of dictionaries have no types to compare; compare them with =="
        )
    if isinstance(actual, list):
        other = _table(expected)
        return _typed(actual, other.schema), other
    one = _table(actual)
    return one, _typed(expected, one.schema) if isinstance(expected, list) else _table(expected)


def _table(rows: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "to_table"):  # errors of a query keep their types this way
        return _table(rows.to_table())
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(rows).read_all()
    if hasattr(rows, "__arrow_c_array__"):
        return pa.table(rows)
    raise ConfigurationError(
        f"a {type(rows).__name__} has no rows; give a QueryResult, an Arrow table or stream, or a "
        "list of dictionaries"
    )


def _typed(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Rows with the types of the other side; a column too many or missing fails later by name."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row)) if rows else schema.names
    if sorted(names) == sorted(schema.names):
        names = schema.names  # dictionaries have no order to hold
    columns = []
    for name in names:
        kind = schema.field(name).type if schema.get_field_index(name) >= 0 else None
        values = [row.get(name) for row in rows]
        try:
            columns.append(pa.array(values, kind))
        except (pa.ArrowException, TypeError) as error:
            raise AssertionError(f"column {name!r} is {kind} on the other side: {error}") from None
    return pa.table(columns, names=names)


def _columns(one: pa.Table, other: pa.Table) -> list[str]:
    """What is wrong with the columns of one table, a line each."""
    names, expected = one.schema.names, other.schema.names
    if sorted(names) == sorted(expected) != sorted(set(names)):
        raise ConfigurationError(f"columns of the same name cannot be told apart: {names}")
    if sorted(names) == sorted(expected) and names != expected:
        return [f"in the order {', '.join(names)}", f"expected in the order {', '.join(expected)}"]
    mine = dict(zip(names, one.schema.types, strict=True))
    theirs = dict(zip(expected, other.schema.types, strict=True))
    return [
        f"{name}: {mine.get(name, 'none')}, expected {theirs.get(name, 'none')}"
        for name in dict.fromkeys([*names, *expected])
        if name not in mine or name not in theirs or _plain(mine[name]) != _plain(theirs[name])
    ]


def _plain(kind: pa.DataType) -> Any:
    """A type without the ways it can be laid out in."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "binary"
    if types.is_map(kind):
        return ("map", _plain(kind.key_type), _plain(kind.item_type))
    if _is_list(kind):
        return ("list", _plain(kind.value_type))
    if types.is_struct(kind):
        return ("struct", *((field.name, _plain(field.type)) for field in kind))
    return kind


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    asked = (
        types.is_list,
        types.is_large_list,
        types.is_fixed_size_list,
        types.is_list_view,
        types.is_large_list_view,
    )
    return any(ask(kind) for ask in asked)


def _rows(table: pa.Table) -> Iterable[tuple[Hashable, ...]]:
    """Rows as values that can be counted."""
    columns = [_values(column) for column in table.columns]
    return zip(*columns, strict=True) if columns else [()] * table.num_rows


def _values(array: Any) -> list[Hashable]:
    read = _reader(array.type)
    return [read(scalar) if scalar.is_valid else None for scalar in array]


def _reader(kind: pa.DataType) -> Callable[[Any], Hashable]:
    """What makes a value of a scalar that is not null."""
    from pyarrow import types

    if types.is_dictionary(kind):
        inner = _reader(kind.value_type)
        return lambda scalar: inner(scalar.value)
    if hasattr(kind, "storage_type"):
        inner = _reader(kind.storage_type)
        return lambda scalar: inner(scalar.value)
    if types.is_map(kind):
        # Entries have no order.
        return lambda scalar: frozenset(Counter(_values(scalar.values)).items())
    if types.is_struct(kind):
        readers = [_reader(field.type) for field in kind]
        return lambda scalar: tuple(
            read(part) if part.is_valid else None
            for read, part in zip(readers, scalar.values(), strict=True)
        )
    if _is_list(kind):
        return lambda scalar: tuple(_values(scalar.values))
    if types.is_temporal(kind) and not types.is_interval(kind):
        # The number it is: Python has no nanoseconds.
        return lambda scalar: int(scalar.value)
    if types.is_floating(kind):
        return _number
    return _plainly


def _plainly(scalar: Any) -> Hashable:
    value: Hashable = scalar.as_py()
    return value


def _number(scalar: Any) -> Hashable:
    value = float(scalar.as_py())
    return value if value == value else "NaN"


def _shown(what: str, table: pa.Table, rows: Counter[tuple[Hashable, ...]]) -> list[str]:
    """The first of the rows, as Arrow writes them."""
    if not rows:
        return []
    left = rows.copy()
    lines = [f"{what}:"]
    for number, row in enumerate(_rows(table)):
        if left[row] > 0:
            left[row] -= 1
            cells = (
                f"{name}={column[number]}"
                for name, column in zip(table.schema.names, table.columns, strict=True)
            )
            lines.append(f"  {', '.join(cells)}")
            if len(lines) > _SHOWN:
                break
    more = rows.total() - (len(lines) - 1)
    return [*lines, *([f"  and {more:,} more"] if more else [])]
