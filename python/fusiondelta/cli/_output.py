"""Rows as bytes, streamed: to standard output, or to a file that appears when it is whole."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import click
import pyarrow as pa

from fusiondelta.cli import _interrupt

#: Rows that ``table`` shows unless told otherwise.
DEFAULT_TABLE_ROWS = 100


class OutputError(click.ClickException):
    """The rows cannot be read or written in the format asked for."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as other errors are printed."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class Sink:
    """The file object that the writers of pyarrow get.

    It knows its position, which a pipe does not; it remembers the error of a failed write, which
    pyarrow rewords; and once `drop` is called it takes no more bytes, because some writers end
    their file properly even when they are only being cleared away.

    Args:
        raw: Where the bytes go.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._position = 0
        self._dropped = False
        self.failure: OSError | None = None
        self.closed = False

    def write(self, data: Any) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        size = view.nbytes
        if self._dropped:
            return size
        self._guarded(lambda: self._write_all(view))
        self._position += size
        return size

    def _write_all(self, view: memoryview) -> None:
        while view:
            view = view[self._raw.write(view) :]

    def flush(self) -> None:
        """Hand on what is buffered."""
        if not self._dropped:
            self._guarded(self._raw.flush)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._position

    def close(self) -> None:
        """Nothing: who opened the file closes it."""

    def readable(self) -> bool:
        """No."""
        return False

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """No."""
        return False

    def drop(self) -> None:
        """Take no more bytes."""
        self._dropped = True

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self.failure = error
            raise


@contextlib.contextmanager
def open_sink(path: Path | None) -> Iterator[Sink]:
    """A sink on a file, or on standard output where there is no path.

    A file is written under a temporary name beside its place and renamed at the end, so that what
    was there stays until the new content is whole.

    Raises:
        OSError: The place cannot be written to, also where pyarrow reworded the error.
    """
    if path is None:
        with _dropping(Sink(sys.stdout.buffer)) as sink:
            yield sink
    elif path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("wb") as file, _dropping(Sink(file)) as sink:
            yield sink
    else:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise NotADirectoryError(f"{path} cannot be written: {target.parent} is not a folder")
        temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file, _dropping(Sink(file)) as sink:
                yield sink
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _dropping(sink: Sink) -> Iterator[Sink]:
    try:
        yield sink
        sink.flush()
        _interrupt.check()
    except BaseException as error:
        sink.drop()
        if sink.failure is not None and error is not sink.failure:
            raise sink.failure from None
        raise


def write(reader: Any, format_: str, sink: Sink, limit: int | None = None) -> None:
    """Write the rows of a reader.

    Args:
        reader: A ``pyarrow.RecordBatchReader``.
        format_: ``table``, ``csv``, ``json``, ``parquet`` or ``arrow``.
        sink: Where they go.
        limit: Rows at most; without it ``table`` takes `DEFAULT_TABLE_ROWS` and others take all.

    Raises:
        OutputError: Arrow cannot read the rows, or cannot write them in this format.
    """
    try:
        if format_ == "table":
            _write_table(reader, sink, DEFAULT_TABLE_ROWS if limit is None else limit)
        else:
            _WRITERS[format_](reader.schema, _at_most(_uninterrupted(reader), limit), sink)
    except pa.ArrowException as error:
        raise OutputError(str(error)) from error


def _uninterrupted(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        _interrupt.check()
        yield batch


def _at_most(batches: Iterable[Any], limit: int | None) -> Iterator[Any]:
    if limit is None:
        yield from batches
        return
    left = limit
    if left == 0:
        return
    for batch in batches:
        yield batch.slice(0, left)
        left -= min(left, batch.num_rows)
        if left == 0:
            return


def _write_csv(schema: Any, batches: Iterable[Any], sink: Sink) -> None:
    import pyarrow.csv

    textual = [_needs_text(field.type) for field in schema]
    flat = pa.schema(
        [
            pa.field(field.name, pa.string()) if as_text else field
            for field, as_text in zip(schema, textual, strict=True)
        ]
    )
    writer = pyarrow.csv.CSVWriter(sink, flat)
    for batch in batches:
        columns = [
            pa.array(
                [None if value is None else text_of(value) for value in values(column)], pa.string()
            )
            if as_text
            else column
            for column, as_text in zip(batch.columns, textual, strict=True)
        ]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
    writer.close()


def _needs_text(type_: Any) -> bool:
    # What pyarrow's CSV writer has no text for.
    types = pa.types
    return (
        types.is_nested(type_)
        or types.is_string_view(type_)
        or types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_fixed_size_binary(type_)
        or types.is_binary_view(type_)
        or types.is_dictionary(type_)
        or types.is_interval(type_)
        or types.is_run_end_encoded(type_)
        or isinstance(type_, pa.BaseExtensionType)
    )


def _write_json(schema: Any, batches: Iterable[Any], sink: Sink) -> None:
    names = list(schema.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OutputError(
            f"a JSON object holds one value by each name, and the result has several columns named "
            f"{', '.join(map(repr, twice))}; rename them with AS"
        )
    for batch in batches:
        columns = [values(column) for column in batch.columns]
        lines = [
            json_line({name: column[row] for name, column in zip(names, columns, strict=True)})
            for row in range(batch.num_rows)
        ]
        sink.write("".join(lines).encode())


def _write_parquet(schema: Any, batches: Iterable[Any], sink: Sink) -> None:
    import pyarrow.parquet

    _write_with(pyarrow.parquet.ParquetWriter(sink, schema), batches)


def _write_arrow(schema: Any, batches: Iterable[Any], sink: Sink) -> None:
    _write_with(pa.ipc.new_stream(sink, schema), batches)


def _write_with(writer: Any, batches: Iterable[Any]) -> None:
    # No `with`: it would put a proper end to a file whose query failed.
    for batch in batches:
        writer.write_batch(batch)
    writer.close()


_WRITERS: dict[str, Callable[[Any, Iterable[Any], Sink], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}

#: Values of ``--format``.
FORMATS = ("table", *_WRITERS)


def _write_table(reader: Any, sink: Sink, limit: int) -> None:
    columns: list[list[Any]] = [[] for _ in reader.schema]
    seen = 0
    for batch in _uninterrupted(reader):
        shown = batch.slice(0, max(0, limit - seen))
        for cells, column in zip(columns, shown.columns, strict=True):
            cells.extend(values(column))
        seen += batch.num_rows
        if seen > limit:
            break
    rows = [list(row) for row in zip(*columns, strict=True)]
    right = [_is_number(field.type) for field in reader.schema]
    sink.write(render_table(reader.schema.names, rows, right).encode())
    if seen > limit:
        # Reading stopped here, so this is as much as is known.
        more = seen - limit
        sink.write(
            f"(at least {more} more row{'s' if more > 1 else ''} not shown; "
            "--limit-rows shows more)\n".encode()
        )


def _is_number(type_: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_))


def render_table(
    names: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[bool] | None = None
) -> str:
    """Aligned plain text with a header, one line a row.

    Args:
        names: Of the columns.
        rows: Values; None is shown as NULL.
        right: Which columns are aligned to the right; none unless told.
    """
    if not names:
        return f"({len(rows)} rows without columns)\n"
    right = right or [False] * len(names)
    cells = [[_cell(value) for value in row] for row in rows]
    header = [_cell(name) for name in names]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    lines = [header, ["-" * width for width in widths], *cells]
    return "".join(
        "  ".join(
            _pad(text, width, to_right)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _cell(value: Any) -> str:
    text = "NULL" if value is None else text_of(value)
    # Line ends would break the table, and other control characters can steer a terminal.
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) == "Cc" else char
        for char in text
    )


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def text_of(value: Any) -> str:
    """A value as plain text: strings bare, all else as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json_line(value).rstrip("\n")


def json_line(value: Any) -> str:
    """A value as JSON in one line, with its line end; NaN and the infinities become null."""
    return json.dumps(_finite(value), ensure_ascii=False, default=str) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


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
