//! Rows of a merge's source: in memory where they are few, so that the table is read where they are alone.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, in_list, lit,
};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::target::{Target, aside};
use crate::error::{ErrorKind, NativeError, Result};
use crate::sources::arrow::{StreamTable, memory_table, under};

/// Bytes of rows that are held.
const HELD: usize = 64 * 1024 * 1024;

/// Values that are looked for one by one.
const LISTED: usize = 64;

/// The source of a merge.
pub struct Source {
    /// Its name in SQL.
    pub name: String,
    pub table: Arc<dyn TableProvider>,
    /// Rows, where all are held.
    pub held: Option<u64>,
    counted: Arc<Mutex<u64>>,
}

impl Source {
    /// Reads a plan as far as its rows may be held.
    pub async fn open(name: &str, plan: &LogicalPlan, target: &Target) -> Result<Self> {
        let physical = target.plan_aside(plan).await?;
        let schema: SchemaRef = Arc::new(Schema::new(plan.schema().as_arrow().fields().clone()));
        let mut rows = execute_stream(physical, target.state().task_ctx())?;
        let mut held: Vec<RecordBatch> = Vec::new();
        let (mut bytes, mut count) = (0, 0_u64);
        let counted = Arc::new(Mutex::new(0));
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            count += u64::try_from(batch.num_rows()).unwrap_or_default();
            held.push(batch);
            if bytes > HELD {
                let stream = Arc::new(Once {
                    schema,
                    rows: Mutex::new(Some((held, rows))),
                    counted: Arc::clone(&counted),
                });
                return Ok(Self {
                    name: name.to_owned(),
                    table: Arc::new(StreamTable::of(stream)),
                    held: None,
                    counted,
                });
            }
        }
        let parts = target.state().config().target_partitions();
        Ok(Self {
            name: name.to_owned(),
            table: Arc::new(memory_table(schema, held, parts)?),
            held: Some(count),
            counted,
        })
    }

    /// Rows that were read.
    pub fn rows(&self) -> u64 {
        self.held.unwrap_or_else(|| *self.counted.lock())
    }
}

/// What rows of the target can match at all, by the values of a held source: for each column of it that
/// equals something of the source, the values or the range of these.
pub async fn reach(source: &Source, on: &Expr, target: &Target) -> Result<Vec<Expr>> {
    if source.held.is_none() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for part in split_conjunction(on) {
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = part
        else {
            continue;
        };
        for (column, value) in [(left, right), (right, left)] {
            if let Expr::Column(own) = column.as_ref()
                && own.relation == Some(TableReference::bare(target.name.as_str()))
                && is_of(value, &source.name)
                && let Some(limit) = limit(source, column, value, target.state()).await?
            {
                found.push(limit);
            }
        }
    }
    Ok(found)
}

/// Whether an expression is computed from the rows of a relation and nothing else, the same each time.
fn is_of(expr: &Expr, relation: &str) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty()
        && !expr.is_volatile()
        && !super::dml::reads_more(expr)
        && columns
            .iter()
            .all(|c| c.relation == Some(TableReference::bare(relation)))
}

async fn limit(
    source: &Source,
    column: &Expr,
    value: &Expr,
    state: &SessionState,
) -> Result<Option<Expr>> {
    let scan = || {
        let table = provider_as_source(Arc::clone(&source.table));
        LogicalPlanBuilder::scan(TableReference::bare(source.name.as_str()), table, None)
    };
    let some = value.clone().is_not_null();
    let values = scan()?
        .filter(some.clone())?
        .project([value.clone().alias("value")])?
        .distinct()?
        .limit(0, Some(LISTED + 1))?
        .build()?;
    let values = collected(&values, state).await?;
    if floats(&values) {
        // NaN is outside of every range, and equal to itself.
        return Ok(None);
    }
    if values.len() <= LISTED {
        let listed: Vec<_> = values.into_iter().map(lit).collect();
        return Ok(Some(match listed.is_empty() {
            true => lit(false),
            false => in_list(column.clone(), listed, false),
        }));
    }
    let range = scan()?
        .aggregate(
            Vec::<Expr>::new(),
            vec![
                min(value.clone()).alias("low"),
                max(value.clone()).alias("high"),
            ],
        )?
        .build()?;
    let found = first_row(&range, state).await?;
    Ok(match found.as_slice() {
        [low, high] if !low.is_null() && !high.is_null() => {
            Some(column.clone().between(lit(low.clone()), lit(high.clone())))
        }
        _ => None,
    })
}

fn floats(values: &[ScalarValue]) -> bool {
    values.iter().any(|value| value.data_type().is_floating())
}

async fn batches(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<RecordBatch>> {
    let physical = aside(state).create_physical_plan(plan).await?;
    Ok(datafusion::physical_plan::collect(physical, state.task_ctx()).await?)
}

async fn collected(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<ScalarValue>> {
    let mut found = Vec::new();
    for batch in batches(plan, state).await? {
        for row in 0..batch.num_rows() {
            found.push(ScalarValue::try_from_array(batch.column(0), row)?);
        }
    }
    Ok(found)
}

async fn first_row(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<ScalarValue>> {
    for batch in batches(plan, state).await? {
        if batch.num_rows() > 0 {
            let columns = batch.columns().iter();
            return Ok(columns
                .map(|column| ScalarValue::try_from_array(column, 0))
                .collect::<datafusion::common::Result<_>>()?);
        }
    }
    Ok(Vec::new())
}

/// Rows that were read and those that follow, for one scan.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<(Vec<RecordBatch>, SendableRecordBatchStream)>>,
    counted: Arc<Mutex<u64>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let counted = Arc::clone(&self.counted);
        let rows: SendableRecordBatchStream = match self.rows.lock().take() {
            Some((held, rest)) => {
                let named = Arc::clone(&schema);
                let all = stream::iter(held.into_iter().map(Ok)).chain(rest);
                let all = all.map(move |batch| Ok(under(batch?, &named)?));
                let all = all.inspect(move |batch: &datafusion::common::Result<RecordBatch>| {
                    if let Ok(batch) = batch {
                        *counted.lock() += u64::try_from(batch.num_rows()).unwrap_or_default();
                    }
                });
                Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), all))
            }
            None => {
                let error = NativeError::new(
                    ErrorKind::StreamConsumed,
                    "the source of the merge is large and read once: it cannot be named in a \
                     subquery as well; write it to a table first",
                );
                Box::pin(RecordBatchStreamAdapter::new(
                    Arc::clone(&schema),
                    stream::once(async move { Err(error.into()) }),
                ))
            }
        };
        rows
    }
}
