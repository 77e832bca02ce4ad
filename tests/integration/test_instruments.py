"""OpenTelemetry's meter providers see what queries, writes and engines count."""

from __future__ import annotations

import gc
import os
import warnings

import pyarrow as pa
import pytest
from opentelemetry import metrics
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.metrics import _internal as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fusiondelta import FusionDeltaEngine, TelemetryConfig
from fusiondelta.account import _instruments
from fusiondelta.account._account import Phase
from fusiondelta.account._telemetry import Telemetry
from fusiondelta.errors import SqlError
from tests.integration.telemetry import MS, Native, begin, query, write

pytestmark = pytest.mark.integration

#: Without traces, so that no tracer provider is in the way.
ON = TelemetryConfig(enabled=True, traces=False)
REQUESTS = "fusiondelta.storage.requests"


class Read:
    """A meter provider with what it was told."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def metrics(self):
        """Metrics by name."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "fusiondelta"
                for metric in scope.metrics:
                    assert metric.name not in found, "made twice"
                    found[metric.name] = metric
        return found

    def points(self):
        """Attributes and value, or count and sum, by name of the metric."""
        return {
            name: [
                (dict(p.attributes), (p.count, p.sum) if hasattr(p, "count") else p.value)
                for p in metric.data.data_points
            ]
            for name, metric in self.metrics().items()
        }


@pytest.fixture
def read(monkeypatch):
    made = Read()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: made.provider)
    monkeypatch.setattr(_instruments, "_of_process", None)
    yield made
    made.provider.shutdown()


def tell(account, native=None, **changes):
    begin(Telemetry.of(ON, native or Native()), account.kind, **changes).ended(account)


# queries and writes


def test_a_query_is_measured(read):
    tell(query(tenant="acme"))
    points = read.points()
    common = {
        "db.system.name": "fusiondelta",
        "db.operation.name": "SELECT",
        "fusiondelta.tenant": "acme",
    }
    assert points["db.client.operation.duration"] == [(common, (1, pytest.approx(0.09)))]
    assert points["fusiondelta.query.rows"] == [(common, (1, 3))]
    assert points["fusiondelta.query.bytes"] == [(common, (1, 24))]
    counted = {**common, "fusiondelta.kind": "query", "fusiondelta.status": "finished"}
    assert points["fusiondelta.queries"] == [(counted, 1)]
    assert points["fusiondelta.pool.wait"] == [(common, (1, 0.002))]
    assert points["fusiondelta.spill"] == [(common, 4096)]
    assert "fusiondelta.commit.conflicts" not in points


def test_the_instruments_are_as_the_conventions_have_them(read):
    tell(query())
    found = read.metrics()
    duration = found["db.client.operation.duration"]
    assert duration.unit == "s"
    bounds = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert duration.data.data_points[0].explicit_bounds == bounds
    assert found["fusiondelta.query.bytes"].unit == found["fusiondelta.spill"].unit == "By"


def test_a_write_is_measured_with_its_conflicts(read):
    tell(write())
    points = read.points()
    common = {"db.system.name": "fusiondelta", "db.operation.name": "append"}
    conflict = {**common, "fusiondelta.conflict.kind": "ConcurrentAppend"}
    assert points["fusiondelta.commit.conflicts"] == [(conflict, 1)]
    assert points["fusiondelta.queries"][0][0]["fusiondelta.kind"] == "write"
    assert "fusiondelta.query.rows" not in points


def test_failures_are_counted_by_kind(read):
    telemetry = Telemetry.of(ON, Native())
    failure = {"class": "ExecutionError", "kind": "execution", "message": "x"}
    begin(telemetry).ended(query(status="failed", error=failure))
    before = query().submitted
    begin(telemetry, tenant="acme").failed(SqlError("x"), at=before + 7 * MS)
    begin(telemetry).abandoned()
    points = read.points()
    counted = {
        (one["fusiondelta.status"], one.get("error.type"), one.get("fusiondelta.tenant")): value
        for one, value in points["fusiondelta.queries"]
    }
    assert counted == {
        ("failed", "execution", None): 1,
        ("failed", "sql", "acme"): 1,
        ("cancelled", None, None): 1,
    }
    errors = {one.get("error.type") for one, _ in points["db.client.operation.duration"]}
    assert errors == {"execution", "sql", None}


def test_an_end_counts_once(read):
    operation = begin(Telemetry.of(ON, Native()))
    for _ in range(3):
        operation.ended(query())
        operation.failed(SqlError("x"))
        operation.abandoned()
    ((_, found),) = read.points()["fusiondelta.queries"]
    assert found == 1


def test_neither_ids_nor_statements_are_attributes(read):
    for number in range(20):
        account = query(query_id=f"q{number}", run_id=f"r{number}", session_id=f"s{number}")
        tell(account, sql=f"SELECT {number} AS tok", query_id=f"q{number}")
    assert {name: len(found) for name, found in read.points().items() if len(found) > 3} == {}


def test_waits_are_added_up(read):
    tell(query(phases=(Phase("wait", 1, 0.5), Phase("parse", 2, 1.0), Phase("wait", 3, 0.25))))
    ((_, found),) = read.points()["fusiondelta.pool.wait"]
    assert found == (1, 0.75)


def test_nothing_is_measured_where_only_traces_are_asked_for(read):
    config = TelemetryConfig(enabled=True, metrics=False)
    begin(Telemetry.of(config, Native())).ended(query())
    assert read.points() == {}


# engines


def test_engines_share_instruments_and_are_added_up(read):
    engines = [Native(requests=2, hits=3, slots=(4, 3)), Native(requests=5, hits=1, slots=(2, 0))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        telemetries = [Telemetry.of(ON, native) for native in engines]
    points = read.points()
    of_storage = {
        "fusiondelta.storage.operation": "get_range",
        "fusiondelta.storage.purpose": "data",
    }
    assert points[REQUESTS] == [(of_storage, 7)]
    assert points["fusiondelta.storage.retries"] == [(of_storage, 2)]
    assert points["fusiondelta.storage.io"] == [(of_storage, 200)]
    assert points["fusiondelta.storage.duration"] == [(of_storage, 0.01)]
    caches = {one["fusiondelta.cache.name"]: v for one, v in points["fusiondelta.cache.hits"]}
    assert caches == {"snapshot_cache": 4, "metadata_cache": 2}
    evicted = {one["fusiondelta.cache.name"]: v for one, v in points["fusiondelta.cache.evictions"]}
    assert evicted == {"snapshot_cache": 0, "metadata_cache": 4}
    slots = {one["fusiondelta.pool.state"]: v for one, v in points["fusiondelta.pool.slots"]}
    assert slots == {"used": 3, "idle": 3}
    assert len(telemetries) == 2


def test_counters_do_not_fall_when_an_engine_goes(read):
    closed, forgotten = Native(requests=2), Native(requests=5)
    telemetry, others = Telemetry.of(ON, closed), Telemetry.of(ON, forgotten)
    assert read.points()[REQUESTS][0][1] == 7
    closed.requests = 10
    assert telemetry.close()
    assert telemetry.close()
    assert read.points()[REQUESTS][0][1] == 15
    del forgotten, others
    gc.collect()
    points = read.points()
    assert points[REQUESTS][0][1] == 15
    assert read.points()[REQUESTS][0][1] == 15
    assert "fusiondelta.pool.slots" not in points


def test_an_engine_of_another_process_is_not_asked(read, monkeypatch):
    native = Native()
    telemetry = Telemetry.of(ON, native)
    assert REQUESTS in read.points()
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    assert REQUESTS not in read.points()
    assert telemetry.close()


def test_instruments_are_made_once_for_a_provider(read):
    first, second = Telemetry.of(ON, Native()), Telemetry.of(ON, Native())
    assert first.instruments is second.instruments


def test_what_was_made_before_the_process_had_a_provider_goes_on(read, monkeypatch):
    stands_in = api._ProxyMeterProvider()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: stands_in)
    early = Telemetry.of(ON, Native())
    stands_in.on_set_meter_provider(read.provider)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: read.provider)
    native = Native(requests=3)
    late = Telemetry.of(ON, native)
    assert late.instruments is early.instruments
    assert read.points()[REQUESTS][0][1] == 3


def test_a_provider_that_replaces_another_gets_instruments_of_its_own(read, monkeypatch):
    first = Telemetry.of(ON, Native())
    other = Read()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: other.provider)
    second = Telemetry.of(ON, Native())
    assert first.instruments is not second.instruments
    other.provider.shutdown()


def test_a_provider_that_measures_nothing_is_no_matter(read, monkeypatch):
    monkeypatch.setattr(metrics, "get_meter_provider", NoOpMeterProvider)
    tell(query())
    assert read.points() == {}


# real engines


def test_requests_of_an_engine_are_observed(read, tmp_path):
    with FusionDeltaEngine(telemetry=ON) as engine:
        engine.write_delta(tmp_path / "t", pa.table({"id": [1, 2]}))
        engine.query("SELECT * FROM t", sources={"t": tmp_path / "t"}).to_table()
        lines = {(line.operation, line.purpose): line for line in engine.debug.io().lines}
    # Counts are there after its end too.
    points = read.points()
    for name, value in ((REQUESTS, "requests"), ("fusiondelta.storage.io", "bytes")):
        found = {
            (
                one["fusiondelta.storage.operation"],
                one["fusiondelta.storage.purpose"],
            ): number
            for one, number in points[name]
        }
        assert found == {key: getattr(line, value) for key, line in lines.items()}
    counted = {
        one["db.operation.name"]: (one["fusiondelta.kind"], one["fusiondelta.status"], number)
        for one, number in points["fusiondelta.queries"]
    }
    assert counted == {"SELECT": ("query", "finished", 1), "append": ("write", "finished", 1)}


def test_nothing_is_observed_unless_asked(read, tmp_path):
    with FusionDeltaEngine() as engine, FusionDeltaEngine(telemetry=TelemetryConfig()) as other:
        for each in (engine, other):
            each.write_delta(tmp_path / "t", pa.table({"id": [1]}))
        assert read.points() == {}
