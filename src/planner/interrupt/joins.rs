//! Operators that look whether a query is abandoned.
//!
//! A task ends where it yields. DataFusion has leaves yield; a join can make rows for minutes of one batch of its
//! leaves, and a nested loop join can look for a pair without giving any. So joins yield too, and the condition of
//! a nested loop join fails once the query is abandoned.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;

use crate::planner::abandoned::Abandoned;
use crate::planner::each_node::NodeRule;

/// Has joins yield, and nested loop joins look at the flag.
#[derive(Debug)]
pub struct Interruptible(pub Arc<Abandoned>);

impl NodeRule for Interruptible {
    const NAME: &'static str = "Interruptible";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let watched = node.downcast_ref::<NestedLoopJoinExec>().map(|join| {
            with_condition(join, |expr| {
                Arc::new(Watched {
                    expr,
                    abandoned: Arc::clone(&self.0),
                })
            })
        });
        let watched = watched.transpose()?;
        let node = watched.as_ref().unwrap_or(node);
        let makes_many = node.downcast_ref::<HashJoinExec>().is_some()
            || node.downcast_ref::<CrossJoinExec>().is_some()
            || node.downcast_ref::<NestedLoopJoinExec>().is_some()
            || node.downcast_ref::<SortMergeJoinExec>().is_some()
            || node.downcast_ref::<UnnestExec>().is_some();
        Ok(match makes_many && budgets(node) < BUDGETS {
            true => Some(Arc::new(CooperativeExec::new(Arc::clone(node)))),
            false => watched,
        })
    }
}

/// Operators above each other that yield. Each holds one of the 128 units that tokio gives a task while it polls what is
/// beneath it: with more of them nothing would ever run.
const BUDGETS: usize = 64;

/// How many there are on the longest way down.
fn budgets(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut most = 0;
    let mut open = vec![(plan, 0)];
    while let Some((node, above)) = open.pop() {
        let count = above + usize::from(node.downcast_ref::<CooperativeExec>().is_some());
        most = most.max(count);
        open.extend(node.children().into_iter().map(|child| (child, count)));
    }
    most
}

fn with_condition(
    join: &NestedLoopJoinExec,
    change: impl FnOnce(Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let filter = join.filter().map(|filter| {
        JoinFilter::new(
            change(Arc::clone(filter.expression())),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        )
    });
    let made = NestedLoopJoinExecBuilder::from(join)
        .with_filter(filter)
        .build()?;
    Ok(Arc::new(made))
}

/// A join without the rule's condition, which has no protobuf form; nothing for other nodes.
pub fn bare(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
        return Ok(None);
    };
    let made = with_condition(join, |expr| match expr.downcast_ref::<Watched>() {
        Some(watched) => Arc::clone(&watched.expr),
        None => expr,
    })?;
    Ok(Some(made))
}

/// An expression that fails once the query is abandoned.
#[derive(Debug)]
struct Watched {
    expr: Arc<dyn PhysicalExpr>,
    abandoned: Arc<Abandoned>,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.expr.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.expr.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        match self.abandoned.get() {
            true => exec_err!("the query was cancelled"),
            false => self.expr.evaluate(batch),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expr]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(expr), true) => Ok(Arc::new(Self {
                expr,
                abandoned: Arc::clone(&self.abandoned),
            })),
            _ => internal_err!("a watched expression has one child"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}
