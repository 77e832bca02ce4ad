"""Slow queries: which of them are kept, and what of them."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._artifacts import Artifacts
from fusiondelta.account._manifest import RunManifest
from fusiondelta.profiles import TelemetryConfig

if TYPE_CHECKING:
    import pyarrow as pa

#: Which slow queries are kept need not be unforeseeable, only not the same in every process.
_CHANCE = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """A slow query that was kept.

    Attributes:
        query_id: Its identifier, and the name of its folder.
        folder: Where ``manifest.json``, ``metrics.arrow`` and ``profile.html`` are.
    """

    query_id: str
    folder: Path

    @property
    def manifest(self) -> RunManifest:
        """The manifest, with the plan bundle in it."""
        return RunManifest.from_file(self.folder / "manifest.json")

    def metrics(self) -> pa.Table:
        """The metrics table."""
        import pyarrow as pa

        with pa.memory_map(str(self.folder / "metrics.arrow")) as file:
            return pa.ipc.open_file(file).read_all()

    @property
    def profile(self) -> Path:
        """The profile page."""
        return self.folder / "profile.html"


class SlowQueries:
    """Keeps slow queries: some of them, at most so many a minute, and only the newest.

    Args:
        config: Threshold, sampling, rate and number.
        artifacts: Where they are kept.
        clock: Seconds, for the rate.
        chance: Gives numbers from 0 to 1, for the sampling.
    """

    def __init__(
        self,
        config: TelemetryConfig,
        artifacts: Artifacts,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self._config = config
        self._artifacts = artifacts
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._kept: deque[float] = deque()

    def wants(self, account: RunAccount) -> bool:
        """Whether a query that ended is slow, and one of those that are kept."""
        threshold = self._config.slow_query_threshold.total_seconds()
        if account.seconds < threshold or self._chance() >= self._config.slow_query_sampling:
            return False
        now = self._clock()
        with self._lock:
            while self._kept and now - self._kept[0] >= 60:
                self._kept.popleft()
            if len(self._kept) >= self._config.slow_query_rate:
                return False
            self._kept.append(now)
        return True

    def keep(self, account: RunAccount, manifest: RunManifest, metrics: pa.Table) -> Path:
        """Keep one."""

        def write(folder: Path) -> None:
            from fusiondelta.account._profile import QueryProfile

            (folder / "manifest.json").write_text(manifest.to_json(), "utf-8")
            _write_table(folder / "metrics.arrow", metrics)
            (folder / "profile.html").write_text(QueryProfile(account).to_html(), "utf-8")

        most = self._config.slow_query_keep
        return self._artifacts.keep_slow(account.query_id, write, most=most)


def _write_table(path: Path, table: Any) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
