"""Log records that say which query and trace they belong to."""

from __future__ import annotations

import contextvars
import logging
import threading

#: Run and query that this thread or task works for.
WORKING_FOR: contextvars.ContextVar[tuple[str, str]] = contextvars.ContextVar(
    "fusiondelta_working_for", default=("", "")
)

_installing = threading.Lock()


class LogCorrelation(logging.Filter):
    """Gives every record ``trace_id``, ``span_id``, ``run_id`` and ``query_id``.

    They are texts, empty where no span is current or no query is being planned, run or written. Put
    it on a handler to have them on the records of all libraries:
    ``handler.addFilter(LogCorrelation())``. It lets every record pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; a record that has them keeps them."""
        from opentelemetry import trace

        span = trace.get_current_span().get_span_context()
        run_id, query_id = WORKING_FOR.get()
        found = {
            "trace_id": f"{span.trace_id:032x}" if span.is_valid else "",
            "span_id": f"{span.span_id:016x}" if span.is_valid else "",
            "run_id": run_id,
            "query_id": query_id,
        }
        for name, value in found.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def correlate_logs() -> None:
    """Put a `LogCorrelation` on the logger ``fusiondelta``, unless there is one."""
    logger = logging.getLogger("fusiondelta")
    with _installing:
        if not any(isinstance(one, LogCorrelation) for one in logger.filters):
            logger.addFilter(LogCorrelation())
