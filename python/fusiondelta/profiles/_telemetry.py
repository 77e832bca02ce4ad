"""`TelemetryConfig`: what is told about queries."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

from dataclasses import dataclass

from fusiondelta.profiles._sizes import Duration, parse_duration
from fusiondelta.profiles._value import Value, default, flag, fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig(Value):
    """What is told about queries; nothing unless switched on.

    Attributes:
        enabled: Whether spans and metrics are emitted and slow queries kept.
        slow_query_threshold: A query that took longer is slow; timedelta or seconds.
        slow_query_sampling: Share of slow queries that are kept, from 0 to 1.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    enabled: bool = False
    slow_query_threshold: Duration = default(2)
    slow_query_sampling: float = 0.01

    def __post_init__(self) -> None:
        self._check(flag, "enabled")
        self._check(parse_duration, "slow_query_threshold")
        self._check(fraction, "slow_query_sampling")
