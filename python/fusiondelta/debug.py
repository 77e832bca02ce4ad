"""`engine.debug`: a look inside, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.account import Books, QueryIo, SlowQuery
from fusiondelta.account._doctor import DoctorReport, examine
from fusiondelta.account._metrics import metrics_of
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import ConfigurationError
from fusiondelta.queries import QueryRunner, QuerySpec
from fusiondelta.storage import ProbeReport

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from fusiondelta._native import NativeEngine
    from fusiondelta.profiles import EngineProfile
    from fusiondelta.sessions import ContextPool


@dataclass(frozen=True, slots=True)
class Debug:
    """What an engine is doing and with what."""

    _native: NativeEngine
    _pool: ContextPool
    _queries: QueryRunner
    _settings: Mapping[str, str]
    _books: Books
    _profile: EngineProfile
    _probe: Callable[[str], ProbeReport]

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

    def metrics(self, runs: Iterable[Any] | None = None) -> pa.Table:
        """Metrics of queries and writes that ended lately, in the columns of `QueryResult.metrics`.

        The newest are kept, up to 16 MiB of them. ``run_id`` and ``query_id`` join them with
        manifests, spans and logs. ``files_after_partition`` is in `QueryResult.metrics` alone.

        Args:
            runs: Identifiers, or what has a ``run_id`` (results, runs, manifests); all where None.

        Raises:
            ConfigurationError: One is neither.
        """
        wanted = None if runs is None else [_run_id(run) for run in runs]
        return metrics_of(self._native.recent_metrics(wanted))

    def slow_queries(self) -> tuple[SlowQuery, ...]:
        """Slow queries that were kept, oldest first; see `TelemetryConfig`."""
        self._books.flush()
        artifacts = self._books.artifacts
        folders = () if artifacts is None else artifacts.slow()
        return tuple(SlowQuery(folder.name, folder) for folder in folders)

    def explain(
        self, sql: str, *, verbose: bool = False, analyze: bool = False, **options: Any
    ) -> str:
        """The plan of a query as text.

        Args:
            sql: Text of one query.
            verbose: Whether to show the logical plans too.
            analyze: Whether to run the query (its rows are dropped) and show its metrics, those of
                the level that ``datafusion.explain.analyze_level`` names.
            options: As for `FusionDeltaEngine.query`.
        """
        with self._queries.run(QuerySpec(sql=sql, **options)) as result:
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
        with self._queries.run(QuerySpec(sql=sql, **options)) as result:
            return result._planned.partitions

    def substrait(self, sql: str, **options: Any) -> bytes:
        """The optimized logical plan of a query as a Substrait message.

        Args:
            sql: Text of one query.
            options: As for `FusionDeltaEngine.query`.

        Raises:
            QueryError: The plan has something that there is no Substrait form of.
        """
        return self._queries.substrait(QuerySpec(sql=sql, **options))

    def doctor(self, uris: Iterable[str] = ()) -> DoctorReport:
        """Look at what the engine stands on: versions, memory, folders, locations.

        Args:
            uris: Locations to try out, as `FusionDeltaEngine.probe` does.
        """

        def run() -> None:
            with self._queries.run(QuerySpec(sql="SELECT 1")) as result:
                result.to_table()

        return examine(self._profile, run, uris, self._probe)


def _run_id(run: Any) -> str:
    found = run if isinstance(run, str) else getattr(run, "run_id", None)
    if not isinstance(found, str):
        raise ConfigurationError(
            f"a run is its identifier, or what has a run_id, not a {type(run).__name__}"
        )
    return found
