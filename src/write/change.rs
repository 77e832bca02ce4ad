//! Changes of a table by their kinds: those of rows are made here, those of metadata and files by delta-rs'
//! builders.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::PROTOCOL;
use deltalake::operations::vacuum::VacuumMode;
use serde_json::{Value, json};

use super::commit::transaction::{Finished, Prepared};
use super::constraints;
use super::dml;
use super::encode::ParquetOptions;
use super::expressions::TARGET;
use super::insert::{self, Mode, WriteSpec};
use super::merge;
use super::optimize::{self, Compaction};
use super::target::{ChangeOptions, Target};
use crate::error::{ErrorKind, NativeError, Result};
use crate::write::commit::gate::Reads;

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
        /// Name of the table in SQL.
        alias: String,
    },
    Update {
        set: Assignments,
        predicate: Option<String>,
        /// Name of the table in SQL.
        alias: String,
    },
    Merge(Box<Merge>),
    Optimize {
        /// Columns of a Z-order; none compacts.
        z_order: Vec<String>,
        filters: Vec<PartitionFilter>,
        predicate: Option<String>,
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
            Self::Write(..) | Self::Delete { .. } | Self::Update { .. } | Self::Merge(_) => {
                Reads::Rows
            }
            Self::Restore { .. } => Reads::ByPredicate,
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
    writer: Arc<ParquetOptions>,
    options: ChangeOptions,
) -> Result<Finished> {
    match change {
        Change::Write(spec, input) => {
            insert::write(*spec, prepared, *input, state, writer, options).await
        }
        Change::Delete { predicate, alias } => {
            let target = Target::open(&prepared, state, writer, options, &alias, None)?;
            dml::delete(target, prepared, predicate).await
        }
        Change::Update {
            set,
            predicate,
            alias,
        } => {
            let target = Target::open(&prepared, state, writer, options, &alias, None)?;
            dml::update(target, prepared, set, predicate).await
        }
        Change::Merge(merge) => {
            let added = merge
                .merge_schema
                .then(|| merge.source.schema().as_arrow().clone());
            let target = Target::open(
                &prepared,
                state,
                writer,
                options,
                &merge.target_alias,
                added.as_ref(),
            )?;
            merge::merge(target, prepared, *merge).await
        }
        Change::Optimize {
            z_order,
            filters,
            predicate,
            target_file_size,
            min_commit_interval,
            max_concurrent_tasks,
        } => {
            let how = Compaction {
                filters,
                predicate,
                target_size: target_file_size,
                z_order,
                tasks: max_concurrent_tasks,
                interval: min_commit_interval,
            };
            let target = Target::open(&prepared, state, writer, options, TARGET, None)?;
            optimize::compact(target, prepared, how).await
        }
        Change::Vacuum {
            retention,
            keep_versions,
            full,
            dry_run,
        } => vacuum(prepared, retention, &keep_versions, full, dry_run).await,
        Change::Restore {
            version,
            allow_downgrade,
            ignore_missing_files,
        } => restore(prepared, version, allow_downgrade, ignore_missing_files).await,
        Change::SetProperties(wanted) => {
            prepared.existing_snapshot()?;
            let table = prepared
                .table
                .set_tbl_properties()
                .with_properties(wanted)
                .with_commit_properties(prepared.properties)
                .await?;
            Ok(unmeasured(table))
        }
        Change::AddConstraint { name, expression } => {
            let target = Target::open(&prepared, state, writer, options, TARGET, None)?;
            constraints::add(target, prepared, name, expression).await
        }
        Change::DropConstraint { name, missing_ok } => {
            prepared.existing_snapshot()?;
            let table = prepared
                .table
                .drop_constraints()
                .with_constraint(name)
                .with_raise_if_not_exists(!missing_ok)
                .with_commit_properties(prepared.properties)
                .await?;
            Ok(unmeasured(table))
        }
    }
}

fn unmeasured(table: DeltaTable) -> Finished {
    Finished {
        table,
        metrics: Value::Null,
    }
}

async fn vacuum(
    prepared: Prepared,
    retention: Duration,
    keep_versions: &[u64],
    full: bool,
    dry_run: bool,
) -> Result<Finished> {
    prepared.existing_snapshot()?;
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    let (table, metrics) = prepared
        .table
        .vacuum()
        .with_retention_period(retention)
        .with_keep_versions(keep_versions)
        .with_mode(if full {
            VacuumMode::Full
        } else {
            VacuumMode::Lite
        })
        .with_dry_run(dry_run)
        // The policy has decided; the table's own retention is part of it.
        .with_enforce_retention_duration(false)
        .with_commit_properties(prepared.properties)
        .await?;
    let metrics = json!({"dry_run": metrics.dry_run, "files": metrics.files_deleted});
    Ok(Finished { table, metrics })
}

async fn restore(
    prepared: Prepared,
    version: u64,
    allow_downgrade: bool,
    ignore_missing_files: bool,
) -> Result<Finished> {
    let newest = prepared.existing_snapshot()?.version();
    let table = prepared.table;
    if version == newest {
        return Ok(unmeasured(table));
    }
    if version > newest {
        return Err(NativeError::new(
            ErrorKind::SnapshotNotFound,
            format!(
                "there is no version {version} of {} to go back to; the newest is {newest}",
                prepared.store.root_url()
            ),
        ));
    }
    PROTOCOL
        .check_append_only(table.snapshot()?.snapshot())
        .map_err(deltalake::DeltaTableError::from)?;
    let (table, metrics) = table
        .restore()
        .with_version_to_restore(version)
        .with_protocol_downgrade_allowed(allow_downgrade)
        .with_ignore_missing_files(ignore_missing_files)
        .with_commit_properties(prepared.properties)
        .await?;
    let metrics = json(metrics);
    Ok(Finished { table, metrics })
}

fn json(metrics: impl serde::Serialize) -> Value {
    serde_json::to_value(metrics).unwrap_or(Value::Null)
}
