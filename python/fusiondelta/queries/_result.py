"""`QueryResult`: the rows of a query, once, and its account."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fusiondelta.account import PlanBundle, QueryIo, RunAccount, RunManifest
from fusiondelta.errors import QueryCancelledError, QueryError, StreamConsumedError
from fusiondelta.profiles import MaterializeLimits
from fusiondelta.queries._guards import guarded
from fusiondelta.queries._planned import Planned
from fusiondelta.queries._rows import Rows, pulled
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.sources import Resolution, Resolved, Source
from fusiondelta.sources._arrow import ProviderSource

if TYPE_CHECKING:
    import asyncio

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from fusiondelta.account import QueryProfile


class QueryResult:
    """A planned query: its rows can be read once, its account at any time.

    Nothing runs before the first pull. Rows come in no promised order without ORDER BY. Leaving a
    ``with`` block, `close`, an error and garbage collection all stop the query and give its slot
    back.
    """

    def __init__(self, planned: Planned, limits: MaterializeLimits) -> None:
        self._planned = planned
        self._limits = limits
        self._lock = threading.Lock()
        self._rows: list[Rows] | None = None

    # rows

    def _take(self, make: Callable[[], list[Rows]]) -> list[Rows]:
        with self._lock:
            if self._rows is not None:
                raise StreamConsumedError(
                    "the rows of this result were handed out already; run the query again, or read "
                    "it into a table first (to_table())"
                )
            self._rows = make()
            return self._rows

    def _take_one(self) -> Rows:
        return self._take(lambda: [self._planned.rows(None)])[0]

    @property
    def schema(self) -> pa.Schema:
        """Schema of the rows."""
        return self._planned.schema

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows for any Arrow library; see the Arrow PyCapsule interface."""
        return self._take_one().capsule(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """The schema for any Arrow library."""
        return self.schema.__arrow_c_schema__()

    def reader(self) -> pa.RecordBatchReader:
        """The rows as a reader that pulls as it is read.

        Exceptions come through as they are (typed errors, KeyboardInterrupt).

        Raises:
            StreamConsumedError: The rows were handed out already.
        """
        import pyarrow as pa

        rows = self._take_one()
        return pa.RecordBatchReader.from_batches(rows.schema, pulled(rows))

    def stream(self) -> Iterator[pa.RecordBatch]:
        """The rows batch by batch."""
        return pulled(self._take_one())

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self.stream()

    def partitions(self) -> list[pa.RecordBatchReader]:
        """One reader for each partition of the plan, to be read from as many threads.

        They share the query's slot. Every reader has to be read to its end or closed.
        """
        import pyarrow as pa

        rows = self._take(lambda: [self._planned.rows(p) for p in range(self._planned.partitions)])
        return [pa.RecordBatchReader.from_batches(r.schema, pulled(r)) for r in rows]

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        return self._async_batches(self._take_one())

    async def _async_batches(self, rows: Rows) -> AsyncIterator[pa.RecordBatch]:
        import asyncio

        loop = asyncio.get_running_loop()

        def settle(future: asyncio.Future[Any], batch: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(batch)

        try:
            while True:
                future: asyncio.Future[Any] = loop.create_future()

                def arrived(
                    batch: Any,
                    error: BaseException | None,
                    future: asyncio.Future[Any] = future,
                ) -> None:
                    try:
                        loop.call_soon_threadsafe(settle, future, batch, error)
                    except RuntimeError:
                        # A cancelled task does not wait for this, and its loop may be gone by now.
                        if not loop.is_closed():
                            raise

                rows.next_async(arrived)
                batch = await future
                if batch is None:
                    return
                yield batch
        finally:
            rows.close()

    def to_table(self, *, max_rows: int | None = None, max_bytes: int | None = None) -> pa.Table:
        """All rows as a `pyarrow.Table`.

        Args:
            max_rows: Most rows; the profile's ``limits`` where None.
            max_bytes: Most bytes; the profile's ``limits`` where None.

        Raises:
            ResultTooLargeError: There are more.
            StreamConsumedError: The rows were handed out already.
        """
        import pyarrow as pa

        rows = self._take_one()
        batches = guarded(
            pulled(rows),
            max_rows=self._limits.max_rows if max_rows is None else max_rows,
            max_bytes=self._limits.max_bytes if max_bytes is None else max_bytes,
        )
        return pa.Table.from_batches(list(batches), schema=rows.schema)

    def to_pandas(
        self, *, max_rows: int | None = None, max_bytes: int | None = None
    ) -> pd.DataFrame:
        """All rows as a pandas frame; see `to_table`."""
        frame: pd.DataFrame = self.to_table(max_rows=max_rows, max_bytes=max_bytes).to_pandas()
        return frame

    def to_polars(
        self, *, max_rows: int | None = None, max_bytes: int | None = None
    ) -> pl.DataFrame:
        """All rows as a Polars frame; see `to_table`."""
        import polars as pl

        frame = pl.from_arrow(self.to_table(max_rows=max_rows, max_bytes=max_bytes))
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table it is
        return frame

    def to_pylist(
        self, *, max_rows: int | None = None, max_bytes: int | None = None
    ) -> list[dict[str, Any]]:
        """All rows as dictionaries; see `to_table`."""
        rows: list[dict[str, Any]] = self.to_table(
            max_rows=max_rows, max_bytes=max_bytes
        ).to_pylist()
        return rows

    def __fusiondelta_source__(self) -> Source:
        """This result as a source of another query, which is planned with it as a part."""
        table = self._planned.as_table()
        self._take(list)
        return _ResultSource(table, self._planned)

    @property
    def _read_from(self) -> tuple[Resolved, ...]:
        """What it reads, for the account of a write."""
        return tuple(self._planned.asked.sources)

    def _as_write_input(self) -> Any:
        """The plan, for a write."""
        self._take(list)
        return self._planned.native

    # account

    @property
    def is_open(self) -> bool:
        """Whether rows may be read yet: it was not read to its end or closed, nor has failed."""
        return self._planned.status in ("planned", "running")

    @property
    def run_id(self) -> str:
        """Identifier of the run."""
        return self._planned.asked.run_id

    @property
    def query_id(self) -> str:
        """Identifier of the query."""
        return self._planned.asked.query_id

    @property
    def session_id(self) -> str:
        """Identifier of the context that planned it."""
        return self._planned.asked.session_id

    @property
    def snapshots(self) -> tuple[SnapshotKey, ...]:
        """Keys of the Delta tables read, in the order of their aliases."""
        return tuple(self.snapshots_by_alias.values())

    @property
    def snapshots_by_alias(self) -> Mapping[str, SnapshotKey]:
        """Keys of the Delta tables read, by alias."""
        return dict(sorted(self._planned.asked.snapshots.items()))

    @property
    def plan(self) -> PlanBundle:
        """Plans, settings, versions, snapshots.

        Raises:
            QueryError: The query was made with ``capture_plan=False``.
        """
        if not self._planned.asked.spec.capture_plan:
            raise QueryError("the plan was not captured: the query has capture_plan=False")
        return self._planned.bundle()

    @property
    def io(self) -> QueryIo:
        """Object-store requests so far."""
        return self._planned.io()

    def metrics(self) -> pa.Table:
        """Metrics of every operator, of this run alone.

        Columns: run_id, query_id, node_id (path from the root, ``0.1.0``), parent_id, operator,
        partition (null for the operator's total), metric_name, metric_value, unit (ns, bytes, rows,
        count, ratio), labels_json. Complete once the rows were read.
        """
        return self._planned.metrics()

    def explain(self, *, analyze: bool = False) -> str:
        """The physical plan as text.

        Args:
            analyze: Whether to show the metrics gathered so far.
        """
        return self._planned.explain(analyze=analyze)

    def manifest(self, *, pinned: bool = False) -> RunManifest:
        """The query as one document, which `FusionDeltaEngine.replay` can run again.

        Args:
            pinned: Whether it says that the versions it names are to be kept.
        """
        return self._planned.manifest(pinned=pinned)

    def profile(self) -> QueryProfile:
        """Where the time went, as a page: shown in a notebook, else ``.to_html(path)``."""
        from fusiondelta.account import QueryProfile

        return QueryProfile(self._planned.account())

    def account(self) -> RunAccount:
        """All that is known of the query so far, as plain values."""
        return self._planned.account()

    @property
    def digest(self) -> Mapping[str, Any] | None:
        """Digest of the rows that were read, of a query with ``digest=True``; None of others.

        The same rows give the same digest, in whatever order, batches and partitions they come.
        Keys: ``algorithm``, ``rows``, ``value`` (floats at ten significant digits, four of float32,
        because a sum of them depends on the order of its terms), ``exact`` (floats bit by bit).
        """
        return self._planned.digest()

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of the query's span, to hand on; None without telemetry."""
        entry = self._planned.entry
        return None if entry is None else entry.traceparent

    # end

    def cancel(self) -> None:
        """Stop the query; whoever reads it gets `QueryCancelledError`."""
        self.close()

    def close(self) -> None:
        """Stop the query if it runs and give everything back. May be called any number of times."""
        with self._lock:
            rows, self._rows = self._rows, self._rows or []
        for part in rows or ():
            part.close()
        self._planned.ended(QueryCancelledError("the result was closed before its end"))

    def __enter__(self) -> QueryResult:  # noqa: PYI034 Self is 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        keys = ", ".join(f"{a}={k}" for a, k in self.snapshots_by_alias.items())
        return f"<QueryResult {self.query_id} {self._planned.status}{': ' + keys if keys else ''}>"


class _ResultSource(ProviderSource):
    """The plan of a result, which has to outlive whatever is planned over it."""

    def __init__(self, table: Any, planned: Planned) -> None:
        super().__init__(table)
        self._planned = planned

    def resolve(self, alias: str, resolution: Resolution) -> Resolved:
        return replace(super().resolve(alias, resolution), keep=(self._planned,))
