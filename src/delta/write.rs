//! Writing: rows from a plan or a stream to a committed version, in Rust from scan to commit.
//!
//! Every commit carries a commit id. After any failure the log is read back for it, so that the
//! outcome is known: committed at a version, or not committed.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType as ArrowType, Schema as ArrowSchema, TimeUnit};
use datafusion::common::Column;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use deltalake::DeltaTable;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, StructType};
use deltalake::logstore::{LogStoreRef, get_actions};
use deltalake::operations::write::{SchemaMode, WriteBuilder};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::SaveMode;
use serde_json::Value;
use url::Url;

use super::cache::{self, Pinned};
use super::log;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::{CatchingPlanner, Engine};
use crate::metrics::metrics_batch;
use crate::store::account::IoAccount;

/// Key of the commit id in `commitInfo`.
pub const COMMIT_ID: &str = "fusiondelta.commit_id";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Append,
    Overwrite,
    Error,
    Ignore,
}

pub struct WriteSpec {
    pub url: Url,
    pub mode: Mode,
    pub schema_mode: Option<SchemaMode>,
    pub partition_by: Option<Vec<String>>,
    pub replace_where: Option<String>,
    pub target_file_size: Option<u64>,
    pub writer_properties: WriterProperties,
    pub properties: HashMap<String, Option<String>>,
    pub metadata: HashMap<String, String>,
    pub commit_id: String,
    pub run_id: String,
    pub query_id: String,
}

#[derive(Debug)]
pub struct Written {
    /// `None` when there was nothing to do (`ignore` on an existing table).
    pub version: Option<u64>,
    pub read_version: Option<u64>,
    pub rows: u64,
    pub bytes: u64,
    pub files_added: u64,
    pub files_removed: u64,
    pub metrics: Option<RecordBatch>,
}

/// What a commit did, read from its log entry.
#[derive(Debug, Default)]
struct Effect {
    rows: u64,
    bytes: u64,
    added: u64,
    removed: u64,
    ours: bool,
}

/// Writes the rows of `input`, a logical plan of `state`'s session.
pub async fn write(
    engine: &Engine,
    spec: WriteSpec,
    input: LogicalPlan,
    state: SessionState,
    planner: Arc<CatchingPlanner>,
    account: &Arc<IoAccount>,
) -> Result<Written> {
    let existing = open_if_exists(engine, &spec.url, account).await?;
    let read_version = existing.as_ref().map(|p| p.version);
    match (&existing, spec.mode) {
        (Some(found), Mode::Error) => {
            return Err(NativeError::new(
                ErrorKind::Source,
                format!(
                    "there is a table at {} already, at version {}; mode=\"error\" writes only \
                     where there is none",
                    spec.url, found.version
                ),
            )
            .with("exists", "true"));
        }
        (Some(found), Mode::Ignore) => {
            return Ok(Written {
                version: Some(found.version),
                read_version,
                rows: 0,
                bytes: 0,
                files_added: 0,
                files_removed: 0,
                metrics: None,
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
    let input = in_utc(input)?;
    let schema = input.schema().as_arrow();
    if let Some(found) = &existing
        && spec.schema_mode.is_none()
    {
        check_schema(found, schema)?;
    }
    let loading = log::Loading::for_write(engine, &spec.url, account)?;
    let store = Arc::clone(&loading.log_store);
    prepare_folder(&spec.url)?;
    let outcome = build(&spec, &existing, &store, input, state).await;
    let metrics = || {
        planner
            .caught()
            .and_then(|plan| metrics_batch(plan.as_ref(), &spec.run_id, &spec.query_id).ok())
    };
    match outcome {
        Ok(table) => {
            let snapshot = table.snapshot()?.snapshot().clone();
            let version = snapshot.version();
            cache::publish(engine, &spec.url, snapshot, None, account);
            let effect = read_effect(&store, version, &spec.commit_id).await?;
            Ok(done(version, read_version, effect, metrics()))
        }
        Err(e) => {
            let e = NativeError::from(e);
            match find_commit(engine, &store, &spec, read_version, account).await {
                Ok(Some((version, effect))) => Ok(done(version, read_version, effect, metrics())),
                Ok(None) => Err(e.with("outcome", "not_committed")),
                Err(doubt) => Err(e
                    .with("outcome", "unknown")
                    .with("commit_id", spec.commit_id.clone())
                    .with("doubt", doubt.message)),
            }
        }
    }
}

fn done(
    version: u64,
    read_version: Option<u64>,
    effect: Effect,
    metrics: Option<RecordBatch>,
) -> Written {
    Written {
        version: Some(version),
        read_version,
        rows: effect.rows,
        bytes: effect.bytes,
        files_added: effect.added,
        files_removed: effect.removed,
        metrics,
    }
}

/// The table at its newest version, or `None` where there is none yet.
pub async fn open_if_exists(
    engine: &Engine,
    url: &Url,
    account: &Arc<IoAccount>,
) -> Result<Option<Arc<Pinned>>> {
    match cache::open_latest(engine, url, std::time::Duration::ZERO, account).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind == ErrorKind::Source => {
            let listing = log::list(engine, url, account).await?;
            if listing.commits.is_empty() && listing.checkpoints.is_empty() {
                Ok(None)
            } else {
                Err(e)
            }
        }
        Err(e) => Err(e),
    }
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

async fn build(
    spec: &WriteSpec,
    existing: &Option<Arc<Pinned>>,
    store: &LogStoreRef,
    input: LogicalPlan,
    state: SessionState,
) -> Result<DeltaTable, deltalake::DeltaTableError> {
    let metadata = spec
        .metadata
        .iter()
        .map(|(k, v)| (k.clone(), Value::from(v.as_str())));
    let commit = CommitProperties::default().with_metadata(metadata);
    let snapshot = existing
        .as_ref()
        .map(|p| deltalake::kernel::EagerSnapshot::clone(&p.snapshot));
    let mut builder = WriteBuilder::new(Arc::clone(store), snapshot)
        .with_save_mode(match spec.mode {
            Mode::Append => SaveMode::Append,
            Mode::Overwrite => SaveMode::Overwrite,
            Mode::Error => SaveMode::ErrorIfExists,
            Mode::Ignore => SaveMode::Ignore,
        })
        .with_input_plan(input)
        .with_session_state(Arc::new(state))
        .with_writer_properties(spec.writer_properties.clone())
        .with_commit_properties(commit);
    if let Some(mode) = spec.schema_mode {
        builder = builder.with_schema_mode(mode);
    }
    if let Some(columns) = &spec.partition_by {
        builder = builder.with_partition_columns(columns.iter().cloned());
    }
    if let Some(predicate) = &spec.replace_where {
        builder = builder.with_replace_where(predicate.clone());
    }
    if let Some(bytes) = spec.target_file_size {
        builder = builder.with_target_file_size(NonZeroU64::new(bytes));
    }
    if existing.is_none() && !spec.properties.is_empty() {
        builder =
            builder.with_configuration(spec.properties.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    builder.await
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

/// The plan with every top-level timestamp of another zone as the same instant in UTC, the only zone
/// Delta has (protocol section "Primitive Types").
fn in_utc(input: LogicalPlan) -> Result<LogicalPlan> {
    let utc = ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let elsewhere =
        |t: &ArrowType| matches!(t, ArrowType::Timestamp(_, Some(zone)) if zone.as_ref() != "UTC");
    let schema = Arc::clone(input.schema());
    if !schema.fields().iter().any(|f| elsewhere(f.data_type())) {
        return Ok(input);
    }
    let columns: Vec<_> = schema
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            if elsewhere(field.data_type()) {
                cast(column, utc.clone()).alias(field.name())
            } else {
                column
            }
        })
        .collect();
    Ok(LogicalPlanBuilder::from(input).project(columns)?.build()?)
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

async fn read_effect(store: &LogStoreRef, version: u64, commit_id: &str) -> Result<Effect> {
    let Some(bytes) = store.read_commit_entry(version).await? else {
        return Ok(Effect::default());
    };
    let mut effect = Effect::default();
    for action in get_actions(version, &bytes)? {
        match action {
            Action::Add(add) => {
                effect.added += 1;
                effect.bytes += u64::try_from(add.size).unwrap_or_default();
                let rows = add
                    .stats
                    .as_deref()
                    .and_then(|s| serde_json::from_str::<Value>(s).ok())
                    .and_then(|s| s["numRecords"].as_u64());
                effect.rows += rows.unwrap_or_default();
            }
            Action::Remove(_) => effect.removed += 1,
            Action::CommitInfo(info) => {
                effect.ours = info.info.get(COMMIT_ID).and_then(Value::as_str) == Some(commit_id);
            }
            _ => {}
        }
    }
    Ok(effect)
}

/// Looks for our commit among those after the version the write was based on.
async fn find_commit(
    engine: &Engine,
    store: &LogStoreRef,
    spec: &WriteSpec,
    read_version: Option<u64>,
    account: &Arc<IoAccount>,
) -> Result<Option<(u64, Effect)>> {
    let from = read_version.map_or(0, |v| v + 1);
    let listing = log::list_from(engine, &spec.url, from, account).await?;
    for version in listing.commits.keys() {
        let effect = read_effect(store, *version, &spec.commit_id).await?;
        if effect.ours {
            return Ok(Some((*version, effect)));
        }
    }
    Ok(None)
}
