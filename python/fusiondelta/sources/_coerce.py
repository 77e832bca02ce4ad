"""Bare values as sources: what a user passes without naming its kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fusiondelta.errors import SourceError
from fusiondelta.sources._arrow import (
    COMPUTED,
    ArrowSource,
    DatasetSource,
    ProviderSource,
    is_one_of,
)
from fusiondelta.sources._base import Source
from fusiondelta.sources._delta import DeltaSource
from fusiondelta.sources._files import CsvSource, IpcSource, JsonSource, ParquetSource

_SUFFIXES: dict[str, type[ParquetSource | CsvSource | JsonSource | IpcSource]] = {
    ".parquet": ParquetSource,
    ".csv": CsvSource,
    ".json": JsonSource,
    ".jsonl": JsonSource,
    ".ndjson": JsonSource,
    ".arrow": IpcSource,
    ".ipc": IpcSource,
}


def as_source(value: Any, *, name: str) -> Source:
    """The source that a value stands for.

    Args:
        value: A `Source`; text or a path (a Delta table where there is a ``_delta_log``, else files
            by their suffix, else a Delta table); a `deltalake.DeltaTable` (pinned at its version);
            any Arrow producer; any DataFusion table provider; a `QueryResult`.
        name: Alias, for messages.

    Raises:
        SourceError: It is nothing that can be read.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, os.PathLike)):
        return _from_location(os.fspath(value))
    own = getattr(value, "__fusiondelta_source__", None)
    if own is not None:
        source: Source = own()
        return source
    module = type(value).__module__
    if module.startswith("deltalake") and type(value).__name__ == "DeltaTable":
        return DeltaSource(value.table_uri, value.version())
    if is_one_of(value, COMPUTED):
        return ArrowSource(value)
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        return ArrowSource(value)
    if hasattr(value, "__datafusion_table_provider__") or module.startswith("datafusion"):
        return ProviderSource(value)
    if module.startswith("pyarrow") and hasattr(value, "scanner"):
        return DatasetSource(value)
    raise SourceError(
        f"the source {name!r} is a {module}.{type(value).__name__}, which cannot be read; give a "
        "path or URI, a Source, a deltalake.DeltaTable, Arrow data, or a DataFusion table"
    )


def _from_location(text: str) -> Source:
    path = Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)
    suffix = path.suffix.lower()
    kind = _SUFFIXES.get(suffix)
    is_local = "://" not in text or text.startswith("file://")
    if kind is not None and not (is_local and (path / "_delta_log").is_dir()):
        if suffix in (".jsonl", ".ndjson", ".ipc"):
            return kind(text, extension=suffix)
        return kind(text)
    if is_local and path.is_file():
        raise SourceError(
            f"{text!r} is a file of no known suffix ({', '.join(_SUFFIXES)}); say what it is with "
            "ParquetSource, CsvSource or JsonSource"
        )
    return DeltaSource(text)
