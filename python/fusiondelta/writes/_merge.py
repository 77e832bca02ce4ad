"""`TableMerge`: the clauses of a merge, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fusiondelta.errors import ConfigurationError
from fusiondelta.writes._changes import ClauseSpec, MergeSpec
from fusiondelta.writes._result import WriteResult
from fusiondelta.writes._spec import WriterProperties


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMerge:
    """A merge being described; each method gives a new one with one more clause.

    Clauses are tried in their order, for matched rows, for rows of the source alone and for rows of
    the table alone separately; the first whose predicate holds is carried out. Expressions and
    predicates are SQL over ``source`` and ``target`` (or the aliases given). Nothing happens before
    `execute`.
    """

    _on: str
    _source_alias: str
    _target_alias: str
    _merge_schema: bool
    _writer_properties: WriterProperties | None
    _execute: Callable[[MergeSpec], WriteResult] = field(repr=False)
    _clauses: tuple[ClauseSpec, ...] = ()

    def when_matched_update(
        self, updates: Mapping[str, str], predicate: str | None = None
    ) -> TableMerge:
        """Set columns of rows that are in both.

        Args:
            updates: SQL expression by column of the table.
            predicate: Only where this holds.
        """
        return self._with("matched_update", updates, predicate)

    def when_matched_update_all(self, predicate: str | None = None) -> TableMerge:
        """Set every column that the source has, of rows that are in both."""
        return self._with("matched_update_all", None, predicate)

    def when_matched_delete(self, predicate: str | None = None) -> TableMerge:
        """Delete rows that are in both."""
        return self._with("matched_delete", None, predicate)

    def when_not_matched_insert(
        self, values: Mapping[str, str], predicate: str | None = None
    ) -> TableMerge:
        """Insert rows that are in the source alone.

        Args:
            values: SQL expression by column of the table; columns that are not named become null.
            predicate: Only where this holds.
        """
        return self._with("not_matched_insert", values, predicate)

    def when_not_matched_insert_all(self, predicate: str | None = None) -> TableMerge:
        """Insert rows that are in the source alone, with every column it has."""
        return self._with("not_matched_insert_all", None, predicate)

    def when_not_matched_by_source_update(
        self, updates: Mapping[str, str], predicate: str | None = None
    ) -> TableMerge:
        """Set columns of rows that are in the table alone; expressions are over the table."""
        return self._with("not_matched_by_source_update", updates, predicate)

    def when_not_matched_by_source_delete(self, predicate: str | None = None) -> TableMerge:
        """Delete rows that are in the table alone."""
        return self._with("not_matched_by_source_delete", None, predicate)

    def execute(self) -> WriteResult:
        """Carry it out, in one commit.

        Raises:
            ConfigurationError: It has no clause.
            SqlError: An expression is wrong.
            ExecutionError: Two rows of the source match one of the table.
            CommitConflict: Another writer won.
            CommitOutcomeUnknown: The commit was sent and its outcome could not be read back.
        """
        if not self._clauses:
            raise ConfigurationError(
                "the merge has no clause; say what happens with .when_matched_update_all(), "
                ".when_not_matched_insert_all() and so on"
            )
        return self._execute(
            MergeSpec(
                on=self._on,
                source_alias=self._source_alias,
                target_alias=self._target_alias,
                merge_schema=self._merge_schema,
                clauses=list(self._clauses),
                writer_properties=self._writer_properties,
            )
        )

    def _with(
        self, kind: str, assigned: Mapping[str, str] | None, predicate: str | None
    ) -> TableMerge:
        if assigned is not None and not assigned:
            raise ConfigurationError(f"when_{kind} sets no column")
        clause = ClauseSpec(kind=kind, set=list((assigned or {}).items()), predicate=predicate)
        return replace(self, _clauses=(*self._clauses, clause))


def condition(on: str | Sequence[str], source: str, target: str) -> str:
    """The SQL that matches rows.

    Args:
        on: SQL, or columns that are equal.
        source: Alias of the source.
        target: Alias of the table.
    """
    if isinstance(on, str):
        return on
    if not on:
        raise ConfigurationError("on names no column")
    quoted = [quote(name) for name in on]
    return " AND ".join(f"{quote(target)}.{name} = {quote(source)}.{name}" for name in quoted)


def quote(name: str) -> str:
    """An SQL identifier of any name."""
    return '"' + name.replace('"', '""') + '"'
