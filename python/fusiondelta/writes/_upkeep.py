"""`TableUpkeep`: what keeps tables small, under the engine's retention policy."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import RetentionPolicy, RetryPolicy
from fusiondelta.profiles._sizes import Duration, parse_duration
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.writes._changes import VacuumSpec
from fusiondelta.writes._commit import CommitOptions, Committer
from fusiondelta.writes._ingest import schema_of
from fusiondelta.writes._look import (
    APPENDS,
    CHANGES,
    SchemaPlan,
    TableCapabilities,
    schema_plan,
)
from fusiondelta.writes._progress import WriteProgress
from fusiondelta.writes._result import WriteResult

if TYPE_CHECKING:
    from fusiondelta.sources import DeltaSource

#: More objects than a table has.
_ALL = 2**31

#: Of tables that say nothing (protocol, "Table Properties"; delta-spark's defaults).
_DELETED_FILES = dt.timedelta(days=7)
_LOG = dt.timedelta(days=30)
_UNITS = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
}


@dataclass(frozen=True, slots=True)
class LogCleanup:
    """What a cleaning of the log did, or would do.

    Attributes:
        removed: Names of files of ``_delta_log``.
        oldest: The oldest version that can be read now.
        dry_run: Whether nothing was removed.
    """

    removed: tuple[str, ...]
    oldest: int | None
    dry_run: bool


class Holds:
    """Versions of tables that somebody in this process still reads.

    Args:
        live: Keys of the snapshots that results hold that are open now.
    """

    def __init__(self, live: Callable[[], Iterable[SnapshotKey]]) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._held: Counter[SnapshotKey] = Counter()

    def add(self, keys: Sequence[SnapshotKey]) -> None:
        """Hold them once more."""
        with self._lock:
            self._held.update(keys)

    def drop(self, keys: Sequence[SnapshotKey]) -> None:
        """Hold them once less."""
        with self._lock:
            self._held.subtract(keys)

    def versions(self, uri: str) -> set[int]:
        """Versions of one table."""
        with self._lock:
            held = {key for key, count in self._held.items() if count > 0}
        return {key.version for key in (*held, *self._live()) if key.uri == uri}


class TableUpkeep:
    """Vacuum, checkpoints and the cleaning of the log.

    What the `RetentionPolicy` of the engine promises is kept, whatever is asked for: files that
    left the table less than ``min_retention`` ago, the newest ``keep_versions``, versions that open
    results of this engine read, and those under `hold`.
    """

    _committer: Committer
    _retention: RetentionPolicy
    _holds: Holds

    if TYPE_CHECKING:

        def open_delta(self, uri: str | os.PathLike[str]) -> DeltaSource:
            """Of the engine."""

    @contextlib.contextmanager
    def hold(self, *what: Any) -> Iterator[None]:
        """Keep versions readable for as long as the block lasts, as far as this engine goes.

        Args:
            what: `SnapshotKey`, or what has ``snapshots``: results, manifests.

        Raises:
            ConfigurationError: It names no versions.
        """
        keys = [key for one in what for key in _keys(one)]
        self._holds.add(keys)
        try:
            yield
        finally:
            self._holds.drop(keys)

    def vacuum(
        self,
        uri: str | os.PathLike[str],
        *,
        retention: Duration | None = None,
        dry_run: bool = True,
        full: bool = False,
        keep_versions: Sequence[int] = (),
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Remove files from storage that no version within the retention needs.

        Versions that need them cannot be read afterwards; `reachable_versions` tells which can.
        With ``dry_run``, the default, nothing is removed: ``result.operation_metrics["files"]``
        says what would be.

        Args:
            uri: Location of the table.
            retention: Files that left the table less than this ago stay; the longer of the policy's
                and the table's own (``delta.deletedFileRetentionDuration``, 7 days) where None.
            dry_run: Whether files are only listed.
            full: Whether files go that no commit knows, too; they have to be as old. Without it
                only what commits have removed.
            keep_versions: Versions whose files stay, besides what the policy keeps.
            retry: As of `TableOperations`; the rest too.
            timeout: See there.
            metadata: See there.
            progress: See there.

        Raises:
            ConfigurationError: The policy forbids it, or `retention` is shorter than the policy's
                or the table's.
        """
        policy = self._retention
        if policy.no_vacuum:
            raise ConfigurationError("the engine's RetentionPolicy has no_vacuum=True")
        table = self.open_delta(uri)
        own = _interval(table.properties, "delta.deletedFileRetentionDuration", _DELETED_FILES)
        least = max(policy.min_retention, own)
        asked = least if retention is None else parse_duration("retention", retention)
        if asked < least:
            whose = (
                "the engine's RetentionPolicy.min_retention"
                if policy.min_retention >= own
                else "the table's delta.deletedFileRetentionDuration"
            )
            raise ConfigurationError(
                f"retention {asked} is shorter than {whose}, {least}: readers of older versions, "
                "and writers that are on their way, would lose their files"
            )
        spec = VacuumSpec(
            retention=asked.total_seconds(),
            keep_versions=sorted({*self._kept(table), *keep_versions}),
            full=full,
            dry_run=dry_run,
        )
        options = CommitOptions(
            retry=retry,
            timeout=timeout,
            metadata=metadata,
            progress=progress,
            run_id=new_id(),
        )
        native, location = self._committer.native, table.snapshot.uri
        # The log names files that an earlier vacuum removed as long as it keeps their tombstones.
        there = dict(native.objects(location, native.new_io()).list("", _ALL))
        result = self._committer.commit(uri, spec, options)
        files = [name for name in result.operation_metrics["files"] if name in there]
        freed = sum(there[name] for name in files)
        metrics = {**result.operation_metrics, "files": files, "bytes": freed}
        return replace(result, operation_metrics=metrics)

    def checkpoint(self, uri: str | os.PathLike[str]) -> SnapshotKey:
        """Write a checkpoint of the newest version, and give its key.

        Commits write one by themselves every ``delta.checkpointInterval`` versions.
        """
        native = self._committer.native
        native.check()
        location = self._committer.resolution.canonical(os.fspath(uri))
        return SnapshotKey(location, native.checkpoint(location, native.io))

    def cleanup_metadata(
        self,
        uri: str | os.PathLike[str],
        *,
        log_retention: Duration | None = None,
        dry_run: bool = False,
    ) -> LogCleanup:
        """Remove entries of the log that no version within the retention needs.

        Only what lies before a whole checkpoint goes, after the table was read from that
        checkpoint; without one nothing does.

        Args:
            uri: Location of the table.
            log_retention: Entries younger than this stay, and versions too; the longer of the
                policy's and the table's own (``delta.logRetentionDuration``, 30 days) where None.
            dry_run: Whether files are only listed.

        Raises:
            ConfigurationError: `log_retention` is shorter than the policy's or the table's.
        """
        table = self.open_delta(uri)
        own = _interval(table.properties, "delta.logRetentionDuration", _LOG)
        least = max(self._retention.log_retention or dt.timedelta(), own)
        asked = least if log_retention is None else parse_duration("log_retention", log_retention)
        if asked < least:
            raise ConfigurationError(
                f"log_retention {asked} is shorter than the policy's or the table's, {least}"
            )
        native = self._committer.native
        removed, oldest = native.clean_log(
            table.snapshot.uri,
            native.io,
            from_version=min({*self._kept(table), table.snapshot.version}),
            since_ms=int((time.time() - asked.total_seconds()) * 1000),
            dry_run=dry_run,
        )
        return LogCleanup(tuple(removed), oldest, dry_run)

    def reachable_versions(self, uri: str | os.PathLike[str]) -> Sequence[int]:
        """Versions that can be read: those whose log and data files are all there, in order.

        Lists the table's files and reads the log from its oldest entry on. A `range` where no
        version in between is missing.

        Raises:
            SourceError: There is no Delta table.
        """
        native = self._committer.native
        native.check()
        location = self._committer.resolution.canonical(os.fspath(uri))
        found = native.readable_versions(location, native.io)
        if found and found[-1] - found[0] + 1 == len(found):
            return range(found[0], found[-1] + 1)
        return tuple(found)

    def capabilities(self, uri: str | os.PathLike[str]) -> TableCapabilities:
        """What the protocol and properties of a table, and the engine's policies, allow here."""
        native = self._committer.native
        native.check()
        location = self._committer.resolution.canonical(os.fspath(uri))
        version, write, change = native.write_obstacles(location, native.io)
        policy = self._committer.refuses(location)
        found: dict[str, str | None] = dict.fromkeys(APPENDS, write)
        found.update(dict.fromkeys(CHANGES, policy or change))
        return TableCapabilities(SnapshotKey(location, version), found)

    def schema_plan(self, uri: str | os.PathLike[str], data: Any) -> SchemaPlan:
        """What writing data would mean for the schema of a table; nothing is read but the schema.

        Args:
            uri: Location of the table.
            data: What has a schema: a `pyarrow.Schema`, a result, any Arrow producer.
        """
        import pyarrow as pa

        theirs = data if isinstance(data, pa.Schema) else schema_of(data)
        return schema_plan(pa.schema(self.open_delta(uri).schema), theirs)

    def _kept(self, table: DeltaSource) -> set[int]:
        """Versions that have to stay readable whatever their age."""
        newest = table.snapshot.version
        first = max(newest - self._retention.keep_versions + 1, 0)
        wanted = {*range(first, newest + 1), *self._holds.versions(table.snapshot.uri)}
        if not wanted:
            return wanted
        found = self._committer.native.log_range(table.snapshot.uri, self._committer.native.io)
        return {version for version in wanted if found is not None and version >= found[0]}


def _keys(what: Any) -> list[SnapshotKey]:
    if isinstance(what, SnapshotKey):
        return [what]
    found = getattr(what, "snapshots", None)
    if found is None:
        raise ConfigurationError(
            f"hold takes SnapshotKey, results and manifests, not {type(what).__name__}"
        )
    return [
        key if isinstance(key, SnapshotKey) else SnapshotKey(key["uri"], key["version"])
        for key in found
    ]


def _interval(properties: Mapping[str, str], name: str, otherwise: dt.timedelta) -> dt.timedelta:
    """A table property like ``interval 7 days`` as a duration."""
    text = properties.get(name)
    if text is None:
        return otherwise
    found = re.fullmatch(r"interval\s+(\d+)\s+([a-z]+?)s?", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigurationError(
            f"the table's property {name} is {text!r}, which is no interval like 'interval 7 days'"
        )
    return dt.timedelta(seconds=int(found[1]) * _UNITS[found[2]])
