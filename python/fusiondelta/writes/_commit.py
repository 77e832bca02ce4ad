"""From a change to its commit: attempts, waits, and what is told of them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.account import Books, Call, QueryIo
from fusiondelta.account._versions import check_versions, component_versions
from fusiondelta.errors import (
    CommitConflict,
    ConfigurationError,
    FusionDeltaError,
    UnsupportedTableFeatureError,
)
from fusiondelta.profiles import RetryPolicy, StorageProfile, TablePolicy
from fusiondelta.profiles._sizes import Duration, parse_duration
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.sources import Resolution
from fusiondelta.storage import SafetyGate, covers
from fusiondelta.writes._progress import WriteProgress, WriteWatch
from fusiondelta.writes._properties import check_properties
from fusiondelta.writes._record import WriteRecord
from fusiondelta.writes._result import CommitAttempt, WriteResult
from fusiondelta.writes._spec import CommitSpec, WriteSpec
from fusiondelta.writes._texts import ChangeTexts

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine
    from fusiondelta.writes._changes import ChangeSpec
    from fusiondelta.writes._ingest import WriteSource

_RESERVED = "fusiondelta."

#: The system's, so that processes that were forked alike do not wait alike.
_JITTER = random.SystemRandom()

#: Bytes of finished data files that wait for the store to take them. The writer's own bound is up
#: to 32 files of a hundred megabytes, and can be told otherwise by this variable alone.
_UPLOADS_VARIABLE = "DELTARS_MAX_IN_FLIGHT_UPLOAD_BYTES"
_UPLOAD_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOptions:
    """What every change can be told.

    Attributes:
        idempotency_key: Application id and version.
        retry: When a change that lost is made again; the default policy where None.
        timeout: Time for all attempts together.
        metadata: Text by name, kept in the commit.
        progress: Called while the change is made.
        run_id: Identifier of the run.
    """

    idempotency_key: tuple[str, int] | None = None
    retry: RetryPolicy | None = None
    timeout: Duration | None = None
    metadata: Mapping[str, str] | None = None
    progress: Callable[[WriteProgress], None] | None = None
    run_id: str


@dataclass(frozen=True, slots=True)
class Committer:
    """What commits of an engine are made with.

    Attributes:
        native: The extension's engine.
        resolution: How locations are spelled.
        settings: DataFusion settings of the profile.
        safety: Lets commits pass where they are safe.
        books: Who wants to know how changes end.
        policies: What may be done to tables, by canonical prefix.
        hook: Called at each step of every commit; for tests.
    """

    native: NativeEngine
    resolution: Resolution
    settings: Mapping[str, str]
    safety: SafetyGate
    books: Books
    policies: Mapping[str, TablePolicy] = field(default_factory=dict)
    hook: Callable[[str, int | None], None] | None = None

    def commit(
        self,
        uri: str | os.PathLike[str],
        change: ChangeSpec,
        options: CommitOptions,
        source: WriteSource | None = None,
        texts: ChangeTexts | None = None,
    ) -> WriteResult:
        """Make the change and commit it, again where the policy and the rows allow it.

        Raises:
            CommitConflict: Another writer won; says why it was not tried again.
            CommitOutcomeUnknown: The commit was sent and its outcome could not be read back.
        """
        check_versions()
        self.native.check()
        profile = self.resolution.profile(os.fspath(uri))
        location = profile.canonicalize_uri(os.fspath(uri))
        refused = self.refuses(location)
        if refused is not None and change.removes_rows:
            raise UnsupportedTableFeatureError(f"{change.kind} of {location}: {refused}")
        run = self.books.current
        if run is not None:
            options = replace(options, run_id=run.run_id)
        io = self.native.new_io()
        record = WriteRecord(
            run_id=options.run_id,
            query_id=new_id(),
            operation=_operation(change),
            io=io,
            tenant=None if run is None else run.tenant,
            tags={} if run is None else run.tags,
            settings=self.settings,
            modes=_modes(change),
        )
        entry = self.books.begin(
            Call(
                kind="write",
                query_id=record.query_id,
                run_id=record.run_id,
                operation=record.operation,
                tenant=record.tenant,
                tags=record.tags,
                table=location,
            )
        )
        if entry is not None:
            entry.planned(record)
        joined = contextlib.nullcontext() if entry is None else entry.context()
        try:
            with joined:
                return self._committed(
                    location, profile, change, options, source, texts or ChangeTexts(), record
                )
        except BaseException as error:
            record.failed(error)
            raise
        finally:
            if entry is not None:
                entry.ended(record)

    def _committed(
        self,
        location: str,
        profile: StorageProfile,
        change: ChangeSpec,
        options: CommitOptions,
        source: WriteSource | None,
        texts: ChangeTexts,
        record: WriteRecord,
    ) -> WriteResult:
        commit_id = new_id()
        io = record.io
        spec = CommitSpec(
            uri=location,
            commit_id=commit_id,
            run_id=options.run_id,
            query_id=record.query_id,
            metadata=_commit_metadata(options.metadata, commit_id, options.run_id),
            idempotency_key=_idempotency_key(options.idempotency_key),
            hook=self.hook,
        )
        limit = None if options.timeout is None else parse_duration("timeout", options.timeout)
        seconds = None if limit is None else limit.total_seconds()
        clock = _Clock(options.retry or RetryPolicy(), seconds)
        safety = self.safety.require(spec.uri, profile, io, clock.left())
        os.environ.setdefault(_UPLOADS_VARIABLE, str(_UPLOAD_BYTES))
        attempts: list[CommitAttempt] = []
        record.write = {"commit_id": commit_id, "write_safety": safety, "attempts": []}
        watch = WriteWatch(options.progress, change.kind, io)
        with watch.watching():
            found = self._attempt(spec, change, source, texts, clock, record, attempts, watch)
        attempts.append(
            CommitAttempt(
                number=clock.number,
                tried=tuple((version, outcome) for version, outcome in found["attempts"]),
                waited=clock.waited,
            )
        )
        metrics = _metrics(found["operation"])
        outcome = "COMMITTED" if found["committed"] else "UNCHANGED"
        record.succeeded(found)
        target = SnapshotKey(spec.uri, found["version"])
        record.snapshots = {**record.snapshots, "target": target}
        facts: dict[str, Any] = {
            "outcome": "IGNORED" if metrics.get("ignored") else outcome,
            "commit_id": found["commit_id"],
            "read_version": found["read_version"],
            "rows_written": found["rows"],
            "bytes_written": found["bytes"],
            "files_added": found["files_added"],
            "files_removed": found["files_removed"],
            "write_safety": safety,
            "replayed": found["replayed"],
            "operation_metrics": metrics,
        }
        record.write = {**facts, "attempts": [one.to_dict() for one in attempts]}
        return WriteResult(
            snapshot=target,
            run_id=options.run_id,
            query_id=spec.query_id,
            io=QueryIo.of(io),
            attempts=tuple(attempts),
            _record=record,
            **facts,
        )

    def _attempt(
        self,
        spec: CommitSpec,
        change: ChangeSpec,
        source: WriteSource | None,
        texts: ChangeTexts,
        clock: _Clock,
        record: WriteRecord,
        attempts: list[CommitAttempt],
        watch: WriteWatch,
    ) -> dict[str, Any]:
        """What the extension says of the attempt that succeeded; those that lost are noted."""
        try:
            while True:
                rows = None if source is None else source.open()
                read = None if source is None else _own_version(source, spec.uri)
                if source is not None:
                    record.snapshots = dict(source.snapshots())
                    record.sources = source.read_from()
                try:
                    with texts.opened() as named, record.attempt():
                        return self.native.commit(
                            replace(spec, source_version=read),
                            change,
                            record.io,
                            dict(self.settings),
                            query=None if rows is None else rows.query,
                            stream=None if rows is None else rows.stream,
                            options=named,
                            timeout=clock.left(),
                        )
                except CommitConflict as error:
                    attempts.append(_lost(error, clock))
                    record.write = {
                        **record.write,
                        "attempts": [one.to_dict() for one in attempts],
                    }
                    obstacle = clock.obstacle(error, source, read is not None)
                    if obstacle is not None:
                        raise _refused(error, obstacle, attempts) from None
                    clock.wait()
                    watch.attempt = clock.number
        finally:
            if source is not None:
                source.close()

    def describe(self, uri: str | os.PathLike[str]) -> Mapping[str, str]:
        """Properties of the table at its newest version."""
        location = self.resolution.canonical(os.fspath(uri))
        found: Mapping[str, str] = json.loads(
            self.native.open_delta(location, self.native.io).detail_json()
        )["properties"]
        return found

    def properties(
        self, uri: str | os.PathLike[str], given: Mapping[str, str] | None
    ) -> dict[str, str]:
        """Properties of a table to be made: those given, and what its policy asks for."""
        location = self.resolution.canonical(os.fspath(uri))
        check_properties(given or {})
        asked = {} if self.refuses(location) is None else {"delta.appendOnly": "true"}
        return {**asked, **(given or {})}

    def refuses(self, location: str) -> str | None:
        """Why rows of a table may not be changed; None where they may.

        Args:
            location: Canonical location of the table.
        """
        policy = policy_for(self.policies, location)
        if policy is None or policy.writers != "append_only":
            return None
        return 'the engine\'s TablePolicy for it is writers="append_only"'


def policy_for(policies: Mapping[str, TablePolicy], location: str) -> TablePolicy | None:
    """The policy with the longest prefix of a canonical location, by whole names."""
    found = [
        (len(prefix), policy)
        for prefix, policy in policies.items()
        if not prefix or covers(prefix, location)
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


class _Clock:
    """Attempts and the time that is left for them."""

    def __init__(self, policy: RetryPolicy, timeout: float | None) -> None:
        self.number = 1
        self.waited = 0.0
        self._policy = policy
        self._started = time.monotonic()
        self._deadline = None if timeout is None else self._started + timeout
        self._delay = policy.first_delay.total_seconds()

    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def obstacle(
        self, error: CommitConflict, source: WriteSource | None, reads_itself: bool
    ) -> str | None:
        """Why the change is not made again; None where it is."""
        policy = self._policy
        if not error.retryable:
            return f"{error.conflict} needs a look at the table before the change is made again"
        if reads_itself and source is not None and not source.is_renewed:
            return (
                "its rows are a query's of the same table as it was; pass a callable that queries "
                "it, which is called again"
            )
        if source is not None:
            once = source.obstacle(allow_volatile=policy.allow_volatile)
            if once is not None:
                return once
        if self.number >= policy.attempts:
            return f"all {policy.attempts} attempts of the RetryPolicy were made"
        if time.monotonic() - self._started + self._delay > policy.budget.total_seconds():
            return f"the RetryPolicy's budget of {policy.budget.total_seconds():g} s is spent"
        return None

    def wait(self) -> None:
        """Wait for any time up to the delay, which doubles ("full jitter")."""
        self.waited = self._delay * _JITTER.random()
        left = self.left()
        time.sleep(self.waited if left is None else min(self.waited, left))
        self._delay = min(self._delay * 2, self._policy.longest_delay.total_seconds())
        self.number += 1


def _operation(change: ChangeSpec) -> str:
    """The change in a word; a write is called by its mode."""
    return change.mode if isinstance(change, WriteSpec) else change.kind


def _modes(change: ChangeSpec) -> dict[str, Any]:
    if not isinstance(change, WriteSpec):
        return {"mode": None, "schema_mode": None, "partition_by": []}
    return {
        "mode": change.mode,
        "schema_mode": change.schema_mode,
        "partition_by": change.partition_by or [],
    }


def _lost(error: CommitConflict, clock: _Clock) -> CommitAttempt:
    return CommitAttempt(
        number=clock.number,
        conflict=error.conflict,
        winning_version=error.winning_version,
        waited=clock.waited,
    )


def _refused(
    error: CommitConflict, obstacle: str, attempts: list[CommitAttempt]
) -> FusionDeltaError:
    details = {
        **error.details,
        "attempts": str(len(attempts)),
        "not_retried": obstacle,
    }
    return CommitConflict(
        f"{error.message}; not tried again: {obstacle}", kind=error.kind, details=details
    )


def _metrics(text: str | None) -> dict[str, Any]:
    """The operation's metrics under one kind of names; delta-rs has two, and texts of JSON."""
    found: dict[str, Any] = json.loads(text or "{}")
    plain = {}
    for name, value in found.items():
        if isinstance(value, str) and value.startswith("{"):
            value = json.loads(value)
        if isinstance(value, dict):
            value = {_snake(key): one for key, one in value.items()}
        plain[_snake(name)] = value
    return plain


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _own_version(source: WriteSource, uri: str) -> int | None:
    """Version at which the rows were read from the very table they are written to."""
    versions = [key.version for key in source.snapshots().values() if key.uri == uri]
    return min(versions, default=None)


def _idempotency_key(key: object) -> tuple[str, int] | None:
    if key is None:
        return None
    if (
        isinstance(key, tuple)
        and len(key) == 2
        and isinstance(key[0], str)
        and key[0]
        and isinstance(key[1], int)
        and not isinstance(key[1], bool)
        and 0 <= key[1] < 2**63
    ):
        return key
    raise ConfigurationError(
        "idempotency_key is (application id, version): a text that names the writer and a whole "
        f"number that grows with every batch, as in ('orders-import', 17), not {key!r}"
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
