"""delta-rs' own tracing, which a process switches on once and for good."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_done = False


def init_delta_tracing(endpoint: str | None = None) -> bool:
    """Switch on delta-rs' tracing, unless this process has.

    Its spans are traces of their own. ``RUST_LOG`` says which there are, and headers are those of
    ``OTEL_EXPORTER_OTLP_HEADERS``.

    Args:
        endpoint: Base URL of an OTLP receiver that takes http/protobuf; None for what delta-rs
            finds in ``OTEL_EXPORTER_OTLP_ENDPOINT``, or this machine.

    Returns:
        Whether this call did it.

    Raises:
        RuntimeError: delta-rs cannot; the next call tries again.
    """
    global _done
    import deltalake

    with _lock:
        if _done:
            return False
        deltalake.init_tracing(None if endpoint is None else f"{endpoint}/v1/traces")
        _done = True
        return True
