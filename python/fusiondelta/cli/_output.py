"""Rows as bytes, streamed: to standard output, or to a file that appears when it is whole."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import click
import pyarrow as pa

from fusiondelta.cli import _interrupt
from fusiondelta.cli._json import json_line, text_of
from fusiondelta.cli._table import render_table
from fusiondelta.cli._text import one_line
from fusiondelta.cli._values import values

#: Rows that ``table`` shows unless told otherwise.
DEFAULT_TABLE_ROWS = 100


class OutputError(click.ClickException):
    """The rows cannot be read or written in the format asked for."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as other errors are printed."""
        click.echo(f"error: {one_line(self.message)}", file=file, err=file is None)


class Sink:
    """The file object that the writers of pyarrow get.

    It knows its position, which a pipe does not; it remembers the error of a failed write, which
    pyarrow rewords; and once `drop` is called it takes no more bytes, because some writers end
    their file properly even when they are only being cleared away.

    Args:
        raw: Where the bytes go.
        before: Called before the first of them.
    """

    def __init__(self, raw: BinaryIO, before: Callable[[], None] | None = None) -> None:
        self._raw = raw
        self._before = before
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
        if self._before is not None and size:
            before, self._before = self._before, None
            before()
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
def open_sink(path: Path | None, before: Callable[[], None] | None = None) -> Iterator[Sink]:
    """A sink on a file, or on standard output where there is no path.

    A file is written under a temporary name beside its place and renamed at the end, so that what
    was there stays until the new content is whole.

    Args:
        path: The file.
        before: Called before anything is written to a terminal.

    Raises:
        OSError: The place cannot be written to, also where pyarrow reworded the error.
    """
    if path is None:
        with _dropping(Sink(sys.stdout.buffer, before if _is_seen() else None)) as sink:
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


def _is_seen() -> bool:
    """Whether standard output is a terminal."""
    try:
        return sys.stdout.isatty()
    except ValueError:  # it is closed
        return False


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


def write(
    reader: Any, format_: str, sink: Sink, limit: int | None = None, *, whole: bool = False
) -> None:
    """Write the rows of a reader.

    Args:
        reader: A ``pyarrow.RecordBatchReader``.
        format_: ``table``, ``csv``, ``json``, ``parquet`` or ``arrow``.
        sink: Where they go.
        limit: Rows at most; without it ``table`` takes `DEFAULT_TABLE_ROWS` and others take all.
        whole: Whether the rows beyond the limit are read too, for the account of the query.

    Raises:
        OutputError: Arrow cannot read the rows, or cannot write them in this format.
    """
    try:
        if format_ == "table":
            _write_table(reader, sink, DEFAULT_TABLE_ROWS if limit is None else limit, whole)
        else:
            batches = _at_most(uninterrupted(reader), limit)
            # Nothing is written before there are rows, no header either: until then a bar is shown.
            first = next(batches, None)
            rows = itertools.chain(() if first is None else (first,), batches)
            _WRITERS[format_](reader.schema, rows, sink)
            if whole:
                drain(reader)
    except pa.ArrowException as error:
        raise OutputError(str(error)) from error


def drain(reader: Any) -> int:
    """Read rows to their end and drop them; gives their number."""
    return sum(batch.num_rows for batch in uninterrupted(reader))


def uninterrupted(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches until there is a Ctrl-C, also where it got lost on its way."""
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


def _write_table(reader: Any, sink: Sink, limit: int, whole: bool) -> None:
    columns: list[list[Any]] = [[] for _ in reader.schema]
    seen = 0
    for batch in uninterrupted(reader):
        shown = batch.slice(0, max(0, limit - seen))
        for cells, column in zip(columns, shown.columns, strict=True):
            cells.extend(values(column))
        seen += batch.num_rows
        if seen > limit:
            break
    more = max(0, seen - limit) + (drain(reader) if whole else 0)
    rows = [list(row) for row in zip(*columns, strict=True)]
    right = [_is_number(field.type) for field in reader.schema]
    sink.write(render_table(reader.schema.names, rows, right).encode())
    if more:
        # Where reading stopped at the limit, this is as much as is known.
        about = "" if whole else "at least "
        sink.write(
            f"({about}{more} more row{'s' if more > 1 else ''} not shown; "
            "--limit-rows shows more)\n".encode()
        )


def _is_number(type_: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_))
