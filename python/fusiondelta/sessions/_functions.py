"""Functions that queries and changes call besides DataFusion's."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError

if TYPE_CHECKING:
    from datafusion import SessionContext

    from fusiondelta._native import NativeCodec
    from fusiondelta.sessions._pool import Lease

_KINDS = ("udf", "udaf", "udwf")
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


@dataclass(frozen=True, slots=True)
class Registered:
    """A function of `datafusion`.

    Attributes:
        kind: ``scalar``, ``aggregate``, ``window`` or ``table``.
        name: What SQL calls it.
        function: The object of `datafusion`.
    """

    kind: str
    name: str
    function: Any

    @classmethod
    def of(cls, function: Any) -> Registered:
        """Which function it is.

        Raises:
            ConfigurationError: It is none.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from datafusion import AggregateUDF, ScalarUDF, WindowUDF
            from datafusion.user_defined import TableFunction
        if isinstance(function, ScalarUDF):
            return cls("scalar", function.name, function)
        if isinstance(function, AggregateUDF):
            return cls("aggregate", function.name, function)
        if isinstance(function, WindowUDF):
            return cls("window", function.name, function)
        # A table function tells its name in its text only.
        named = re.fullmatch(r"TableUDF\((.*)\)", repr(function), re.DOTALL)
        if isinstance(function, TableFunction) and named is not None:
            return cls("table", named[1], function)
        raise ConfigurationError(
            f"a {type(function).__name__} is no function of datafusion; make one with "
            "datafusion.udf, udaf, udwf or udtf"
        )

    def register(self, ctx: SessionContext) -> None:
        """Make it known to a context."""
        if self.kind == "scalar":
            ctx.register_udf(self.function)
        elif self.kind == "aggregate":
            ctx.register_udaf(self.function)
        elif self.kind == "window":
            ctx.register_udwf(self.function)
        else:
            ctx.register_udtf(self.function)


def carry_replaced(ctx: SessionContext, codec: NativeCodec) -> None:
    """Have functions that are registered with a context carried into the extension.

    Those of the names of its own would be taken for them.
    """

    def carrying(register: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(register)
        def registering(function: Any) -> None:
            register(function)
            codec.replace([Registered.of(function).name])

        return registering

    enable_spark = ctx.enable_spark_functions

    @functools.wraps(enable_spark)
    def enabling_spark() -> None:
        from datafusion.functions import spark

        enable_spark()
        codec.replace([name for name in vars(spark) if not name.startswith("_")])

    registers = {f"register_{kind}": getattr(ctx, f"register_{kind}") for kind in _KINDS}
    changed = {name: carrying(register) for name, register in registers.items()}
    vars(ctx).update(changed, enable_spark_functions=enabling_spark)


@dataclass(frozen=True, slots=True)
class TableCall:
    """A table function as the extension calls it.

    Attributes:
        function: The table function.
        context: Makes a context for the table that it gives.
    """

    function: Any
    context: Callable[[], Lease]

    def __call__(self, *arguments: Any) -> tuple[Lease, bytes]:
        """The table, read by a plan in a context of its own.

        Args:
            *arguments: A `pyarrow.Array` of one value for each argument.
        """
        from datafusion import literal

        table = self.function(*(literal(array[0]) for array in arguments))
        lease = self.context()
        lease.ctx.register_table("found", table)
        return lease, lease.encoded(lease.ctx.table("found"))
