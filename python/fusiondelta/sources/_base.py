"""The base of all sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusiondelta.sources._resolve import Resolution, Resolved


class Source(ABC):
    """Something a query can read under an alias."""

    @abstractmethod
    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        """Pin the source and give the table that stands for it.

        Args:
            alias: Name in the query, for messages.
            resolution: What sources are resolved with: engine, counters and limits of the query.

        Raises:
            SourceError: It cannot be read.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line that names the source, without secrets."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"
