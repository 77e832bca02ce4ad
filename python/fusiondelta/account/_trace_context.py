"""W3C trace context: the ``traceparent`` that services hand on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SHOWN = 80


def checked(traceparent: object) -> tuple[int, int, int]:
    """Trace id, span id and flags of a ``traceparent``.

    Raises:
        ConfigurationError: It is not one.
    """
    match = _FORM.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is not None:
        version, trace, span, flags, rest = match.groups()
        # Later versions may have more parts, the first has none.
        known = version != "ff" and not (version == "00" and rest)
        if known and int(trace, 16) and int(span, 16):
            return int(trace, 16), int(span, 16), int(flags, 16)
    raise ConfigurationError(
        "traceparent must be of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in "
        f"lower case and with ids that are not zero, not {str(traceparent)[:_SHOWN]!r}"
    )


def with_remote_parent(traceparent: str, context: Context) -> Context:
    """A context in which the span of a ``traceparent`` is the current one.

    Raises:
        ConfigurationError: It is not one.
    """
    from opentelemetry import trace

    trace_id, span_id, flags = checked(traceparent)
    # Flags beyond the one for sampling may mean something else later.
    parent = trace.SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags & 1)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), context)


def traceparent_of(span: SpanContext) -> str | None:
    """The ``traceparent`` of a span; None where it has no valid ids."""
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"
