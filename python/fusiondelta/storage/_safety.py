"""The gate before every write: commits go ahead only where something makes them safe."""

from __future__ import annotations

import secrets
import threading
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fusiondelta.errors import WriteSafetyError
from fusiondelta.profiles import StorageProfile

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeIo, NativeObjects

#: Objects of checks; the leading underscore hides them from readers of the table (protocol section
#: "Data Files"), and vacuum passes them over.
PROBE_PREFIX = "_fusiondelta_probe_"


class UnsafeWritersWarning(UserWarning):
    """Others commit to the table in a way that ours does not exclude."""


class SafetyGate:
    """What has been found safe, by bucket and profile.

    Args:
        native: The extension's engine.
    """

    def __init__(self, native: NativeEngine) -> None:
        self._native = native
        self._lock = threading.Lock()
        self._verified: set[tuple[str, StorageProfile]] = set()
        self._looked_at: set[str] = set()

    def require(
        self, uri: str, profile: StorageProfile, io: NativeIo, timeout: float | None
    ) -> str:
        """How a commit to this table is made safe.

        Args:
            uri: Canonical location of the table.
            profile: Its storage profile.
            io: Counters of the write.
            timeout: Seconds that a check may take.

        Returns:
            ``atomic_create``, ``conditional_put``, ``aws_s3_locked`` or ``single_writer_unsafe``.

        Raises:
            WriteSafetyError: Nothing makes it safe; not a byte was written.
        """
        if profile.kind != "s3":
            return "atomic_create"
        declared = profile.write_safety
        if declared in ("conditional_put", "single_writer_unsafe"):
            self._look_for_locks(uri, io, timeout)
        if declared == "single_writer_unsafe":
            return declared
        if declared is None:
            raise WriteSafetyError(
                f"nothing says how commits to {uri} are made safe: declare "
                'write_safety="conditional_put" in its StorageProfile.s3(…) where the store '
                "honours If-None-Match (AWS S3, MinIO, Cloudflare R2 do; engine.probe(uri) tells), "
                'or "single_writer_unsafe" if you make sure that nobody else writes'
            )
        if declared == "aws_s3_locked":
            # Its table is looked at by the first commit, before a byte of it.
            return declared
        self._verify(uri, profile, io, timeout)
        return declared

    def _look_for_locks(self, uri: str, io: NativeIo, timeout: float | None) -> None:
        """Warn, once for each table, where others commit to it through a lock."""
        with self._lock:
            if uri in self._looked_at:
                return
            self._looked_at.add(uri)
        if self._native.objects(uri, io).list("_delta_log/.tmp", 1, timeout):
            warnings.warn(
                f"{uri} has commits of Spark's S3DynamoDBLogStore (_delta_log/.tmp), whose writers "
                "agree through DynamoDB and honour no conditional put: beside them commits get "
                'lost. Where they still write, use write_safety="aws_s3_locked"',
                UnsafeWritersWarning,
                stacklevel=6,
            )

    def _verify(
        self, uri: str, profile: StorageProfile, io: NativeIo, timeout: float | None
    ) -> None:
        parts = urlsplit(uri)
        place = (f"{parts.scheme}://{parts.netloc}", profile)
        with self._lock:
            if profile.conditional_put_verified or place in self._verified:
                return
        if not honours_conditional_put(self._native.objects(uri, io), timeout):
            raise WriteSafetyError(
                f"the store of {uri} does not honour conditional puts (If-None-Match): two writers "
                'could both believe they committed. Use a store that does, or write_safety="'
                'single_writer_unsafe" if you make sure that nobody else writes'
            )
        with self._lock:
            self._verified.add(place)


def honours_conditional_put(objects: NativeObjects, timeout: float | None = None) -> bool:
    """Whether a second put of one name is refused; leaves nothing behind.

    Args:
        objects: Where to try.
        timeout: Seconds for each request.
    """
    name = PROBE_PREFIX + secrets.token_hex(16)
    try:
        objects.put(name, b"first", create=True, timeout=timeout)
        return not objects.put(name, b"second", create=True, timeout=timeout)
    finally:
        objects.delete(name, timeout)
