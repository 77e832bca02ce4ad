"""What resolving a source needs, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusiondelta.profiles import StorageProfile
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.storage import profile_for

if TYPE_CHECKING:
    from fusiondelta._native import NativeDelta, NativeEngine, NativeIo


@dataclass(frozen=True, slots=True)
class FilePin:
    """A file as it was when its source was opened.

    Attributes:
        path: Path in its store.
        size: Bytes.
        modified_ms: Modification time, milliseconds since the epoch.
        e_tag: Entity tag, where the store has them.
    """

    path: str
    size: int
    modified_ms: int
    e_tag: str | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What sources are resolved with.

    Attributes:
        engine: The native engine.
        io: Counters of the query.
        storage: Profiles by URI prefix.
        settings: DataFusion settings, for schema inference.
        staleness: Seconds that a known newest version stays good enough.
        consistent_at_ms: Instant that Delta sources asked for their newest version are pinned to.
        timeout: Seconds left, if limited.
        partitions: Partitions that data in memory is spread over.
    """

    engine: NativeEngine
    io: NativeIo
    storage: Mapping[str, StorageProfile]
    settings: Mapping[str, str]
    staleness: float = 0.0
    consistent_at_ms: int | None = None
    timeout: float | None = None
    partitions: int = 1

    def canonical(self, uri: str) -> str:
        """The one spelling of a location, by the profile with the longest matching prefix."""
        return self.profile(uri).canonicalize_uri(uri)

    def profile(self, uri: str) -> StorageProfile:
        """The profile that serves a location."""
        return profile_for(self.storage, uri)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source, pinned.

    Attributes:
        alias: Name in the query.
        provider: What DataFusion registers.
        description: One line that names the source.
        snapshot: Key of a Delta table.
        files: Pins of a file source.
        delta: The native table of a Delta source.
        kind: ``delta``, ``parquet``, ``csv``, ``json``, ``ipc``, ``changes``;
            ``memory`` for Arrow data, ``provider`` for tables of other libraries and other queries.
        uri: Where it is, in canonical spelling; empty of what is in memory.
        options: What makes the source again besides, as plain values.
        keep: What has to live as long as the table.
    """

    alias: str
    provider: Any
    description: str
    snapshot: SnapshotKey | None = None
    files: tuple[FilePin, ...] = ()
    delta: NativeDelta | None = None
    kind: str = "provider"
    uri: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    keep: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def is_own(self) -> bool:
        """Whether the extension plans the table itself."""
        from fusiondelta._native import NativeDelta, NativeFiles, NativeTable

        return isinstance(self.provider, NativeDelta | NativeFiles | NativeTable)
