"""OpenTelemetry instruments of an engine: its object-store requests."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fusiondelta.account._io import IoLine, QueryIo
from fusiondelta.account._versions import component_versions
from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

    from fusiondelta._native import NativeEngine

#: Name, unit, description, and what of a line is observed.
_INSTRUMENTS: tuple[tuple[str, str, str, Callable[[IoLine], float]], ...] = (
    (
        "fusiondelta.storage.requests",
        "{request}",
        "Requests sent to object stores, repeated ones included.",
        lambda line: line.requests,
    ),
    (
        "fusiondelta.storage.retries",
        "{request}",
        "Requests that repeated a failed one.",
        lambda line: line.retries,
    ),
    (
        "fusiondelta.storage.io",
        "By",
        "Bytes read from and written to object stores.",
        lambda line: line.bytes,
    ),
    (
        "fusiondelta.storage.duration",
        "s",
        "Time until answers of object stores began, added up.",
        lambda line: line.seconds,
    ),
)


def observe_storage(native: NativeEngine) -> None:
    """Let the process's meter provider observe the requests of an engine while the engine lives.

    Every instrument is a counter with the attributes ``fusiondelta.storage.operation`` and
    ``fusiondelta.storage.purpose``. Nothing is exported unless a provider was configured.

    Raises:
        ConfigurationError: OpenTelemetry's API is not installed.
    """
    try:
        from opentelemetry.metrics import Observation, get_meter
    except ImportError:
        raise ConfigurationError(
            "TelemetryConfig(enabled=True) needs OpenTelemetry; install fusiondelta[otel]"
        ) from None
    alive = weakref.ref(native)
    meter = get_meter("fusiondelta", component_versions()["fusiondelta"])
    for name, unit, description, value in _INSTRUMENTS:

        def observe(
            _: CallbackOptions, value: Callable[[IoLine], float] = value
        ) -> Iterable[Observation]:
            engine = alive()
            if engine is None:
                return
            for line in QueryIo.of(engine.io).lines:
                attributes = {
                    "fusiondelta.storage.operation": line.operation,
                    "fusiondelta.storage.purpose": line.purpose,
                }
                yield Observation(value(line), attributes)

        meter.create_observable_counter(name, [observe], unit, description)
