"""A planned query on the Python side: the native plan, or a frame for the fallback way."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fusiondelta.account import PlanBundle, QueryIo
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import FusionDeltaError, QueryCancelledError
from fusiondelta.queries._rows import ContextRows, ExtensionRows, Rows
from fusiondelta.snapshots import SnapshotKey

if TYPE_CHECKING:
    import pyarrow as pa

    from fusiondelta._native import NativeIo, NativeQuery, NativeTable


class Planned:
    """A query between planning and its last row.

    Args:
        native: The native plan, or None for the fallback way.
        frame: The DataFrame, for the fallback way.
        fallback_reason: Why it goes that way.
        check: Raises where the engine is closed, or of another process.
        keep: What has to live as long as the query.
    """

    def __init__(
        self,
        *,
        run_id: str,
        query_id: str,
        session_id: str,
        sql: str | None,
        parameters: Mapping[str, Any],
        snapshots: Mapping[str, SnapshotKey],
        io: NativeIo,
        capture_plan: bool,
        tenant: str | None,
        tags: Mapping[str, str],
        native: NativeQuery | None,
        frame: Any = None,
        fallback_reason: str | None = None,
        translate: Callable[[BaseException], FusionDeltaError],
        check: Callable[[], None],
        keep: tuple[Any, ...] = (),
    ) -> None:
        self.run_id = run_id
        self.query_id = query_id
        self.session_id = session_id
        self.snapshots = snapshots
        self.capture_plan = capture_plan
        self.tenant = tenant
        self.tags = tags
        self.native = native
        self.status = "planned"
        self.error: dict[str, str] | None = None
        self._sql = sql
        self._parameters = parameters
        self._io = io
        self._frame = frame
        self._fallback_reason = fallback_reason
        self._translate = translate
        self._check = check
        self._keep = keep
        self._lock = threading.Lock()
        self._bundle: PlanBundle | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the rows."""
        import pyarrow as pa

        if self.native is not None:
            return pa.schema(self.native.schema)
        schema: pa.Schema = self._frame.schema()
        return schema

    @property
    def partitions(self) -> int:
        """Partitions of the plan."""
        return self.native.partitions if self.native is not None else 1

    def rows(self, partition: int | None) -> Rows:
        """Rows of one partition or of all."""
        self._check()
        if self.native is not None:
            return ExtensionRows(self.native.rows(partition), self.ended)
        return ContextRows(self._frame, self.schema, self._translate, self.ended)

    def as_table(self) -> NativeTable | None:
        """The plan as a table of another query."""
        return self.native.as_table() if self.native is not None else None

    def ended(self, error: BaseException | None) -> None:
        """Note how the query ended; only the first call counts."""
        with self._lock:
            if self.status not in ("planned", "running"):
                return
            if error is None:
                self.status = "finished"
            elif isinstance(error, QueryCancelledError):
                self.status = "cancelled"
            else:
                self.status = "failed"
                kind = error.kind.value if isinstance(error, FusionDeltaError) else ""
                self.error = {"class": type(error).__name__, "kind": kind}

    def io(self) -> QueryIo:
        """Requests so far."""
        return QueryIo.of(self._io)

    def metrics(self) -> pa.Table:
        """The metrics table."""
        import pyarrow as pa

        from fusiondelta.account._metrics import fallback_metrics

        if self.native is not None:
            batch = pa.record_batch(self.native.metrics())
            return pa.Table.from_batches([batch])
        return fallback_metrics()

    def explain(self, *, analyze: bool) -> str:
        """The physical plan as text."""
        if self.native is not None:
            return self.native.analyzed_text() if analyze else self.native.texts()["physical"]
        return self.bundle().physical_plan

    def bundle(self) -> PlanBundle:
        """The plan bundle, made at the first call."""
        if self._bundle is None:
            self._bundle = self._make_bundle()
        return self._bundle

    def _make_bundle(self) -> PlanBundle:
        parameters = {name: str(value) for name, value in self._parameters.items()}
        snapshots = {alias: (key.uri, key.version) for alias, key in sorted(self.snapshots.items())}
        if self.native is None:
            return PlanBundle(
                sql=self._sql,
                parameters=parameters,
                logical_plan="",
                optimized_plan=_text(lambda: self._frame.optimized_logical_plan().display_indent()),
                physical_plan=_text(lambda: self._frame.execution_plan().display_indent()),
                physical_tree="",
                physical_proto=None,
                physical_proto_missing="the query runs the fallback way",
                settings={},
                versions=component_versions(),
                snapshots=snapshots,
                execution="fallback",
                fallback_reason=self._fallback_reason,
            )
        texts = self.native.texts()
        proto, missing = None, None
        try:
            proto = base64.b64encode(self.native.physical_proto()).decode("ascii")
        except FusionDeltaError as error:
            missing = error.message
        return PlanBundle(
            sql=self._sql,
            parameters=parameters,
            logical_plan=texts["logical"],
            optimized_plan=texts["optimized"],
            physical_plan=texts["physical"],
            physical_tree=texts["tree"],
            physical_proto=proto,
            physical_proto_missing=missing,
            settings=dict(self.native.settings()),
            versions=component_versions(),
            snapshots=snapshots,
        )


def _text(make: Callable[[], str]) -> str:
    try:
        return make()
    except Exception as error:  # the text stands where the plan would
        return f"not available: {error}"
