"""What can go wrong, grouped by what a caller does about it.

::

    FusionDeltaError
    ├── ConfigurationError             fix the configuration            (ValueError)
    ├── StorageError                   the store failed                 (OSError)
    │   ├── AuthenticationError        fix the credentials              (PermissionError)
    │   ├── ThrottledError             try again later
    │   ├── StorageTimeoutError        try again, or allow more time    (TimeoutError)
    │   └── ObjectNotFoundError        it is not there                  (FileNotFoundError)
    ├── WriteSafetyError               declare how commits stay safe    (ValueError)
    ├── SourceError                    the source cannot be read        (ValueError)
    ├── UnsupportedTableFeatureError   the table needs what is not here (NotImplementedError)
    ├── SnapshotNotFoundError          pick a version that exists       (LookupError)
    ├── SnapshotExpiredError           pick a newer version             (LookupError)
    ├── QueryError                     fix the query
    │   ├── SqlError                   .line, .column                   (ValueError)
    │   ├── ReadOnlyViolationError     ask for readonly=False           (PermissionError)
    │   ├── ParameterError             fix the parameters               (ValueError)
    │   ├── ExecutionError             the rows did not fit the query
    │   ├── ResourcesExhaustedError    give it more memory or disk      (MemoryError)
    │   ├── ScanLimitError             it would read too much           (ValueError)
    │   ├── QueryTimeoutError          give it more time                (TimeoutError)
    │   └── QueryCancelledError        somebody stopped it
    ├── ResultTooLargeError            stream it instead                (MemoryError)
    ├── StreamConsumedError            query again                      (ValueError)
    ├── SchemaMismatchError            cast or evolve                   (TypeError)
    ├── CommitConflict                 another writer won
    ├── CommitOutcomeUnknown           ask commit_outcome()
    ├── PoolTimeoutError               all slots stayed busy            (TimeoutError)
    ├── EngineClosedError              make a new engine                (ValueError)
    └── EngineForkedError              engine.respawn()                 (RuntimeError)

Every error has a stable ``kind`` code (`ErrorKind`), a one-line message that says what happened and
what to do, ``details`` for code, and pickles.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar


class ErrorKind(str, enum.Enum):
    """Stable codes of errors; members are only ever added."""

    CONFIGURATION = "configuration"
    STORAGE = "storage"
    AUTHENTICATION = "authentication"
    THROTTLED = "throttled"
    STORAGE_TIMEOUT = "storage_timeout"
    OBJECT_NOT_FOUND = "object_not_found"
    WRITE_SAFETY = "write_safety"
    SOURCE = "source"
    UNSUPPORTED_TABLE_FEATURE = "unsupported_table_feature"
    SNAPSHOT_NOT_FOUND = "snapshot_not_found"
    SNAPSHOT_EXPIRED = "snapshot_expired"
    QUERY = "query"
    SQL = "sql"
    READ_ONLY_VIOLATION = "read_only_violation"
    PARAMETER = "parameter"
    EXECUTION = "execution"
    RESOURCES_EXHAUSTED = "resources_exhausted"
    QUERY_TIMEOUT = "query_timeout"
    QUERY_CANCELLED = "query_cancelled"
    SCAN_LIMIT = "scan_limit"
    RESULT_TOO_LARGE = "result_too_large"
    STREAM_CONSUMED = "stream_consumed"
    SCHEMA_MISMATCH = "schema_mismatch"
    COMMIT_CONFLICT = "commit_conflict"
    COMMIT_OUTCOME_UNKNOWN = "commit_outcome_unknown"
    POOL_TIMEOUT = "pool_timeout"
    ENGINE_CLOSED = "engine_closed"
    ENGINE_FORKED = "engine_forked"
    INTERNAL = "internal"

    def __str__(self) -> str:
        return self.value


class FusionDeltaError(Exception):
    """Base of all errors of this package.

    Attributes:
        message: What happened and what to do, in one line where possible.
        kind: Stable code, equal to its text (``error.kind == "sql"``).
        details: Values for code: strings by name, never a secret.
    """

    default_kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.details: dict[str, str] = dict(details or {})

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.kind.value, self.details))


def _rebuild(
    cls: type[FusionDeltaError], message: str, kind: str, details: dict[str, str]
) -> FusionDeltaError:
    return cls(message, kind=ErrorKind(kind), details=details)


class ConfigurationError(FusionDeltaError, ValueError):
    """An option, profile or location is not one that works; fix it."""

    default_kind = ErrorKind.CONFIGURATION


class StorageError(FusionDeltaError, OSError):
    """The object store or file system failed."""

    default_kind = ErrorKind.STORAGE


class AuthenticationError(StorageError, PermissionError):
    """The store refused the credentials or the permissions they carry."""

    default_kind = ErrorKind.AUTHENTICATION


class ThrottledError(StorageError):
    """The store asked for fewer requests; try again later."""

    default_kind = ErrorKind.THROTTLED


class StorageTimeoutError(StorageError, TimeoutError):
    """The store did not answer in time."""

    default_kind = ErrorKind.STORAGE_TIMEOUT


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """An object that the table or the source names is not there."""

    default_kind = ErrorKind.OBJECT_NOT_FOUND


class WriteSafetyError(FusionDeltaError, ValueError):
    """Nothing says how commits here are made safe; declare it in the storage profile."""

    default_kind = ErrorKind.WRITE_SAFETY


class SourceError(FusionDeltaError, ValueError):
    """A source is not what it was taken for, or cannot be read."""

    default_kind = ErrorKind.SOURCE


class UnsupportedTableFeatureError(FusionDeltaError, NotImplementedError):
    """The table needs a feature of the Delta protocol that is not supported here."""

    default_kind = ErrorKind.UNSUPPORTED_TABLE_FEATURE


class SnapshotNotFoundError(FusionDeltaError, LookupError):
    """The version or instant asked for does not exist; the message says which do."""

    default_kind = ErrorKind.SNAPSHOT_NOT_FOUND


class SnapshotExpiredError(FusionDeltaError, LookupError):
    """The version existed and was vacuumed or cleaned up; the message says what is readable."""

    default_kind = ErrorKind.SNAPSHOT_EXPIRED


class QueryError(FusionDeltaError):
    """The query cannot be planned."""

    default_kind = ErrorKind.QUERY


class ScanLimitError(QueryError, ValueError):
    """The query would read more than it may (``max_scan_bytes``, ``expect_pruning``)."""

    default_kind = ErrorKind.SCAN_LIMIT


class SqlError(QueryError, ValueError):
    """The SQL text is wrong, or names what does not exist.

    Attributes:
        line: Line in the SQL text, from 1, where it is known.
        column: Column in that line, from 1, where it is known.
    """

    default_kind = ErrorKind.SQL

    @property
    def line(self) -> int | None:
        """Line in the SQL text, from 1, where it is known."""
        return _number(self.details.get("line"))

    @property
    def column(self) -> int | None:
        """Column in the line, from 1, where it is known."""
        return _number(self.details.get("column"))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


class ReadOnlyViolationError(QueryError, PermissionError):
    """The statement changes something and the query is read-only; ask for ``readonly=False``."""

    default_kind = ErrorKind.READ_ONLY_VIOLATION


class ParameterError(QueryError, ValueError):
    """A parameter is missing, unknown, or of a type that SQL has no value for."""

    default_kind = ErrorKind.PARAMETER


class ExecutionError(QueryError):
    """The query failed while it ran: a cast, a division, a function."""

    default_kind = ErrorKind.EXECUTION


class ResourcesExhaustedError(QueryError, MemoryError):
    """Memory or spill space ran out; the message names the largest consumers."""

    default_kind = ErrorKind.RESOURCES_EXHAUSTED


class QueryTimeoutError(QueryError, TimeoutError):
    """The deadline passed."""

    default_kind = ErrorKind.QUERY_TIMEOUT


class QueryCancelledError(QueryError):
    """The query was cancelled, or its engine closed, before its rows had all been read."""

    default_kind = ErrorKind.QUERY_CANCELLED


class ResultTooLargeError(FusionDeltaError, MemoryError):
    """More rows or bytes than the guard of a materialising helper allows; stream, or raise it."""

    default_kind = ErrorKind.RESULT_TOO_LARGE


class StreamConsumedError(FusionDeltaError, ValueError):
    """A stream gives its rows once and was read already."""

    default_kind = ErrorKind.STREAM_CONSUMED


class SchemaMismatchError(FusionDeltaError, TypeError):
    """The data's columns are not the table's; the message names each with both types."""

    default_kind = ErrorKind.SCHEMA_MISMATCH


#: Conflicts that a writer resolves by reading again and rebuilding its change.
RETRYABLE_CONFLICTS = frozenset(
    {"ConcurrentAppend", "ConcurrentDeleteRead", "ConcurrentDeleteDelete", "ConcurrentWrite"}
)


class CommitConflict(FusionDeltaError):
    """Another writer committed first, and the two changes do not go together.

    Attributes:
        conflict: Name of the conflict as Delta has it, ``ConcurrentAppend`` for one.
        retryable: Whether reading again and rebuilding the change can succeed.
        read_version: Version the change was based on, where known.
        winning_version: Version the other writer made, where known.
    """

    default_kind = ErrorKind.COMMIT_CONFLICT

    @property
    def conflict(self) -> str:
        """Name of the conflict as Delta has it."""
        return self.details.get("conflict", "unknown")

    @property
    def retryable(self) -> bool:
        """Whether reading again and rebuilding the change can succeed."""
        return self.conflict in RETRYABLE_CONFLICTS

    @property
    def read_version(self) -> int | None:
        """Version the change was based on, where known."""
        return _number(self.details.get("read_version"))

    @property
    def winning_version(self) -> int | None:
        """Version the other writer made, where known."""
        return _number(self.details.get("winning_version"))


class CommitOutcomeUnknown(FusionDeltaError):
    """A commit was sent and whether it took effect could not be read back.

    Attributes:
        commit_id: What to ask ``engine.commit_outcome(uri, commit_id)`` for.
    """

    default_kind = ErrorKind.COMMIT_OUTCOME_UNKNOWN

    @property
    def commit_id(self) -> str | None:
        """What to ask ``engine.commit_outcome(uri, commit_id)`` for."""
        return self.details.get("commit_id")


class PoolTimeoutError(FusionDeltaError, TimeoutError):
    """All contexts or execution slots stayed busy for the profile's ``queue_timeout``."""

    default_kind = ErrorKind.POOL_TIMEOUT


class EngineClosedError(FusionDeltaError, ValueError):
    """The engine is closed; make a new one."""

    default_kind = ErrorKind.ENGINE_CLOSED


class EngineForkedError(FusionDeltaError, RuntimeError):
    """The engine was made in a parent process; ``engine.respawn()`` makes one here."""

    default_kind = ErrorKind.ENGINE_FORKED


_CLASSES: dict[ErrorKind, type[FusionDeltaError]] = {
    cls.default_kind: cls
    for cls in (
        ConfigurationError,
        StorageError,
        AuthenticationError,
        ThrottledError,
        StorageTimeoutError,
        ObjectNotFoundError,
        WriteSafetyError,
        SourceError,
        UnsupportedTableFeatureError,
        SnapshotNotFoundError,
        SnapshotExpiredError,
        QueryError,
        SqlError,
        ReadOnlyViolationError,
        ParameterError,
        ExecutionError,
        ResourcesExhaustedError,
        QueryTimeoutError,
        QueryCancelledError,
        ScanLimitError,
        ResultTooLargeError,
        StreamConsumedError,
        SchemaMismatchError,
        CommitConflict,
        CommitOutcomeUnknown,
        PoolTimeoutError,
        EngineClosedError,
        EngineForkedError,
    )
}


def class_of(kind: str) -> type[FusionDeltaError]:
    """The exception of a stable code."""
    return _CLASSES.get(ErrorKind(kind), FusionDeltaError)


def from_native(kind: str, message: str, details: Mapping[str, str]) -> FusionDeltaError:
    """The exception for an error of the extension; called from Rust."""
    code = ErrorKind(kind)
    if details.get("outcome") == "unknown":
        code = ErrorKind.COMMIT_OUTCOME_UNKNOWN
        message = (
            f"{message}; whether the commit took effect could not be read back, so ask "
            f"engine.commit_outcome(uri, {details.get('commit_id')!r}) before trying again"
        )
    return _CLASSES.get(code, FusionDeltaError)(message, kind=code, details=details)
