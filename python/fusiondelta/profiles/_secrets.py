"""`Secret`: a text that is not shown, and does not travel."""

from __future__ import annotations

import hmac

from fusiondelta.errors import ConfigurationError

_SHOWN = "***"


class Secret:
    """A secret text: compared by value, shown as ``***``, pickled without its value.

    A copy within the process keeps the value. An unpickled secret is missing it, as pickles end up
    in files, queues and other hosts.

    Args:
        value: The text to keep.
    """

    __slots__ = ("_value",)

    _value: str | None

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a secret does not change; make a new one")

    def reveal(self) -> str:
        """The text.

        Raises:
            ConfigurationError: The secret came out of a pickle and has lost its text.
        """
        if self._value is None:
            raise ConfigurationError(
                "a secret of this storage profile is missing, as secrets do not travel in pickles: "
                "give it again with profile.replace(secrets={...}), make the profile anew with "
                "StorageProfile.from_env(), or use credentials=callable"
            )
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if self._value is None or other._value is None:
            return self._value is other._value
        # As long for the first wrong letter as for the last.
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return _SHOWN

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return format(_SHOWN, spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return (_missing, ())


def _missing() -> Secret:
    secret = Secret("")
    object.__setattr__(secret, "_value", None)
    return secret
