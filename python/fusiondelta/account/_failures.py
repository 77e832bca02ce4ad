"""What a span says of an exception."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusiondelta.account._attributes import clean
from fusiondelta.errors import FusionDeltaError, QueryCancelledError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from fusiondelta.account._account import RunAccount

_CANCELLED = (QueryCancelledError, KeyboardInterrupt, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as the semantic conventions have it.

    Attributes:
        kind: ``error.type``: the stable code of an error of this package, else the class.
        exception: ``exception.type``: class with its module.
        message: ``exception.message``.
    """

    kind: str
    exception: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Of an exception that was raised."""
        name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        kind = str(error.kind) if isinstance(error, FusionDeltaError) else name
        return cls(kind, name, str(clean(error)))

    @classmethod
    def of_account(cls, account: RunAccount) -> Failure | None:
        """Of the account of a query or write; None of one that did not fail."""
        if account.status != "failed":
            return None
        error = account.error or {}
        name = error.get("class") or "FusionDeltaError"
        return cls(error.get("kind") or name, name, str(clean(error.get("message", ""))))

    def record(self, span: Span, at: int, *, message: bool) -> None:
        """Put it on a span.

        The stack is left out: it has the messages of what an error was made of, which nobody has
        searched for secrets.

        Args:
            span: A span that records.
            at: When it was raised, nanoseconds since 1970.
            message: Whether the message is told.
        """
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", self.kind)
        span.set_status(Status(StatusCode.ERROR, self.message if message else self.kind))
        event = {"exception.type": self.exception}
        if message:
            event["exception.message"] = self.message
        span.add_event("exception", event, at)


def is_cancelled(error: BaseException) -> bool:
    """Whether it says that somebody stopped the query, which is no failure."""
    # What cancels a task comes of asyncio, which takes long to import.
    asyncio = sys.modules.get("asyncio")
    by_task = asyncio is not None and isinstance(error, asyncio.CancelledError)
    return by_task or isinstance(error, _CANCELLED)
