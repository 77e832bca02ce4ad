"""`WriteResult`: what was committed, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusiondelta.account import QueryIo, RunManifest
from fusiondelta.snapshots import SnapshotKey

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """A finished write.

    Attributes:
        snapshot: The version the table has now.
        outcome: ``COMMITTED``, or ``IGNORED`` where mode ``ignore`` found a table.
        commit_id: What the commit carries as ``fusiondelta.commit_id``.
        read_version: Version the write was based on, None for a new table.
        rows_written: Rows in the files added.
        bytes_written: Bytes of the files added.
        files_added: Data files added.
        files_removed: Data files removed from the table (not from storage).
        run_id: Identifier of the run.
        query_id: Identifier of the write.
        io: Object-store requests of the write.
        write_safety: What made the commit safe: ``atomic_create`` (the store cannot create an
            object twice), ``conditional_put``, or ``single_writer_unsafe`` (nothing).
    """

    snapshot: SnapshotKey
    outcome: str
    commit_id: str
    read_version: int | None
    rows_written: int
    bytes_written: int
    files_added: int
    files_removed: int
    run_id: str
    query_id: str
    io: QueryIo
    write_safety: str
    attempts: tuple[Any, ...] = ()
    _metrics: Any = field(default=None, repr=False, compare=False)

    def metrics(self) -> pa.Table:
        """Metrics of the write's plan; see `QueryResult.metrics`."""
        import pyarrow as pa

        from fusiondelta.account._metrics import fallback_metrics

        if self._metrics is None:
            return fallback_metrics()
        return pa.Table.from_batches([pa.record_batch(self._metrics)])

    def manifest(self) -> RunManifest:
        """The write as one document."""
        return RunManifest(
            run_id=self.run_id,
            query_id=self.query_id,
            session_id="",
            kind="write",
            snapshots=(
                {"alias": "target", "uri": self.snapshot.uri, "version": self.snapshot.version},
            ),
            status="finished",
            content={
                "outcome": self.outcome,
                "commit_id": self.commit_id,
                "read_version": self.read_version,
                "rows_written": self.rows_written,
                "bytes_written": self.bytes_written,
                "files_added": self.files_added,
                "files_removed": self.files_removed,
                "io": self.io.to_dict(),
                "write_safety": self.write_safety,
            },
        )
