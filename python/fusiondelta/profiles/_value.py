"""What all profiles share: checks of single fields, and `replace`."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Generic, TypeVar

from fusiondelta.errors import ConfigurationError

Read = TypeVar("Read", covariant=True)
Given = TypeVar("Given", contravariant=True)
SelfValue = TypeVar("SelfValue", bound="Value")
Held = TypeVar("Held", covariant=True)

#: Takes the name of a field and what was given for it; gives what the field holds.
Check = Callable[[str, Any], Any]


class Converted(Generic[Read, Given]):
    """For type checkers only: a field that is given as one type and read as another.

    Never instantiated; the field itself is an ordinary one, converted when the profile is made.
    """

    def __get__(self, instance: object, owner: object = None) -> Read:
        """What reading the field gives."""
        raise NotImplementedError

    def __set__(self, instance: object, value: Given) -> None:
        """What the constructor takes."""
        raise NotImplementedError


class Texts(Mapping[str, Held]):
    """A mapping that is read-only, sorted, hashable and compared by value.

    Args:
        values: What it holds by name.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Held] | None = None) -> None:
        self._values = dict(sorted((values or {}).items()))

    def __getitem__(self, key: str) -> Held:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


def default(value: object) -> Any:
    """The default of a `Converted` field, in any spelling the field takes."""
    return value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Base of the profiles: frozen, compared by value, checked when made."""

    def replace(self: SelfValue, **changes: Any) -> SelfValue:  # noqa: PYI019 Self is 3.11
        """A copy with some fields changed.

        Args:
            **changes: New values by field name.

        Raises:
            ConfigurationError: No such field, named with the nearest one, or a value not valid.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise unknown(f"{type(self).__name__} has no field", name, names)
        return dataclasses.replace(self, **changes)

    def _check(self, check: Check, *names: str) -> None:
        """Put the fields through a check and keep what it gives."""
        for name in names:
            value = check(f"{type(self).__name__}.{name}", getattr(self, name))
            object.__setattr__(self, name, value)


def unknown(what: str, name: object, known: Collection[str]) -> ConfigurationError:
    """The error for a name that does not exist; it names the nearest that does."""
    text = str(name)
    ends = [k for k in sorted(known) if k.endswith(f".{text}")]
    near = ends or difflib.get_close_matches(text, sorted(known), n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigurationError(f"{what} {text!r}{hint}")


def whole(minimum: int) -> Check:
    """An int of at least `minimum`."""

    def check(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigurationError(f"{name} must be an int of at least {minimum}, not {value!r}")
        return value

    return check


def optional(inner: Check) -> Check:
    """None, or what `inner` takes."""

    def check(name: str, value: object) -> Any:
        return None if value is None else inner(name, value)

    return check


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(name: str, value: object) -> object:
        if value not in choices:
            listed = ", ".join(repr(choice) for choice in choices)
            raise ConfigurationError(f"{name} must be one of {listed}, not {value!r}")
        return value

    return check


def instance_of(kind: type, how: str) -> Check:
    """An instance of a class; `how` tells how to make one."""

    def check(name: str, value: object) -> object:
        if not isinstance(value, kind):
            raise ConfigurationError(
                f"{name} must be a {kind.__name__}, as in {how}, not {type(value).__name__}"
            )
        return value

    return check


def flag(name: str, value: object) -> bool:
    """True or False, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")
    return value


def fraction(name: str, value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name} must be a number from 0 to 1, not {value!r}")
    return float(value)
