//! Nested loop joins that hold one side in steps.
//!
//! A join that finds no room for the side that it holds works on as much of it as there is room for at a time. Where
//! it looks for rows of the other side without a match, it forgets to, if the last step begins with nothing left. So
//! such a join is turned around, and a full join is made of two.

use std::sync::Arc;

use datafusion::common::{JoinType, Result, ScalarValue};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, reset_plan_states};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::work_table::WorkTableExec;

use crate::planner::each_node::NodeRule;
/// Has nested loop joins be of a kind that can hold a side in steps, before anything goes by what they are.
#[derive(Debug)]
pub struct InSteps;

impl NodeRule for InSteps {
    const NAME: &'static str = "InSteps";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(None);
        };
        Ok(match join.join_type() {
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                Some(join.swap_inputs()?)
            }
            JoinType::Full if is_steady(join.left()) && is_steady(join.right()) => {
                Some(of_two(join)?)
            }
            _ => None,
        })
    }
}

/// A full join: a left join, and the rows of the right side that have no match.
fn of_two(join: &NestedLoopJoinExec) -> Result<Arc<dyn ExecutionPlan>> {
    let (left, right) = (join.left(), join.right());
    let filter = join.filter();
    let projection = join.projection().as_ref().map(|places| places.to_vec());
    let matched = NestedLoopJoinExec::try_new(
        Arc::clone(left),
        Arc::clone(right),
        filter.cloned(),
        &JoinType::Left,
        projection.clone(),
    )?;
    let unmatched = NestedLoopJoinExec::try_new(
        reset_plan_states(Arc::clone(right))?,
        reset_plan_states(Arc::clone(left))?,
        filter.map(JoinFilter::swap),
        &JoinType::LeftAnti,
        None,
    )?;
    let of_left = left.schema().fields().len();
    let places = projection.unwrap_or_else(|| (0..join.schema().fields().len()).collect());
    let schema = join.schema();
    let columns = places
        .into_iter()
        .zip(schema.fields())
        .map(|(place, field)| {
            let expr: Arc<dyn PhysicalExpr> = match place.checked_sub(of_left) {
                Some(place) => Arc::new(Column::new(field.name(), place)),
                None => Arc::new(Literal::new(ScalarValue::try_from(field.data_type())?)),
            };
            Ok(ProjectionExpr::new(expr, field.name().clone()))
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let unmatched = ProjectionExec::try_new(columns, Arc::new(unmatched))?;
    UnionExec::try_new(vec![Arc::new(matched), Arc::new(unmatched)])
}

/// Whether a plan gives the same rows whenever it is run: it does not choose among them by the order in which they
/// come, and does not hand on what can be taken once.
fn is_steady(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let numbers_rows = plan.downcast_ref::<WindowAggExec>().is_some()
        || plan.downcast_ref::<BoundedWindowAggExec>().is_some();
    if numbers_rows || plan.downcast_ref::<WorkTableExec>().is_some() {
        return false;
    }
    let is_known = plan.downcast_ref::<DataSourceExec>().is_some()
        || plan.downcast_ref::<FilterExec>().is_some()
        // Projections, and what passes on the rows of scans.
        || matches!(plan.cardinality_effect(), CardinalityEffect::Equal)
        || plan.downcast_ref::<HashJoinExec>().is_some()
        || plan.downcast_ref::<NestedLoopJoinExec>().is_some()
        || plan.downcast_ref::<SortMergeJoinExec>().is_some()
        || plan.downcast_ref::<CrossJoinExec>().is_some()
        || plan.downcast_ref::<UnionExec>().is_some()
        || is_distinct(plan.as_ref())
        || plan.children().is_empty();
    is_known && plan.fetch().is_none() && plan.children().into_iter().all(is_steady)
}

/// Whether an operator groups rows and computes nothing of them.
fn is_distinct(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| aggregate.aggr_expr().is_empty())
}
