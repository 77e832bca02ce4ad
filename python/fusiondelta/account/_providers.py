"""Where spans and metrics go: the providers of the process, or the engine's own."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fusiondelta.account._versions import component_versions
from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer

    from fusiondelta.profiles import TelemetryConfig

#: Name of the tracer and the meter.
SCOPE = "fusiondelta"

_EXPORTERS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
}
_PATHS = {"http/protobuf": ("/v1/traces", "/v1/metrics"), "grpc": ("", "")}
#: Spans that may wait to be sent: a query has up to a hundred, so the SDK's 2048 are soon full.
_QUEUE = 16_384
_QUEUE_VARIABLE = "OTEL_BSP_MAX_QUEUE_SIZE"
#: Seconds that the end of the process waits for the last export.
_AT_EXIT = 5.0


class Providers(Protocol):
    """Tracer and meter provider of an engine."""

    @property
    def tracer(self) -> Tracer:
        """What makes spans."""

    @property
    def meter_provider(self) -> MeterProvider:
        """What makes meters."""

    @property
    def ended(self) -> bool:
        """Whether nothing is taken any more."""

    def close(self, timeout: float) -> bool:
        """Send what waits, and end what the engine made itself; whether that was done in time."""


class ProcessProviders:
    """Those that the process has, now or later; they outlive the engine.

    Attributes:
        tracer: What makes spans.
        ended: Never.
    """

    ended = False

    def __init__(self) -> None:
        from opentelemetry import trace

        self.tracer = trace.get_tracer(SCOPE, component_versions()["fusiondelta"])

    @property
    def meter_provider(self) -> MeterProvider:
        """What makes meters."""
        from opentelemetry import metrics

        return metrics.get_meter_provider()

    def close(self, timeout: float) -> bool:
        """Have them send what waits, where they can."""
        from opentelemetry import metrics, trace

        found: tuple[Any, ...] = (trace.get_tracer_provider(), metrics.get_meter_provider())
        milliseconds = int(timeout * 1000)
        flushes = [
            partial(one.force_flush, milliseconds) for one in found if hasattr(one, "force_flush")
        ]
        return bounded(flushes, timeout)


class OwnProviders:
    """Those that send to the endpoint of a config; nobody else sees them.

    Attributes:
        tracer: What makes spans.
        meter_provider: What makes meters.
        ended: Whether they were closed.

    Raises:
        ConfigurationError: A package is missing, or a header has lost its text in a pickle.
    """

    def __init__(self, config: TelemetryConfig) -> None:
        exporters = _exporters(config)
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": config.service_name})
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        if config.traces:
            size = None if _QUEUE_VARIABLE in os.environ else _QUEUE
            traces.add_span_processor(BatchSpanProcessor(exporters[0], max_queue_size=size))
        readers: list[MetricReader] = []
        if config.metrics:
            readers.append(PeriodicExportingMetricReader(exporters[1]))
        self._traces = traces
        self.meter_provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self.tracer = traces.get_tracer(SCOPE, component_versions()["fusiondelta"])
        self.ended = False
        self._once = threading.Lock()
        self._pid = os.getpid()
        # Holds the providers, not the engine, which may be forgotten without being closed.
        atexit.register(self.close, _AT_EXIT)

    def close(self, timeout: float) -> bool:
        """Send what waits and end them; further calls do nothing."""
        if not self._once.acquire(blocking=False):
            return True
        self.ended = True
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return True  # threads that would send are in the process this one was forked from
        milliseconds = max(timeout * 1000, 1)
        return bounded(
            [self._traces.shutdown, lambda: self.meter_provider.shutdown(milliseconds)], timeout
        )


def _exporters(config: TelemetryConfig) -> tuple[Any, Any]:
    """Exporters of spans and metrics, which send nothing in processes forked from this one."""
    package = _EXPORTERS[config.protocol]
    try:
        spans = importlib.import_module(f"{package}.trace_exporter").OTLPSpanExporter
        metrics = importlib.import_module(f"{package}.metric_exporter").OTLPMetricExporter
    except ImportError:
        name = f"opentelemetry-exporter-otlp-proto-{'grpc' if 'grpc' in package else 'http'}"
        raise ConfigurationError(
            f"TelemetryConfig with an endpoint needs the package {name}, and has not found it; "
            "install it beside fusiondelta[otel]"
        ) from None
    try:
        headers = {name: secret.reveal() for name, secret in config.headers.items()}
    except ConfigurationError:
        raise ConfigurationError(
            "a header of this TelemetryConfig is missing, as secrets do not travel in pickles: "
            "give it again with config.replace(headers={...}), or make the config anew with "
            "TelemetryConfig.from_env()"
        ) from None
    given: dict[str, Any] = {"headers": headers or None}
    if config.protocol == "grpc":
        given["insecure"] = str(config.endpoint).startswith("http://")
    from opentelemetry.sdk.metrics.export import MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExportResult

    paths = _PATHS[config.protocol]
    spans = _of_this_process(spans, SpanExportResult.SUCCESS)
    metrics = _of_this_process(metrics, MetricExportResult.SUCCESS)
    return (
        spans(endpoint=f"{config.endpoint}{paths[0]}", **given),
        metrics(endpoint=f"{config.endpoint}{paths[1]}", **given),
    )


def _of_this_process(exporter: Any, success: object) -> Any:
    """A kind of exporter that sends from the process it was made in.

    The SDK's threads start again after a fork, and would tell of the engine a second time.

    Args:
        exporter: Class of the exporter.
        success: What its `export` gives where nothing went wrong.
    """

    class OfThisProcess(exporter):  # type: ignore[misc]  # the base is known when it runs
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self._made_in = os.getpid()

        def export(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
            if os.getpid() != self._made_in:
                return success
            return super().export(batch, *args, **kwargs)

    return OfThisProcess


def bounded(steps: Sequence[Callable[[], object]], timeout: float) -> bool:
    """Take steps in a thread of their own, and wait for no longer than a while.

    What a step raises is dropped, and the next one is taken.

    Args:
        steps: What is done, one after the other.
        timeout: Seconds to wait.

    Returns:
        Whether all were taken in time.
    """

    def work() -> None:
        for step in steps:
            with contextlib.suppress(Exception):
                step()

    thread = threading.Thread(target=work, name="fusiondelta-telemetry", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The interpreter is ending and starts no more threads.
        work()
        return True
    thread.join(timeout)
    return not thread.is_alive()
