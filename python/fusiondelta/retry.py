"""When a failed commit is tried again, and what kind of conflict a failure is."""

from __future__ import annotations

from dataclasses import dataclass

from fusiondelta.errors import RETRYABLE_CONFLICTS, CommitConflict
from fusiondelta.profiles import RetryPolicy

__all__ = ["Conflict", "RetryPolicy", "classify_conflict"]

#: Delta's names of conflicts, with the words that the package `deltalake` has for each: its
#: exceptions carry nothing else.
_WORDS = {
    "ConcurrentAppend": ("concurrent transactions added new data",),
    "ConcurrentDeleteRead": ("deleted data this operation read",),
    "ConcurrentDeleteDelete": ("deleted the same data your transaction deletes",),
    "MetadataChanged": ("Metadata changed since last commit",),
    "ConcurrentTransaction": ("Concurrent transaction failed",),
    "ProtocolChanged": ("Protocol changed since last commit",),
    "ConcurrentWrite": (
        "Tried committing existing table version",
        "Delta table version already exists",
        "Failed to commit transaction: ",
    ),
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A kind of conflict.

    Attributes:
        name: As Delta has it, ``ConcurrentAppend`` for one; ``ConcurrentWrite`` where only the
            version was taken.
        retryable: Whether reading again and rebuilding the change can succeed.
    """

    name: str
    retryable: bool


def classify_conflict(error: BaseException | str) -> Conflict | None:
    """The conflict that an error tells of; None where it tells of none.

    Args:
        error: A `CommitConflict`; an exception of the package `deltalake`, which is known by its
            words; one whose class has Delta's name for it (``ConcurrentAppendException``, in the
            namespace of Spark too); or such a name.

    Example:
        >>> classify_conflict("ConcurrentAppendException")
        Conflict(name='ConcurrentAppend', retryable=True)
        >>> classify_conflict("io.delta.exceptions.MetadataChangedException")
        Conflict(name='MetadataChanged', retryable=False)
        >>> classify_conflict(ValueError("no")) is None
        True
    """
    if isinstance(error, CommitConflict):
        return _named(error.conflict)
    if isinstance(error, str):
        return _named(_plain(error))
    for kind in type(error).__mro__:
        found = _named(_plain(kind.__name__))
        if found is not None:
            return found
    if type(error).__module__.split(".")[0] in ("deltalake", "_internal"):
        text = str(error)
        for name, words in _WORDS.items():
            if any(word in text for word in words):
                return _named(name)
    return None


def _plain(name: str) -> str:
    return name.rpartition(".")[2].removesuffix("Exception").removesuffix("Error")


def _named(name: str) -> Conflict | None:
    return Conflict(name, name in RETRYABLE_CONFLICTS) if name in _WORDS else None
