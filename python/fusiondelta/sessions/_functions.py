"""Functions of Python that queries call, on Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fusiondelta.errors import ConfigurationError

VOLATILITIES = ("immutable", "stable", "volatile")


@dataclass(frozen=True, slots=True)
class ArrowFunction:
    """A function and its types.

    Attributes:
        name: What SQL calls it.
        function: Takes one `pyarrow.Array` for each argument and gives one of as many values.
        arguments: Arrow types of the arguments.
        returns: Arrow type of the result.
        volatility: ``immutable``, ``stable`` or ``volatile``.

    Raises:
        ConfigurationError: Something of it cannot be.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    returns: Any
    volatility: str

    def __post_init__(self) -> None:
        import pyarrow as pa

        if not str(self.name).isidentifier():
            raise ConfigurationError(f"a function's name is an identifier, not {self.name!r}")
        if self.name != self.name.lower():
            raise ConfigurationError(
                f"a function's name is in lower case, as SQL reads it: {self.name.lower()!r}"
            )
        if not callable(self.function):
            raise ConfigurationError(f"the function {self.name} cannot be called")
        for kind in (*self.arguments, self.returns):
            if not isinstance(kind, pa.DataType):
                raise ConfigurationError(
                    f"the types of {self.name} are Arrow types such as pyarrow.int64(), not "
                    f"{kind!r}"
                )
        if self.volatility not in VOLATILITIES:
            raise ConfigurationError(
                f"volatility is {', '.join(VOLATILITIES[:-1])} or {VOLATILITIES[-1]}, not "
                f"{self.volatility!r}"
            )

    @classmethod
    def of(
        cls,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        returns: Any,
        volatility: str,
    ) -> ArrowFunction:
        """As the constructor, of any sequence of types."""
        return cls(name, function, tuple(arguments), returns, volatility)

    def for_context(self) -> Any:
        """The function for contexts of `datafusion`, which have to know its name and types."""
        from datafusion import udf

        return udf(self.function, list(self.arguments), self.returns, self.volatility, self.name)
