//! Running a change of rows: what its plan finds is noted by file and position, what it makes goes to
//! files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Field, Int8Type, Int64Type, Schema, SchemaRef, UInt32Type,
};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::assign::{check_nulls, lenient};
use super::expressions::physical;
use super::files::{CHANGE_TYPE, DataFile, FileSink, FileSpec};
use super::vectors::Rows;
use crate::error::{ErrorKind, NativeError, Result};

/// Column of a plan that says what becomes of a row.
pub const KIND: &str = "__fusiondelta_kind";

/// What becomes of a row, as `KIND` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    Update = 1,
    Delete = 2,
    Insert = 3,
}

/// The columns that a plan of changed rows gives: file, position and kind, then the new row, then the old
/// one where a feed wants it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Columns of the table; 0 where rows are only deleted and no feed asks for them.
    pub new: usize,
    /// As many again, or 0.
    pub old: usize,
}

/// Columns before the rows.
pub const PLACES: usize = 3;

/// Conditions that rows keep: constraints, invariants, the values of generated columns.
pub struct Checks {
    /// Of the table, NOT NULL where it is.
    schema: SchemaRef,
    conditions: Vec<(Condition, Arc<dyn PhysicalExpr>)>,
}

/// What a row would break.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Name and SQL; it has to be true.
    Constraint(String, String),
    /// Rows of `replace_where`, by its SQL.
    Replaced(String),
    /// Column and SQL that its value has to be.
    Generated(String, String),
}

impl Condition {
    fn broken(&self, rows: usize) -> NativeError {
        // No values: messages are kept where rows must not be.
        let message = match self {
            Self::Constraint(name, sql) => {
                format!("rows break the constraint {name:?} ({sql}) of the table, {rows} at least")
            }
            Self::Replaced(sql) => format!(
                "rows are not among those that replace_where ({sql}) replaces, {rows} at least"
            ),
            Self::Generated(column, sql) => format!(
                "column {column:?} is generated as {sql}, and rows have other values, {rows} at \
                 least"
            ),
        };
        NativeError::new(ErrorKind::Execution, message)
    }
}

impl Checks {
    /// Conditions are over unqualified columns of the table.
    pub fn new(
        schema: &SchemaRef,
        conditions: Vec<(Condition, Expr)>,
        state: &SessionState,
    ) -> Result<Self> {
        let rows = DFSchema::try_from(lenient(schema).as_ref().clone())?;
        let conditions = conditions
            .into_iter()
            .map(|(condition, expr)| Ok((condition, physical(state, expr, &rows)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            schema: Arc::clone(schema),
            conditions,
        })
    }

    /// # Errors
    /// `schema_mismatch` for a NULL where none may be, `execution` for a broken condition.
    pub fn check(&self, rows: &RecordBatch) -> Result<()> {
        check_nulls(rows, &self.schema)?;
        for (condition, expr) in &self.conditions {
            let kept = expr.evaluate(rows)?.into_array(rows.num_rows())?;
            let kept = match kept.data_type() {
                DataType::Boolean => kept.as_boolean().clone(),
                _ => BooleanArray::new_null(rows.num_rows()),
            };
            let broken = kept.iter().filter(|kept| *kept != Some(true)).count();
            if broken > 0 {
                return Err(condition.broken(broken));
            }
        }
        Ok(())
    }
}

/// What a change has found and made so far.
#[derive(Debug, Default)]
pub struct Found {
    touched: Mutex<HashMap<u32, Rows>>,
    /// Whether a row may be found twice (a merge that deletes whatever is matched).
    pub repeats: bool,
    updated: AtomicU64,
    deleted: AtomicU64,
    inserted: AtomicU64,
}

impl Found {
    pub fn new(repeats: bool) -> Self {
        Self {
            repeats,
            ..Self::default()
        }
    }

    pub fn updated(&self) -> u64 {
        self.updated.load(Ordering::Relaxed)
    }

    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    pub fn inserted(&self) -> u64 {
        self.inserted.load(Ordering::Relaxed)
    }

    /// Rows of files that were updated or deleted.
    pub fn take(&self) -> HashMap<u32, Rows> {
        std::mem::take(&mut self.touched.lock())
    }

    /// Notes the rows of a batch; which of them are new.
    fn note(&self, batch: &RecordBatch, kinds: &[i8]) -> Result<Vec<bool>> {
        let files = batch.column(0).as_primitive::<UInt32Type>();
        let rows = batch.column(1).as_primitive::<Int64Type>();
        let mut first = vec![true; batch.num_rows()];
        let mut touched = self.touched.lock();
        for (i, kind) in kinds.iter().enumerate() {
            if *kind == Kind::Insert as i8 || files.is_null(i) {
                continue;
            }
            let position = u64::try_from(rows.value(i)).unwrap_or_default();
            if !touched.entry(files.value(i)).or_default().insert(position) {
                if !self.repeats {
                    return Err(NativeError::new(
                        ErrorKind::Execution,
                        "several rows of the source match one row of the table, and it cannot become \
                         all of them: make the source unique by what it is matched on",
                    )
                    .with("reason", "duplicate_match"));
                }
                first[i] = false;
            }
        }
        Ok(first)
    }
}

/// Where rows go: as many sinks as are written to at once.
pub struct Sinks {
    rows: Vec<tokio::sync::Mutex<FileSink>>,
    feed: Option<Vec<tokio::sync::Mutex<FileSink>>>,
}

impl Sinks {
    pub fn new(count: usize, rows: &Arc<FileSpec>, feed: Option<&Arc<FileSpec>>) -> Result<Self> {
        let sinks = |spec: &Arc<FileSpec>| {
            (0..count.max(1))
                .map(|_| Ok(tokio::sync::Mutex::new(FileSink::new(Arc::clone(spec))?)))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            rows: sinks(rows)?,
            feed: feed.map(sinks).transpose()?,
        })
    }

    pub fn has_feed(&self) -> bool {
        self.feed.is_some()
    }

    /// The files written: of rows, and of the feed.
    ///
    /// # Errors
    /// `internal` where a task still writes to them: what it writes would be in no file.
    pub async fn finish(self: Arc<Self>) -> Result<(Vec<DataFile>, Vec<DataFile>)> {
        let own = Arc::try_unwrap(self)
            .map_err(|_| NativeError::new(ErrorKind::Internal, "files are still written to"))?;
        let (mut rows, mut feed) = (Vec::new(), Vec::new());
        for sink in own.rows {
            rows.extend(sink.into_inner().finish().await?);
        }
        for sink in own.feed.into_iter().flatten() {
            feed.extend(sink.into_inner().finish().await?);
        }
        Ok((rows, feed))
    }
}

/// Where one stream of rows goes.
#[derive(Clone, Copy)]
struct Sink<'a> {
    sinks: &'a Sinks,
    stream: usize,
    /// Columns that are encoded at once.
    width: usize,
}

impl Sink<'_> {
    async fn write(self, rows: &RecordBatch) -> Result<()> {
        let sink = &self.sinks.rows[self.stream % self.sinks.rows.len()];
        sink.lock().await.write(rows, self.width).await
    }

    async fn write_feed(self, rows: &RecordBatch) -> Result<()> {
        let Some(feed) = &self.sinks.feed else {
            return Ok(());
        };
        let sink = &feed[self.stream % feed.len()];
        sink.lock().await.write(rows, self.width).await
    }
}

/// What becomes of the rows of a plan.
pub enum Work {
    /// They were changed as `Shape` says.
    Changed(Shape, Arc<Found>, Arc<Checks>),
    /// They are the table's new rows, which are checked.
    New(Arc<Checks>, Arc<Found>),
    /// They are rows of the table as they were.
    Copied(Arc<AtomicU64>),
}

/// Runs a plan to its end, its partitions side by side.
///
/// Where one fails the others come to their end too: what was written is removed then, and nothing must be
/// written after that.
pub async fn run(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    work: Work,
    sinks: &Arc<Sinks>,
) -> Result<()> {
    let work = Arc::new(work);
    let failed = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let processors = context.session_config().target_partitions();
    let streams = execute_stream_partitioned(plan, context)?;
    let width = processors / streams.len().max(1);
    for (i, stream) in streams.into_iter().enumerate() {
        let (work, sinks, failed) = (Arc::clone(&work), Arc::clone(sinks), Arc::clone(&failed));
        tasks.spawn(async move {
            let to = Sink {
                sinks: &sinks,
                stream: i,
                width,
            };
            let ended = one(stream, to, &work, &failed).await;
            if ended.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            ended
        });
    }
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap_or_else(|e| {
            let message = format!("a task that writes files ended: {e}");
            Err(NativeError::new(ErrorKind::Internal, message))
        });
        if first.is_ok() {
            first = ended;
        }
    }
    first
}

async fn one(
    mut stream: SendableRecordBatchStream,
    to: Sink<'_>,
    work: &Work,
    failed: &AtomicBool,
) -> Result<()> {
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if batch.num_rows() == 0 {
            continue;
        }
        match work {
            Work::Changed(shape, found, checks) => {
                let parts = changed(&batch, *shape, found, to.sinks.has_feed())?;
                if let Some(rows) = parts.rows {
                    checks.check(&rows)?;
                    to.write(&rows).await?;
                }
                if let Some(rows) = parts.feed {
                    to.write_feed(&rows).await?;
                }
            }
            Work::New(checks, found) => {
                checks.check(&batch)?;
                count(&found.inserted, batch.num_rows());
                to.write(&batch).await?;
                if to.sinks.has_feed() {
                    let rows = with_change(&batch, "insert")?;
                    to.write_feed(&rows).await?;
                }
            }
            Work::Copied(copied) => {
                count(copied, batch.num_rows());
                to.write(&batch).await?;
            }
        }
    }
    Ok(())
}

fn count(counter: &AtomicU64, rows: usize) {
    counter.fetch_add(u64::try_from(rows).unwrap_or_default(), Ordering::Relaxed);
}

#[derive(Default)]
struct Parts {
    rows: Option<RecordBatch>,
    feed: Option<RecordBatch>,
}

/// Notes what a batch of changed rows changes; the rows it makes, and those of the feed.
fn changed(batch: &RecordBatch, shape: Shape, found: &Found, feed: bool) -> Result<Parts> {
    let kinds = batch.column(2).as_primitive::<Int8Type>().values();
    let first = found.note(batch, kinds)?;
    let of = |kind: Kind| -> BooleanArray {
        let is_it = kinds
            .iter()
            .zip(&first)
            .map(|(k, first)| *k == kind as i8 && *first);
        is_it.collect::<Vec<_>>().into()
    };
    let (updates, deletes, inserts) = (of(Kind::Update), of(Kind::Delete), of(Kind::Insert));
    count(&found.updated, updates.true_count());
    count(&found.deleted, deletes.true_count());
    count(&found.inserted, inserts.true_count());
    let mut parts = Parts::default();
    let new = columns(batch, PLACES, shape.new)?;
    if shape.new > 0 && updates.true_count() + inserts.true_count() > 0 {
        let written: BooleanArray = kinds
            .iter()
            .map(|k| Some(*k != Kind::Delete as i8))
            .collect();
        parts.rows = Some(chosen(&new, &written)?);
    }
    if feed {
        let old = columns(batch, PLACES + shape.new, shape.old)?;
        let mut rows = Vec::new();
        for (from, mask, change) in [
            (&old, &updates, "update_preimage"),
            (&new, &updates, "update_postimage"),
            (&old, &deletes, "delete"),
            (&new, &inserts, "insert"),
        ] {
            if mask.true_count() > 0 {
                rows.push(with_change(&chosen(from, mask)?, change)?);
            }
        }
        if let Some(one) = rows.first() {
            parts.feed = Some(concat_batches(&one.schema(), &rows)?);
        }
    }
    Ok(parts)
}

fn chosen(rows: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch> {
    if mask.true_count() == rows.num_rows() {
        return Ok(rows.clone());
    }
    Ok(filter_record_batch(rows, mask)?)
}

/// A part of the columns of a plan, under the names of the table.
fn columns(batch: &RecordBatch, from: usize, count: usize) -> Result<RecordBatch> {
    let schema = batch.schema();
    let fields: Vec<_> = schema.fields()[from..from + count]
        .iter()
        .map(|field| {
            let name = field.name().get(PREFIX.len()..).unwrap_or_default();
            Field::new(name, field.data_type().clone(), true)
        })
        .collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        batch.columns()[from..from + count].to_vec(),
        &rows,
    )?)
}

/// What the names of new and old columns of a plan begin with.
const PREFIX: &str = "new:";

/// Name of a column of the new row in a plan.
pub fn new_column(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Name of a column of the old row in a plan.
pub fn old_column(name: &str) -> String {
    format!("old:{name}")
}

fn with_change(rows: &RecordBatch, change: &str) -> Result<RecordBatch> {
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true)));
    let mut columns = rows.columns().to_vec();
    let values: ArrayRef = Arc::new(StringArray::from(vec![change; rows.num_rows()]));
    columns.push(values);
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
