"""Where rows come from: the extension, or, the fallback way, the context itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from fusiondelta.errors import FusionDeltaError, QueryCancelledError

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeRows


class Rows(Protocol):
    """Batches that can be read once."""

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches."""
        ...

    def next(self) -> pa.RecordBatch | None:
        """The next batch, None after the last."""
        ...

    def next_async(self, done: Callable[[Any, BaseException | None], None]) -> None:
        """Calls back, from another thread, with the next batch or an error."""
        ...

    def close(self) -> None:
        """Stop, and give everything back."""
        ...

    def capsule(self, requested_schema: object | None) -> object:
        """The batches as an ``arrow_array_stream`` capsule."""
        ...


class ExtensionRows:
    """Rows of a native stream.

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


class ContextRows:
    """Rows of a DataFrame that its own context executes.

    Args:
        frame: The DataFrame.
        schema: Its schema.
        translate: Makes typed errors of upstream ones.
        ended: Called once, with the error if there was one.
    """

    def __init__(
        self,
        frame: Any,
        schema: pa.Schema,
        translate: Callable[[BaseException], FusionDeltaError],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._frame = frame
        self._translate = translate
        self._ended = ended
        self._stream: Iterator[Any] | None = None
        self._closed = False
        self.schema = schema

    def next(self) -> pa.RecordBatch | None:
        """The next batch, None after the last."""
        if self._closed:
            raise QueryCancelledError("the query was cancelled")
        try:
            if self._stream is None:
                self._stream = iter(self._frame.execute_stream())
            batch: pa.RecordBatch = next(self._stream).to_pyarrow()
        except StopIteration:
            self._finish(None)
            return None
        except Exception as error:
            typed = self._translate(error)
            self._finish(typed)
            raise typed from error
        except BaseException as error:
            self._finish(error)
            raise
        if batch.schema != self.schema:
            batch = batch.cast(self.schema)
        return batch

    def next_async(self, done: Callable[[Any, BaseException | None], None]) -> None:
        """Calls back from a thread of its own."""
        import threading

        def work() -> None:
            try:
                batch = self.next()
            except BaseException as error:  # handed to the caller
                done(None, error)
            else:
                done(batch, None)

        threading.Thread(target=work, name="fusiondelta-fallback", daemon=True).start()

    def close(self) -> None:
        """Stop, and give everything back."""
        if not self._closed:
            self._finish(QueryCancelledError("the result was closed before its end"))

    def capsule(self, requested_schema: object | None) -> object:
        """The batches through a pyarrow reader."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, pulled(self)).__arrow_c_stream__(
            requested_schema
        )

    def _finish(self, error: BaseException | None) -> None:
        self._closed = True
        self._stream = None
        self._frame = None
        self._ended(error)


def pulled(rows: Rows) -> Iterator[pa.RecordBatch]:
    """The batches one by one; leaving early closes the stream."""
    try:
        while (batch := rows.next()) is not None:
            yield batch
    finally:
        rows.close()
