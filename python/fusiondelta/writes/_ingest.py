"""Any Arrow producer as the input of a write; nothing is materialised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError, SourceError
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.sources import HELD, Resolved, is_one_of, native_reader
from fusiondelta.writes._spool import Spool

if TYPE_CHECKING:
    from fusiondelta._native import NativeQuery


@dataclass(frozen=True, slots=True)
class WriteInput:
    """Rows on their way into a table: a native plan, or a stream.

    Attributes:
        query: Plan to be executed by the write itself.
        stream: Arrow stream to be read once.
        source: The result the plan came from, to be closed at the end.
    """

    query: NativeQuery | None = None
    stream: Any = None
    source: Any = None

    def close(self) -> None:
        """Let go of the result the rows came from."""
        if self.source is not None:
            self.source.close()


class WriteSource:
    """Rows for a change, to be had again where their source can give them again.

    Args:
        data: A `QueryResult`, an Arrow stream or array producer, a pandas or Polars frame, an
            iterator or list of record batches (with ``schema``), or a callable without arguments
            that gives one of these.
        schema: Arrow schema of the batches of an iterator.
        spool: Whether a stream is kept in a file, so that it can be read again.
        spool_dir: Where such a file is put; the system's folder where None.
    """

    def __init__(
        self, data: Any, *, schema: Any = None, spool: bool = False, spool_dir: str | None = None
    ) -> None:
        self._data = data
        self._schema = schema
        self._opened: WriteInput | None = None
        self._spool = Spool(spool_dir) if spool and self._is_stream() else None

    @property
    def is_renewed(self) -> bool:
        """Whether the rows are asked for anew each time, of a callable."""
        return _is_callable(self._data)

    def obstacle(self, *, allow_volatile: bool) -> str | None:
        """Why the rows cannot be had a second time; None where they can.

        Args:
            allow_volatile: Whether it is none that a query's functions give other values each time.
        """
        if _is_callable(self._data) or self._spool is not None:
            return None
        if self._opened is not None and self._opened.query is not None:
            stream, function = self._opened.query.once
            if stream is not None:
                return f"the query reads the stream {stream!r}, which gives its rows once"
            if function is not None and not allow_volatile:
                return (
                    f"the query calls {function}(), which gives other values each time; "
                    "RetryPolicy(allow_volatile=True) lets it"
                )
            return None
        if self._is_stream():
            return (
                "the data is a stream, which gives its rows once; pass a callable that gives it "
                "anew, or RetryPolicy(spool=True)"
            )
        return None

    def _is_stream(self) -> bool:
        data = self._data
        return not (
            _is_callable(data)
            or isinstance(data, list)
            or is_one_of(data, HELD)
            or hasattr(data, "_as_write_input")
        )

    def snapshots(self) -> Mapping[str, SnapshotKey]:
        """Delta tables that the rows were read from, by alias, where the source tells."""
        opened = self._opened
        source = self._data if opened is None else opened.source
        found: Mapping[str, SnapshotKey] = getattr(source, "snapshots_by_alias", {})
        return found

    def read_from(self) -> tuple[Resolved, ...]:
        """What the rows are read from, where the source tells."""
        opened = self._opened
        source = self._data if opened is None else opened.source
        found: tuple[Resolved, ...] = getattr(source, "_read_from", ())
        return found

    def open(self) -> WriteInput:
        """The rows, anew where they can be had anew.

        Raises:
            SourceError: It is nothing that has rows.
            ConfigurationError: An iterator comes without ``schema``.
        """
        if _is_callable(self._data):
            self.close()
            self._opened = as_input(self._data(), schema=self._schema)
        elif self._spool is not None:
            if self._opened is None:
                self._spool.fill(as_input(self._data, schema=self._schema).stream)
            self._opened = WriteInput(stream=self._spool.reader())
        elif self._opened is None or self._opened.query is None:
            self._opened = as_input(self._data, schema=self._schema)
        return self._opened

    def close(self) -> None:
        """Let go of the rows."""
        if self._opened is not None:
            self._opened.close()
        if self._spool is not None:
            self._spool.close()


def _is_callable(data: Any) -> bool:
    return callable(data) and not hasattr(data, "__arrow_c_stream__")


def as_input(data: Any, *, schema: Any = None) -> WriteInput:
    """The input of a write.

    Args:
        data: As of `WriteSource`, but no callable.
        schema: Arrow schema of the batches of an iterator.

    Raises:
        SourceError: It is none of these.
        ConfigurationError: An iterator comes without ``schema``.
    """
    native = getattr(data, "_as_write_input", None)
    if native is not None:
        return WriteInput(query=native(), source=data)
    if isinstance(data, (str, bytes)):
        raise SourceError(
            "data is text; to write the rows of a query pass engine.query(sql), to copy files pass "
            "engine.query('SELECT * FROM f', sources={'f': path})"
        )
    if isinstance(data, list) or (hasattr(data, "__next__") and not hasattr(data, "schema")):
        return WriteInput(stream=native_reader(_batches(iter(data), schema)))
    if type(data).__module__.startswith("pandas") and not hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        data = pa.Table.from_pandas(data, preserve_index=False)
    return WriteInput(stream=native_reader(data))


def schema_of(data: Any) -> Any:
    """Arrow schema of something that has one, without reading it.

    Raises:
        SourceError: It has none.
    """
    import pyarrow as pa

    if hasattr(data, "__arrow_c_schema__"):
        return pa.schema(data)
    schema = getattr(data, "schema", None)
    if isinstance(schema, pa.Schema):
        return schema
    if hasattr(data, "__arrow_c_schema__") or hasattr(schema, "__arrow_c_schema__"):
        return pa.schema(schema)
    if type(data).__module__.startswith("pandas"):
        return pa.Schema.from_pandas(data, preserve_index=False)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data).schema
    raise SourceError(f"{type(data).__name__} has no Arrow schema")


def _batches(batches: Iterator[Any], schema: Any) -> Any:
    import pyarrow as pa

    if schema is None:
        raise ConfigurationError(
            "an iterator of record batches needs schema=, the Arrow schema of its batches"
        )
    schema = pa.schema(schema)
    return pa.RecordBatchReader.from_batches(schema, (pa.record_batch(b) for b in batches))
