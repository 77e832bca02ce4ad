"""Delta tables as sources."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError
from fusiondelta.snapshots import SnapshotKey, SnapshotSpec
from fusiondelta.sources._base import Source
from fusiondelta.sources._resolve import Resolution, Resolved

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow as pa

    from fusiondelta._native import NativeDelta, NativeEngine


@dataclass(frozen=True, slots=True)
class _Open:
    """A table that was opened through an engine."""

    engine: NativeEngine
    table: NativeDelta


class DeltaSource(Source):
    """A Delta table, at its newest version or at an exact one.

    Made by hand it is resolved by each query that reads it. `FusionDeltaEngine.open_delta` gives
    one that is pinned: it keeps its version and knows its schema, files and history.

    Args:
        uri: Location of the table.
        as_of: None or ``"latest"``, a version, a datetime, ISO 8601 text, or a `SnapshotSpec`.
        alias: Name to use where the source is passed without one.
        options: Reserved for storage options of one source; must be empty in this version.

    Raises:
        ConfigurationError: ``as_of`` or ``options`` is not what it may be.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        as_of: int | str | dt.datetime | SnapshotSpec | None = None,
        *,
        alias: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.uri = os.fspath(uri)
        self.as_of = SnapshotSpec.of(as_of)
        self.alias = alias
        if options:
            raise ConfigurationError(
                "options of a single source are not served by this version; give the engine a "
                "StorageProfile for the prefix"
            )
        self._open: _Open | None = None

    @classmethod
    def pinned(cls, engine: NativeEngine, table: NativeDelta) -> DeltaSource:
        """A source that keeps the version of an opened table."""
        source = cls(_bare(table.uri), table.version)
        source._open = _Open(engine, table)
        return source

    def describe(self) -> str:
        """Location and version."""
        return f"{self.uri!r}, {self.as_of!r}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """Pin the version; see `Source.resolve`.

        Raises:
            SnapshotNotFoundError: There is no such version.
            SourceError: There is no Delta table.
            UnsupportedTableFeatureError: The table cannot be read here.
        """
        if self._open is not None and self._open.engine is resolution.engine:
            return self._resolved(alias, self._open.table)
        instant = self.as_of.instant_ms
        if self.as_of.is_latest:
            instant = resolution.consistent_at_ms
        table = resolution.engine.open_delta(
            resolution.canonical(self.uri),
            resolution.io,
            version=self.as_of.version_number,
            timestamp_ms=instant,
            staleness=resolution.staleness,
            timeout=resolution.timeout,
        )
        return self._resolved(alias, table)

    def _resolved(self, alias: str, table: NativeDelta) -> Resolved:
        key = SnapshotKey(_bare(table.uri), table.version)
        return Resolved(
            alias,
            table,
            f"Delta table {key}",
            snapshot=key,
            delta=table,
            kind="delta",
            uri=key.uri,
        )

    def _table(self) -> NativeDelta:
        if self._open is None:
            raise ConfigurationError(
                f"{self!r} is not open; engine.open_delta(uri, as_of=…) gives one that is"
            )
        return self._open.table

    @property
    def snapshot(self) -> SnapshotKey:
        """Key of the pinned version."""
        table = self._table()
        return SnapshotKey(_bare(table.uri), table.version)

    @property
    def schema(self) -> pa.Schema:
        """Schema that queries see."""
        import pyarrow as pa

        return pa.schema(self._table().schema)

    @property
    def protocol(self) -> dict[str, Any]:
        """Reader and writer versions and features (protocol section "Protocol Evolution")."""
        protocol: dict[str, Any] = self.detail()["protocol"]
        return protocol

    @property
    def properties(self) -> dict[str, str]:
        """Table properties as the metadata action has them."""
        properties: dict[str, str] = self.detail()["properties"]
        return properties

    def detail(self) -> dict[str, Any]:
        """Metadata, protocol, and totals over the active files (bytes, rows where recorded)."""
        detail: dict[str, Any] = json.loads(self._table().detail_json())
        detail["uri"] = _bare(detail["uri"])
        return detail

    def files(self) -> pa.Table:
        """One row per active file: path, size in bytes, partition values and statistics."""
        import pyarrow as pa

        return pa.Table.from_batches([pa.record_batch(self._table().files())])

    def history(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Commits up to the pinned version, newest first.

        Args:
            limit: Most commits to give; all that the log still has where None.
        """
        table = self._table()
        assert self._open is not None  # noqa: S101 - or _table() has raised
        io = self._open.engine.new_io()
        history: list[dict[str, Any]] = json.loads(table.history_json(io, limit))
        return history


def _bare(uri: str) -> str:
    return uri.rstrip("/") if not uri.endswith(":///") else uri
