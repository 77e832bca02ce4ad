"""`SnapshotSpec`: what a user asks for, before it is resolved to a version."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from fusiondelta.errors import ConfigurationError

#: What `as_of` takes.
AsOf = "None | str | int | dt.datetime | SnapshotSpec"


@dataclass(frozen=True, slots=True)
class SnapshotSpec:
    """A version by number, by instant, or the newest there is.

    Make one with `latest`, `at_version`/`version` or `timestamp`.

    Example:
        >>> SnapshotSpec.version(3)
        SnapshotSpec.version(3)
        >>> SnapshotSpec.of("2024-05-01T12:00:00Z") == SnapshotSpec.of("2024-05-01T14:00:00+02:00")
        True
        >>> SnapshotSpec.of("latest")
        SnapshotSpec.latest()
    """

    _version: int | None = None
    _instant_ms: int | None = None

    @classmethod
    def latest(cls) -> SnapshotSpec:
        """The newest version at the time of the query."""
        return cls()

    @classmethod
    def version(cls, number: int) -> SnapshotSpec:
        """Exactly this version."""
        given: object = number  # callers without a type checker pass anything
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise ConfigurationError(f"a version is an int from 0, not {given!r}")
        return cls(_version=given)

    @classmethod
    def timestamp(cls, instant: dt.datetime | str) -> SnapshotSpec:
        """The last version committed at or before an instant.

        Args:
            instant: With a time zone, or without one to mean UTC; text is ISO 8601.
        """
        if isinstance(instant, str):
            instant = _parse(instant)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=dt.timezone.utc)
        epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
        return cls(_instant_ms=(instant - epoch) // dt.timedelta(milliseconds=1))

    @classmethod
    def of(cls, as_of: object) -> SnapshotSpec:
        """Whatever `as_of=` takes, as a spec.

        Args:
            as_of: None or ``"latest"``, an int, a datetime, ISO 8601 text, or a spec.

        Raises:
            ConfigurationError: It is none of these.
        """
        if as_of is None or as_of == "latest":
            return cls.latest()
        if isinstance(as_of, SnapshotSpec):
            return as_of
        if isinstance(as_of, bool):
            raise ConfigurationError(f"as_of is a version, an instant or 'latest', not {as_of!r}")
        if isinstance(as_of, int):
            return cls.version(as_of)
        if isinstance(as_of, (dt.datetime, str)):
            return cls.timestamp(as_of)
        raise ConfigurationError(
            f"as_of is None, 'latest', an int, a datetime, ISO 8601 text or a SnapshotSpec, "
            f"not {type(as_of).__name__}"
        )

    @property
    def version_number(self) -> int | None:
        """The version, where one was named."""
        return self._version

    @property
    def instant_ms(self) -> int | None:
        """The instant in milliseconds since the epoch, where one was named."""
        return self._instant_ms

    @property
    def is_latest(self) -> bool:
        """Whether the newest version was asked for."""
        return self._version is None and self._instant_ms is None

    def __repr__(self) -> str:
        if self._version is not None:
            return f"SnapshotSpec.version({self._version})"
        if self._instant_ms is not None:
            instant = dt.datetime.fromtimestamp(self._instant_ms / 1000, dt.timezone.utc)
            return f"SnapshotSpec.timestamp({instant.isoformat()!r})"
        return "SnapshotSpec.latest()"


def _parse(text: str) -> dt.datetime:
    # Python 3.10 does not read the Z of ISO 8601.
    iso = text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text
    try:
        return dt.datetime.fromisoformat(iso)
    except ValueError:
        raise ConfigurationError(
            f"as_of {text!r} is neither 'latest' nor an instant in ISO 8601 "
            "(2024-05-01T12:00:00Z); a version is an int, not text"
        ) from None
