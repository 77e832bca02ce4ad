"""`engine.debug`: a look inside, read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.account import QueryIo
from fusiondelta.account._versions import component_versions
from fusiondelta.queries import QueryRunner, QuerySpec

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine
    from fusiondelta.sessions import ContextPool


@dataclass(frozen=True, slots=True)
class Debug:
    """What an engine is doing and with what."""

    _native: NativeEngine
    _pool: ContextPool
    _queries: QueryRunner
    _settings: Mapping[str, str]

    def settings(self) -> dict[str, str]:
        """DataFusion settings that every query starts with."""
        return dict(self._settings)

    def pool(self) -> dict[str, int]:
        """Contexts and execution slots: bound, in use, waiting; bytes reserved in the pool."""
        slots, free = self._native.slots
        return {
            **self._pool.stats(),
            "slots": slots,
            "slots_in_use": slots - free,
            "memory_reserved": self._native.reserved_memory,
        }

    def caches(self) -> dict[str, Any]:
        """What is kept between queries, by cache.

        ``snapshot_cache`` (Delta snapshots), ``metadata_cache`` (Parquet footers),
        ``list_files_cache`` (listings of folders) and ``statistics_cache``, each with ``entries``
        (uri, version and bytes of a snapshot, path and bytes of the others), ``limit`` in bytes,
        ``hits``, ``misses`` and ``evictions``.
        """
        return {"snapshot_cache": self._native.snapshot_cache(), **self._native.file_caches()}

    def clear_caches(self) -> None:
        """Forget everything kept between queries; what runs keeps what it has."""
        self._native.clear_caches()

    def io(self) -> QueryIo:
        """Object-store requests of the engine since it was made."""
        return QueryIo.of(self._native.io)

    def versions(self) -> dict[str, str]:
        """Versions by component."""
        return dict(component_versions())

    def explain(
        self, sql: str, *, verbose: bool = False, analyze: bool = False, **options: Any
    ) -> str:
        """The plan of a query as text.

        Args:
            sql: Text of one query.
            verbose: Whether to show the logical plans too.
            analyze: Whether to run the query (its rows are dropped) and show its metrics.
            options: As for `FusionDeltaEngine.query`.
        """
        with self._queries.run(QuerySpec(sql=sql, **options), run_id=new_id()) as result:
            if analyze:
                for _ in result:
                    pass
            text = result.explain(analyze=analyze)
            if verbose:
                bundle = result.plan
                text = f"{bundle.logical_plan}\n\n{bundle.optimized_plan}\n\n{text}"
            return text

    def partitions(self, sql: str, **options: Any) -> int:
        """Partitions of the plan of a query."""
        with self._queries.run(QuerySpec(sql=sql, **options), run_id=new_id()) as result:
            return result._planned.partitions
