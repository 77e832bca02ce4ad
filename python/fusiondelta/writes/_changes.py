"""Changes of a table other than writing rows to it, as values that cross into the extension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from fusiondelta.writes._spec import WriterProperties


class ChangeSpec(Protocol):
    """What every change has.

    Attributes:
        kind: Its name in the extension.
        removes_rows: Whether rows that are there may be gone, or others, afterwards.
        writer_properties: How Parquet files are written, where any are.
    """

    @property
    def kind(self) -> str: ...
    @property
    def removes_rows(self) -> bool: ...
    @property
    def writer_properties(self) -> WriterProperties | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSpec:
    """Rows are removed: those of a predicate, or all."""

    kind: ClassVar[str] = "delete"
    removes_rows: ClassVar[bool] = True

    predicate: str | None
    target_alias: str = "target"
    writer_properties: WriterProperties | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSpec:
    """Columns of the rows of a predicate, or of all, are set to SQL expressions."""

    kind: ClassVar[str] = "update"
    removes_rows: ClassVar[bool] = True

    set: list[tuple[str, str]]
    predicate: str | None
    target_alias: str = "target"
    writer_properties: WriterProperties | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseSpec:
    """One clause of a merge."""

    kind: str
    set: list[tuple[str, str]] = field(default_factory=list)
    predicate: str | None = None

    def texts(self) -> list[str | None]:
        """Its SQL."""
        return [self.predicate, *(sql for _, sql in self.set)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSpec:
    """Rows of a source update, delete and join those of the table."""

    kind: ClassVar[str] = "merge"
    removes_rows: ClassVar[bool] = True

    on: str
    source_alias: str
    target_alias: str
    merge_schema: bool
    clauses: list[ClauseSpec]
    writer_properties: WriterProperties | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeSpec:
    """Files are rewritten, larger or in another order; no row changes."""

    kind: ClassVar[str] = "optimize"
    removes_rows: ClassVar[bool] = True

    z_order: list[str]
    partition_filters: list[tuple[str, str, list[str]]]
    predicate: str | None
    target_file_size: int | None
    min_commit_interval: float | None
    max_concurrent_tasks: int | None
    writer_properties: WriterProperties | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumSpec:
    """Files that no kept version needs are removed from storage. Retention in seconds."""

    kind: ClassVar[str] = "vacuum"
    removes_rows: ClassVar[bool] = False

    retention: float
    keep_versions: list[int]
    full: bool
    dry_run: bool
    writer_properties: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSpec:
    """The table becomes again what it was at a version."""

    kind: ClassVar[str] = "restore"
    removes_rows: ClassVar[bool] = True

    version: int
    allow_downgrade: bool
    ignore_missing_files: bool
    writer_properties: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPropertiesSpec:
    """Table properties are set."""

    kind: ClassVar[str] = "set_properties"
    removes_rows: ClassVar[bool] = False

    properties: Mapping[str, str]
    writer_properties: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddConstraintSpec:
    """A CHECK constraint is added, after all rows were found to keep it."""

    kind: ClassVar[str] = "add_constraint"
    removes_rows: ClassVar[bool] = False

    name: str
    expression: str
    writer_properties: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConstraintSpec:
    """A CHECK constraint is dropped."""

    kind: ClassVar[str] = "drop_constraint"
    removes_rows: ClassVar[bool] = False

    name: str
    missing_ok: bool
    writer_properties: ClassVar[None] = None
