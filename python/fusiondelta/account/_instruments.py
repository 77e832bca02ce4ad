"""OpenTelemetry instruments: queries and writes, and what engines count themselves."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from fusiondelta.account._attributes import of_metric
from fusiondelta.account._failures import Failure
from fusiondelta.account._io import QueryIo
from fusiondelta.account._providers import SCOPE, ProcessProviders, Providers
from fusiondelta.account._versions import component_versions

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

    from fusiondelta._native import NativeEngine
    from fusiondelta.account._account import RunAccount

#: Name of an instrument, and attributes.
Key = tuple[str, tuple[tuple[str, str], ...]]
Reading = Mapping[Key, float]
Found = TypeVar("Found")

#: Of ``db.client.operation.duration``, as the semantic conventions have them, and what else takes
#: seconds.
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_MORE_SECONDS = (*_SECONDS, 30, 60, 300)
_ROWS = tuple(10.0**power for power in range(10))
_BYTES = tuple(1024.0 * 8**power for power in range(9))

#: Counters that engines keep: name, unit, description.
_STORAGE = (
    (
        "fusiondelta.storage.requests",
        "{request}",
        "Requests sent to object stores, repeated ones included.",
    ),
    ("fusiondelta.storage.retries", "{request}", "Requests that repeated a failed one."),
    ("fusiondelta.storage.io", "By", "Bytes read from and written to object stores."),
    (
        "fusiondelta.storage.duration",
        "s",
        "Time until answers of object stores began, added up.",
    ),
)
_CACHES = (
    ("fusiondelta.cache.hits", "{lookup}", "What a cache was asked for and had."),
    ("fusiondelta.cache.misses", "{lookup}", "What a cache was asked for and had not."),
    ("fusiondelta.cache.evictions", "{entry}", "What a cache dropped to make room."),
)


def _read_storage(native: NativeEngine) -> Reading:
    found: dict[Key, float] = {}
    for line in QueryIo.of(native.io).lines:
        attributes = (
            ("fusiondelta.storage.operation", line.operation),
            ("fusiondelta.storage.purpose", line.purpose),
        )
        values = (line.requests, line.retries, line.bytes, line.seconds)
        for (name, _, _), value in zip(_STORAGE, values, strict=True):
            found[name, attributes] = value
    return found


def _read_caches(native: NativeEngine) -> Reading:
    states = {"snapshot_cache": native.snapshot_cache(), **native.file_caches()}
    return {
        (name, (("fusiondelta.cache.name", cache),)): state[name.rpartition(".")[2]]
        for cache, state in states.items()
        for name, _, _ in _CACHES
    }


class _Counts:
    """Counters of all engines together, which do not fall when an engine goes.

    Args:
        read: What one engine has counted.
    """

    def __init__(self, read: Callable[[NativeEngine], Reading]) -> None:
        self._read = read
        self._gone: Counter[Key] = Counter()
        self._last: dict[int, Reading] = {}

    def collect(self, engines: Mapping[int, NativeEngine]) -> Reading:
        """What they have counted, and those before them."""
        total = Counter(self._gone)
        for number, engine in engines.items():
            self._last[number] = self._read(engine)
            total.update(self._last[number])
        return total

    def forget(self, number: int, engine: NativeEngine | None) -> None:
        """Keep what an engine has counted, or had when it was last asked where it is gone."""
        last = self._last.pop(number, {})
        self._gone.update(last if engine is None else self._read(engine))


class Engines:
    """The engines whose counters a meter provider observes."""

    def __init__(self) -> None:
        # The garbage collector may end an engine in the middle of a reading, in the same thread.
        self._lock = threading.RLock()
        self._engines: dict[int, weakref.ref[NativeEngine]] = {}
        self._next = 0
        self._storage = _Counts(_read_storage)
        self._caches = _Counts(_read_caches)
        self._pid = os.getpid()

    def add(self, native: NativeEngine) -> int:
        """Observe an engine while it lives; gives a number for `remove`."""
        with self._lock:
            self._next += 1
            self._engines[self._next] = weakref.ref(native)
            return self._next

    def remove(self, number: int) -> None:
        """Observe it a last time; nothing where it is not observed any more."""
        with self._lock:
            if found := self._engines.pop(number, None):
                self._forget(number, found())

    def observe(self, meter: Meter) -> None:
        """Make the instruments."""
        for family, counts in ((_STORAGE, self._storage), (_CACHES, self._caches)):
            for name, unit, description in family:
                meter.create_observable_counter(
                    name, [self._counter(name, counts)], unit, description
                )
        meter.create_observable_up_down_counter(
            "fusiondelta.pool.slots",
            [self._slots],
            "{slot}",
            "Slots in which queries are executed, used and idle.",
        )

    def _counter(
        self, name: str, counts: _Counts
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            from opentelemetry.metrics import Observation

            nothing: Reading = {}
            for (counter, attributes), value in self._ask(counts.collect, nothing).items():
                if counter == name:
                    yield Observation(value, dict(attributes))

        return observe

    def _slots(self, _: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        none: list[tuple[int, int]] = []
        slots = self._ask(lambda engines: [one.slots for one in engines.values()], none)
        if slots:
            free = sum(free for _, free in slots)
            used = sum(count for count, _ in slots) - free
            for state, value in (("used", used), ("idle", free)):
                yield Observation(value, {"fusiondelta.pool.state": state})

    def _ask(self, what: Callable[[Mapping[int, NativeEngine]], Found], nothing: Found) -> Found:
        """What the engines that live say, after those that are gone were counted as such."""
        if os.getpid() != self._pid:
            return nothing  # they, and whoever holds the lock, are in the process that forked
        with self._lock:
            alive: dict[int, NativeEngine] = {}
            for number, reference in list(self._engines.items()):
                if (engine := reference()) is not None:
                    alive[number] = engine
                else:
                    self._engines.pop(number, None)
                    self._forget(number, None)
            return what(alive)

    def _forget(self, number: int, engine: NativeEngine | None) -> None:
        for counts in (self._storage, self._caches):
            counts.forget(number, engine)


class Instruments:
    """The instruments of one meter provider.

    Attributes:
        engines: The engines whose own counters are observed.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE, component_versions()["fusiondelta"])
        self.engines = Engines()
        self.engines.observe(meter)
        self._duration = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of queries and writes: planning and execution.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._rows = meter.create_histogram(
            "fusiondelta.query.rows",
            "{row}",
            "Rows that queries gave.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        self._bytes = meter.create_histogram(
            "fusiondelta.query.bytes",
            "By",
            "Bytes of these rows in memory.",
            explicit_bucket_boundaries_advisory=_BYTES,
        )
        self._queries = meter.create_counter(
            "fusiondelta.queries", "{query}", "Queries and writes that ended, by status."
        )
        self._wait = meter.create_histogram(
            "fusiondelta.pool.wait",
            "s",
            "Time that queries waited for a context.",
            explicit_bucket_boundaries_advisory=_MORE_SECONDS,
        )
        self._conflicts = meter.create_counter(
            "fusiondelta.commit.conflicts",
            "{conflict}",
            "Attempts of writes that another writer's commit ended, by kind.",
        )
        self._spill = meter.create_counter(
            "fusiondelta.spill", "By", "Bytes that operators wrote to disk for want of memory."
        )

    def record(self, account: RunAccount, context: Context) -> None:
        """Measure a query or write that ended.

        Args:
            account: Its account.
            context: Context with its span, which exemplars name.
        """
        failure = Failure.of_account(account)
        common = of_metric(account.operation, account.tenant)
        self._ended(
            account.kind,
            account.status,
            account.seconds,
            of_metric(account.operation, account.tenant, None if failure is None else failure.kind),
            context,
        )
        if account.kind == "query":
            self._rows.record(account.rows, common, context)
            self._bytes.record(account.result_bytes, common, context)
        waits = [phase.seconds for phase in account.phases if phase.name == "wait"]
        if waits:
            self._wait.record(sum(waits), common, context)
        spilled = int(account.tree.total("spilled_bytes"))
        if spilled:
            self._spill.add(spilled, common, context)
        for attempt in account.write.get("attempts", ()):
            if conflict := attempt.get("conflict"):
                kind = {"fusiondelta.conflict.kind": str(conflict)}
                self._conflicts.add(1, {**common, **kind}, context)

    def record_call(
        self,
        *,
        kind: str,
        operation: str,
        tenant: str | None,
        status: str,
        error: str | None,
        seconds: float,
        context: Context,
    ) -> None:
        """Measure a call that ended before there was an account."""
        self._ended(kind, status, seconds, of_metric(operation, tenant, error), context)

    def _ended(
        self,
        kind: str,
        status: str,
        seconds: float,
        attributes: Mapping[str, bool | int | float | str],
        context: Context,
    ) -> None:
        self._duration.record(seconds, attributes, context)
        counted = {"fusiondelta.kind": kind, "fusiondelta.status": status}
        self._queries.add(1, {**attributes, **counted}, context)


_lock = threading.Lock()
_of_process: tuple[MeterProvider, Instruments] | None = None


def instruments(providers: Providers) -> Instruments:
    """The instruments of providers: those of the process are made once for all engines."""
    if not isinstance(providers, ProcessProviders):
        return Instruments(providers.meter_provider)
    global _of_process
    provider = providers.meter_provider
    with _lock:
        known = _of_process
        # What was made before the process had a provider goes on with the one it has got.
        if known is None or not (known[0] is provider or _stands_in(known[0])):
            known = (provider, Instruments(provider))
        _of_process = (provider, known[1])
        return known[1]


def _stands_in(provider: MeterProvider) -> bool:
    """Whether it is what the API hands out until the process has a provider."""
    return type(provider).__module__.startswith("opentelemetry.metrics.")
