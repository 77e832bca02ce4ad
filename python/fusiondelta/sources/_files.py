"""Parquet, CSV and JSON files, read natively through the engine's stores and caches."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fusiondelta.errors import ConfigurationError
from fusiondelta.sources._base import Source
from fusiondelta.sources._resolve import FilePin, Resolution, Resolved


@dataclass(frozen=True, slots=True)
class _Options:
    """`FileOptions` of the extension."""

    kind: str
    urls: list[str]
    schema: Any
    partition_columns: list[tuple[str, Any]]
    extension: str | None
    compression: str | None
    has_header: bool = True
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    comment: str | None = None
    newlines_in_values: bool = False
    schema_infer_rows: int | None = None


class _FileSource(Source):
    """Files of one format."""

    kind: ClassVar[str]

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        schema: Any = None,
        partition_columns: Mapping[str, Any] | None = None,
        extension: str | None = None,
        compression: str | None = None,
    ) -> None:
        several = (paths,) if isinstance(paths, str | os.PathLike) else paths
        self.paths: tuple[str, ...] = tuple(os.fspath(p) for p in several)
        if not self.paths:
            raise ConfigurationError(f"{type(self).__name__} needs at least one path")
        self.schema = schema
        self.partition_columns = dict(partition_columns or {})
        self.extension = extension
        self.compression = compression

    def describe(self) -> str:
        """Kind and places."""
        return ", ".join(repr(p) for p in self.paths)

    def _options(self) -> dict[str, Any]:
        return {}

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """List the files and open them; see `Source.resolve`."""
        urls = []
        for path in self.paths:
            url = resolution.canonical(path)
            urls.append(f"{url}/" if _is_folder(path, url, self.extension, self.kind) else url)
        options = _Options(
            kind=self.kind,
            urls=urls,
            schema=self.schema,
            partition_columns=list(self.partition_columns.items()),
            extension=self.extension,
            compression=self.compression,
            **self._options(),
        )
        files = resolution.engine.open_files(
            options, dict(resolution.settings), resolution.io, resolution.timeout
        )
        pins = tuple(FilePin(*pin) for pin in files.pins)
        return Resolved(
            alias,
            files,
            f"{self.kind} files {self.describe()}",
            files=pins,
            kind="ipc" if self.kind == "arrow" else self.kind,
            uri=urls[0],
            options=self._recipe(urls),
        )

    def _recipe(self, urls: Sequence[str]) -> dict[str, Any]:
        """The arguments as plain values; schemas as Arrow IPC in base64."""
        recipe: dict[str, Any] = {"paths": list(urls), **self._options()}
        if self.extension is not None:
            recipe["extension"] = self.extension
        if self.compression is not None:
            recipe["compression"] = self.compression
        if self.schema is not None:
            recipe["schema_ipc"] = _schema_text(self.schema)
        if self.partition_columns:
            import pyarrow as pa

            columns = pa.schema(list(self.partition_columns.items()))
            recipe["partition_columns_ipc"] = _schema_text(columns)
        return recipe


def _schema_text(schema: Any) -> str:
    import pyarrow as pa

    return base64.b64encode(pa.schema(schema).serialize().to_pybytes()).decode("ascii")


def _schema_of(text: str) -> Any:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _is_folder(path: str, url: str, extension: str | None, kind: str) -> bool:
    """Whether a path is a folder: by its slash, on this machine by looking, else by its name."""
    if path.endswith(("/", os.sep)):
        return True
    if url.startswith("file:"):
        return os.path.isdir(path)
    name = url.rsplit("/", 1)[-1]
    return "." not in name and not name.endswith(extension or kind)


class ParquetSource(_FileSource):
    """Parquet files.

    Args:
        paths: A file, a folder, or several of them; local paths or URIs.
        schema: Arrow schema to read as; inferred from the footers where None.
        partition_columns: Hive-style partition columns (``key=value`` folders) with their types.
        extension: Ending of the file names within folders; ``.parquet`` where None.
    """

    kind = "parquet"

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        schema: Any = None,
        partition_columns: Mapping[str, Any] | None = None,
        extension: str | None = None,
    ) -> None:
        super().__init__(
            paths, schema=schema, partition_columns=partition_columns, extension=extension
        )


class CsvSource(_FileSource):
    """CSV files.

    Files with a header are read by its names: columns may come in another order in each file, and
    one that a file has not is NULL in its rows.

    Args:
        paths: A file, a folder, or several of them; local paths or URIs.
        schema: Arrow schema of the columns by their position; inferred where None, from the first
            rows of every file. A column that is empty in these is text; a later value that is not
            of the inferred type is an error with its line.
        partition_columns: Hive-style partition columns with their Arrow types.
        extension: Ending of the file names within folders; ``.csv`` where None.
        compression: ``gzip``, ``bzip2``, ``xz`` or ``zstd``.
        has_header: Whether the first line names the columns.
        delimiter: One character between values.
        quote: One character around values.
        escape: One character before a quote within a value.
        comment: One character that starts a line to skip.
        newlines_in_values: Whether quoted values may hold line ends (read without splitting files).
        schema_infer_rows: Rows of each file that inference looks at; 1,000 where None.
    """

    kind = "csv"

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        schema: Any = None,
        partition_columns: Mapping[str, Any] | None = None,
        extension: str | None = None,
        compression: str | None = None,
        has_header: bool = True,
        delimiter: str = ",",
        quote: str = '"',
        escape: str | None = None,
        comment: str | None = None,
        newlines_in_values: bool = False,
        schema_infer_rows: int | None = None,
    ) -> None:
        super().__init__(
            paths,
            schema=schema,
            partition_columns=partition_columns,
            extension=extension,
            compression=compression,
        )
        self._csv = {
            "has_header": has_header,
            "delimiter": delimiter,
            "quote": quote,
            "escape": escape,
            "comment": comment,
            "newlines_in_values": newlines_in_values,
            "schema_infer_rows": schema_infer_rows,
        }

    def _options(self) -> dict[str, Any]:
        return self._csv


class JsonSource(_FileSource):
    """Newline-delimited JSON files.

    Args:
        paths: A file, a folder, or several of them; local paths or URIs.
        schema: Arrow schema; inferred from all lines where None, which reads files once more.
        partition_columns: Hive-style partition columns with their Arrow types.
        extension: Ending of the file names within folders; ``.json`` where None.
        compression: ``gzip``, ``bzip2``, ``xz`` or ``zstd``.
        schema_infer_rows: Rows that inference looks at; all where None. Keys that come first in
            later rows are not read.
    """

    kind = "json"

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        schema: Any = None,
        partition_columns: Mapping[str, Any] | None = None,
        extension: str | None = None,
        compression: str | None = None,
        schema_infer_rows: int | None = None,
    ) -> None:
        super().__init__(
            paths,
            schema=schema,
            partition_columns=partition_columns,
            extension=extension,
            compression=compression,
        )
        self._rows = schema_infer_rows

    def _options(self) -> dict[str, Any]:
        return {"schema_infer_rows": self._rows}


class IpcSource(_FileSource):
    """Arrow IPC files (``.arrow``).

    Args:
        paths: A file, a folder, or several of them; local paths or URIs.
        schema: Arrow schema; taken from the files where None.
        extension: Ending of the file names within folders; ``.arrow`` where None.
    """

    kind = "arrow"


_BY_KIND: dict[str, type[_FileSource]] = {
    "parquet": ParquetSource,
    "csv": CsvSource,
    "json": JsonSource,
    "ipc": IpcSource,
}


def files_of_recipe(kind: str, recipe: Mapping[str, Any]) -> Source:
    """The file source that the ``options`` of a `Resolved` were made of.

    Args:
        kind: ``parquet``, ``csv``, ``json`` or ``ipc``.
        recipe: The options.
    """
    given = dict(recipe)
    paths = given.pop("paths")
    schema = given.pop("schema_ipc", None)
    columns = given.pop("partition_columns_ipc", None)
    if schema is not None:
        given["schema"] = _schema_of(schema)
    if columns is not None:
        given["partition_columns"] = {field.name: field.type for field in _schema_of(columns)}
    return _BY_KIND[kind](paths, **given)
