"""`CacheProfile`: what is kept between queries."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

from dataclasses import dataclass

from fusiondelta.profiles._sizes import (
    Bytes,
    Duration,
    OptionalDuration,
    longer_than_zero,
    parse_bytes,
    parse_duration,
)
from fusiondelta.profiles._value import Value, default, flag, optional


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProfile(Value):
    """What is kept between queries, and for how long. Sizes are bytes or texts like ``"256MiB"``.

    Attributes:
        snapshots: Bytes of Delta snapshots. A version never changes, so these are never stale.
        listings: Bytes of file listings of folders; 0 lists anew for each query.
        listings_ttl: How long a listing stays good; None for as long as it fits. Not zero.
        metadata: Bytes of Parquet footers and page indexes; 0 reads them anew for each query.
        statistics: Bytes of statistics per file; 0 keeps none.
        max_staleness: How long the newest version found of a Delta table is taken for the newest;
            0 looks each time.
        by_tenant: Whether what one tenant's query loaded is kept from another's.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    snapshots: Bytes = default("256MiB")
    listings: Bytes = default(0)
    listings_ttl: OptionalDuration = default(None)
    metadata: Bytes = default("256MiB")
    statistics: Bytes = default("20MiB")
    max_staleness: Duration = default(0)
    by_tenant: bool = False

    def __post_init__(self) -> None:
        self._check(parse_bytes, "snapshots", "listings", "metadata", "statistics")
        ttl = longer_than_zero("listings=0 keeps no listings, listings_ttl=None keeps them")
        self._check(optional(ttl), "listings_ttl")
        self._check(parse_duration, "max_staleness")
        self._check(flag, "by_tenant")

    @classmethod
    def snapshot_pinned(cls) -> CacheProfile:
        """The default: keeps what cannot go stale (snapshots, footers), lists folders anew."""
        return cls()

    @classmethod
    def remote_fast_stale(cls) -> CacheProfile:
        """For folders that do not change: 64 MiB of listings without end, 256 MiB of footers."""
        return cls(listings="64MiB", metadata="256MiB")

    @classmethod
    def remote_fast_ttl30s(cls) -> CacheProfile:
        """For folders where 30 s late is good enough: 64 MiB of listings, 256 MiB of footers."""
        return cls(listings="64MiB", listings_ttl=30, metadata="256MiB")

    @classmethod
    def fresh_no_list_cache(cls) -> CacheProfile:
        """Says outright that folders are listed for each query; 256 MiB of footers."""
        return cls(listings=0, metadata="256MiB")

    @classmethod
    def multi_tenant_no_caches(cls) -> CacheProfile:
        """Nothing that one tenant's query loaded is there for another's: every cache is off."""
        return cls(snapshots=0, listings=0, metadata=0, statistics=0, by_tenant=True)
