"""What assertions ask of a result, and which results they take."""

from __future__ import annotations

from typing import Protocol

from fusiondelta.account import PlanBundle, RunAccount
from fusiondelta.errors import QueryError


class Accounted(Protocol):
    """Whatever has an account: a `QueryResult` or a `WriteResult`."""

    def account(self) -> RunAccount:
        """All that is known of it so far."""


class Planned(Protocol):
    """Whatever has a plan: a `QueryResult`."""

    @property
    def plan(self) -> PlanBundle:
        """The plan and what it depends on."""


def finished(result: Accounted | RunAccount, instead: str = "") -> RunAccount:
    """The account of a query or write that has come to its end.

    Args:
        result: A result, or the account of one.
        instead: What else the caller may do, for the error.

    Raises:
        QueryError: Its rows were not all read, or it failed.
    """
    account = result if isinstance(result, RunAccount) else result.account()
    if account.status == "finished":
        return account
    about = f"{account.kind} {account.query_id}"
    if account.status == "failed":
        error = account.error or {}
        why = f"failed ({error.get('class', 'error')}: {error.get('message', 'no message')})"
        fix = "mend it first"
    elif account.status == "cancelled":
        why = "was closed or cancelled before its last row"
        fix = "read all its rows first, with to_table() for one"
    else:
        why = f"has rows left to read (it is {account.status})"
        fix = "read them first, with to_table() for one"
    raise QueryError(f"the {about} {why}, so what it needed is not known yet; {fix}{instead}")
