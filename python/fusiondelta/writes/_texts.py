"""What the SQL of a change may name besides the table: parameters and other tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fusiondelta.sessions import as_arrays, bind_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeChangeOptions:
    """Crosses into the extension as it is.

    Attributes:
        parameters: Arrow arrays of one value, by the name of the placeholder.
        tables: Planned queries by alias.
        deletion_vectors: Whether rows are deleted by deletion vectors; as the table says where
            None.
    """

    parameters: list[tuple[str, Any]] = field(default_factory=list)
    tables: list[tuple[str, Any]] = field(default_factory=list)
    deletion_vectors: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTexts:
    """Parameters and tables of a change's SQL.

    Attributes:
        parameters: ``pyarrow.Scalar`` by the name of the placeholder.
        tables: Makes the query of a table, by alias; anew for each attempt.
        deletion_vectors: As of `NativeChangeOptions`.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    deletion_vectors: bool | None = None

    @classmethod
    def of(
        cls,
        texts: Sequence[str | None],
        *,
        param_values: Mapping[str, Any] | Sequence[Any] | None,
        tables: Mapping[str, Callable[[], Any]],
        deletion_vectors: bool | None,
        dialect: str,
    ) -> ChangeTexts:
        """Bind parameters to the placeholders of all texts together.

        Raises:
            ParameterError: One is missing, one is not used, or a value has no SQL type.
        """
        given = [text for text in texts if text is not None]
        return cls(
            parameters=bind_texts(given, param_values, dialect=dialect),
            tables=dict(tables),
            deletion_vectors=deletion_vectors,
        )

    @contextmanager
    def opened(self) -> Iterator[NativeChangeOptions]:
        """What crosses for one attempt; the queries of tables live as long as the block."""
        results = {alias: make() for alias, make in self.tables.items()}
        try:
            tables = [(alias, result._as_write_input()) for alias, result in results.items()]
            yield NativeChangeOptions(
                parameters=as_arrays(self.parameters),
                tables=tables,
                deletion_vectors=self.deletion_vectors,
            )
        finally:
            for result in results.values():
                result.close()
