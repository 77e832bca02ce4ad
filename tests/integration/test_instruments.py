"""OpenTelemetry sees what an engine asks of storage."""

from __future__ import annotations

import gc

import pyarrow as pa
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from fusiondelta import FusionDeltaEngine, TelemetryConfig

pytestmark = pytest.mark.integration


@pytest.fixture
def reader(monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    yield reader
    provider.shutdown()


def read(reader):
    """Values by instrument, operation and purpose."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            assert scope.scope.name == "fusiondelta"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    operation = point.attributes["fusiondelta.storage.operation"]
                    purpose = point.attributes["fusiondelta.storage.purpose"]
                    found[metric.name, operation, purpose] = point.value
    return found


def test_requests_are_observed_while_the_engine_lives(reader, tmp_path):
    with FusionDeltaEngine(telemetry=TelemetryConfig(enabled=True)) as engine:
        engine.write_delta(tmp_path / "t", pa.table({"id": [1, 2]}))
        engine.query("SELECT * FROM t", sources={"t": tmp_path / "t"}).to_table()
        lines = {(line.operation, line.purpose): line for line in engine.debug.io().lines}
        found = read(reader)
    assert lines
    for (operation, purpose), line in lines.items():
        assert found["fusiondelta.storage.requests", operation, purpose] == line.requests
        assert found["fusiondelta.storage.io", operation, purpose] == line.bytes
    del engine
    gc.collect()
    assert read(reader) == {}


def test_nothing_is_observed_unless_asked(reader, tmp_path):
    with FusionDeltaEngine() as engine, FusionDeltaEngine(telemetry=TelemetryConfig()) as other:
        for each in (engine, other):
            each.write_delta(tmp_path / "t", pa.table({"id": [1]}))
        assert read(reader) == {}
