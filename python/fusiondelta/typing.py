"""Protocols of what users may pass."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ArrowStreamExportable(Protocol):
    """Gives Arrow batches: pyarrow tables, Polars frames, DuckDB relations, our results."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule named ``arrow_array_stream``."""
        ...


@runtime_checkable
class ArrowArrayExportable(Protocol):
    """Gives one Arrow batch: a pyarrow record batch."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Capsules named ``arrow_schema`` and ``arrow_array``."""
        ...


@runtime_checkable
class ArrowSchemaExportable(Protocol):
    """Gives an Arrow schema."""

    def __arrow_c_schema__(self) -> object:
        """A capsule named ``arrow_schema``."""
        ...


@runtime_checkable
class TableProviderExportable(Protocol):
    """Gives a DataFusion table over its foreign function interface."""

    def __datafusion_table_provider__(self, session: Any) -> object:
        """A capsule named ``datafusion_table_provider``."""
        ...
