"""`Run`: queries and writes that belong together, as one document."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping

from fusiondelta.account import _trace_context
from fusiondelta.account._manifest import RunManifest
from fusiondelta.errors import ConfigurationError, QueryError

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class Run:
    """Queries and writes of one ``with engine.run() as run:``.

    Args:
        run_id: Identifier; every query and write of the run carries it.
        tenant: Who asks, of queries that do not say so themselves.
        tags: Free text by name, added to that of each query.
        traceparent: W3C trace context that spans of the run belong to.
        pinned: Whether its manifest says that the versions it names are to be kept.

    Raises:
        ConfigurationError: The identifier is no file's name.
    """

    def __init__(
        self,
        run_id: str,
        *,
        tenant: str | None = None,
        tags: Mapping[str, str] | None = None,
        traceparent: str | None = None,
        pinned: bool = False,
    ) -> None:
        if not _NAME.fullmatch(run_id):
            raise ConfigurationError(
                f"a run_id names a file: letters, digits and . _ -, at most 128, not {run_id!r}"
            )
        if traceparent is not None:
            _trace_context.checked(traceparent)
        self.run_id = run_id
        self.tenant = tenant
        self.tags = dict(tags or {})
        self.traceparent = traceparent
        self.pinned = pinned
        self._lock = threading.Lock()
        self._items: list[RunManifest] = []
        self._open: dict[str, Callable[[], RunManifest | None]] = {}
        self._closed = False

    def expect(self, query_id: str, now: Callable[[], RunManifest | None]) -> None:
        """A query or write of the run has begun.

        Args:
            query_id: Its identifier.
            now: Gives its manifest as it stands; None where it is gone.
        """
        with self._lock:
            self._open[query_id] = now

    def add(self, manifest: RunManifest) -> None:
        """The manifest of one that has ended."""
        with self._lock:
            self._open.pop(manifest.query_id, None)
            if not self._closed:
                self._items.append(manifest)

    def close(self) -> None:
        """End the run. What has not ended by now is in it as it stands."""
        with self._lock:
            rest = list(self._open.values())
            self._closed = True
        found = [manifest for now in rest if (manifest := now()) is not None]
        with self._lock:
            self._items.extend(found)

    def manifest(self) -> RunManifest:
        """All of it as one document.

        Raises:
            QueryError: The run has not ended.
        """
        with self._lock:
            if not self._closed:
                raise QueryError("a run has its manifest when its `with` block has ended")
            items = sorted(self._items, key=lambda item: item.query_id)
        return RunManifest.of_run(
            self.run_id, items, tenant=self.tenant, tags=self.tags, pinned=self.pinned
        )

    def __repr__(self) -> str:
        return f"<Run {self.run_id}: {len(self._items)} ended>"
