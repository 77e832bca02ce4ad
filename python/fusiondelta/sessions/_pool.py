"""Contexts, lent one at a time.

A context costs a twentieth of a millisecond to make, so each lease gets a fresh one: whatever was
registered, set or created on it goes with it, on every way out. What the pool bounds is how many
there are at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.errors import (
    ConfigurationError,
    EngineClosedError,
    PoolTimeoutError,
    QueryError,
)
from fusiondelta.sessions._functions import ArrowFunction, Registered, TableCall, carry_replaced
from fusiondelta.sessions._subqueries import not_carried

if TYPE_CHECKING:
    from datafusion import SessionContext

    from fusiondelta._native import NativeCodec, NativeEngine

#: Optimizer rules whose result is not always encodable: an empty relation loses its schema,
#: extracted leaf expressions their names. The extension optimises again, with all rules.
_RULES_LEFT_TO_NATIVE = (
    "propagate_empty_relation",
    "eliminate_filter",
    "eliminate_limit",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
)

#: Of contexts that plan by themselves: a join's dynamic filter takes columns of one name for each
#: other (apache/datafusion#25244), and rows are lost. The extension sets it by the plan.
_SAFE = {"datafusion.optimizer.enable_join_dynamic_filter_pushdown": "false"}

_RUNTIME = "datafusion.runtime."


@dataclass(slots=True)
class Lease:
    """A context that one query or one caller has to itself.

    Attributes:
        ctx: The context.
        codec: What carries its tables into the extension.
        session_id: Identifier for spans, manifests and names.
        waited: Seconds until one was free.
    """

    ctx: SessionContext
    codec: NativeCodec
    session_id: str
    waited: float = 0.0
    _give_back: Callable[[], None] | None = field(default=None, repr=False)

    def encoded(self, frame: Any) -> bytes:
        """The plan of a DataFrame of this context, for the extension.

        It is as it was built, or, where it has what no encoding carries (EXISTS, IN), as the
        context optimises it.

        Raises:
            QueryError: The context may rewrite a subquery in it to other rows.
        """
        built = frame.logical_plan()
        try:
            plan: bytes = built.to_bytes(self.ctx)
        except Exception as error:
            subquery = not_carried(built.display_indent())
            if subquery is not None:
                raise QueryError(
                    f"a view of datafusion cannot be read: it may rewrite its subquery to other "
                    f"rows: {subquery}"
                ) from error
            plan = frame.optimized_logical_plan().to_bytes(self.ctx)
        return plan

    @contextmanager
    def held(self) -> Iterator[None]:
        """`release` on every way out."""
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Give the place back; the second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            self.codec.clear()
            give_back()


class _Codecs:
    """The extension bundle of `SessionContext.with_extensions`."""

    def __init__(self, codec: NativeCodec) -> None:
        self._codec = codec

    def __datafusion_session_components__(self, ctx: Any) -> Any:
        from datafusion.extensions import SessionExtensionComponents

        return SessionExtensionComponents(logical_extension_codecs=(self._codec,))


class ContextPool:
    """At most ``size`` contexts at once, each lent exclusively.

    Args:
        native: The extension's engine.
        settings: DataFusion settings every context starts with.
        size: Contexts at once.
        queue_timeout: Seconds to wait for one.
    """

    def __init__(
        self,
        native: NativeEngine,
        settings: Mapping[str, str],
        *,
        size: int,
        queue_timeout: float,
        memory_limit: int | None,
    ) -> None:
        self._native = native
        self._settings = dict(settings)
        self._size = size
        self._queue_timeout = queue_timeout
        self._memory_limit = memory_limit
        self._condition = threading.Condition()
        self._in_use = 0
        self._waiting = 0
        self._closed = False
        self._functions: list[Registered] = []
        self._arrow_functions: dict[str, ArrowFunction] = {}
        self._served = 0

    def stats(self) -> dict[str, int]:
        """Contexts in use, callers waiting, leases given so far, and the bound."""
        with self._condition:
            return {
                "size": self._size,
                "in_use": self._in_use,
                "waiting": self._waiting,
                "leases": self._served,
            }

    def add_function(self, function: Any) -> None:
        """Make a UDF, UDAF, UDWF or UDTF known to the extension and every context made from now on.

        Raises:
            ConfigurationError: It is none of these.
        """
        registered = Registered.of(function)
        if registered.kind == "table":
            call = TableCall(function, lambda: self._make(()))
            self._native.register_table_function(registered.name, call)
        else:
            lease = self._make((registered,))
            self._native.register_function_of(lease.ctx, registered.kind, registered.name)
        with self._condition:
            self._functions.append(registered)

    def add_arrow_function(self, function: ArrowFunction) -> None:
        """Make a function known to every context made from now on, and to the extension."""
        self._native.register_function(function)
        with self._condition:
            self._arrow_functions[function.name] = function

    @property
    def arrow_functions(self) -> tuple[ArrowFunction, ...]:
        """Functions that the extension knows."""
        with self._condition:
            return tuple(self._arrow_functions.values())

    @property
    def functions(self) -> tuple[Any, ...]:
        """Functions that contexts are made with."""
        with self._condition:
            return tuple(registered.function for registered in self._functions)

    def close(self) -> None:
        """Refuse further leases."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def acquire(self, timeout: float | None = None) -> Lease:
        """A context of one's own; `Lease.release` gives its place back.

        Args:
            timeout: Seconds to wait if less than the profile's ``queue_timeout``.

        Raises:
            PoolTimeoutError: All contexts stayed in use.
            EngineClosedError: The engine was closed.
        """
        limit = self._queue_timeout if timeout is None else min(timeout, self._queue_timeout)
        begun = time.monotonic()
        deadline = begun + limit
        with self._condition:
            self._waiting += 1
            try:
                while self._in_use >= self._size and not self._closed:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise PoolTimeoutError(
                            f"all {self._size} contexts stayed in use for {limit:.1f} s "
                            "(queue_timeout); return the sessions that are lent, or raise pool_size"
                        )
                    self._condition.wait(left)
            finally:
                self._waiting -= 1
            if self._closed:
                raise EngineClosedError("the engine is closed")
            self._in_use += 1
            self._served += 1
            functions = tuple(self._functions)
        waited = time.monotonic() - begun
        try:
            lease = self._make(functions)
            lease.waited = waited
            return lease
        except BaseException:
            self._give_back()
            raise

    @contextmanager
    def lease(self, timeout: float | None = None) -> Iterator[Lease]:
        """`acquire`, and `Lease.release` on every way out."""
        lease = self.acquire(timeout)
        with lease.held():
            yield lease

    def _give_back(self) -> None:
        with self._condition:
            self._in_use -= 1
            self._condition.notify()

    def _make(self, functions: tuple[Registered, ...]) -> Lease:
        from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext

        codec = self._native.codec()
        settings = {k: v for k, v in self._settings.items() if not k.startswith(_RUNTIME)}
        runtime = RuntimeEnvBuilder().with_disk_manager_os()
        if self._memory_limit is not None:
            runtime = runtime.with_fair_spill_pool(self._memory_limit)
        try:
            config = SessionConfig({**_SAFE, **settings})
        except Exception as error:  # a bare ValueError, of several lines
            raise ConfigurationError(f"EngineProfile.options: {_one_line(error)}") from error
        ctx = SessionContext(config, runtime)
        # Functions are carried by the codec: pickled they would be copies, if they can be at all.
        ctx = ctx.with_python_udf_inlining(enabled=False)
        ctx = ctx.with_extensions(_Codecs(codec))
        for rule in _RULES_LEFT_TO_NATIVE:
            ctx.remove_optimizer_rule(rule)
        carry_replaced(ctx, codec)
        for function in functions:
            function.register(ctx)
        for known in self.arrow_functions:
            ctx.register_udf(known.for_context())
        return Lease(ctx, codec, new_id(), _give_back=self._give_back)


def _one_line(error: BaseException) -> str:
    return ": ".join(line for line in str(error).splitlines() if line != "caused by")
