"""Whether a plan crosses into the extension whole, and why it does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ErrorKind, FusionDeltaError, QueryError
from fusiondelta.queries._request import Request
from fusiondelta.sessions import Lease, not_carried

if TYPE_CHECKING:
    from fusiondelta._native import NativeEngine, NativeQuery

#: Tables whose rows are of the session: its functions, its settings.
CATALOG = re.compile(r"information_schema\.(routines|parameters|df_settings)")

#: What planning fails with where the session has something that the extension lacks.
_PLANNING = frozenset({ErrorKind.QUERY, ErrorKind.SQL, ErrorKind.INTERNAL})

_VISIBLE = "datafusion.catalog.information_schema"


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


def parsed(lease: Lease, text: str, asked: Request) -> Any:
    """The DataFrame of a text that only reads."""
    from datafusion import SQLOptions

    options = SQLOptions()
    options.with_allow_ddl(False)
    options.with_allow_dml(False)
    options.with_allow_statements(False)
    try:
        values = dict(asked.parameters)
        return lease.ctx.sql_with_options(text, options, param_values=values)
    except Exception as error:
        raise interrupt_in(error) or asked.typed(error) from error


def crossed(
    native: NativeEngine, lease: Lease, frame: Any, asked: Request, memory_limit: int | None
) -> NativeQuery:
    """The plan of a lent session's DataFrame, inside the extension.

    It crosses as it was built; where it has what no encoding carries (EXISTS, IN), as `datafusion`
    optimises it, unless that may give other rows.

    Raises:
        QueryError: No encoding carries it, or its rows describe the session.
        FusionDeltaError: The plan is wrong.
    """
    begun, reason = asked.begun, ""
    settings = settings_of(lease.ctx)
    for made in (frame.logical_plan, frame.optimized_logical_plan):
        try:
            plan = made()
        except Exception as error:
            raise interrupt_in(error) or asked.typed(error) from error
        shown = plan.display_indent_schema()
        catalog = CATALOG.search(shown)
        if catalog is not None:
            raise _stays(f"{catalog[0]} describes the session")
        try:
            encoded = plan.to_bytes(lease.ctx)
        except Exception as error:
            interrupt = interrupt_in(error)
            if interrupt is not None:
                raise interrupt from error
            reason = f"the plan cannot be encoded: {error}"
            subquery = not_carried(plan.display_indent())
            if subquery is not None:
                raise _stays(
                    f"datafusion may rewrite its subquery to other rows: {subquery}"
                ) from error
            continue
        try:
            query = native.plan(
                lease.ctx,
                lease.codec,
                encoded,
                settings,
                asked.io,
                (begun.run_id, begun.query_id),
                capture=begun.spec.capture_plan,
                digest=begun.spec.digest,
                memory_limit=memory_limit,
                timeout=asked.clock.left(),
            )
        except ValueError as error:
            reason = f"the plan cannot be decoded: {error}"
            continue
        except FusionDeltaError as error:
            if error.kind not in _PLANNING:
                raise
            reason = f"it is planned no further: {error.message}"
            continue
        difference = changed(shown, query.arrived_columns())
        if difference is None:
            return query
        reason = f"the plan changed on the way: {difference}"
    try:
        frame.execution_plan()
    except Exception as error:
        raise interrupt_in(error) or asked.typed(error) from error
    raise _stays(reason)


def _stays(reason: str) -> QueryError:
    return QueryError(
        f"the engine cannot run this DataFrame: {reason}; pass the SQL text to engine.query, or "
        "collect the DataFrame itself"
    )


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
