"""Policies of tables and commits: `RetentionPolicy`, `TablePolicy`, `RetryPolicy`."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import (
    Duration,
    OptionalDuration,
    longer_than_zero,
    parse_duration,
)
from fusiondelta.profiles._value import Value, default, flag, one_of, optional, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy(Value):
    """What vacuum and log cleanup must leave. Durations are timedelta or seconds.

    Attributes:
        min_retention: Files that left the table less than this ago stay; default 7 days.
        log_retention: Log entries younger than this stay; None leaves it to the table's properties.
        keep_versions: The newest versions, so many, stay readable however old they are; 0 for none.
        no_vacuum: Whether every vacuum is refused.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    min_retention: Duration = default(7 * 86_400)
    log_retention: OptionalDuration = default(None)
    keep_versions: int = 0
    no_vacuum: bool = False

    def __post_init__(self) -> None:
        self._check(parse_duration, "min_retention")
        self._check(optional(parse_duration), "log_retention")
        self._check(whole(0), "keep_versions")
        self._check(flag, "no_vacuum")

    def properties(self) -> dict[str, str]:
        """The table properties that tell other writers the same, for ``engine.set_properties``.

        >>> RetentionPolicy(min_retention=86_400).properties()
        {'delta.deletedFileRetentionDuration': 'interval 86400 seconds'}
        """
        told = {"delta.deletedFileRetentionDuration": self.min_retention}
        if self.log_retention is not None:
            told["delta.logRetentionDuration"] = self.log_retention
        return {
            name: f"interval {int(duration.total_seconds())} seconds"
            for name, duration in told.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePolicy(Value):
    """What writers may do to the tables beneath a URI prefix.

    Attributes:
        writers: ``"append_only"`` refuses merge, update, delete, optimize and overwrite and sets
            ``delta.appendOnly``; ``"mixed"`` allows them all.

    Raises:
        ConfigurationError: `writers` is neither of the two.
    """

    writers: Literal["append_only", "mixed"] = "mixed"

    def __post_init__(self) -> None:
        self._check(one_of("append_only", "mixed"), "writers")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(Value):
    """When a commit that lost against another writer is tried again.

    Durations are timedelta or seconds. Waits double from `first_delay` and are jittered.

    Attributes:
        attempts: Tries in all, the first included; 1 for no retry.
        first_delay: Wait before the second try.
        longest_delay: No wait is longer than this.
        budget: No try starts later than this after the first.
        spool: Whether rows of a stream are kept in a file first, so that they can be read again.
            Without it a change whose rows come once is tried once.
        allow_volatile: Whether a query with functions like ``random()``, which give other rows each
            time, is run again.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    attempts: int = 5
    first_delay: Duration = default(0.1)
    longest_delay: Duration = default(5)
    budget: Duration = default(60)
    spool: bool = False
    allow_volatile: bool = False

    def __post_init__(self) -> None:
        self._check(whole(1), "attempts")
        self._check(flag, "spool", "allow_volatile")
        self._check(parse_duration, "first_delay", "longest_delay")
        self._check(longer_than_zero("attempts=1 retries nothing"), "budget")
        if self.longest_delay < self.first_delay:
            raise ConfigurationError(
                f"RetryPolicy.longest_delay ({self.longest_delay}) must be at least first_delay "
                f"({self.first_delay})"
            )
