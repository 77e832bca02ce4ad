"""What commits are to do, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import ClassVar

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._value import Texts

MODES = ("append", "overwrite", "error", "ignore")
SCHEMA_MODES = ("merge", "overwrite")
COMPRESSIONS = ("zstd", "snappy", "gzip", "brotli", "lz4", "lz4_raw", "uncompressed")
STATISTICS = ("none", "chunk", "page")
ENCODINGS = (
    "plain",
    "delta_binary_packed",
    "delta_length_byte_array",
    "delta_byte_array",
    "byte_stream_split",
)
_BY_COLUMN = ("column_compression", "column_dictionary", "column_encoding", "column_statistics")


def one_of(name: str, value: str | None, known: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless the value is None or known, naming the nearest."""
    if value is not None and value not in known:
        close = get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"{name} is one of {', '.join(known)}, not {value!r}{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterProperties:
    """How Parquet files are written.

    Attributes:
        compression: Codec of all columns; snappy where None.
        compression_level: Level of the codec, where it has levels.
        max_row_group_rows: Most rows of a row group; where None, 262,144 or as many as make 8 MiB
            encoded.
        data_page_bytes: Bytes of a data page, about.
        dictionary: Whether dictionary encoding is tried; where None, for columns whose
            values repeat in the first rows of a file.
        statistics: ``none``, ``chunk`` or ``page``; the writer's default (page) where None.
        bloom_filter_columns: Columns that get a Bloom filter, by dotted path.
        column_compression: Codecs of single columns, by dotted path.
        column_dictionary: Whether dictionary encoding is tried for single columns, by dotted path.
        column_encoding: Encodings of single columns where no dictionary is used, by dotted path:
            ``plain``, ``delta_binary_packed``, ``delta_length_byte_array``, ``delta_byte_array``,
            ``byte_stream_split``.
        column_statistics: ``none``, ``chunk`` or ``page`` for single columns, by dotted path.
    """

    compression: str | None = None
    compression_level: int | None = None
    max_row_group_rows: int | None = None
    data_page_bytes: int | None = None
    dictionary: bool | None = None
    statistics: str | None = None
    bloom_filter_columns: Sequence[str] = ()
    column_compression: Mapping[str, str] = field(default_factory=Texts)
    column_dictionary: Mapping[str, bool] = field(default_factory=Texts)
    column_encoding: Mapping[str, str] = field(default_factory=Texts)
    column_statistics: Mapping[str, str] = field(default_factory=Texts)

    def __post_init__(self) -> None:
        one_of("compression", self.compression, COMPRESSIONS)
        one_of("statistics", self.statistics, STATISTICS)
        for name, known in (
            ("column_compression", COMPRESSIONS),
            ("column_encoding", ENCODINGS),
            ("column_statistics", STATISTICS),
        ):
            for column, value in getattr(self, name).items():
                one_of(f"{name}[{column!r}]", value, known)
        for name in _BY_COLUMN:
            object.__setattr__(self, name, Texts(getattr(self, name)))
        for name in ("max_row_group_rows", "data_page_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is at least 1, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSpec:
    """What is common to everything that commits; crosses into the extension as it is.

    Attributes:
        uri: Canonical location of the table.
        commit_id: What the commit is found by.
        run_id: Identifier of the run.
        query_id: Identifier of the change.
        metadata: Text by name, kept in the commit.
        idempotency_key: Application id and version: what was committed with these is not committed
            again (protocol section "Transaction Identifiers").
        source_version: Version of the same table that the rows were read from, where they were.
        hook: Called with the name of each step and a version; for tests.
    """

    uri: str
    commit_id: str
    run_id: str
    query_id: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: tuple[str, int] | None = None
    source_version: int | None = None
    hook: Callable[[str, int | None], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSpec:
    """Rows that are written; crosses into the extension as it is.

    Attributes:
        mode: append, overwrite, error or ignore.
        schema_mode: None (strict), merge or overwrite.
        partition_by: Partition columns, in order.
        replace_where: Predicate over the table's columns; overwrite replaces the rows it selects.
        replace_partitions: Whether overwrite replaces just the partitions that the rows are in.
        target_file_size: Bytes of a data file, about; the table's property or 100 MB where None.
        truncate_timestamps: Whether nanoseconds may be cut off timestamps.
        writer_properties: How Parquet files are written.
        properties: Table properties, for a table that the write makes.
    """

    kind: ClassVar[str] = "write"

    mode: str = "append"
    schema_mode: str | None = None
    partition_by: list[str] | None = None
    replace_where: str | None = None
    replace_partitions: bool = False
    target_file_size: int | None = None
    truncate_timestamps: bool = False
    writer_properties: WriterProperties | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        one_of("schema_mode", self.schema_mode, SCHEMA_MODES)
        if self.replace_where is not None and self.mode != "overwrite":
            raise ConfigurationError(
                f'replace_where goes with mode="overwrite", not with {self.mode!r}'
            )
        if self.replace_partitions and (
            self.mode != "overwrite" or self.replace_where is not None or self.schema_mode
        ):
            raise ConfigurationError(
                'replace_partitions goes with mode="overwrite", without replace_where and '
                "schema_mode"
            )
        if self.schema_mode == "overwrite" and self.mode != "overwrite":
            raise ConfigurationError(
                f'schema_mode="overwrite" goes with mode="overwrite", not with {self.mode!r}'
            )
        if self.target_file_size is not None and self.target_file_size < 1:
            raise ConfigurationError(f"target_file_size is at least 1, not {self.target_file_size}")

    @property
    def removes_rows(self) -> bool:
        """Whether rows that are there may be gone afterwards."""
        return self.mode == "overwrite"
