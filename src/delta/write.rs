//! Writing: rows from a plan or a stream to a committed version, in Rust from scan to commit.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Schema as ArrowSchema, TimeUnit};
use datafusion::common::{Column, ScalarValue};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::planner::DeltaPlanner;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{EagerSnapshot, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::write::{SchemaMode, WriteBuilder};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::SaveMode;
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use url::Url;

use super::cache::Pinned;
use super::partitions::{self, Budget, GROUPS, Groups, Split};
use super::types;
use crate::commit::draft::{Added, Draft, Together};
use crate::commit::transaction::{Finished, Prepared};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::replay;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Append,
    Overwrite,
    Error,
    Ignore,
}

pub struct WriteSpec {
    pub mode: Mode,
    pub schema_mode: Option<SchemaMode>,
    pub partition_by: Option<Vec<String>>,
    pub replace_where: Option<String>,
    /// Whether just the partitions that the rows are in are replaced.
    pub replace_partitions: bool,
    pub target_file_size: Option<u64>,
    /// Whether nanoseconds may be cut off timestamps.
    pub truncate_timestamps: bool,
    pub properties: HashMap<String, Option<String>>,
}

/// Writes the rows of `input`, a logical plan of `state`'s session.
pub async fn write(
    spec: WriteSpec,
    prepared: Prepared,
    input: LogicalPlan,
    state: SessionState,
    writer: WriterProperties,
) -> Result<Finished> {
    let url = prepared.store.root_url().clone();
    match (&prepared.existing, spec.mode) {
        (Some(found), Mode::Error) => {
            return Err(NativeError::new(
                ErrorKind::Source,
                format!(
                    "there is a table at {} already, at version {}; mode=\"error\" writes only \
                     where there is none",
                    found.url, found.version
                ),
            )
            .with("exists", "true"));
        }
        (Some(_), Mode::Ignore) => {
            return Ok(Finished {
                table: prepared.table,
                metrics: json!({"ignored": true}),
            });
        }
        _ => {}
    }
    let schema = input.schema().as_arrow();
    if schema.fields().is_empty() {
        return Err(NativeError::new(
            ErrorKind::SchemaMismatch,
            "a table needs at least one column and the data has none",
        ));
    }
    check_partition_columns(&spec, schema)?;
    let input = types::fitted(input, prepared.existing.is_none(), spec.truncate_timestamps)?;
    let schema = input.schema().as_arrow();
    if let Some(found) = &prepared.existing
        && spec.schema_mode.is_none()
    {
        check_schema(found, schema)?;
    }
    prepare_folder(&url)?;
    let replaced = match &prepared.existing {
        Some(found) if spec.replace_partitions => Some(partitions_of(found, &input, &state).await?),
        _ => None,
    };
    let columns = partition_columns(&spec, prepared.existing.as_deref());
    // Rows that have to satisfy a predicate may come with rows of the table that do not.
    let is_split =
        spec.replace_where.is_none() && partitions::can_split(input.schema().as_arrow(), &columns);
    let writing = Writing {
        snapshot: prepared.snapshot(),
        configuration: match &prepared.existing {
            Some(_) => HashMap::new(),
            None => spec.properties,
        },
        store: prepared.store,
        mode: spec.mode,
        schema_mode: spec.schema_mode,
        partition_by: spec.partition_by,
        target_file_size: spec.target_file_size,
        replaced: match spec.replace_where {
            Some(predicate) => Some(Replaced::Where(predicate)),
            None => replaced.map(Replaced::Partitions),
        },
        session: state,
        writer,
        properties: prepared.properties,
    };
    let table = if is_split {
        let plan = writing.session.create_physical_plan(&input).await?;
        let context = writing.session.task_ctx();
        let budget = Budget::of(&context);
        // The plan of the query is the one to remember, not those of its parts.
        let session = SessionStateBuilder::new_from_existing(writing.session)
            .with_query_planner(DeltaPlanner::new())
            .build();
        let writing = Writing { session, ..writing };
        write_split(writing, partitions::split(plan, &columns, budget, context)?).await?
    } else {
        writing.of(input).await?
    };
    Ok(Finished {
        table,
        metrics: Value::Null,
    })
}

/// Local stores do not make the table's own folder.
fn prepare_folder(url: &Url) -> Result<()> {
    if url.scheme() != "file" {
        return Ok(());
    }
    let Ok(folder) = url.to_file_path() else {
        return Ok(());
    };
    std::fs::create_dir_all(&folder).map_err(|e| {
        NativeError::new(
            ErrorKind::Storage,
            format!("the folder {} could not be made: {e}", folder.display()),
        )
    })
}

/// A predicate of the partitions that the rows of a plan are in.
async fn partitions_of(table: &Pinned, input: &LogicalPlan, state: &SessionState) -> Result<Expr> {
    let columns = table.snapshot.metadata().partition_columns();
    if columns.is_empty() {
        return Err(NativeError::new(
            ErrorKind::Configuration,
            format!("{} has no partitions that could be replaced", table.url),
        ));
    }
    if let (Some(stream), _) = replay::obstacles(input)? {
        return Err(NativeError::new(
            ErrorKind::StreamConsumed,
            format!(
                "replace_partitions runs the query twice, and the stream {stream:?} that it reads \
                 gives its rows once"
            ),
        ));
    }
    let names = || {
        columns
            .iter()
            .map(Column::new_unqualified)
            .map(Expr::Column)
    };
    let plan = LogicalPlanBuilder::from(input.clone())
        .project(names())?
        .distinct()?
        .build()?;
    let found = DataFrame::new(state.clone(), plan).collect().await?;
    let mut any = None;
    for batch in &found {
        for row in 0..batch.num_rows() {
            let mut all: Option<Expr> = None;
            for (column, values) in names().zip(batch.columns()) {
                let value = ScalarValue::try_from_array(values, row)?;
                let one = if value.is_null() {
                    column.is_null()
                } else {
                    column.eq(lit(value))
                };
                all = Some(match all {
                    Some(before) => before.and(one),
                    None => one,
                });
            }
            any = match (any, all) {
                (Some(before), Some(all)) => Some(Expr::or(before, all)),
                (None, all) => all,
                (before, None) => before,
            };
        }
    }
    // Without rows nothing is replaced.
    Ok(any.unwrap_or_else(|| lit(false)))
}

/// The columns that the table is partitioned by once the rows are written.
fn partition_columns(spec: &WriteSpec, existing: Option<&Pinned>) -> Vec<String> {
    match (&spec.partition_by, existing) {
        (Some(columns), _) => columns.clone(),
        (None, Some(found)) => found.snapshot.metadata().partition_columns().to_vec(),
        (None, None) => Vec::new(),
    }
}

/// Which rows of the table are replaced.
#[derive(Clone)]
enum Replaced {
    Where(String),
    Partitions(Expr),
}

/// One write of delta-rs, but for its rows.
#[derive(Clone)]
struct Writing {
    store: LogStoreRef,
    snapshot: Option<EagerSnapshot>,
    mode: Mode,
    schema_mode: Option<SchemaMode>,
    partition_by: Option<Vec<String>>,
    target_file_size: Option<u64>,
    configuration: HashMap<String, Option<String>>,
    replaced: Option<Replaced>,
    session: SessionState,
    writer: WriterProperties,
    properties: CommitProperties,
}

impl Writing {
    fn of(self, input: LogicalPlan) -> WriteBuilder {
        let mut builder = WriteBuilder::new(self.store, self.snapshot)
            .with_save_mode(match self.mode {
                Mode::Append => SaveMode::Append,
                Mode::Overwrite => SaveMode::Overwrite,
                Mode::Error => SaveMode::ErrorIfExists,
                Mode::Ignore => SaveMode::Ignore,
            })
            .with_input_plan(input)
            .with_session_state(Arc::new(self.session))
            .with_writer_properties(self.writer)
            .with_commit_properties(self.properties)
            .with_configuration(self.configuration);
        if let Some(mode) = self.schema_mode {
            builder = builder.with_schema_mode(mode);
        }
        if let Some(columns) = self.partition_by {
            builder = builder.with_partition_columns(columns);
        }
        builder = match self.replaced {
            Some(Replaced::Where(predicate)) => builder.with_replace_where(predicate),
            Some(Replaced::Partitions(predicate)) => builder.with_replace_where(predicate),
            None => builder,
        };
        if let Some(bytes) = self.target_file_size {
            builder = builder.with_target_file_size(NonZeroU64::new(bytes));
        }
        builder
    }
}

/// Writes rows to many partitions, a few at a time, in one commit.
///
/// Where one part fails the others come to their end before this does: what they have written is removed
/// then, and nothing must be written after that.
async fn write_split(writing: Writing, split: Split) -> Result<DeltaTable> {
    let (together, drafts) = Together::new(Arc::clone(&writing.store));
    let first = Writing {
        store: together,
        ..writing.clone()
    };
    let mut first = pin!(first.of(split.few).into_future());
    let mut running = JoinSet::new();
    let ended = tokio::select! {
        biased;
        // It waits for the drafts before it commits: it has failed.
        ended = &mut first => ended.map_err(NativeError::from),
        added = draft(&writing, split.others, &mut running) => match added {
            Ok(added) => {
                drafts.send_replace(Some(added));
                first.await.map_err(NativeError::from)
            }
            Err(error) => {
                drop(drafts);
                let _ = first.await;
                Err(error)
            }
        },
    };
    while running.join_next().await.is_some() {}
    ended
}

type Drafting = JoinSet<Result<Added>>;

/// Writes the files of groups of partitions, without a commit.
async fn draft(writing: &Writing, mut groups: Groups, running: &mut Drafting) -> Result<Added> {
    let mut all = Added::default();
    while groups.has_more().await? {
        let (rows, feed) = groups.plan()?;
        let store = Draft::new(Arc::clone(&writing.store));
        let one = Writing {
            store: Arc::clone(&store) as _,
            // What is replaced is replaced by the commit; only new columns need an overwrite here too.
            mode: match writing.schema_mode {
                Some(SchemaMode::Overwrite) => writing.mode,
                _ => Mode::Append,
            },
            replaced: None,
            ..writing.clone()
        };
        running.spawn(async move {
            let ended = one.of(rows).await;
            match store.take() {
                Some(added) => added,
                None => ended.map(|_| Added::default()).map_err(NativeError::from),
            }
        });
        groups.feed(feed).await?;
        if running.len() >= GROUPS
            && let Some(ended) = running.join_next().await
        {
            all.join(written(ended)?);
        }
    }
    while let Some(ended) = running.join_next().await {
        all.join(written(ended)?);
    }
    Ok(all)
}

fn written(ended: std::result::Result<Result<Added>, JoinError>) -> Result<Added> {
    ended.unwrap_or_else(|e| {
        let message = format!("a task that writes files ended: {e}");
        Err(NativeError::new(ErrorKind::Internal, message))
    })
}

fn check_partition_columns(spec: &WriteSpec, schema: &ArrowSchema) -> Result<()> {
    let Some(columns) = &spec.partition_by else {
        return Ok(());
    };
    let missing: Vec<_> = columns
        .iter()
        .filter(|c| schema.field_with_name(c).is_err())
        .map(|c| format!("{c:?}"))
        .collect();
    if missing.is_empty() && columns.len() < schema.fields().len() {
        return Ok(());
    }
    let message = if missing.is_empty() {
        "every column is a partition column; a table needs at least one other".to_owned()
    } else {
        let have: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        format!(
            "partition_by names {}, which the data does not have; its columns are {}",
            missing.join(", "),
            have.join(", ")
        )
    };
    Err(NativeError::new(ErrorKind::SchemaMismatch, message))
}

/// Refuses data whose columns are not the table's, naming each with both types.
fn check_schema(existing: &Pinned, data: &ArrowSchema) -> Result<()> {
    let table = existing.snapshot.schema();
    let Ok(data_types): Result<StructType, _> = (&plain_types(data)).try_into_kernel() else {
        // A type Delta has no name for: the builder knows how to normalise it, or says why not.
        return Ok(());
    };
    let mut problems = Vec::new();
    for field in table.fields() {
        match data_types.field(field.name()) {
            None => problems.push(format!(
                "{}: {} in the table, missing in the data",
                field.name(),
                field.data_type()
            )),
            Some(found) if !same_type(found.data_type(), field.data_type()) => {
                problems.push(format!(
                    "{}: {} in the table, {} in the data",
                    field.name(),
                    field.data_type(),
                    found.data_type()
                ));
            }
            Some(_) => {}
        }
    }
    for field in data_types.fields() {
        if table.field(field.name()).is_none() {
            problems.push(format!(
                "{}: {} in the data, not in the table",
                field.name(),
                field.data_type()
            ));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(NativeError::new(
        ErrorKind::SchemaMismatch,
        format!(
            "the data does not fit the table {} at version {}: {}; cast the columns, or evolve the \
             table with schema_mode=\"merge\" or \"overwrite\"",
            existing.url,
            existing.version,
            problems.join("; ")
        ),
    )
    .with("columns", problems.join("\n")))
}

/// Equal but for nullability inside, which the writer checks row by row.
fn same_type(a: &deltalake::kernel::DataType, b: &deltalake::kernel::DataType) -> bool {
    use deltalake::kernel::DataType as T;
    match (a, b) {
        (T::Array(a), T::Array(b)) => same_type(a.element_type(), b.element_type()),
        (T::Map(a), T::Map(b)) => {
            same_type(a.key_type(), b.key_type()) && same_type(a.value_type(), b.value_type())
        }
        (T::Struct(a), T::Struct(b)) => {
            a.fields().len() == b.fields().len()
                && a.fields().all(|f| {
                    b.field(f.name())
                        .is_some_and(|g| same_type(f.data_type(), g.data_type()))
                })
        }
        _ => a == b,
    }
}

/// Arrow encodings of one Delta type made alike: dictionaries are their values, timestamps of any
/// unit are microseconds (Delta's only unit).
fn plain_types(schema: &ArrowSchema) -> ArrowSchema {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| {
            let plain = match f.data_type() {
                ArrowType::Dictionary(_, value) => value.as_ref().clone(),
                ArrowType::Timestamp(_, zone) => {
                    ArrowType::Timestamp(TimeUnit::Microsecond, zone.clone())
                }
                other => other.clone(),
            };
            f.as_ref().clone().with_data_type(plain)
        })
        .collect();
    ArrowSchema::new(fields)
}
