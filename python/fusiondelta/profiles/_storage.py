"""`StorageProfile`: how locations are reached and how commits to them are made safe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from fusiondelta.profiles import _uris
from fusiondelta.profiles._value import Value, one_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageProfile(Value):
    """How locations are reached. This version serves local files and memory.

    Attributes:
        kind: Kind of store.
    """

    kind: Literal["local"] = "local"

    def __post_init__(self) -> None:
        self._check(one_of("local"), "kind")

    @classmethod
    def local(cls) -> StorageProfile:
        """Files of this machine, and ``memory://`` stores of this process."""
        return cls(kind="local")

    @classmethod
    def from_uri(cls, uri: str | os.PathLike[str]) -> StorageProfile:
        """The profile that serves a location.

        Args:
            uri: A path or URI.

        Raises:
            ConfigurationError: Nothing in this version serves it.
        """
        scheme = _uris.scheme_of(uri)
        if scheme not in ("file", "memory"):
            raise _uris.not_served(scheme)
        return cls.local()

    @classmethod
    def from_env(cls) -> StorageProfile:
        """The profile that the environment describes: in this version always the local one."""
        return cls.local()

    @property
    def write_safety(self) -> str | None:
        """How commits are made safe; None where the store makes them safe as it is."""
        return None

    def to_deltalake_options(self) -> dict[str, str]:
        """The storage options that say the same to delta-rs; empty for local files."""
        return {}

    def canonicalize_uri(self, uri: str | os.PathLike[str]) -> str:
        """The one spelling of a location, whichever way it was written.

        Links are followed, ``~`` is a name like any other, and there is no trailing slash.

        Args:
            uri: A path, relative or not, or a ``file://`` or ``memory://`` URI.

        Returns:
            ``file:///folder/table`` or ``memory://name/table``, percent-encoded.

        Raises:
            ConfigurationError: Not a location, or of a scheme that is not served.
        """
        return _uris.canonical(uri)
