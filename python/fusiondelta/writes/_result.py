"""`WriteResult`: what was committed, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusiondelta.account import QueryIo, QueryProfile, RunAccount, RunManifest
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.writes._record import WriteRecord

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAttempt:
    """One try to make a change and commit it.

    Attributes:
        number: From 1.
        tried: Versions it tried to commit, each with what came of it: ``committed``, ``taken`` (by
            another writer; the commit goes on with the next one where the two go together),
            ``failed``, or ``unknown``.
        conflict: Name of the conflict that ended it, None where there was none.
        winning_version: Version that the other writer made, where known.
        waited: Seconds waited before it.
    """

    number: int
    tried: tuple[tuple[int, str], ...] = ()
    conflict: str | None = None
    winning_version: int | None = None
    waited: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {
            "number": self.number,
            "tried": [list(one) for one in self.tried],
            "conflict": self.conflict,
            "winning_version": self.winning_version,
            "waited": self.waited,
        }


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What became of a commit.

    Attributes:
        status: ``COMMITTED``, ``NOT_COMMITTED``, or ``UNKNOWN`` where it is not in the log and the
            log does not go back to its beginning.
        snapshot: The version it made, where it was committed.
    """

    status: str
    snapshot: SnapshotKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """A finished write, or another change of a table.

    Attributes:
        snapshot: The version the table has now; of a replayed write the one it made.
        outcome: ``COMMITTED``; ``UNCHANGED`` where there was nothing to change and no commit was
            made; ``IGNORED`` where mode ``ignore`` found a table.
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
        attempts: Every try, the last of which succeeded.
        replayed: Whether an earlier run of the same ``idempotency_key`` had made the change, so
            that nothing was done.
        operation_metrics: What the operation says of its work, by name, ``num_deleted_rows`` for
            one; delta-rs' names.
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
    attempts: tuple[CommitAttempt, ...] = ()
    replayed: bool = False
    operation_metrics: Mapping[str, Any] = field(default_factory=dict)
    _record: WriteRecord = field(repr=False, compare=False)

    def metrics(self) -> pa.Table:
        """Metrics of the write's plan; see `QueryResult.metrics`."""
        return self._record.metrics()

    def account(self) -> RunAccount:
        """All that is known of the write, as plain values."""
        return self._record.account()

    def profile(self) -> QueryProfile:
        """Where the time went, as a page; see `QueryResult.profile`."""
        return QueryProfile(self.account())

    def manifest(self) -> RunManifest:
        """The write as one document."""
        return self._record.manifest()
