"""Row and byte limits of the helpers that materialise a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ResultTooLargeError

if TYPE_CHECKING:
    import pyarrow as pa


def guarded(
    batches: Iterator[Any], *, max_rows: int | None, max_bytes: int | None
) -> Iterator[pa.RecordBatch]:
    """The batches, as long as they stay within the limits.

    Raises:
        ResultTooLargeError: They do not; what was read so far is dropped.
    """
    rows = size = 0
    for batch in batches:
        rows += batch.num_rows
        size += batch.nbytes
        if max_rows is not None and rows > max_rows:
            raise ResultTooLargeError(
                f"the result has more than {max_rows:,} rows; read it as a stream (reader()), add "
                "a LIMIT, or raise max_rows",
                details={"max_rows": str(max_rows)},
            )
        if max_bytes is not None and size > max_bytes:
            raise ResultTooLargeError(
                f"the result has more than {max_bytes:,} bytes; read it as a stream (reader()), "
                "select fewer columns, or raise max_bytes",
                details={"max_bytes": str(max_bytes)},
            )
        yield batch
