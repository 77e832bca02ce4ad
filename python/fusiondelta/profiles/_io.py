"""`IoPolicy`: how patiently and how widely storage is asked."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import (
    Bytes,
    Duration,
    longer_than_zero,
    parse_bytes,
    parse_duration,
)
from fusiondelta.profiles._value import Value, default, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class IoPolicy(Value):
    """Timeouts, retries and concurrency, the same for log reads, scans and writes.

    Durations are timedelta or seconds.

    Attributes:
        connect_timeout: Longest wait for a connection.
        request_timeout: Longest wait for one answer, body included.
        retries: Further tries of a failed request; 0 for none.
        first_backoff: Wait before the first of them.
        longest_backoff: No wait is longer than this.
        retry_budget: No further try starts later than this after the first.
        concurrency: Requests in flight at once.
        coalesce: Bytes as an int or a text like ``"1MiB"``: ranges of one object that are at most
            this far apart are read in one request; 0 joins only those that touch.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    connect_timeout: Duration = default(5)
    request_timeout: Duration = default(30)
    retries: int = 10
    first_backoff: Duration = default(0.1)
    longest_backoff: Duration = default(15)
    retry_budget: Duration = default(180)
    concurrency: int = 64
    coalesce: Bytes = default("1MiB")

    def __post_init__(self) -> None:
        self._check(longer_than_zero(), "connect_timeout", "request_timeout")
        self._check(whole(0), "retries")
        self._check(parse_duration, "first_backoff", "longest_backoff", "retry_budget")
        self._check(whole(1), "concurrency")
        self._check(parse_bytes, "coalesce")
        if self.longest_backoff < self.first_backoff:
            raise ConfigurationError(
                f"IoPolicy.longest_backoff ({self.longest_backoff}) must be at least first_backoff "
                f"({self.first_backoff})"
            )

    def to_deltalake_options(self) -> dict[str, str]:
        """The storage options that say the same to delta-rs, which has none for `coalesce`."""
        return {
            "max_retries": str(self.retries),
            "retry_timeout": _text(self.retry_budget),
            "backoff_config.init_backoff": _text(self.first_backoff),
            "backoff_config.max_backoff": _text(self.longest_backoff),
            "connect_timeout": _text(self.connect_timeout),
            "timeout": _text(self.request_timeout),
            "OBJECT_STORE_CONCURRENCY_LIMIT": str(self.concurrency),
        }


def _text(duration: timedelta) -> str:
    for unit, name in ((timedelta(seconds=1), "s"), (timedelta(milliseconds=1), "ms")):
        if duration % unit == timedelta(0):
            return f"{duration // unit}{name}"
    return f"{duration // timedelta(microseconds=1)}us"
