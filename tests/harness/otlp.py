"""Receivers of OTLP on loopback that keep what they were sent, decoded with the official protobufs.

    with HttpReceiver() as receiver:
        ...TelemetryConfig.otlp(receiver.endpoint)...
        receiver.span("fusiondelta.query")

Both run in threads of the tests. gRPC registers handlers of forks for good when it is imported, so
tests use that receiver in a process of its own.
"""

from __future__ import annotations

import gzip
import http.server
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

HOST = "127.0.0.1"
#: Longer than any export takes; a test that waits as long has failed.
PATIENCE = 30
_UNPACK = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str


@dataclass
class Received:
    """What came, in the order it did.

    Attributes:
        paths: Paths of requests, or ``grpc`` for each call.
        headers: Headers of each, by name in lower case.
        spans: Spans.
        points: Values of metrics by name: attributes, and the value or the count of a histogram.
    """

    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    points: dict[str, list[tuple[dict[str, Any], float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        #: Requests are answered while this is set.
        self.answering = threading.Event()
        self.answering.set()

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait until something is true of what came, and give it."""
        with self._changed:
            found = self._changed.wait_for(what, PATIENCE)
        assert found, f"it never came; there are {sorted({span.name for span in self.spans})}"
        return found

    def span(self, name: str) -> Span:
        """The first span of a name, waited for."""
        return self.wait_for(lambda: next((one for one in self.spans if one.name == name), None))

    def take(self, path: str, headers: dict[str, str], request: Any) -> None:
        """Keep a request, and wait until it may be answered."""
        with self._changed:
            self.paths.append(path)
            self.headers.append(headers)
            if isinstance(request, ExportTraceServiceRequest):
                self.spans += _spans(request)
            else:
                for name, attributes, value in _points(request):
                    self.points.setdefault(name, []).append((attributes, value))
            self._changed.notify_all()
        assert self.answering.wait(PATIENCE)


class HttpReceiver(Received):
    """Takes http/protobuf at ``endpoint``."""

    def __enter__(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = _UNPACK[self.headers.get("Content-Encoding", "")](body)
                request, response = {
                    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
                    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
                }[self.path]
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.take(self.path, headers, request.FromString(body))
                data = response().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A sender that would not wait for its answer is what some tests are about."""


class GrpcReceiver(Received):
    """Takes gRPC at ``endpoint``."""

    def __enter__(self):
        import grpc
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as of_metrics
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as of_traces

        receiver = self

        def take(response: Any) -> Callable[[Any, Any, Any], Any]:
            def export(_: Any, request: Any, context: Any) -> Any:
                headers = {one.key: one.value for one in context.invocation_metadata()}
                receiver.take("grpc", headers, request)
                return response()

            return export

        traces = type("T", (of_traces.TraceServiceServicer,), {})
        traces.Export = take(ExportTraceServiceResponse)
        metrics = type("M", (of_metrics.MetricsServiceServicer,), {})
        metrics.Export = take(ExportMetricsServiceResponse)
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        of_traces.add_TraceServiceServicer_to_server(traces(), self._server)
        of_metrics.add_MetricsServiceServicer_to_server(metrics(), self._server)
        self.endpoint = f"http://{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self._server.stop(None).wait()


def _plain(attributes: Any) -> dict[str, Any]:
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


def _spans(request: Any) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_plain(span.attributes),
                    resource=_plain(of_resource.resource.attributes),
                    scope=of_scope.scope.name,
                )


def _points(request: Any) -> Iterator[tuple[str, dict[str, Any], float]]:
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    if kind == "histogram":
                        value = point.count
                    else:
                        value = getattr(point, point.WhichOneof("value"))
                    yield metric.name, _plain(point.attributes), value
