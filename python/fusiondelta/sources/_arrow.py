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
        # Computed for each query, and held: a connection answers one call at a time.
        ("duckdb", "DuckDBPyRelation"),
        ("duckdb._relation", "DuckDBPyRelation"),
        ("_duckdb", "DuckDBPyRelation"),
    }
)


#: Types that compute their rows, anew each time they are asked for them.
COMPUTED = frozenset({("polars.lazyframe.frame", "LazyFrame")})


#: Comparisons as methods of `pyarrow.compute.Expression`.
_COMPARISONS = {
    "==": "__eq__",
    "!=": "__ne__",
    "<": "__lt__",
    "<=": "__le__",
    ">": "__gt__",
    ">=": "__ge__",
}


def is_one_of(data: Any, kinds: frozenset[tuple[str, str]]) -> bool:
    """Whether an object is of one of the types, given by module and name, or of one derived."""
    return any((kind.__module__, kind.__name__) in kinds for kind in type(data).__mro__)


class ArrowSource(Source):
    """Arrow data of any library.

    What holds its rows (pyarrow tables and batches, Polars and pandas frames) is used without a
    copy and may be read any number of times. A DuckDB relation is computed for each query and held
    in memory while it runs; a Polars `LazyFrame` is computed each time a query reads it. A stream
    is read as the query asks for rows, once: a query that needs it twice gets
    `StreamConsumedError`.

    Args:
        data: Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``, or a Polars
            `LazyFrame`.

    Raises:
        SourceError: It gives no Arrow data.
    """

    def __init__(self, data: Any) -> None:
        if is_one_of(data, COMPUTED):
            self.data = data
            return
        if not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
            raise SourceError(
                f"{type(data).__module__}.{type(data).__name__} gives no Arrow data: it has "
                "neither __arrow_c_stream__ nor __arrow_c_array__"
            )
        self.data = data

    def describe(self) -> str:
        """The type of the data."""
        return f"{type(self.data).__module__}.{type(self.data).__name__}"

    def _computed(self) -> Any:
        return native_reader(self.data.collect())

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """A table over the data; see `Source.resolve`."""
        from fusiondelta._native import NativeTable

        if is_one_of(self.data, COMPUTED):
            provider = NativeTable.from_repeatable(alias, self._computed(), self._computed)
            return Resolved(alias, provider, self.describe(), kind="memory")
        reader = native_reader(self.data)
        if is_one_of(self.data, HELD):
            provider = NativeTable.from_batches(reader, resolution.partitions)
        else:
            provider = NativeTable.from_stream(alias, reader)
        return Resolved(alias, provider, self.describe(), kind="memory")


class DatasetSource(Source):
    """A dataset of pyarrow.

    It is read by columns. Conditions that mean the same there (comparisons of whole numbers, text,
    dates and timestamps with constants) let it pass over files, and are checked once more.

    Args:
        dataset: A `pyarrow.dataset.Dataset`.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def describe(self) -> str:
        """The type of the dataset."""
        return f"{type(self.dataset).__module__}.{type(self.dataset).__name__}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """A table over the dataset; see `Source.resolve`."""
        from fusiondelta._native import NativeTable

        provider = NativeTable.from_dataset(alias, self.dataset.schema, self._opened)
        return Resolved(alias, provider, self.describe(), kind="memory")

    def _opened(self, columns: list[str], conditions: list[tuple[str, str, Any]]) -> Any:
        import pyarrow.compute as pc

        chosen = None
        for column, operator, values in conditions:
            field = pc.field(column)
            if operator == "in":
                one = field.isin(values)
            else:
                one = getattr(field, _COMPARISONS[operator])(values[0])
            chosen = one if chosen is None else chosen & one
        return native_reader(self.dataset.scanner(columns=columns, filter=chosen).to_reader())


class ProviderSource(Source):
    """A DataFusion table of another library.

    Args:
        provider: An object with ``__datafusion_table_provider__``, a `datafusion.catalog.Table`, or
            a `datafusion.DataFrame` made into a view.
    """

    def __init__(self, provider: Any) -> None:
        self.provider = provider

    def describe(self) -> str:
        """The type of the provider."""
        return f"{type(self.provider).__module__}.{type(self.provider).__name__}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """The provider itself; see `Source.resolve`."""
        return Resolved(alias, self.provider, self.describe())
