//! From the rows that a change has found and written to the actions of its commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, EagerSnapshot};
use deltalake::logstore::LogStoreRef;
use deltalake::protocol::DeltaOperation;
use deltalake::table::state::DeltaTableState;
use serde_json::Value;

use super::commit::gate::ReadRows;
use super::commit::transaction::{Finished, Prepared};
use super::files::DataFile;
use super::rows::{Sinks, Work, run};
use super::target::Target;
use super::vectors::{Rows, VectorFile};
use crate::delta::features::Writable;
use crate::error::Result;
use crate::scan::files::partition;
use crate::scan::positions::{self, Chosen, Deleted, PositionTable};
use crate::scan::prune::{self, Candidate};

/// What a change did to files.
#[derive(Debug, Default)]
pub struct Effects {
    pub actions: Vec<Action>,
    pub files_added: u64,
    pub files_removed: u64,
    pub vectors_added: u64,
    pub vectors_removed: u64,
    pub rows_copied: u64,
}

/// A file is rewritten once more than half of its rows are deleted: reading them costs more than one
/// rewrite by then.
const REWRITE_SHARE: u64 = 2;

/// Makes what is left of files: a deletion vector where the table has these, else other files with the
/// rows that are left.
///
/// `touched` are the rows that were updated or deleted, by the numbers of their files.
pub async fn settle(
    target: &Target,
    touched: HashMap<u32, Rows>,
    sinks: Arc<Sinks>,
) -> Result<Effects> {
    let uses_vectors = target.uses_vectors()?;
    let mut numbers: Vec<u32> = touched.keys().copied().collect();
    numbers.sort_unstable();
    let before = positions::deleted(&target.files, &numbers, &target.place).await?;
    let mut effects = Effects::default();
    let mut vectors = VectorFile::default();
    let mut rewritten = Deleted::new();
    for number in numbers {
        let (Some(file), Some(mut rows)) = (target.file(number), touched.get(&number).cloned())
        else {
            continue;
        };
        if let Some(before) = before.get(&number) {
            rows |= before.as_ref();
        }
        effects
            .actions
            .push(Action::Remove(file.view.remove_action(true)));
        effects.vectors_removed += u64::from(file.vector.is_some());
        match file.rows() {
            Some(all) if rows.len() >= all => effects.files_removed += 1,
            Some(all) if uses_vectors && rows.len() * REWRITE_SHARE <= all => {
                let vector = vectors.add(&rows)?;
                #[allow(deprecated)] // the log's own form is what is wanted
                let add = file.view.add_action();
                effects.actions.push(Action::Add(Add {
                    data_change: true,
                    stats: add.stats.as_deref().map(loose),
                    deletion_vector: Some(vector),
                    ..add
                }));
                effects.vectors_added += 1;
            }
            _ => {
                effects.files_removed += 1;
                rewritten.insert(number, Arc::new(rows));
            }
        }
    }
    if !rewritten.is_empty() {
        effects.rows_copied = copy(target, rewritten, &sinks).await?;
    }
    vectors.put(&target.place.store).await?;
    let (rows, feed) = sinks.finish().await?;
    effects.files_added = u64::try_from(rows.len()).unwrap_or_default();
    let new = rows
        .into_iter()
        .chain(feed)
        .map(|file: DataFile| file.action(true));
    effects.actions.extend(new);
    Ok(effects)
}

/// Writes the rows of files that are not deleted; how many.
async fn copy(target: &Target, deleted: Deleted, sinks: &Arc<Sinks>) -> Result<u64> {
    let table = PositionTable::new(
        Arc::clone(&target.layout),
        Arc::clone(&target.files),
        target.place.clone(),
        Chosen::Rest(Arc::new(deleted)),
    );
    let columns = target.layout.schema.fields().iter();
    let columns = columns.map(|field| Expr::Column(Column::from_name(field.name())));
    let plan = LogicalPlanBuilder::scan("rest", provider_as_source(Arc::new(table)), None)?
        .project(columns)?
        .build()?;
    let plan = target.plan_aside(&plan).await?;
    let copied = Arc::new(AtomicU64::new(0));
    let work = Work::Copied(Arc::clone(&copied));
    run(plan, target.state().task_ctx(), work, sinks).await?;
    Ok(copied.load(Ordering::Relaxed))
}

/// Statistics of a file of which rows are deleted: what they bound is wider than what is left.
fn loose(stats: &str) -> String {
    let stats = stats.trim_end();
    if stats.contains("\"tightBounds\":true") {
        return stats.replacen("\"tightBounds\":true", "\"tightBounds\":false", 1);
    }
    match stats.strip_suffix('}') {
        Some(rest) if !stats.contains("\"tightBounds\":") => {
            let comma = if rest.ends_with('{') { "" } else { "," };
            format!("{rest}{comma}\"tightBounds\":false}}")
        }
        _ => stats.to_owned(),
    }
}

/// What the change has read: the files that its scans were left with, and what of others' new files would
/// have been read too.
pub fn read_rows(target: &Target, predicates: Vec<Expr>, everything: bool) -> ReadRows {
    let scanned = target.table.scanned();
    let names = scanned.iter().filter_map(|n| target.file(*n));
    let files = names.map(|file| file.view.path().into_owned()).collect();
    let layout = Arc::clone(&target.layout);
    let state = target.state().clone();
    ReadRows {
        files,
        may_match: Box::new(move |adds| {
            if everything || predicates.is_empty() {
                return !adds.is_empty();
            }
            let candidates: Result<Vec<_>> = adds
                .iter()
                .map(|add| {
                    Ok(Candidate {
                        partition: partition(&add.partition_values, &layout)?,
                        statistics: add.stats.clone(),
                    })
                })
                .collect();
            let matches =
                candidates.and_then(|found| prune::may_match(&found, &layout, &predicates, &state));
            matches.map_or(true, |found| found.contains(&true))
        }),
    }
}

/// Metrics as Spark reads them: it has no values within values there.
fn as_texts(metrics: &Value) -> Value {
    let Value::Object(members) = metrics else {
        return Value::Null;
    };
    let texts = members.iter().filter(|(_, value)| !value.is_null());
    let texts = texts.map(|(name, value)| {
        let value = match value {
            Value::Object(_) | Value::Array(_) => Value::from(value.to_string()),
            plain => plain.clone(),
        };
        (name.clone(), value)
    });
    Value::Object(texts.collect())
}

/// Commits actions on the snapshot that a change was made on.
///
/// `operation` is what the log says of it. Conflicts are looked for by the gate alone, which knows what was
/// read; the crate is shown none of the SQL.
pub async fn commit(
    prepared: Prepared,
    actions: Vec<Action>,
    operation: &DeltaOperation,
    as_seen: DeltaOperation,
    metrics: Value,
) -> Result<Finished> {
    prepared.progress.measure(metrics.clone());
    let made = Base::of(&prepared)
        .commit(actions, operation, as_seen, &metrics)
        .await?;
    Ok(made.finished(prepared.table, metrics))
}

/// What a commit is made on.
pub struct Base {
    snapshot: Option<EagerSnapshot>,
    store: LogStoreRef,
    properties: CommitProperties,
}

impl Base {
    pub fn of(prepared: &Prepared) -> Self {
        Self {
            snapshot: prepared.snapshot(),
            store: Arc::clone(&prepared.store),
            properties: prepared.properties.clone(),
        }
    }

    /// Commits actions as `commit` does; what the next commit of the same operation is made on.
    pub async fn commit(
        self,
        mut actions: Vec<Action>,
        operation: &DeltaOperation,
        as_seen: DeltaOperation,
        metrics: &Value,
    ) -> Result<Self> {
        let shown = self.snapshot.as_ref().map(Writable::new);
        let mut info = operation.get_commit_info();
        info.timestamp = Some(Utc::now().timestamp_millis());
        info.read_version = self.snapshot.as_ref().map(|snapshot| snapshot.version());
        info.info
            .insert("operationMetrics".to_owned(), as_texts(metrics));
        // In-commit timestamps need it to be the first.
        actions.insert(0, Action::CommitInfo(info));
        let committed = CommitBuilder::from(self.properties.clone())
            .with_actions(actions)
            .build(
                shown.as_ref().map(|shown| shown as &dyn TableReference),
                Arc::clone(&self.store),
                as_seen,
            )
            .await?;
        Ok(Self {
            snapshot: Some(committed.snapshot().snapshot().clone()),
            ..self
        })
    }

    pub fn finished(self, mut table: DeltaTable, metrics: Value) -> Finished {
        table.state = self.snapshot.map(DeltaTableState::new);
        Finished { table, metrics }
    }
}
