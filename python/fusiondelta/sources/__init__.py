"""What a query can read, by alias."""

from fusiondelta.sources._arrow import HELD, ArrowSource, ProviderSource, is_one_of
from fusiondelta.sources._base import Source
from fusiondelta.sources._changes import DeltaChanges
from fusiondelta.sources._coerce import as_source
from fusiondelta.sources._delta import DeltaSource
from fusiondelta.sources._files import CsvSource, JsonSource, ParquetSource
from fusiondelta.sources._reader import as_reader, native_reader
from fusiondelta.sources._resolve import FilePin, Resolution, Resolved

__all__ = [
    "HELD",
    "ArrowSource",
    "CsvSource",
    "DeltaChanges",
    "DeltaSource",
    "FilePin",
    "JsonSource",
    "ParquetSource",
    "ProviderSource",
    "Resolution",
    "Resolved",
    "Source",
    "as_reader",
    "as_source",
    "is_one_of",
    "native_reader",
]
