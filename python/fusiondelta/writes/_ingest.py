"""Any Arrow producer as the input of a write; nothing is materialised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError, SourceError
from fusiondelta.sources import native_reader

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


def as_input(data: Any, *, schema: Any = None) -> WriteInput:
    """The input of a write.

    Args:
        data: A `QueryResult`, an Arrow stream or array producer, a pandas or Polars frame, an
            iterator of record batches (with ``schema``), or a callable without arguments that gives
            one of these.
        schema: Arrow schema of an iterator's batches.

    Raises:
        SourceError: It is none of these.
        ConfigurationError: An iterator comes without ``schema``.
    """
    if callable(data) and not hasattr(data, "__arrow_c_stream__"):
        data = data()
    native = getattr(data, "_as_write_input", None)
    if native is not None:
        query = native()
        if query is not None:
            return WriteInput(query=query, source=data)
        return WriteInput(stream=native_reader(data), source=data)
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


def _batches(batches: Iterator[Any], schema: Any) -> Any:
    import pyarrow as pa

    if schema is None:
        raise ConfigurationError(
            "an iterator of record batches needs schema=, the Arrow schema of its batches"
        )
    schema = pa.schema(schema)
    return pa.RecordBatchReader.from_batches(schema, (pa.record_batch(b) for b in batches))
