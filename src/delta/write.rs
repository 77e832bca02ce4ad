//! Writing: rows from a plan or a stream to a committed version, in Rust from scan to commit.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Schema as ArrowSchema, TimeUnit};
use datafusion::common::{Column, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
use deltalake::DeltaTable;
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::operations::write::{SchemaMode, WriteBuilder};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::SaveMode;
use serde_json::{Value, json};
use url::Url;

use super::cache::Pinned;
use super::types;
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
    let table = build(&spec, replaced, prepared, input, state, writer).await?;
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

async fn build(
    spec: &WriteSpec,
    replaced: Option<Expr>,
    prepared: Prepared,
    input: LogicalPlan,
    state: SessionState,
    writer: WriterProperties,
) -> Result<DeltaTable, deltalake::DeltaTableError> {
    let is_new = prepared.existing.is_none();
    let snapshot = prepared.snapshot();
    let mut builder = WriteBuilder::new(prepared.store, snapshot)
        .with_save_mode(match spec.mode {
            Mode::Append => SaveMode::Append,
            Mode::Overwrite => SaveMode::Overwrite,
            Mode::Error => SaveMode::ErrorIfExists,
            Mode::Ignore => SaveMode::Ignore,
        })
        .with_input_plan(input)
        .with_session_state(Arc::new(state))
        .with_writer_properties(writer)
        .with_commit_properties(prepared.properties);
    if let Some(mode) = spec.schema_mode {
        builder = builder.with_schema_mode(mode);
    }
    if let Some(columns) = &spec.partition_by {
        builder = builder.with_partition_columns(columns.iter().cloned());
    }
    if let Some(predicate) = &spec.replace_where {
        builder = builder.with_replace_where(predicate.clone());
    }
    if let Some(predicate) = replaced {
        builder = builder.with_replace_where(predicate);
    }
    if let Some(bytes) = spec.target_file_size {
        builder = builder.with_target_file_size(NonZeroU64::new(bytes));
    }
    if is_new && !spec.properties.is_empty() {
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
