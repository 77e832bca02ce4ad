"""A stream in a file, so that it can be read more than once."""

from __future__ import annotations

import os
import tempfile
from typing import Any


class Spool:
    """An Arrow IPC file that goes when this does.

    Args:
        folder: Where it is put; the system's folder for such files where None.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._path: str | None = None

    def fill(self, stream: Any) -> None:
        """Write all batches of an Arrow stream."""
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_stream(stream)
        handle, self._path = tempfile.mkstemp(".arrow", "fusiondelta-spool-", self._folder)
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)

    def reader(self) -> Any:
        """The rows from the beginning, mapped into memory as they are read."""
        import pyarrow as pa

        return pa.ipc.open_stream(pa.memory_map(self._path))

    def close(self) -> None:
        """Remove the file."""
        if self._path is not None:
            os.unlink(self._path)
            self._path = None
