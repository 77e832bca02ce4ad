"""`TableOperations`: everything of the engine that changes a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fusiondelta._ids import new_id
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles import RetryPolicy
from fusiondelta.profiles._sizes import Duration, parse_bytes, parse_duration
from fusiondelta.writes._changes import (
    AddConstraintSpec,
    DeleteSpec,
    DropConstraintSpec,
    MergeSpec,
    OptimizeSpec,
    RestoreSpec,
    SetPropertiesSpec,
    UpdateSpec,
)
from fusiondelta.writes._commit import CommitOptions, Committer
from fusiondelta.writes._ingest import WriteSource
from fusiondelta.writes._merge import TableMerge, condition, quote
from fusiondelta.writes._progress import WriteProgress
from fusiondelta.writes._properties import check_properties
from fusiondelta.writes._result import WriteResult
from fusiondelta.writes._spec import WriterProperties, WriteSpec
from fusiondelta.writes._texts import ChangeTexts

Uri = str | os.PathLike[str]
IdempotencyKey = tuple[str, int]
#: Values by name or by position, as in queries.
Parameters = Mapping[str, Any] | Sequence[Any]


class TableOperations:
    """Changes of tables, each in one commit unless it says otherwise.

    Every method takes the same options:

    - ``idempotency_key``: application id and version. What was committed with them is not committed
      again; the result of a repeated call is that of the first (``result.replayed``).
    - ``retry``: `RetryPolicy` for changes that lost against another writer. Appends go on behind
      whatever was committed without it; what reads the table is read, planned and executed again.
    - ``timeout``: seconds or timedelta for all of it.
    - ``metadata``: text by name, kept in the commit.
    - ``progress``: called four times a second with a `WriteProgress`, from a thread of its own.

    Changes that are described in SQL take besides:

    - ``param_values``: values of the placeholders ``$name`` or ``$1`` in all of their texts.
    - ``sources``: tables that subqueries can name, as in queries. The table itself is ``target``.
    - ``deletion_vectors``: whether rows are deleted by deletion vectors instead of in new files. As
      the table's property ``delta.enableDeletionVectors`` says where None; with
      ``allow_metadata_change=True`` a table gets the property first, in a commit of its own.

    and raises

    - `CommitConflict` where another writer won, with what it did;
    - `CommitOutcomeUnknown` where the commit was sent and could not be read back;
    - `WriteSafetyError` where nothing makes commits safe;
    - `UnsupportedTableFeatureError` where the table needs what cannot be written here.

    A change that fails leaves the table as it was, and no file of its own where that is certain.
    """

    _committer: Committer
    _spill_dir: str | None

    if TYPE_CHECKING:

        def query(self, query: str, *, sources: Mapping[str, Any]) -> Any:
            """Of the engine."""

    def write_delta(
        self,
        uri: Uri,
        data: Any,
        *,
        mode: str = "append",
        schema: Any = None,
        schema_mode: str | None = None,
        partition_by: str | Sequence[str] | None = None,
        replace_where: str | None = None,
        replace_partitions: bool = False,
        param_values: Parameters | None = None,
        target_file_size: int | str | None = None,
        allow_truncated_timestamps: bool = False,
        writer_properties: WriterProperties | None = None,
        properties: Mapping[str, str] | None = None,
        allow_metadata_change: bool = False,
        idempotency_key: IdempotencyKey | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Write rows to a Delta table; a missing table is made.

        Args:
            uri: Location of the table.
            data: A `QueryResult` (executed natively from scan to commit), any Arrow producer, a
                pandas or Polars frame, an iterator of record batches with ``schema``, or a callable
                without arguments that gives one of these.
            mode: ``append``, ``overwrite``, ``error`` (fail if there is a table) or ``ignore`` (do
                nothing if there is one).
            schema: Arrow schema of an iterator's batches.
            schema_mode: None refuses data whose columns are not the table's; ``merge`` adds new
                columns; ``overwrite`` replaces the schema (with mode ``overwrite``).
            partition_by: Partition columns; must be the table's own for an existing one.
            replace_where: With mode ``overwrite``: SQL predicate; only the rows it selects are
                replaced, and the new rows must all satisfy it.
            replace_partitions: With mode ``overwrite``: only the partitions that the new rows are
                in are replaced (Spark's dynamic partition overwrite).
            param_values: Values of the placeholders of ``replace_where``.
            target_file_size: Bytes of a data file, about.
            allow_truncated_timestamps: Whether nanoseconds are cut off timestamps; a Delta table
                keeps microseconds, and a value that would lose some fails the write without it.
            writer_properties: How Parquet files are written.
            properties: Table properties of a table that the write makes.
            allow_metadata_change: Whether ``schema_mode="overwrite"`` may replace the schema.
            idempotency_key: As of `TableOperations`; the rest too.
            retry: See there.
            timeout: See there.
            metadata: See there.
            progress: See there.

        Raises:
            SchemaMismatchError: Columns do not fit; names each with both types.
            SourceError: There is a table and mode is ``error``; or the data cannot be read.
        """
        if schema_mode == "overwrite" and not allow_metadata_change:
            raise ConfigurationError(
                'schema_mode="overwrite" replaces the schema of the table; if that is meant, pass '
                "allow_metadata_change=True"
            )
        partitions = None
        if partition_by is not None:
            partitions = [partition_by] if isinstance(partition_by, str) else list(partition_by)
        spec = WriteSpec(
            mode=mode,
            schema_mode=schema_mode,
            partition_by=partitions,
            replace_where=replace_where,
            replace_partitions=replace_partitions,
            target_file_size=_bytes("target_file_size", target_file_size),
            truncate_timestamps=allow_truncated_timestamps,
            writer_properties=writer_properties,
            properties=self._committer.properties(uri, properties),
        )
        options = _options(idempotency_key, retry, timeout, metadata, progress)
        texts = self._texts([replace_where], param_values)
        return self._committer.commit(uri, spec, options, self._rows(data, schema, retry), texts)

    def delete(
        self,
        uri: Uri,
        predicate: str | None = None,
        *,
        target_alias: str = "target",
        param_values: Parameters | None = None,
        sources: Mapping[str, Any] | None = None,
        deletion_vectors: bool | None = None,
        allow_metadata_change: bool = False,
        writer_properties: WriterProperties | None = None,
        idempotency_key: IdempotencyKey | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Delete the rows of a table for which an SQL predicate is true, or all of them.

        ``result.operation_metrics["num_deleted_rows"]`` says how many; nothing to delete is no
        commit.

        Args:
            uri: Location of the table.
            predicate: Which rows: parsed to its last character, bound and coerced as in a query.
            target_alias: Name of the table in SQL.
            param_values: As of `TableOperations`; the rest too.
            sources: See there.
            deletion_vectors: See there.
            allow_metadata_change: See there.
            writer_properties: How Parquet files are written.
            idempotency_key: See there.
            retry: See there.
            timeout: See there.
            metadata: See there.
            progress: See there.
        """
        spec = DeleteSpec(
            predicate=predicate,
            target_alias=target_alias,
            writer_properties=writer_properties,
        )
        options = _options(idempotency_key, retry, timeout, metadata, progress)
        texts = self._texts([predicate], param_values, sources, deletion_vectors)
        self._enable_vectors(uri, deletion_vectors, allow_metadata_change)
        return self._committer.commit(uri, spec, options, texts=texts)

    def update(
        self,
        uri: Uri,
        updates: Mapping[str, str],
        predicate: str | None = None,
        *,
        target_alias: str = "target",
        param_values: Parameters | None = None,
        sources: Mapping[str, Any] | None = None,
        deletion_vectors: bool | None = None,
        allow_metadata_change: bool = False,
        writer_properties: WriterProperties | None = None,
        idempotency_key: IdempotencyKey | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Set columns of the rows for which an SQL predicate is true, or of all rows.

        Args:
            uri: Location of the table.
            updates: SQL expression by column. A column keeps the value it is given or refuses it:
                what would be rounded, cut or read from text needs a CAST in the expression.
            predicate: Which rows.
            target_alias: Name of the table in SQL.
            param_values: As of `TableOperations`; the rest too.
            sources: See there.
            deletion_vectors: See there.
            allow_metadata_change: See there.
            writer_properties: How Parquet files are written.
            idempotency_key: See there.
            retry: See there.
            timeout: See there.
            metadata: See there.
            progress: See there.
        """
        if not updates:
            raise ConfigurationError("updates sets no column")
        spec = UpdateSpec(
            set=list(updates.items()),
            predicate=predicate,
            target_alias=target_alias,
            writer_properties=writer_properties,
        )
        options = _options(idempotency_key, retry, timeout, metadata, progress)
        texts = self._texts([predicate, *updates.values()], param_values, sources, deletion_vectors)
        self._enable_vectors(uri, deletion_vectors, allow_metadata_change)
        return self._committer.commit(uri, spec, options, texts=texts)

    def merge(
        self,
        uri: Uri,
        source: Any,
        on: str | Sequence[str],
        *,
        schema: Any = None,
        source_alias: str = "source",
        target_alias: str = "target",
        merge_schema: bool = False,
        param_values: Parameters | None = None,
        sources: Mapping[str, Any] | None = None,
        deletion_vectors: bool | None = None,
        allow_metadata_change: bool = False,
        writer_properties: WriterProperties | None = None,
        idempotency_key: IdempotencyKey | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> TableMerge:
        """Begin a merge, which `TableMerge.execute` carries out once its clauses are there.

        Args:
            uri: Location of the table.
            source: Rows, as ``data`` of `write_delta`.
            on: SQL that matches rows (``"target.id = source.id"``), or names of columns that are
                equal.
            schema: Arrow schema of an iterator's batches.
            source_alias: Name of the source in SQL.
            target_alias: Name of the table in SQL.
            merge_schema: Whether columns that only the source has are added to the table.
            param_values: As of `TableOperations`; the rest too.
            sources: See there.
            deletion_vectors: See there.
            allow_metadata_change: See there.
            writer_properties: How Parquet files are written.
            idempotency_key: See there.
            retry: See there.
            timeout: See there.
            metadata: See there.
            progress: See there.
        """
        options = _options(idempotency_key, retry, timeout, metadata, progress)
        rows = self._rows(source, schema, retry)

        def execute(spec: MergeSpec) -> WriteResult:
            said = [spec.on, *(text for clause in spec.clauses for text in clause.texts())]
            texts = self._texts(said, param_values, sources, deletion_vectors)
            self._enable_vectors(uri, deletion_vectors, allow_metadata_change)
            return self._committer.commit(uri, spec, options, rows, texts)

        return TableMerge(
            _on=condition(on, source_alias, target_alias),
            _source_alias=source_alias,
            _target_alias=target_alias,
            _merge_schema=merge_schema,
            _writer_properties=writer_properties,
            _execute=execute,
        )

    def optimize(
        self,
        uri: Uri,
        *,
        z_order: Sequence[str] = (),
        partition_filters: Sequence[tuple[str, str, Any]] = (),
        predicate: str | None = None,
        param_values: Parameters | None = None,
        target_file_size: int | str | None = None,
        min_commit_interval: Duration | None = None,
        max_concurrent_tasks: int | None = None,
        writer_properties: WriterProperties | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Rewrite small files as larger ones, or all files in an order; no row changes.

        Args:
            uri: Location of the table.
            z_order: Columns whose values lie close together afterwards; none only compacts.
            partition_filters: Which partitions, as ``(column, operator, value)`` with the operators
                ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` and ``not in``.
            predicate: Which partitions, as SQL over the partition columns.
            param_values: As of `TableOperations`.
            target_file_size: Bytes of a file, about; the table's property or 100 MB where None.
            min_commit_interval: Commit what is done so often; what is committed stays should it be
                interrupted, and the next run goes on from there. One commit where None.
            max_concurrent_tasks: Groups of files rewritten at once; one a core where None.
            writer_properties: How Parquet files are written.
            retry: As of `TableOperations`; the rest too.
            timeout: See there.
            metadata: See there.
            progress: See there.
        """
        interval = None
        if min_commit_interval is not None:
            parsed = parse_duration("min_commit_interval", min_commit_interval)
            interval = parsed.total_seconds()
        spec = OptimizeSpec(
            z_order=list(z_order),
            partition_filters=[_filter(one) for one in partition_filters],
            predicate=predicate,
            target_file_size=_bytes("target_file_size", target_file_size),
            min_commit_interval=interval,
            max_concurrent_tasks=max_concurrent_tasks,
            writer_properties=writer_properties,
        )
        options = _options(None, retry, timeout, metadata, progress)
        texts = self._texts([predicate], param_values, None, None)
        return self._committer.commit(uri, spec, options, texts=texts)

    def restore(
        self,
        uri: Uri,
        version: int,
        *,
        allow_metadata_change: bool = False,
        ignore_missing_files: bool = False,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Make the table what it was at a version, in a new commit.

        Args:
            uri: Location of the table.
            version: Version to go back to.
            allow_metadata_change: Whether the protocol may be the older one again.
            ignore_missing_files: Whether files that a vacuum removed are left out; without it they
                fail the restore.
            retry: As of `TableOperations`; the rest too.
            timeout: See there.
            metadata: See there.
            progress: See there.
        """
        spec = RestoreSpec(
            version=version,
            allow_downgrade=allow_metadata_change,
            ignore_missing_files=ignore_missing_files,
        )
        return self._committer.commit(uri, spec, _options(None, retry, timeout, metadata, progress))

    def set_properties(
        self,
        uri: Uri,
        properties: Mapping[str, str],
        *,
        allow_metadata_change: bool = False,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Set table properties; with ``allow_metadata_change=True``.

        Changes of other writers that are on their way fail by it.
        """
        _meant("set_properties", allow_metadata_change)
        check_properties(properties)
        spec = SetPropertiesSpec(properties=dict(properties))
        return self._committer.commit(uri, spec, _options(None, retry, timeout, metadata, progress))

    def add_constraint(
        self,
        uri: Uri,
        name: str,
        expression: str,
        *,
        allow_metadata_change: bool = False,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Add a CHECK constraint; every row that is there must keep it."""
        _meant("add_constraint", allow_metadata_change)
        spec = AddConstraintSpec(name=name, expression=expression)
        return self._committer.commit(uri, spec, _options(None, retry, timeout, metadata, progress))

    def drop_constraint(
        self,
        uri: Uri,
        name: str,
        *,
        missing_ok: bool = False,
        allow_metadata_change: bool = False,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        metadata: Mapping[str, str] | None = None,
        progress: Callable[[WriteProgress], None] | None = None,
    ) -> WriteResult:
        """Drop a CHECK constraint."""
        _meant("drop_constraint", allow_metadata_change)
        spec = DropConstraintSpec(name=name, missing_ok=missing_ok)
        return self._committer.commit(uri, spec, _options(None, retry, timeout, metadata, progress))

    @property
    def _dialect(self) -> str:
        return self._committer.settings.get("datafusion.sql_parser.dialect", "generic")

    def _texts(
        self,
        texts: Sequence[str | None],
        param_values: Parameters | None,
        sources: Mapping[str, Any] | None = None,
        deletion_vectors: bool | None = None,
    ) -> ChangeTexts:
        def table(alias: str, source: Any) -> Callable[[], Any]:
            text = f"SELECT * FROM {quote(alias)}"  # noqa: S608 - a quoted name
            return lambda: self.query(text, sources={alias: source})

        return ChangeTexts.of(
            texts,
            param_values=param_values,
            tables={alias: table(alias, source) for alias, source in (sources or {}).items()},
            deletion_vectors=deletion_vectors,
            dialect=self._dialect,
        )

    def _enable_vectors(self, uri: Uri, wanted: bool | None, allowed: bool) -> None:
        """Give a table deletion vectors, in a commit of its own, where that is asked for."""
        if not (wanted and allowed):
            return
        described = self._committer.describe(uri)
        if described.get("delta.enableDeletionVectors") != "true":
            self.set_properties(
                uri, {"delta.enableDeletionVectors": "true"}, allow_metadata_change=True
            )

    def _rows(self, data: Any, schema: Any, retry: RetryPolicy | None) -> WriteSource:
        spool = retry is not None and retry.spool
        return WriteSource(data, schema=schema, spool=spool, spool_dir=self._spill_dir)


def _options(
    idempotency_key: IdempotencyKey | None,
    retry: RetryPolicy | None,
    timeout: Duration | None,
    metadata: Mapping[str, str] | None,
    progress: Callable[[WriteProgress], None] | None,
) -> CommitOptions:
    return CommitOptions(
        idempotency_key=idempotency_key,
        retry=retry,
        timeout=timeout,
        metadata=metadata,
        progress=progress,
        run_id=new_id(),
    )


def _meant(operation: str, allowed: bool) -> None:
    if not allowed:
        raise ConfigurationError(
            f"{operation} changes the metadata of the table, for every reader and writer; if that "
            "is meant, pass allow_metadata_change=True"
        )


def _bytes(name: str, size: int | str | None) -> int | None:
    return None if size is None else parse_bytes(name, size)


def _filter(given: tuple[str, str, Any]) -> tuple[str, str, list[str]]:
    try:
        column, operator, value = given
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"a partition filter is (column, operator, value), not {given!r}"
        ) from None
    several = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return column, operator, ["" if one is None else str(one) for one in several]
