"""`engine.execute`: statements that change tables, each the operation that its method is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fusiondelta.errors import ConfigurationError, SqlError
from fusiondelta.profiles import RetryPolicy
from fusiondelta.profiles._sizes import Duration
from fusiondelta.writes._merge import quote
from fusiondelta.writes._operations import TableOperations
from fusiondelta.writes._progress import WriteProgress
from fusiondelta.writes._result import WriteResult
from fusiondelta.writes._spec import WriterProperties

if TYPE_CHECKING:
    from fusiondelta._native import NativeStatement
    from fusiondelta.sources import DeltaSource

Uri = str | os.PathLike[str]


class TableStatements(TableOperations):
    """Changes of tables as SQL."""

    if TYPE_CHECKING:

        def open_delta(self, uri: Uri) -> DeltaSource:
            """Of the engine."""

        def vacuum(self, uri: Uri, **options: Any) -> WriteResult:
            """Of the engine."""

    def execute(
        self,
        sql: str,
        *,
        tables: Mapping[str, Uri],
        sources: Mapping[str, Any] | None = None,
        param_values: Mapping[str, Any] | Sequence[Any] | None = None,
        deletion_vectors: bool | None = None,
        allow_metadata_change: bool = False,
        writer_properties: WriterProperties | None = None,
        idempotency_key: tuple[str, int] | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Change a table by one SQL statement.

        ``INSERT INTO t [(columns)] VALUES … | SELECT …``, ``INSERT OVERWRITE t …``, ``UPDATE t
        SET … [WHERE …]``, ``DELETE FROM t [WHERE …]``, ``MERGE INTO t USING s ON … WHEN …``,
        ``CREATE TABLE [IF NOT EXISTS] t (columns) | AS SELECT …`` with ``PARTITIONED BY (…)`` and
        ``TBLPROPERTIES (…)``, ``OPTIMIZE t [WHERE …] [ZORDER BY (…)]``,
        ``VACUUM t [RETAIN n HOURS] [DRY RUN]``. Each is the operation of its method, with
        the same options, errors and guarantees; columns of an INSERT are matched by position, as
        in SQL.

        Args:
            sql: One statement.
            tables: Locations by the names that the statement gives them; queries within the
                statement can name them too.
            sources: Other tables that it names, as in `query`.
            param_values: Values of ``$name`` or ``$1``.
            deletion_vectors: As of `TableOperations`; the rest too.
            allow_metadata_change: See there.
            writer_properties: How Parquet files are written.
            idempotency_key: See there.
            retry: See there.
            timeout: See there.
            metadata: See there.
            progress: See there.

        Raises:
            SqlError: With line and column of what is not understood.
        """
        from fusiondelta._native import change_statement

        statement = change_statement(sql, self._dialect)
        uri = _located(statement.table, tables)
        named = {name: where for name, where in tables.items() if name != statement.table}
        common: dict[str, Any] = {
            "retry": retry,
            "timeout": timeout,
            "metadata": metadata,
            "progress": progress,
        }
        if statement.kind == "optimize":
            return self.optimize(
                uri,
                z_order=statement.z_order,
                predicate=statement.predicate,
                param_values=param_values,
                writer_properties=writer_properties,
                **common,
            )
        if statement.kind == "vacuum":
            hours = statement.retain_hours
            retention = None if hours is None else hours * 3600
            return self.vacuum(
                uri,
                retention=retention,
                dry_run=statement.dry_run,
                full=statement.full,
                **common,
            )
        common.update(writer_properties=writer_properties, idempotency_key=idempotency_key)
        inner = {**named, **(sources or {})}
        if statement.kind in ("insert", "create"):
            rows = _Rows(self, {**inner, statement.table: uri}, param_values)
            if statement.kind == "insert":
                return self._insert(uri, statement, rows, common)
            return self._create(uri, statement, rows, common)
        common.update(
            param_values=param_values,
            sources=inner,
            deletion_vectors=deletion_vectors,
            allow_metadata_change=allow_metadata_change,
        )
        name = statement.alias or statement.table
        if statement.kind == "delete":
            return self.delete(uri, statement.predicate, target_alias=name, **common)
        if statement.kind == "update":
            return self.update(
                uri, dict(statement.set), statement.predicate, target_alias=name, **common
            )
        return self._merge(uri, statement, name, common)

    def _insert(
        self, uri: Uri, statement: NativeStatement, rows: _Rows, common: dict[str, Any]
    ) -> WriteResult:
        import pyarrow as pa

        own = pa.schema(self.open_delta(uri).schema).names
        for name in statement.columns:
            if name not in own:
                raise SqlError(
                    f"the table has no column {name!r}{_hint(name, own)}; its columns are "
                    f"{', '.join(own)}",
                    details={"column_name": name},
                )
        columns = statement.columns or own
        listed = ", ".join(quote(name) for name in columns)
        # The query is a part of the caller's own statement, and names are quoted.
        text = f"SELECT * FROM ({statement.query}) AS inserted({listed})"  # noqa: S608
        return self.write_delta(
            uri,
            lambda: rows.query(text),
            mode="overwrite" if statement.overwrite else "append",
            # Values are stored as assignments store them; columns that are not named become NULL.
            schema_mode="merge",
            **common,
        )

    def _create(
        self, uri: Uri, statement: NativeStatement, rows: _Rows, common: dict[str, Any]
    ) -> WriteResult:
        if statement.overwrite:
            raise SqlError("CREATE OR REPLACE TABLE is not supported; write_delta overwrites")
        data: Any = None
        if statement.query is not None:
            if statement.definitions:
                raise SqlError("CREATE TABLE … AS takes the columns of its query, and no others")
            text = statement.query

            def data() -> Any:
                return rows.query(text)

        elif statement.definitions:
            data = _empty(self, statement.definitions)
        else:
            raise SqlError("CREATE TABLE names no column")
        return self.write_delta(
            uri,
            data,
            mode="ignore" if statement.if_not_exists else "error",
            partition_by=statement.partition_by or None,
            properties=dict(statement.properties) or None,
            **common,
        )

    def _merge(
        self, uri: Uri, statement: NativeStatement, name: str, common: dict[str, Any]
    ) -> WriteResult:
        rows = _Rows(self, {**common["sources"], statement.table: uri}, None)
        text = statement.source or ""
        merge = self.merge(
            uri,
            lambda: rows.query(text),
            statement.on,
            source_alias=statement.source_alias,
            target_alias=name,
            **common,
        )
        makers: dict[str, Callable[..., Any]] = {
            "matched_update": lambda s, p: merge.when_matched_update(s, p),
            "matched_update_all": lambda s, p: merge.when_matched_update_all(p),
            "matched_delete": lambda s, p: merge.when_matched_delete(p),
            "not_matched_insert": lambda s, p: merge.when_not_matched_insert(s, p),
            "not_matched_insert_all": lambda s, p: merge.when_not_matched_insert_all(p),
            "not_matched_by_source_update": lambda s, p: merge.when_not_matched_by_source_update(
                s, p
            ),
            "not_matched_by_source_delete": lambda s, p: merge.when_not_matched_by_source_delete(p),
        }
        for kind, assigned, predicate in statement.clauses:
            merge = makers[kind](dict(assigned), predicate)
        return merge.execute()


class _Rows:
    """Queries within a statement.

    Args:
        engine: Runs them.
        sources: Tables that they can name.
        param_values: Values of their parameters.
    """

    def __init__(
        self,
        engine: Any,
        sources: Mapping[str, Any],
        param_values: Mapping[str, Any] | Sequence[Any] | None,
    ) -> None:
        self._engine = engine
        self._sources = sources
        self._param_values = param_values

    def query(self, sql: str) -> Any:
        """The result of a query."""
        from fusiondelta._native import table_references

        wanted = {parts[-1].lower() for parts in table_references(sql, "generic")}
        sources = {k: v for k, v in self._sources.items() if k.lower() in wanted}
        return self._engine.query(sql, sources=sources, param_values=self._param_values)


def _located(name: str, tables: Mapping[str, Uri]) -> Uri:
    found = {known.lower(): uri for known, uri in tables.items()}
    if name in tables:
        return tables[name]
    if name.lower() in found:
        return found[name.lower()]
    known = ", ".join(sorted(tables)) or "none"
    raise SqlError(f"tables has no {name!r}{_hint(name, tables)} (there are {known})")


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _empty(engine: Any, definitions: Sequence[tuple[str, str, bool]]) -> Any:
    """A table without rows, of columns of SQL types."""
    import pyarrow as pa

    typed = ", ".join(f"CAST(NULL AS {kind}) AS {quote(name)}" for name, kind, _ in definitions)
    with engine.query(f"SELECT {typed}", sources={}) as result:
        schema = pa.schema(result.schema)
    if len(schema) != len(definitions):
        raise ConfigurationError("CREATE TABLE names a column twice")
    fields = [
        field.with_nullable(nullable)
        for field, (_, _, nullable) in zip(schema, definitions, strict=True)
    ]
    return pa.schema(fields).empty_table()
