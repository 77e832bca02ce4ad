"""`SnapshotKey`: the identity of a table at a version."""

from __future__ import annotations

from dataclasses import dataclass

from fusiondelta.errors import ConfigurationError


@dataclass(frozen=True, slots=True, order=True)
class SnapshotKey:
    """A Delta table at an exact version.

    Equal keys mean the same schema, files and rows: a version of a Delta table never changes.

    Attributes:
        uri: Canonical location: no trailing slash, no credentials.
        version: Version number of the table's log, from 0. Never a timestamp.
    """

    uri: str
    version: int

    def __post_init__(self) -> None:
        version: object = self.version  # callers without a type checker pass anything
        if isinstance(version, bool) or not isinstance(version, int) or version < 0:
            raise ConfigurationError(f"a version is an int from 0, not {version!r}")

    def __str__(self) -> str:
        return f"{self.uri}@{self.version}"
