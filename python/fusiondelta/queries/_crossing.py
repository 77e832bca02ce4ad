"""Whether a plan crosses into the extension whole, and why it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fusiondelta.errors import ErrorKind, FusionDeltaError, QueryError

#: Tables whose rows differ between the context and the extension: their functions, their settings.
CATALOG = re.compile(r"information_schema\.(routines|parameters|df_settings)")

_VISIBLE = "datafusion.catalog.information_schema"

#: Kinds of native planning failures after which the context may still know how: what cannot be
#: carried, or differs between the two sides. All else (no memory, no time, no file) is the answer.
MAY_FALL_BACK = frozenset(
    {
        ErrorKind.QUERY,
        ErrorKind.SQL,
        ErrorKind.INTERNAL,
        ErrorKind.EXECUTION,
        ErrorKind.CONFIGURATION,
    }
)


def interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error came of.

    One that arrives while `datafusion` logs is left pending there, and comes out as the cause of a
    SystemError.
    """
    cause: BaseException | None = error
    while isinstance(cause, SystemError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, KeyboardInterrupt) else None


def settings_of(ctx: Any) -> dict[str, str]:
    """Settings of a context whose holder may have changed them, and hidden the catalog."""
    query = "SELECT name, value FROM information_schema.df_settings"
    try:
        rows = ctx.sql(query).collect()
        visible = "true"
    except ValueError:
        ctx.sql(f"SET {_VISIBLE} = true")
        try:
            rows = ctx.sql(query).collect()
        finally:
            ctx.sql(f"SET {_VISIBLE} = false")
        visible = "false"
    settings = {
        name: value
        for batch in rows
        for name, value in zip(
            batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True
        )
        if value is not None and not name.startswith("datafusion.runtime.")
    }
    return {**settings, _VISIBLE: visible}


def changed(sent: str, arrived: str) -> str | None:
    """How the columns of a plan differ from those that were sent, nullability apart.

    Not every scalar survives the encoding: half floats come back as floats.

    Args:
        sent: Plan text with schemas, of the context.
        arrived: Columns as plan texts show them, of the extension.
    """
    if "Float16(" in sent:
        return "it has a half-float literal, which has no encoding"
    # A child stands on a line of its own, indented; names of columns may hold line ends too.
    first = sent.split("\n  ", 1)[0].replace(";N", "")
    arrived = arrived.replace(";N", "")
    return None if first.endswith(arrived) else f"{first!r} became {arrived!r}"


def checked(frame: Any, typed: Callable[[BaseException], FusionDeltaError], reason: str) -> str:
    """The reason for the fallback way, once the context has shown that it can plan the query."""
    try:
        frame.execution_plan()
    except Exception as error:
        raise typed(error) from error
    return reason


def substrait_of(frame: Any, ctx: Any, typed: Callable[[BaseException], FusionDeltaError]) -> bytes:
    """The optimized plan of a frame as a Substrait message.

    Raises:
        QueryError: It has no such form.
    """
    from datafusion import substrait

    try:
        plan = frame.optimized_logical_plan()
    except Exception as error:
        raise interrupt_in(error) or typed(error) from error
    try:
        message: bytes = substrait.Producer.to_substrait_plan(plan, ctx).encode()
    except Exception as error:
        raise interrupt_in(error) or QueryError(
            f"the plan has no Substrait form: {str(error).splitlines()[0]}"
        ) from error
    return message
