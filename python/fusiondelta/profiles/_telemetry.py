"""`TelemetryConfig`: what is told about queries, and to whom."""

# ruff: noqa: RUF009 - default() gives back its argument, profiles are frozen
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import _otlp
from fusiondelta.profiles._secrets import Secret
from fusiondelta.profiles._sizes import Duration, parse_duration
from fusiondelta.profiles._value import (
    Converted,
    Texts,
    Value,
    default,
    flag,
    fraction,
    one_of,
    optional,
    whole,
)

#: How OTLP is spoken.
OtlpProtocol = Literal["http/protobuf", "grpc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig(Value):
    """What is told about queries and writes, and to whom; nothing unless switched on.

    ``TelemetryConfig(enabled=True)`` hands spans and metrics to the OpenTelemetry providers of the
    process. `otlp` and `from_env` make providers of the engine's own, which send to an endpoint.

    Attributes:
        enabled: Whether spans and metrics are emitted and slow queries kept.
        traces: Whether there are spans.
        metrics: Whether there are metrics.
        logs: Whether records of the logger ``fusiondelta`` carry ``trace_id``, ``span_id``,
            ``run_id`` and ``query_id``.
        operators: Most operators of a query that get a span of their own, the most expensive first.
        requests: Most requests to storage that do: failed ones first, then the slowest.
        statement: Whether spans have the text of queries and of errors. Values of parameters are
            never there, and literals only of a query that has placeholders for its values.
        slow_query_threshold: A query that took longer is slow; timedelta or seconds.
        slow_query_sampling: Share of slow queries that are kept, from 0 to 1.
        slow_query_rate: Most slow queries kept in a minute.
        slow_query_keep: Most slow queries in the folder; the oldest go first.
        endpoint: Base URL that OTLP is sent to, ``http://collector:4318`` for one; None for the
            providers of the process.
        headers: Headers sent along, by name. They are shown as ``***``, and pickles lack them.
        protocol: ``"http/protobuf"`` or ``"grpc"``.
        service_name: The resource's ``service.name`` at the endpoint.
        delta_tracing: Whether delta-rs' own tracing is switched on, which is for good.

    Raises:
        ConfigurationError: A value is not valid, or goes without another; the message names the
            field, and never shows a header.
    """

    enabled: bool = False
    traces: bool = True
    metrics: bool = True
    logs: bool = False
    operators: int = 10
    requests: int = 10
    statement: bool = True
    slow_query_threshold: Duration = default(2)
    slow_query_sampling: float = 0.01
    slow_query_rate: int = 10
    slow_query_keep: int = 100
    endpoint: str | None = None
    headers: Converted[Texts[Secret], Mapping[str, str | Secret]] = default(Texts())
    protocol: OtlpProtocol = "http/protobuf"
    service_name: str = "fusiondelta"
    delta_tracing: bool = False

    def __post_init__(self) -> None:
        self._check(flag, "enabled", "traces", "metrics", "logs", "statement", "delta_tracing")
        self._check(whole(0), "operators", "requests", "slow_query_rate", "slow_query_keep")
        self._check(parse_duration, "slow_query_threshold")
        self._check(fraction, "slow_query_sampling")
        self._check(optional(_otlp.endpoint), "endpoint")
        self._check(_otlp.headers, "headers")
        self._check(one_of(*_otlp.PROTOCOLS), "protocol")
        self._check(_otlp.service_name, "service_name")
        if self.headers and self.endpoint is None:
            raise ConfigurationError(
                "TelemetryConfig.headers go with an endpoint; give both, as in "
                "TelemetryConfig.otlp(endpoint, headers={...})"
            )
        if self.delta_tracing and self.protocol == "grpc":
            raise ConfigurationError(
                'TelemetryConfig.delta_tracing goes with protocol="http/protobuf": delta-rs speaks '
                "no other"
            )

    @classmethod
    def otlp(
        cls,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        protocol: OtlpProtocol = "http/protobuf",
        service_name: str = "fusiondelta",
        **rest: Any,
    ) -> TelemetryConfig:
        """Telemetry that is switched on and sent to an endpoint.

        Args:
            endpoint: Base URL, ``http://collector:4318`` for one (``:4317`` with ``grpc``); paths
                such as ``/v1/traces`` are added.
            headers: Headers sent along, for authentication.
            protocol: ``"http/protobuf"`` or ``"grpc"``.
            service_name: The resource's ``service.name``.
            **rest: Further fields.

        Raises:
            ConfigurationError: A value is not valid, or there is no such field.
        """
        return cls(enabled=True).replace(
            endpoint=endpoint,
            headers=headers or {},
            protocol=protocol,
            service_name=service_name,
            **rest,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> TelemetryConfig:
        """Telemetry as OpenTelemetry's environment variables describe it.

        It is switched on unless ``OTEL_SDK_DISABLED`` is ``true``. Without
        ``OTEL_EXPORTER_OTLP_ENDPOINT`` it goes to the providers of the process, and nothing else
        is read. With it, ``OTEL_EXPORTER_OTLP_HEADERS`` (``key=value,key2=value2``, with %XX),
        ``OTEL_EXPORTER_OTLP_PROTOCOL`` and ``OTEL_SERVICE_NAME`` count, and delta-rs' tracing is
        switched on where ``RUST_LOG`` names ``deltalake``. Empty variables are as good as none.

        Args:
            environ: The variables; the environment of the process where None.

        Raises:
            ConfigurationError: A variable is not valid; the message names it, and never shows a
                header.
        """
        return cls(**_otlp.read(os.environ if environ is None else environ))
