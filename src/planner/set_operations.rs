//! EXCEPT ALL and INTERSECT ALL, which count: a row that is there three times on the left and once on the right
//! is there twice in EXCEPT ALL, and once in INTERSECT ALL.
//!
//! DataFusion plans them as the joins that it plans EXCEPT and INTERSECT as. Here the rows that are alike are
//! numbered on either side, and the numbers are compared too.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Distinct, Expr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, SortExpr, WindowFrame,
    WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

/// Numbers the rows of set operations that count.
///
/// Before the optimizer, no other join takes NULL for equal to NULL.
#[derive(Debug)]
pub struct CountedSetOperations;

impl AnalyzerRule for CountedSetOperations {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) if is_counting(&join) => Ok(Transformed::yes(counted(join)?)),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "counted_set_operations"
    }
}

fn is_counting(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == join.left.schema().fields().len()
        && !matches!(
            join.left.as_ref(),
            LogicalPlan::Distinct(Distinct::All(_)) | LogicalPlan::Aggregate(_)
        )
}

fn counted(join: Join) -> Result<LogicalPlan> {
    const LEFT: &str = "__left_number";
    const RIGHT: &str = "__right_number";
    let columns: Vec<_> = join.left.schema().columns();
    let (left, right): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
    let plan = Join::try_new(
        Arc::new(numbered(join.left.as_ref().clone(), left, LEFT)?),
        Arc::new(numbered(join.right.as_ref().clone(), right, RIGHT)?),
        join.on
            .into_iter()
            .chain([(
                Expr::Column(Column::new_unqualified(LEFT)),
                Expr::Column(Column::new_unqualified(RIGHT)),
            )])
            .collect(),
        None,
        join.join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(plan))
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// The rows, each with its number among those that are equal to it.
fn numbered(plan: LogicalPlan, keys: Vec<Expr>, name: &str) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .window(vec![row_number(keys, vec![]).alias(name)])?
        .build()
}

/// The number of a row among those with the same keys, by an order.
pub fn row_number(keys: Vec<Expr>, order: Vec<SortExpr>) -> Expr {
    let mut function = WindowFunction::new(
        WindowFunctionDefinition::WindowUDF(row_number_udwf()),
        vec![],
    );
    function.params.window_frame = WindowFrame::new((!order.is_empty()).then_some(false));
    function.params.partition_by = keys;
    function.params.order_by = order;
    Expr::from(function)
}
