"""`QueryProfile`: where the time, the bytes and the memory of a run went, as a page."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from fusiondelta.account._account import RunAccount
from fusiondelta.account._advice import Problem, problems
from fusiondelta.account._page import frame, profile_page
from fusiondelta.account._page_compare import comparison_page
from fusiondelta.account._page_view import PROBLEM_TITLES
from fusiondelta.account._units import count, counted, seconds, size


@dataclass(frozen=True, slots=True, repr=False)
class QueryProfile:
    """Where the time, the bytes and the memory of a query or a write went.

    In a notebook it shows itself. Of a run that has not ended it holds what is known so far.

    Attributes:
        account: The run.
    """

    account: RunAccount

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What made the run slower or dearer than it had to be, the worst first."""
        return problems(self.account)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The profile as one HTML page, which loads nothing and can be opened from disk.

        Args:
            path: File that gets the page too, whole or not at all; None for none.

        Raises:
            OSError: The file cannot be written.
        """
        return _page(profile_page(self.account), path)

    def compare(self, other: QueryProfile) -> ProfileComparison:
        """This profile and another side by side.

        Args:
            other: Of another run: the same query later, with other settings, on another version.
        """
        return ProfileComparison(self, other)

    def _repr_html_(self) -> str:
        return frame(self.to_html())

    def __repr__(self) -> str:
        account = self.account
        return (
            f"<QueryProfile {account.kind} {account.query_id} {account.status}: "
            f"{seconds(account.seconds)}, {counted(len(self.problems), 'problem')}>"
        )

    def __str__(self) -> str:
        account = self.account
        whole = sum(account.io.requests.values())
        lines = [
            f"{account.operation} {account.query_id} {account.status}: {seconds(account.seconds)} "
            f"(planning {seconds(account.planning_seconds)}, "
            f"execution {seconds(account.execution_seconds)})",
            f"{counted(account.rows, 'row')}, {size(account.io.bytes_read)} read, "
            f"{counted(whole, 'request')}, {size(account.peak_memory)} at most in memory, "
            f"{size(account.tree.total('spilled_bytes'))} spilled",
        ]
        for one in self.problems:
            place = f" ({one.node})" if one.node is not None else ""
            lines.append(f"{PROBLEM_TITLES[one.name]}{place}: {one.what} {one.advice}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, repr=False)
class ProfileComparison:
    """Two profiles side by side. In a notebook it shows itself.

    Operators are the same where path and name are; others are listed as being in one of the two.

    Attributes:
        first: The profile that was asked, A.
        second: The other, B; changes are from A to B.
    """

    first: QueryProfile
    second: QueryProfile

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The comparison as one HTML page, which loads nothing and can be opened from disk.

        Args:
            path: File that gets the page too, whole or not at all; None for none.

        Raises:
            OSError: The file cannot be written.
        """
        return _page(comparison_page(self.first.account, self.second.account), path)

    def _repr_html_(self) -> str:
        return frame(self.to_html())

    def __repr__(self) -> str:
        first, second = self.first.account, self.second.account
        return (
            f"<ProfileComparison A {first.query_id}: {seconds(first.seconds)}, "
            f"{count(first.rows)} rows; "
            f"B {second.query_id}: {seconds(second.seconds)}, {count(second.rows)} rows>"
        )


def _page(text: str, path: str | os.PathLike[str] | None) -> str:
    """A page, put into a file if one is named."""
    if path is not None:
        # A link stays a link, and what it leads to is replaced.
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_text(text, "utf-8", newline="")
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return text
