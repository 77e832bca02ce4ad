"""The steps of a write."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.account import QueryIo
from fusiondelta.account._versions import check_versions, component_versions
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import parse_bytes, parse_duration
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.sources import Resolution
from fusiondelta.storage import SafetyGate
from fusiondelta.writes._ingest import as_input
from fusiondelta.writes._result import WriteResult
from fusiondelta.writes._spec import WriterProperties, WriteSpec

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine

_RESERVED = "fusiondelta."

#: Bytes of finished data files that wait for the store to take them. The writer's own bound is up
#: to 32 files of a hundred megabytes, and can be told otherwise by this variable alone.
_UPLOADS_VARIABLE = "DELTARS_MAX_IN_FLIGHT_UPLOAD_BYTES"
_UPLOAD_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class TableWriter:
    """What writes of an engine are run with.

    Attributes:
        native: The extension's engine.
        resolution: How locations are spelled.
        settings: DataFusion settings of the profile.
        safety: Lets writes pass where commits are safe.
    """

    native: NativeEngine
    resolution: Resolution
    settings: Mapping[str, str]
    safety: SafetyGate

    def write(
        self,
        uri: str | os.PathLike[str],
        data: Any,
        *,
        mode: str,
        schema: Any,
        schema_mode: str | None,
        partition_by: str | Sequence[str] | None,
        replace_where: str | None,
        target_file_size: int | str | None,
        writer_properties: WriterProperties | None,
        properties: Mapping[str, str] | None,
        allow_metadata_change: bool,
        timeout: dt.timedelta | float | None,
        metadata: Mapping[str, str] | None,
        run_id: str,
    ) -> WriteResult:
        """Write the rows of ``data`` and commit."""
        check_versions()
        self.native.check()
        if schema_mode == "overwrite" and not allow_metadata_change:
            raise ConfigurationError(
                'schema_mode="overwrite" replaces the schema of the table; if that is meant, pass '
                "allow_metadata_change=True"
            )
        query_id, commit_id = new_id(), new_id()
        partitions = None
        if partition_by is not None:
            partitions = [partition_by] if isinstance(partition_by, str) else list(partition_by)
        profile = self.resolution.profile(os.fspath(uri))
        spec = WriteSpec(
            uri=profile.canonicalize_uri(os.fspath(uri)),
            mode=mode,
            schema_mode=schema_mode,
            partition_by=partitions,
            replace_where=replace_where,
            target_file_size=None
            if target_file_size is None
            else parse_bytes("target_file_size", target_file_size),
            writer_properties=writer_properties,
            properties=dict(properties or {}),
            metadata=_commit_metadata(metadata, commit_id, run_id),
            commit_id=commit_id,
            run_id=run_id,
            query_id=query_id,
        )
        limit = None if timeout is None else parse_duration("timeout", timeout)
        seconds = None if limit is None else limit.total_seconds()
        io = self.native.new_io()
        safety = self.safety.require(spec.uri, profile, io, seconds)
        os.environ.setdefault(_UPLOADS_VARIABLE, str(_UPLOAD_BYTES))
        source = as_input(data, schema=schema)
        try:
            written = self.native.write(
                spec,
                io,
                dict(self.settings),
                query=source.query,
                stream=source.stream,
                timeout=seconds,
            )
        finally:
            if source.source is not None:
                source.source.close()
        return WriteResult(
            snapshot=SnapshotKey(spec.uri, written["version"]),
            outcome="IGNORED"
            if mode == "ignore" and written["read_version"] is not None
            else "COMMITTED",
            commit_id=commit_id,
            read_version=written["read_version"],
            rows_written=written["rows"],
            bytes_written=written["bytes"],
            files_added=written["files_added"],
            files_removed=written["files_removed"],
            run_id=run_id,
            query_id=query_id,
            io=QueryIo.of(io),
            write_safety=safety,
            _metrics=written["metrics"],
        )


def _commit_metadata(
    metadata: Mapping[str, str] | None, commit_id: str, run_id: str
) -> dict[str, str]:
    given = dict(metadata or {})
    for name, value in given.items():
        if name.startswith(_RESERVED):
            raise ConfigurationError(f"metadata {name!r}: names with {_RESERVED} are the engine's")
        if not isinstance(value, str):
            raise ConfigurationError(f"metadata {name!r} is text, not {type(value).__name__}")
    return {
        **given,
        "fusiondelta.commit_id": commit_id,
        "fusiondelta.run_id": run_id,
        "fusiondelta.version": component_versions()["fusiondelta"],
    }
