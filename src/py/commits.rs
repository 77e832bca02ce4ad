//! Mirrors of what commits are told, and of what became of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_pyarrow::FromPyArrow;
use datafusion::arrow::array::{ArrayData, make_array};
use datafusion::arrow::ffi_stream::ArrowArrayStreamReader;
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use super::arrow::NativeBatch;
use super::config::seconds;
use super::operators::operators;
use super::options::{PyWriterProperties, parquet_options, url, write_spec};
use super::query::NativeQuery;
use crate::error::{ErrorKind, NativeError, Result};
use crate::metrics::Measured;
use crate::sources::arrow::StreamTable;
use crate::write::change::{Assignments, Change, Clause, ClauseKind, Merge, PartitionFilter};
use crate::write::commit::gate::Hook;
use crate::write::commit::transaction::{CommitSpec, Done};
use crate::write::encode::ParquetOptions;
use crate::write::target::ChangeOptions;

/// What is common to everything that commits; `fusiondelta.writes` fills it.
#[derive(FromPyObject)]
pub struct PyCommitSpec {
    uri: String,
    commit_id: String,
    run_id: String,
    query_id: String,
    metadata: HashMap<String, String>,
    idempotency_key: Option<(String, i64)>,
    source_version: Option<u64>,
    hook: Option<Py<PyAny>>,
}

impl PyCommitSpec {
    pub fn build(self, change: &Change) -> Result<CommitSpec> {
        let Self {
            uri,
            commit_id,
            run_id,
            query_id,
            metadata,
            idempotency_key,
            source_version,
            hook,
        } = self;
        Ok(CommitSpec {
            url: url(&uri)?,
            commit_id,
            run_id,
            query_id,
            metadata,
            transaction: idempotency_key,
            source_version,
            reads: change.reads(),
            blind: change.is_append() && source_version.is_none(),
            several: change.commits_often(),
            hook: hook.map(|hook| -> Hook {
                Arc::new(move |name, version| {
                    Python::attach(|py| {
                        if let Err(e) = hook.call1(py, (name, version)) {
                            e.write_unraisable(py, None);
                        }
                    });
                })
            }),
        })
    }
}

/// Values of parameters and tables that the texts of a change name; `fusiondelta.writes` fills it.
#[derive(FromPyObject)]
pub struct PyChangeOptions<'py> {
    /// Arrow arrays of one value by name.
    parameters: Vec<(String, Bound<'py, PyAny>)>,
    tables: Vec<(String, PyRef<'py, NativeQuery>)>,
    deletion_vectors: Option<bool>,
}

/// Values of parameters.
pub fn parameters(given: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<Vec<(String, ScalarValue)>> {
    let mut parameters = Vec::with_capacity(given.len());
    for (name, value) in given {
        let array = make_array(ArrayData::from_pyarrow_bound(&value)?);
        let value = ScalarValue::try_from_array(&array, 0).map_err(NativeError::from)?;
        parameters.push((name, value));
    }
    Ok(parameters)
}

impl PyChangeOptions<'_> {
    pub fn build(self) -> PyResult<ChangeOptions> {
        let parameters = parameters(self.parameters)?;
        let tables = self.tables.iter();
        Ok(ChangeOptions {
            parameters,
            sources: tables
                .map(|(alias, query)| (alias.clone(), query.logical().clone()))
                .collect(),
            vectors: self.deletion_vectors,
            target_file_size: None,
        })
    }
}

#[derive(FromPyObject)]
struct PyDelete {
    predicate: Option<String>,
    target_alias: String,
}

#[derive(FromPyObject)]
struct PyUpdate {
    set: Assignments,
    predicate: Option<String>,
    target_alias: String,
}

#[derive(FromPyObject)]
struct PyClause {
    kind: String,
    set: Assignments,
    predicate: Option<String>,
}

#[derive(FromPyObject)]
struct PyMerge {
    on: String,
    source_alias: String,
    target_alias: String,
    merge_schema: bool,
    clauses: Vec<PyClause>,
}

#[derive(FromPyObject)]
struct PyOptimize {
    z_order: Vec<String>,
    partition_filters: Vec<PartitionFilter>,
    predicate: Option<String>,
    target_file_size: Option<u64>,
    min_commit_interval: Option<f64>,
    max_concurrent_tasks: Option<usize>,
}

#[derive(FromPyObject)]
struct PyVacuum {
    retention: f64,
    keep_versions: Vec<u64>,
    full: bool,
    dry_run: bool,
}

#[derive(FromPyObject)]
struct PyRestore {
    version: u64,
    allow_downgrade: bool,
    ignore_missing_files: bool,
}

#[derive(FromPyObject)]
struct PySetProperties {
    properties: HashMap<String, String>,
}

#[derive(FromPyObject)]
struct PyAddConstraint {
    name: String,
    expression: String,
}

#[derive(FromPyObject)]
struct PyDropConstraint {
    name: String,
    missing_ok: bool,
}

/// A change, its rows (of a merge), and how it writes files.
pub fn change(
    spec: &Bound<'_, PyAny>,
    source: Option<LogicalPlan>,
) -> PyResult<(Change, Arc<ParquetOptions>)> {
    let kind: String = spec.getattr("kind")?.extract()?;
    let writer: Option<PyWriterProperties> = spec.getattr("writer_properties")?.extract()?;
    let change = match kind.as_str() {
        "write" => {
            let input = source.ok_or_else(|| {
                NativeError::new(
                    ErrorKind::Configuration,
                    "there is nothing to write: give a query or a stream",
                )
            })?;
            Change::Write(Box::new(write_spec(spec.extract()?)?), Box::new(input))
        }
        "delete" => {
            let PyDelete {
                predicate,
                target_alias,
            } = spec.extract()?;
            Change::Delete {
                predicate,
                alias: target_alias,
            }
        }
        "update" => {
            let PyUpdate {
                set,
                predicate,
                target_alias,
            } = spec.extract()?;
            Change::Update {
                set,
                predicate,
                alias: target_alias,
            }
        }
        "merge" => merge(spec.extract()?, source)?,
        "optimize" => {
            let PyOptimize {
                z_order,
                partition_filters,
                predicate,
                target_file_size,
                min_commit_interval,
                max_concurrent_tasks,
            } = spec.extract()?;
            Change::Optimize {
                z_order,
                filters: partition_filters,
                predicate,
                target_file_size,
                min_commit_interval: min_commit_interval.map(seconds),
                max_concurrent_tasks,
            }
        }
        "vacuum" => {
            let PyVacuum {
                retention,
                keep_versions,
                full,
                dry_run,
            } = spec.extract()?;
            Change::Vacuum {
                retention: seconds(retention),
                keep_versions,
                full,
                dry_run,
            }
        }
        "restore" => {
            let PyRestore {
                version,
                allow_downgrade,
                ignore_missing_files,
            } = spec.extract()?;
            Change::Restore {
                version,
                allow_downgrade,
                ignore_missing_files,
            }
        }
        "set_properties" => {
            let PySetProperties { properties } = spec.extract()?;
            Change::SetProperties(properties)
        }
        "add_constraint" => {
            let PyAddConstraint { name, expression } = spec.extract()?;
            Change::AddConstraint { name, expression }
        }
        "drop_constraint" => {
            let PyDropConstraint { name, missing_ok } = spec.extract()?;
            Change::DropConstraint { name, missing_ok }
        }
        other => return Err(unknown("change", other).into()),
    };
    Ok((
        change,
        Arc::new(parquet_options(writer.unwrap_or_default())?),
    ))
}

fn unknown(what: &str, name: &str) -> NativeError {
    NativeError::new(
        ErrorKind::Configuration,
        format!("there is no {what} {name:?}"),
    )
}

fn merge(spec: PyMerge, source: Option<LogicalPlan>) -> Result<Change> {
    let PyMerge {
        on,
        source_alias,
        target_alias,
        merge_schema,
        clauses,
    } = spec;
    let source = source.ok_or_else(|| {
        NativeError::new(
            ErrorKind::Configuration,
            "a merge needs rows: give a source",
        )
    })?;
    let clauses = clauses
        .into_iter()
        .map(
            |PyClause {
                 kind,
                 set,
                 predicate,
             }| {
                let kind = match kind.as_str() {
                    "matched_update" => ClauseKind::MatchedUpdate(set),
                    "matched_update_all" => ClauseKind::MatchedUpdateAll,
                    "matched_delete" => ClauseKind::MatchedDelete,
                    "not_matched_insert" => ClauseKind::NotMatchedInsert(set),
                    "not_matched_insert_all" => ClauseKind::NotMatchedInsertAll,
                    "not_matched_by_source_update" => ClauseKind::NotMatchedBySourceUpdate(set),
                    "not_matched_by_source_delete" => ClauseKind::NotMatchedBySourceDelete,
                    other => return Err(unknown("clause", other)),
                };
                Ok(Clause { kind, predicate })
            },
        )
        .collect::<Result<_>>()?;
    Ok(Change::Merge(Box::new(Merge {
        source,
        on,
        source_alias,
        target_alias,
        merge_schema,
        clauses,
    })))
}

/// The plan of what a caller gave.
pub fn rows(
    query: Option<&NativeQuery>,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<LogicalPlan>> {
    if let Some(query) = query {
        return Ok(Some(query.logical().clone()));
    }
    let Some(stream) = stream else {
        return Ok(None);
    };
    let reader = ArrowArrayStreamReader::from_pyarrow_bound(stream)?;
    let table = Arc::new(StreamTable::new("data".to_owned(), Box::new(reader)));
    let plan = LogicalPlanBuilder::scan("data", provider_as_source(table), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(NativeError::from)?;
    Ok(Some(plan))
}

/// What became of a commit, as Python sees it.
pub fn done<'py>(
    py: Python<'py>,
    done: Done,
    measured: Option<Measured>,
    memory: (usize, Option<usize>),
) -> PyResult<Bound<'py, PyDict>> {
    let Done {
        version,
        read_version,
        committed,
        replayed,
        commit_id,
        effect,
        attempts,
        metrics,
    } = done;
    let out = PyDict::new(py);
    out.set_item("version", version)?;
    out.set_item("read_version", read_version)?;
    out.set_item("committed", committed)?;
    out.set_item("replayed", replayed)?;
    out.set_item("commit_id", commit_id)?;
    out.set_item("rows", effect.rows)?;
    out.set_item("bytes", effect.bytes)?;
    out.set_item("files_added", effect.files_added)?;
    out.set_item("files_removed", effect.files_removed)?;
    let attempts: Vec<_> = attempts.iter().map(|a| (a.version, a.outcome)).collect();
    out.set_item("attempts", attempts)?;
    out.set_item("operation", text(&metrics))?;
    out.set_item("memory", memory)?;
    let measured = match measured {
        Some(m) => {
            let found = operators(py, &m.nodes, std::slice::from_ref(&m.metrics))?;
            Some((NativeBatch(m.metrics), found, m.scan_nodes))
        }
        None => None,
    };
    out.set_item("measured", measured)?;
    Ok(out)
}

/// JSON, or nothing.
fn text(metrics: &Value) -> Option<String> {
    (!metrics.is_null()).then(|| metrics.to_string())
}
