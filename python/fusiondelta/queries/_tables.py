"""The tables of a query, by the names that SQL finds them under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fusiondelta.errors import SourceError
from fusiondelta.queries._crossing import interrupt_in
from fusiondelta.sessions import Lease
from fusiondelta.sources import Resolved


def named(resolved: Sequence[Resolved]) -> list[tuple[str, Any]]:
    """Tables by the names that SQL finds them under.

    An alias is found as it is written; one that is a plain identifier is found in lower case too,
    which is what unquoted SQL turns it into, unless that is the name of another.
    """
    tables = {one.alias: one.provider for one in resolved}
    folded: dict[str, list[Any]] = {}
    for one in resolved:
        if one.alias.isidentifier():
            folded.setdefault(one.alias.lower(), []).append(one.provider)
    for name, providers in folded.items():
        if len(providers) == 1:
            tables.setdefault(name, providers[0])
    return list(tables.items())


def register(lease: Lease, resolved: Sequence[Resolved]) -> None:
    """Put pinned sources on a context under the names that SQL finds them under."""
    for name, provider in named(resolved):
        lease.ctx.register_table(_quoted(name), provider)


def carried(lease: Lease, resolved: Sequence[Resolved]) -> list[tuple[str, Any]]:
    """Tables as the extension takes them: its own, and plans that read those of other libraries.

    Args:
        lease: A context for the tables of other libraries, which has to live as long as the plans.
        resolved: The sources of a query.

    Raises:
        SourceError: The context does not take a table, or cannot say how it is read.
    """
    foreign = {one.alias: one for one in resolved if not one.is_own}
    plans: dict[int, bytes] = {}
    for alias, one in foreign.items():
        if id(one.provider) in plans:
            continue
        try:
            lease.ctx.register_table(_quoted(alias), one.provider)
            plans[id(one.provider)] = lease.encoded(lease.ctx.table(_quoted(alias)))
        except Exception as error:
            raise interrupt_in(error) or SourceError(
                f"the source {alias!r}, a {one.description}, cannot be read: {error}"
            ) from error
    return [(name, plans.get(id(provider), provider)) for name, provider in named(resolved)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
