"""Telemetry that is switched on: queries and writes as OpenTelemetry sees them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fusiondelta.account import _trace_context
from fusiondelta.account._attributes import of_account, of_call
from fusiondelta.account._failures import Failure, is_cancelled
from fusiondelta.account._instruments import Instruments, instruments
from fusiondelta.account._logs import WORKING_FOR
from fusiondelta.account._providers import OwnProviders, ProcessProviders, Providers
from fusiondelta.account._spans import Emitted, SpanTree, Window, attempts
from fusiondelta.account._telemetry import UNSEEN, Operation, Telemetry

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from fusiondelta._native import NativeEngine
    from fusiondelta.account._account import RunAccount
    from fusiondelta.account._call import Call
    from fusiondelta.profiles import TelemetryConfig

_log = logging.getLogger("fusiondelta")

#: Names of spans by kind of operation.
_NAMES = {"query": "fusiondelta.query", "write": "fusiondelta.write_delta"}


class LiveTelemetry(Telemetry):
    """Tells OpenTelemetry.

    Attributes:
        config: What is told.
        instruments: What is measured with, where that is asked for.
    """

    __slots__ = ("_complained", "_number", "_pid", "_providers", "config", "instruments")

    def __init__(self, config: TelemetryConfig, native: NativeEngine) -> None:
        self.config = config
        own = config.endpoint is not None
        self._providers: Providers = OwnProviders(config) if own else ProcessProviders()
        self.instruments: Instruments | None = None
        self._number = 0
        if config.metrics:
            self.instruments = instruments(self._providers)
            self._number = self.instruments.engines.add(native)
        self._complained = False
        self._pid = os.getpid()
        if own:
            # Of an engine that is forgotten without being closed; nobody waits for it.
            weakref.finalize(self, self._providers.close, 0).atexit = False

    @property
    def enabled(self) -> bool:
        """As the base says."""
        return True

    @property
    def tracer(self) -> Tracer:
        """What makes spans."""
        return self._providers.tracer

    @property
    def takes(self) -> bool:
        """Whether there is somebody to tell: not after the end, nor in a forked process."""
        return not self._providers.ended and self._pid == os.getpid()

    def begin(self, call: Call, *, traceparent: str | None = None) -> Operation:
        """As the base says."""
        if traceparent is not None:
            _trace_context.checked(traceparent)
        if not self.takes:
            return UNSEEN
        began: Operation = UNSEEN
        with self.guarded():
            described = of_call(call, statement=self.config.statement)
            began = self._begun(call, described, traceparent)
        return began

    def _begun(
        self,
        call: Call,
        attributes: Mapping[str, bool | int | float | str],
        traceparent: str | None,
    ) -> Operation:
        from opentelemetry import trace
        from opentelemetry.context import get_current

        context = get_current()
        if traceparent is not None:
            context = _trace_context.with_remote_parent(traceparent, context)
        span: Span | None = None
        if self.config.traces:
            span = self.tracer.start_span(
                _NAMES[call.kind],
                context,
                trace.SpanKind.CLIENT,
                attributes,
                start_time=call.at,
            )
            context = trace.set_span_in_context(span, context)
        return LiveOperation(self, call, context, span)

    def close(self, timeout: float = 5.0) -> bool:
        """As the base says."""
        if self._pid != os.getpid():
            return True
        if self.instruments is not None:
            with self.guarded():
                self.instruments.engines.remove(self._number)
        return self._providers.close(timeout)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Log the first failure and drop it; queries go on without telemetry."""
        try:
            yield
        except Exception as error:
            if self._complained:
                return
            self._complained = True
            # Not its text: that of an exporter may have headers in it.
            _log.warning(
                "telemetry failed (%s) and is incomplete; queries are not affected, and this is "
                "said once",
                type(error).__qualname__,
            )


class LiveOperation(Operation):
    """A query or write that is told of."""

    __slots__ = ("_call", "_context", "_once", "_span", "_telemetry")

    def __init__(
        self, telemetry: LiveTelemetry, call: Call, context: Context, span: Span | None
    ) -> None:
        self._telemetry = telemetry
        self._call = call
        self._context = context
        self._span = span
        self._once = threading.Lock()

    @property
    def traceparent(self) -> str | None:
        """As the base says."""
        from opentelemetry.trace import get_current_span

        return _trace_context.traceparent_of(get_current_span(self._context).get_span_context())

    @contextmanager
    def context(self) -> Iterator[None]:
        """As the base says."""
        from opentelemetry.context import attach, detach

        token = attach(self._context)
        working = WORKING_FOR.set((self._call.run_id, self._call.query_id))
        try:
            yield
        finally:
            WORKING_FOR.reset(working)
            detach(token)

    def failed(self, error: BaseException, *, at: int | None = None) -> None:
        """As the base says."""
        self._end_early(None if is_cancelled(error) else Failure.of(error), at)

    def abandoned(self, *, at: int | None = None) -> None:
        """As the base says."""
        self._end_early(None, at)

    def _end_early(self, failure: Failure | None, at: int | None) -> None:
        """End it without an account, as cancelled where it did not fail."""
        call = self._call
        end = max(at or time.time_ns(), call.at)
        status = "cancelled" if failure is None else "failed"

        def describe(span: Span) -> None:
            span.set_attribute("fusiondelta.status", status)
            if failure is not None:
                failure.record(span, end, message=self._telemetry.config.statement)

        def measure(found: Instruments) -> None:
            found.record_call(
                kind=call.kind,
                operation=call.operation,
                tenant=call.tenant,
                status=status,
                error=None if failure is None else failure.kind,
                seconds=(end - call.at) / 1e9,
                context=self._context,
            )

        self._end(end, describe, measure)

    def ended(self, account: RunAccount) -> None:
        """As the base says."""
        window = Window(self._call.at, max(account.ended or time.time_ns(), self._call.at))

        def describe(span: Span) -> None:
            span.set_attributes(of_account(account))
            for at, attributes in attempts(account):
                span.add_event("fusiondelta.attempt", attributes, at)
            if failure := Failure.of_account(account):
                failure.record(span, window.end, message=self._telemetry.config.statement)
            self._tell_inner(account, window)

        self._end(window.end, describe, lambda found: found.record(account, self._context))

    def _tell_inner(self, account: RunAccount, window: Window) -> None:
        telemetry = self._telemetry
        SpanTree(
            telemetry.tracer,
            Emitted(self._context, window),
            account,
            operators=telemetry.config.operators,
            requests=telemetry.config.requests,
        ).emit()

    def _end(
        self,
        at: int,
        describe: Callable[[Span], None],
        measure: Callable[[Instruments], None],
    ) -> None:
        """End it, if this is the first time."""
        telemetry, span = self._telemetry, self._span
        if not self._once.acquire(blocking=False) or not telemetry.takes:
            return
        if span is not None:
            with telemetry.guarded():
                if span.is_recording():
                    describe(span)
            with telemetry.guarded():
                span.end(at)
        if telemetry.instruments is not None:
            with telemetry.guarded():
                measure(telemetry.instruments)
