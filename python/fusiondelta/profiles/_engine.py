"""`EngineProfile`: what an engine may use of the machine, and how it plans."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._cache import CacheProfile
from fusiondelta.profiles._machine import usable_cores, usable_memory
from fusiondelta.profiles._settings import RUNTIME, Options
from fusiondelta.profiles._sizes import (
    Bytes,
    Duration,
    OptionalBytes,
    OptionalDuration,
    parse_bytes,
    parse_duration,
    parse_ttl,
)
from fusiondelta.profiles._value import (
    Converted,
    Value,
    default,
    flag,
    instance_of,
    one_of,
    optional,
    whole,
)

_INFORMATION_SCHEMA = "datafusion.catalog.information_schema"
_DEFAULT_SETTINGS = {
    _INFORMATION_SCHEMA: "true",
    "datafusion.execution.collect_statistics": "true",
    # Delta's timestamps are microseconds; nanoseconds, the reader's choice for INT96, end in 2262.
    "datafusion.execution.parquet.coerce_int96": "us",
    "datafusion.execution.parquet.max_predicate_cache_size": str(64 * 2**20),
    "datafusion.execution.parquet.pushdown_filters": "false",
    # Measured on TPC-H at scale 1 (docs/profiles.md): fewer and larger batches, arrays in place of
    # hash tables for joins on dense keys, and small build sides that need no repartitioning.
    "datafusion.execution.batch_size": "16384",
    "datafusion.execution.perfect_hash_join_small_build_threshold": "262144",
    "datafusion.execution.perfect_hash_join_min_key_density": "0.02",
    "datafusion.optimizer.hash_join_single_partition_threshold": str(4 * 2**20),
}
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterializeLimits(Value):
    """What ``to_table``, ``to_pandas``, ``to_polars`` and ``to_pylist`` collect at most.

    Attributes:
        max_rows: Rows; at least 1.
        max_bytes: Bytes of Arrow data, as an int or a text like ``"2GiB"``.

    Raises:
        ConfigurationError: A value is not valid; the message names the field.
    """

    max_rows: int = 10_000_000
    max_bytes: Bytes = default("2GiB")

    def __post_init__(self) -> None:
        self._check(whole(1), "max_rows")
        self._check(parse_bytes, "max_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeConfig:
    """An `EngineProfile` as the extension takes it: sizes in bytes, durations in seconds.

    Attributes:
        memory_limit: Bytes for all queries together; None for no limit.
        memory_pool: ``fair``, ``greedy`` or ``unbounded``.
        spill_dir: Folder for spilled data; None for the system's.
        max_spill: Bytes of spilled data; 0 for no spilling.
        slots: Queries at once.
        queue_timeout: Seconds a query waits for a slot.
        stall_timeout: Seconds a query may do nothing while nothing keeps it waiting; None without
            end.
        metadata_cache: Bytes of Parquet footers and page indexes.
        list_files_cache: Bytes of listings.
        list_files_ttl: Seconds a listing stays good; None without end.
        file_statistics_cache: Bytes of statistics.
        snapshot_cache: Bytes of Delta snapshots.
        string_views: Whether rows are handed over with views.
    """

    memory_limit: int | None
    memory_pool: str
    spill_dir: str | None
    max_spill: int | None
    slots: int
    queue_timeout: float
    stall_timeout: float | None
    metadata_cache: int
    list_files_cache: int
    list_files_ttl: float | None
    file_statistics_cache: int
    snapshot_cache: int
    string_views: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile(Value):
    """What an engine may use of the machine, and how it plans.

    Sizes are bytes or texts like ``"8GiB"``, durations timedelta or seconds. What is None fits the
    machine the engine is made on, by its cgroup's limits.

    Attributes:
        target_partitions: Parts a query runs in at once. None for all cores, or, where `pool_size`
            is given, for the cores divided by it, rounded up.
        batch_size: Rows per batch; None for 16,384.
        memory_limit: Bytes for all queries together; None for 70 % of the memory.
        memory_pool: ``"fair"`` divides memory evenly among operators that can spill, ``"greedy"``
            gives it to whoever asks first, ``"unbounded"`` neither limits nor spills.
        spill_dir: Folder for spilled data; None for the system's temporary folder.
        max_spill: Bytes of spilled data at most; 0 for no spilling.
        pool_size: Queries at once; None for one per core, at least 4.
        queue_timeout: How long a query waits for its turn; 0 for not at all.
        stall_timeout: How long a query may make no progress while nothing keeps it waiting (no
            request, no reader of its rows, no function that computes): its operators wait for each
            other then, and it ends in an `ExecutionError` that names them. None for no limit.
        isolation: ``"pooled"`` lends each query a context that is reset afterwards,
            ``"per_request"`` makes a new one each time, ``"shared_read_only"`` gives all the same.
        cache: What is kept between queries.
        options: Any DataFusion setting by its full name, ``datafusion.runtime.*`` among them; these
            win over the fields above. Texts, numbers or bools, kept as texts.
        limits: What is collected at most when rows are asked for as one object.
        string_views: Whether results have Arrow's ``string_view``, ``binary_view`` and
            ``list_view`` where the plan has them. False gives ``string``, ``binary`` and ``list``
            at any depth, which pandas and all of pyarrow's kernels take; True spares the copy for
            consumers that work with views, Polars among them.

    Raises:
        ConfigurationError: A value is not valid or a setting does not exist; the message names the
            field or the nearest setting.
    """

    target_partitions: int | None = None
    batch_size: int | None = None
    memory_limit: OptionalBytes = default(None)
    memory_pool: Literal["fair", "greedy", "unbounded"] = "fair"
    spill_dir: Converted[str | None, str | os.PathLike[str] | None] = default(None)
    max_spill: Bytes = default("100GiB")
    pool_size: int | None = None
    queue_timeout: Duration = default(30)
    stall_timeout: OptionalDuration = default(60)
    isolation: Literal["pooled", "per_request", "shared_read_only"] = "pooled"
    cache: CacheProfile = CacheProfile.snapshot_pinned()
    options: Converted[Options, Mapping[str, str | int | float | bool]] = default(Options())
    limits: MaterializeLimits = MaterializeLimits()
    string_views: bool = False

    def __post_init__(self) -> None:
        self._check(flag, "string_views")
        self._check(optional(whole(1)), "target_partitions", "batch_size", "pool_size")
        self._check(optional(parse_bytes), "memory_limit")
        self._check(one_of("fair", "greedy", "unbounded"), "memory_pool")
        self._check(optional(_folder), "spill_dir")
        self._check(parse_bytes, "max_spill")
        self._check(parse_duration, "queue_timeout")
        self._check(optional(parse_duration), "stall_timeout")
        self._check(one_of("pooled", "per_request", "shared_read_only"), "isolation")
        self._check(instance_of(CacheProfile, "CacheProfile.snapshot_pinned()"), "cache")
        self._check(instance_of(MaterializeLimits, "MaterializeLimits(max_rows=1000)"), "limits")
        self._check(Options.checked, "options")
        if self.stall_timeout == timedelta(0):
            raise ConfigurationError(
                "EngineProfile.stall_timeout must be above 0; None is no limit"
            )
        if self.memory_limit == 0:
            raise ConfigurationError(
                "EngineProfile.memory_limit must be above 0; memory_pool='unbounded' is no limit"
            )
        if self.memory_pool == "unbounded" and self.memory_limit is not None:
            raise ConfigurationError(
                "EngineProfile.memory_limit has no effect with memory_pool='unbounded'; set it to "
                "None or choose memory_pool='fair'"
            )
        if self.options.get(_INFORMATION_SCHEMA, "true") != "true":
            raise ConfigurationError(
                f"EngineProfile.options: {_INFORMATION_SCHEMA} is always on; leave it out"
            )
        self._runtime()

    @classmethod
    def development(cls) -> EngineProfile:
        """For a laptop that runs other things: at most 2 GiB, 4 partitions, 10 GiB of spill.

        Collecting stops at a million rows, so that a forgotten LIMIT shows early, and plans are
        explained as trees.
        """
        return cls(
            target_partitions=min(4, usable_cores()),
            memory_limit=_share_of_memory(2048 * _MIB),
            max_spill="10GiB",
            pool_size=4,
            limits=MaterializeLimits(max_rows=1_000_000, max_bytes="512MiB"),
            options={"datafusion.explain.format": "tree"},
        )

    @classmethod
    def production(cls) -> EngineProfile:
        """For a service that has the machine to itself: 70 % of memory, shared fairly, all cores.

        Spilled data is compressed, and collecting stops at a million rows: services stream.
        """
        return cls(
            limits=MaterializeLimits(max_rows=1_000_000, max_bytes="512MiB"),
            options={"datafusion.execution.spill_compression": "lz4_frame"},
        )

    @classmethod
    def interactive(cls) -> EngineProfile:
        """For people who wait: the first to ask gets the memory, and a full house answers in 5 s.

        More footers and snapshots are kept, as the same tables are asked again and again.
        """
        return cls(
            memory_pool="greedy",
            queue_timeout=5,
            cache=CacheProfile(snapshots="512MiB", metadata="512MiB", statistics="64MiB"),
        )

    @classmethod
    def low_memory(cls) -> EngineProfile:
        """For small containers: at most 512 MiB, 2 queries at once, 2 partitions each.

        Small batches and caches; spills early and compressed; queries wait up to a minute.
        """
        return cls(
            target_partitions=min(2, usable_cores()),
            batch_size=2048,
            memory_limit=_share_of_memory(512 * _MIB),
            pool_size=2,
            queue_timeout=60,
            cache=CacheProfile(snapshots="32MiB", metadata="32MiB", statistics="4MiB"),
            limits=MaterializeLimits(max_rows=1_000_000, max_bytes="128MiB"),
            options={
                "datafusion.execution.sort_spill_reservation_bytes": _MIB,
                "datafusion.execution.spill_compression": "lz4_frame",
            },
        )

    def settings(self) -> dict[str, str]:
        """The DataFusion session settings this profile stands for; reads the machine's limits."""
        settings = dict(_DEFAULT_SETTINGS)
        partitions = self.target_partitions
        if partitions is None:
            partitions = -(-usable_cores() // (self.pool_size or 1))
        settings["datafusion.execution.target_partitions"] = str(partitions)
        if self.batch_size is not None:
            settings["datafusion.execution.batch_size"] = str(self.batch_size)
        settings.update((k, v) for k, v in self.options.items() if not k.startswith(RUNTIME))
        return settings

    def native(self) -> NativeConfig:
        """This profile as the extension takes it; reads the machine's limits."""
        limit = self.memory_limit
        if limit is None and self.memory_pool != "unbounded":
            limit = _share_of_memory()
        ttl = self.cache.listings_ttl
        stall = self.stall_timeout
        fields: dict[str, Any] = {
            "memory_limit": limit,
            "memory_pool": self.memory_pool,
            "spill_dir": self.spill_dir,
            "max_spill": self.max_spill,
            "slots": self.pool_size or max(4, usable_cores()),
            "queue_timeout": self.queue_timeout.total_seconds(),
            "stall_timeout": stall and stall.total_seconds(),
            "metadata_cache": self.cache.metadata,
            "list_files_cache": self.cache.listings,
            "list_files_ttl": None if ttl is None else ttl.total_seconds(),
            "file_statistics_cache": self.cache.statistics,
            "snapshot_cache": self.cache.snapshots,
            "string_views": self.string_views,
        }
        return NativeConfig(**fields | self._runtime())

    def _runtime(self) -> dict[str, Any]:
        """Fields of `NativeConfig` that the ``datafusion.runtime.*`` options set."""
        fields: dict[str, Any] = {}
        for key, text in self.options.items():
            if not key.startswith(RUNTIME):
                continue
            name = f"EngineProfile.options: {key}"
            field = _NATIVE_FIELDS.get(key.removeprefix(RUNTIME))
            value: Any = text
            if field is None:
                raise ConfigurationError(f"{name} cannot be set for an engine; leave it out")
            if field == "list_files_ttl":
                value = parse_ttl(name, text) / timedelta(seconds=1)
            elif field != "spill_dir":
                value = parse_bytes(name, text)
            if field == "memory_limit" and (value == 0 or self.memory_pool == "unbounded"):
                raise ConfigurationError(
                    f"{name} must be above 0 and needs a memory_pool other than 'unbounded'"
                )
            fields[field] = value
        return fields


_NATIVE_FIELDS = {
    "file_statistics_cache_limit": "file_statistics_cache",
    "list_files_cache_limit": "list_files_cache",
    "list_files_cache_ttl": "list_files_ttl",
    "max_temp_directory_size": "max_spill",
    "memory_limit": "memory_limit",
    "metadata_cache_limit": "metadata_cache",
    "temp_directory": "spill_dir",
}


def _share_of_memory(at_most: int | None = None) -> int:
    share = usable_memory() * 7 // 10
    return share if at_most is None else min(share, at_most)


def _folder(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike) or not (text := os.fsdecode(value)):
        raise ConfigurationError(f"{name} must be the path of a folder, not {value!r}")
    return text
