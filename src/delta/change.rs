//! Changes of a table, on delta-rs' builders.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use datafusion::common::Column;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use deltalake::DeltaTable;
use deltalake::operations::merge::MergeBuilder;
use deltalake::operations::optimize::OptimizeType;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::{FilterLiteral, FilterValue, filter_literal};
use serde_json::{Value, json};

use super::expressions;
use super::write::{self, Mode, WriteSpec};
use crate::commit::gate::Reads;
use crate::commit::transaction::{Finished, Prepared};
use crate::error::{ErrorKind, NativeError, Result};

/// Column (of the table) and the SQL expression it is set to.
pub type Assignments = Vec<(String, String)>;

#[derive(Debug)]
pub enum ClauseKind {
    MatchedUpdate(Assignments),
    MatchedUpdateAll,
    MatchedDelete,
    NotMatchedInsert(Assignments),
    NotMatchedInsertAll,
    NotMatchedBySourceUpdate(Assignments),
    NotMatchedBySourceDelete,
}

#[derive(Debug)]
pub struct Clause {
    pub kind: ClauseKind,
    pub predicate: Option<String>,
}

pub struct Merge {
    pub source: LogicalPlan,
    /// Whether the source can be read once only.
    pub once: bool,
    pub on: String,
    pub source_alias: String,
    pub target_alias: String,
    pub merge_schema: bool,
    pub clauses: Vec<Clause>,
}

/// A partition filter: column, operator, values (one, or several for `in`).
pub type PartitionFilter = (String, String, Vec<String>);

pub enum Change {
    Write(Box<WriteSpec>, Box<LogicalPlan>),
    Delete {
        predicate: Option<String>,
    },
    Update {
        set: Assignments,
        predicate: Option<String>,
    },
    Merge(Box<Merge>),
    Optimize {
        /// Columns of a Z-order; none compacts.
        z_order: Vec<String>,
        filters: Vec<PartitionFilter>,
        target_file_size: Option<u64>,
        min_commit_interval: Option<Duration>,
        max_concurrent_tasks: Option<usize>,
    },
    Vacuum {
        retention: Duration,
        keep_versions: Vec<u64>,
        full: bool,
        dry_run: bool,
    },
    Restore {
        version: u64,
        allow_downgrade: bool,
        ignore_missing_files: bool,
    },
    SetProperties(HashMap<String, String>),
    AddConstraint {
        name: String,
        expression: String,
    },
    DropConstraint {
        name: String,
        missing_ok: bool,
    },
}

impl Change {
    /// What it builds on, of the rows that are there.
    pub fn reads(&self) -> Reads {
        match self {
            Self::Write(spec, _) if spec.mode == Mode::Append => Reads::Nothing,
            Self::Optimize { .. } => Reads::ItsFiles,
            Self::SetProperties(_) | Self::DropConstraint { .. } | Self::Vacuum { .. } => {
                Reads::Nothing
            }
            Self::AddConstraint { .. } => Reads::Everything,
            _ => Reads::ByPredicate,
        }
    }

    /// Whether it only adds rows.
    pub fn is_append(&self) -> bool {
        matches!(self, Self::Write(spec, _) if spec.mode == Mode::Append)
    }

    /// Whether it makes several commits, each complete in itself.
    pub fn commits_often(&self) -> bool {
        match self {
            Self::Optimize {
                min_commit_interval,
                ..
            } => min_commit_interval.is_some(),
            Self::Vacuum { .. } => true,
            _ => false,
        }
    }
}

/// Makes the change.
pub async fn make(
    change: Change,
    prepared: Prepared,
    state: SessionState,
    writer: WriterProperties,
) -> Result<Finished> {
    if let Some(found) = &prepared.existing {
        expressions::check(&change, &found.snapshot, &state)?;
    }
    let change = match change {
        Change::Write(spec, input) => {
            return write::write(*spec, prepared, *input, state, writer).await;
        }
        other => other,
    };
    let session = Arc::new(state.clone());
    if prepared.existing.is_none() {
        return Err(NativeError::new(
            ErrorKind::Source,
            format!("there is no table at {}", prepared.store.root_url()),
        ));
    }
    let snapshot = prepared.snapshot();
    let Prepared {
        table,
        properties,
        store,
        ..
    } = prepared;
    let (table, metrics) = match change {
        // Dealt with above: the only one that can do without a table.
        Change::Write(..) => (table, Value::Null),
        Change::Delete { predicate } => {
            let mut builder = table
                .delete()
                .with_session_state(session)
                .with_writer_properties(writer)
                .with_commit_properties(properties);
            if let Some(predicate) = predicate {
                builder = builder.with_predicate(predicate);
            }
            let (table, metrics) = builder.await?;
            (table, json(metrics))
        }
        Change::Update { set, predicate } => {
            let mut builder = table
                .update()
                .with_session_state(session)
                .with_writer_properties(writer)
                .with_commit_properties(properties);
            for (column, expression) in set {
                builder = builder.with_update(Column::new_unqualified(column), expression);
            }
            if let Some(predicate) = predicate {
                builder = builder.with_predicate(predicate);
            }
            let (table, metrics) = builder.await?;
            (table, json(metrics))
        }
        Change::Merge(merge) => {
            let columns = all_columns(&merge, &table)?;
            let Merge {
                source,
                once,
                on,
                source_alias,
                target_alias,
                merge_schema,
                clauses,
            } = *merge;
            let mut builder = MergeBuilder::new(store, snapshot, on, DataFrame::new(state, source))
                .with_source_alias(source_alias)
                .with_target_alias(target_alias)
                .with_merge_schema(merge_schema)
                .with_streaming(once)
                .with_session_state(session)
                .with_writer_properties(writer)
                .with_commit_properties(properties);
            for clause in clauses {
                builder = add_clause(builder, clause, &columns)?;
            }
            let (table, metrics) = builder.await?;
            (table, json(metrics))
        }
        Change::Optimize {
            z_order,
            filters,
            target_file_size,
            min_commit_interval,
            max_concurrent_tasks,
        } => {
            let known = table.snapshot()?.metadata().partition_columns();
            let filters = literals(&filters, known)?;
            let kind = if z_order.is_empty() {
                OptimizeType::Compact
            } else {
                OptimizeType::ZOrder(z_order)
            };
            let mut builder = table
                .optimize()
                .with_type(kind)
                .with_filters(&filters)
                .with_session_state(session)
                .with_writer_properties(writer)
                .with_commit_properties(properties);
            if let Some(size) = target_file_size.and_then(NonZeroU64::new) {
                builder = builder.with_target_size(size);
            }
            if let Some(interval) = min_commit_interval {
                builder = builder.with_min_commit_interval(interval);
            }
            if let Some(tasks) = max_concurrent_tasks {
                builder = builder.with_max_concurrent_tasks(tasks);
            }
            let (table, metrics) = builder.await?;
            (table, json(metrics))
        }
        Change::Vacuum {
            retention,
            keep_versions,
            full,
            dry_run,
        } => {
            let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
            let (table, metrics) = table
                .vacuum()
                .with_retention_period(retention)
                .with_keep_versions(&keep_versions)
                .with_mode(if full {
                    VacuumMode::Full
                } else {
                    VacuumMode::Lite
                })
                .with_dry_run(dry_run)
                // The policy has decided; the table's own retention is part of it.
                .with_enforce_retention_duration(false)
                .with_commit_properties(properties)
                .await?;
            (
                table,
                json!({"dry_run": metrics.dry_run, "files": metrics.files_deleted}),
            )
        }
        Change::Restore {
            version,
            allow_downgrade,
            ignore_missing_files,
        } => {
            let newest = table.snapshot()?.version();
            if version == newest {
                return Ok(Finished {
                    table,
                    metrics: Value::Null,
                });
            }
            if version > newest {
                return Err(NativeError::new(
                    ErrorKind::SnapshotNotFound,
                    format!(
                        "there is no version {version} of {} to go back to; the newest is {newest}",
                        store.root_url()
                    ),
                ));
            }
            let (table, metrics) = table
                .restore()
                .with_version_to_restore(version)
                .with_protocol_downgrade_allowed(allow_downgrade)
                .with_ignore_missing_files(ignore_missing_files)
                .with_commit_properties(properties)
                .await?;
            (table, json(metrics))
        }
        Change::SetProperties(wanted) => {
            let table = table
                .set_tbl_properties()
                .with_properties(wanted)
                .with_commit_properties(properties)
                .await?;
            (table, Value::Null)
        }
        Change::AddConstraint { name, expression } => {
            let table = table
                .add_constraint()
                .with_constraint(name, expression)
                .with_session_state(session)
                .with_commit_properties(properties)
                .await?;
            (table, Value::Null)
        }
        Change::DropConstraint { name, missing_ok } => {
            let table = table
                .drop_constraints()
                .with_constraint(name)
                .with_raise_if_not_exists(!missing_ok)
                .with_commit_properties(properties)
                .await?;
            (table, Value::Null)
        }
    };
    Ok(Finished { table, metrics })
}

fn json(metrics: impl serde::Serialize) -> Value {
    serde_json::to_value(metrics).unwrap_or(Value::Null)
}

/// Filters as the crate takes them, which chooses files by statistics where a column is no partition's.
fn literals<'a>(
    filters: &'a [PartitionFilter],
    known: &[String],
) -> Result<Vec<FilterLiteral<'a>>> {
    let mut out = Vec::with_capacity(filters.len());
    for (column, operator, values) in filters {
        if !known.contains(column) {
            return Err(NativeError::new(
                ErrorKind::Configuration,
                format!(
                    "partition_filters names {column:?}, and the table is partitioned by: {}",
                    if known.is_empty() {
                        "nothing".to_owned()
                    } else {
                        known.join(", ")
                    }
                ),
            ));
        }
        let value = match values.as_slice() {
            [one] if !operator.ends_with("in") => FilterValue::Scalar(one),
            several => FilterValue::Set(several.iter().map(String::as_str).collect()),
        };
        out.push(filter_literal(column, operator, value)?);
    }
    Ok(out)
}

/// What the `all` clauses of a merge set: the source's columns that the table has, or every one where the
/// schema may grow.
fn all_columns(merge: &Merge, table: &DeltaTable) -> Result<Assignments> {
    let schema = table.snapshot()?.schema();
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    Ok(merge
        .source
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .filter(|name| merge.merge_schema || schema.field(name).is_some())
        .map(|name| {
            let from = format!("{}.{}", quoted(&merge.source_alias), quoted(name));
            (name.to_owned(), from)
        })
        .collect())
}

fn add_clause(
    builder: MergeBuilder,
    clause: Clause,
    columns: &Assignments,
) -> Result<MergeBuilder> {
    let Clause { kind, predicate } = clause;
    macro_rules! with {
        ($clause:ident, $set:ident, $assignments:expr) => {
            builder.$clause(|mut made| {
                for (column, expression) in $assignments {
                    made = made.$set(Column::new_unqualified(column), expression);
                }
                match predicate {
                    Some(predicate) => made.predicate(predicate),
                    None => made,
                }
            })
        };
        ($clause:ident) => {
            builder.$clause(|made| match predicate {
                Some(predicate) => made.predicate(predicate),
                None => made,
            })
        };
    }
    Ok(match kind {
        ClauseKind::MatchedUpdate(set) => with!(when_matched_update, update, set),
        ClauseKind::MatchedUpdateAll => with!(when_matched_update, update, columns.clone()),
        ClauseKind::MatchedDelete => with!(when_matched_delete),
        ClauseKind::NotMatchedInsert(set) => with!(when_not_matched_insert, set, set),
        ClauseKind::NotMatchedInsertAll => {
            with!(when_not_matched_insert, set, columns.clone())
        }
        ClauseKind::NotMatchedBySourceUpdate(set) => {
            with!(when_not_matched_by_source_update, update, set)
        }
        ClauseKind::NotMatchedBySourceDelete => with!(when_not_matched_by_source_delete),
    }?)
}
