"""`DeltaChanges`: what commits did to the rows of a table."""

from __future__ import annotations

import os

from fusiondelta.errors import ConfigurationError
from fusiondelta.sources._base import Source
from fusiondelta.sources._resolve import Resolution, Resolved


class DeltaChanges(Source):
    """The change data feed of a table: one row for each row that a commit inserted or deleted.

    Besides the table's columns it has ``_change_type`` (``insert``, ``delete``,
    ``update_preimage``, ``update_postimage``), ``_commit_version`` and ``_commit_timestamp``. The
    table has to have ``delta.enableChangeDataFeed`` set to ``true`` since `start`.

    Args:
        uri: Location of the table.
        start: First version whose changes are given.
        end: Last one; the newest where None.
    """

    def __init__(self, uri: str | os.PathLike[str], start: int, end: int | None = None) -> None:
        if start < 0 or (end is not None and end < start):
            raise ConfigurationError(f"changes go from a version to a later one, not {start}-{end}")
        self.uri = os.fspath(uri)
        self.start = start
        self.end = end

    def describe(self) -> str:
        """The table and the versions."""
        return f"changes of {self.uri}@{self.start}-{'' if self.end is None else self.end}"

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """A table of the changes; see `Source.resolve`.

        Raises:
            SnapshotNotFoundError: There are no such versions.
            UnsupportedTableFeatureError: The table keeps no changes.
        """
        location = resolution.canonical(self.uri)
        table = resolution.engine.changes(location, resolution.io, start=self.start, end=self.end)
        return Resolved(
            alias,
            table,
            self.describe(),
            kind="changes",
            uri=location,
            options={"start": self.start, "end": self.end},
        )
