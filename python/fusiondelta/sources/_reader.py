"""Any Arrow producer as a `pyarrow.RecordBatchReader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusiondelta.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa


def native_reader(data: Any) -> pa.RecordBatchReader:
    """`as_reader`, in the form in which the extension may import it.

    The Arrow library in the extension (arrow 59) takes a nested struct's offset twice,
    so slices of such columns are copied to their own start first.
    """
    import pyarrow as pa

    reader = as_reader(data)
    nested = [i for i, field in enumerate(reader.schema) if _has_struct_in_struct(field.type)]
    if not nested:
        return reader
    return pa.RecordBatchReader.from_batches(
        reader.schema, (_at_start(batch, nested) for batch in reader)
    )


def _at_start(batch: pa.RecordBatch, columns: list[int]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = list(batch.columns)
    for i in columns:
        if arrays[i].offset:
            arrays[i] = arrays[i].take(pa.array(range(len(arrays[i])), pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _has_struct_in_struct(data_type: Any, inside: bool = False) -> bool:
    import pyarrow as pa

    is_struct = pa.types.is_struct(data_type)
    if is_struct and inside:
        return True
    return any(
        _has_struct_in_struct(data_type.field(i).type, inside or is_struct)
        for i in range(data_type.num_fields)
    )


def as_reader(data: Any) -> pa.RecordBatchReader:
    """Any Arrow producer as a reader; nothing is copied or collected.

    Args:
        data: Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, Polars,
            DuckDB, pandas from 2.2, a `QueryResult`), or a `pyarrow.dataset.Scanner` or `Dataset`.

    Raises:
        SourceError: It gives no Arrow data.
        StreamConsumedError: It is a result that was read already.

    Example:
        >>> import pyarrow as pa
        >>> as_reader(pa.table({"x": [1, 2]})).read_all().num_rows
        2
    """
    import pyarrow as pa

    if isinstance(data, pa.RecordBatchReader):
        return data
    if hasattr(data, "__fusiondelta_source__"):
        # A result's own reader keeps exceptions as they are; the C interface turns them into text.
        reader: pa.RecordBatchReader = data.reader()
        return reader
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(data)
        if hasattr(data, "__arrow_c_array__"):
            batch = pa.record_batch(data)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except pa.ArrowInvalid as error:
        if "non-struct type" not in str(error):
            raise
        raise SourceError(
            f"{type(data).__module__}.{type(data).__name__} is a column and no table; give it a "
            "name, as in pa.table({'x': data})"
        ) from None
    if hasattr(data, "to_reader"):
        made: pa.RecordBatchReader = data.to_reader()
        return made
    if hasattr(data, "scanner"):
        scanned: pa.RecordBatchReader = data.scanner().to_reader()
        return scanned
    raise SourceError(
        f"{type(data).__module__}.{type(data).__name__} gives no Arrow data: it has neither "
        "__arrow_c_stream__ nor __arrow_c_array__"
    )
