"""`Telemetry`: spans, metrics and log records of queries and writes."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from fusiondelta.account import _trace_context
from fusiondelta.account._delta_tracing import init_delta_tracing
from fusiondelta.account._logs import correlate_logs
from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine
    from fusiondelta.account._account import RunAccount
    from fusiondelta.account._call import Call
    from fusiondelta.profiles import TelemetryConfig

_NO_CONTEXT: AbstractContextManager[None] = contextlib.nullcontext()


class Operation:
    """A query or write as telemetry sees it: this one is not seen."""

    __slots__ = ()

    @property
    def traceparent(self) -> str | None:
        """Its span as W3C trace context, to be handed on; None where there is no span."""
        return None

    def context(self) -> AbstractContextManager[None]:
        """Make its span the current one for as long as the block lasts.

        Spans that begin in the block, of user code or of libraries, are its children, and log
        records know it. May be entered any number of times, by any thread.
        """
        return _NO_CONTEXT

    def failed(self, error: BaseException, *, at: int | None = None) -> None:
        """End it with an exception that came before there was an account.

        What comes after the first end is ignored. Raises nothing.

        Args:
            error: What was raised; a cancellation is no failure.
            at: When, nanoseconds since 1970; now where None.
        """

    def abandoned(self, *, at: int | None = None) -> None:
        """End it as cancelled: it was let go before it ran.

        What comes after the first end is ignored. Raises nothing.

        Args:
            at: When, nanoseconds since 1970; now where None.
        """

    def ended(self, account: RunAccount) -> None:
        """End it and tell all that its account says.

        What comes after the first end is ignored. Raises nothing. It takes locks of OpenTelemetry,
        and so is not for finalizers.
        """


class Telemetry:
    """What an engine tells of its queries and writes: this one tells nothing, at no cost."""

    __slots__ = ("__weakref__",)

    @property
    def enabled(self) -> bool:
        """Whether anything is told."""
        return False

    @staticmethod
    def of(config: TelemetryConfig | None, native: NativeEngine) -> Telemetry:
        """The telemetry of an engine.

        Args:
            config: What is told and to whom; None for nothing.
            native: The engine whose counters are observed while it lives.

        Raises:
            ConfigurationError: OpenTelemetry, or the exporter that the config needs, is not
                installed.
        """
        if config is None or not config.enabled:
            return _OFF
        try:
            import opentelemetry.metrics
            import opentelemetry.trace  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                "TelemetryConfig(enabled=True) needs OpenTelemetry; install fusiondelta[otel]"
            ) from None
        if config.delta_tracing:
            init_delta_tracing(config.endpoint)
        if config.logs:
            correlate_logs()
        from fusiondelta.account._live import LiveTelemetry

        return LiveTelemetry(config, native)

    def begin(self, call: Call, *, traceparent: str | None = None) -> Operation:
        """Begin a query or write, as a child of the span that is current where this is called.

        Args:
            call: What begins.
            traceparent: W3C trace context of the parent; the current span where None.

        Raises:
            ConfigurationError: `traceparent` is not one.
        """
        if traceparent is not None:
            _trace_context.checked(traceparent)
        return UNSEEN

    def close(self, timeout: float = 5.0) -> bool:
        """Send what waits, and end what was made for the engine alone.

        Providers of the process go on. May be called any number of times, and raises nothing.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether it was done in time.
        """
        return True


UNSEEN = Operation()
_OFF = Telemetry()
