"""Objects that are there, held by nobody here."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

T = TypeVar("T")

#: Objects at which those that are gone are looked for, at first.
_FEW = 64


class WeakList(Generic[T]):
    """Objects that others hold.

    References without callbacks: what Python runs when an object goes swallows a Ctrl-C that
    arrives just then, as `weakref.WeakSet` does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[weakref.ref[T]] = []
        self._most = _FEW

    def add(self, one: T) -> None:
        """Know of an object for as long as it is there."""
        with self._lock:
            if len(self._found) >= self._most:
                self._found = [ref for ref in self._found if ref() is not None]
                self._most = max(_FEW, 2 * len(self._found))
            self._found.append(weakref.ref(one))

    def there(self) -> list[T]:
        """Those that are."""
        # A copy is taken in one step: a finalizer may ask while its own thread adds.
        found = [ref() for ref in list(self._found)]
        return [one for one in found if one is not None]
