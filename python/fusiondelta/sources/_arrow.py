"""Arrow data in memory, streams of it, and tables of other libraries."""

from __future__ import annotations

from typing import Any

from fusiondelta.errors import SourceError
from fusiondelta.sources._base import Source
from fusiondelta.sources._reader import native_reader
from fusiondelta.sources._resolve import Resolution, Resolved

#: Types that hold their rows and give them any number of times.
HELD = frozenset(
    {
        ("pyarrow.lib", "Table"),
        ("pyarrow.lib", "RecordBatch"),
        ("polars.dataframe.frame", "DataFrame"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas", "DataFrame"),
        ("arro3.core", "Table"),
        ("arro3.core._core", "Table"),
    }
)


class ArrowSource(Source):
    """Arrow data of any library.

    What holds its rows (pyarrow tables and batches, Polars and pandas frames) is used without a
    copy and may be read any number of times. A stream is read as the query asks for rows, once: a
    query that needs it twice gets `StreamConsumedError`.

    Args:
        data: Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``.
    """

    def __init__(self, data: Any) -> None:
        if not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
            raise SourceError(
                f"{type(data).__module__}.{type(data).__name__} gives no Arrow data: it has "
                "neither __arrow_c_stream__ nor __arrow_c_array__"
            )
        self.data = data

    def describe(self) -> str:
        """The type of the data."""
        return f"{type(self.data).__module__}.{type(self.data).__name__}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """A table over the data; see `Source.resolve`."""
        from fusiondelta._native import NativeTable

        kind = (type(self.data).__module__, type(self.data).__name__)
        held = kind in HELD
        reader = native_reader(self.data)
        if held:
            provider = NativeTable.from_batches(reader, resolution.partitions)
        else:
            provider = NativeTable.from_stream(alias, reader)
        return Resolved(alias, provider, self.describe(), kind="memory")


class ProviderSource(Source):
    """A DataFusion table of another library.

    Args:
        provider: An object with ``__datafusion_table_provider__``, a `datafusion.catalog.Table`, a
            `datafusion.DataFrame` made into a view, or a `pyarrow.dataset.Dataset`.
    """

    def __init__(self, provider: Any) -> None:
        self.provider = provider

    def describe(self) -> str:
        """The type of the provider."""
        return f"{type(self.provider).__module__}.{type(self.provider).__name__}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """The provider itself; see `Source.resolve`."""
        return Resolved(alias, self.provider, self.describe())
