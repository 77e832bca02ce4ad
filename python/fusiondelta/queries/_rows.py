"""Rows on their way from the extension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import QueryCancelledError

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeRows


class Rows:
    """Batches of a native stream, which can be read once.

    Args:
        rows: The stream.
        ended: Called once, with the error if there was one.
    """

    def __init__(self, rows: NativeRows, ended: Callable[[BaseException | None], None]) -> None:
        import pyarrow as pa

        self._rows = rows
        self._ended = ended
        self.schema: pa.Schema = pa.schema(rows.schema)

    def next(self) -> pa.RecordBatch | None:
        """The next batch, None after the last."""
        import pyarrow as pa

        try:
            batch = self._rows.next()
        except BaseException as error:
            self._ended(error)
            raise
        if batch is None:
            self._ended(None)
            return None
        return pa.record_batch(batch)

    def next_async(self, done: Callable[[Any, BaseException | None], None]) -> None:
        """Calls back with the next batch or an error."""
        import pyarrow as pa

        def arrived(batch: Any, error: BaseException | None) -> None:
            if error is not None or batch is None:
                self._ended(error)
                done(None, error)
            else:
                done(pa.record_batch(batch), None)

        self._rows.next_async(arrived)

    def close(self) -> None:
        """Stop, and give everything back."""
        if not self._rows.closed:
            self._ended(QueryCancelledError("the result was closed before its end"))
        self._rows.close()

    def capsule(self, requested_schema: object | None) -> object:
        """The native stream itself: consumers pull without Python between."""
        return self._rows.__arrow_c_stream__(requested_schema)


def pulled(rows: Rows) -> Iterator[pa.RecordBatch]:
    """The batches one by one; leaving early closes the stream."""
    try:
        while (batch := rows.next()) is not None:
            yield batch
    finally:
        rows.close()
