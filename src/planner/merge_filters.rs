//! Conditions of sort-merge joins besides their keys.
//!
//! DataFusion leaves out a condition that is about no column. It fails on one about a column that cannot be NULL in its
//! input, where a row of an outer join has no match. And it keeps the places of the columns when a projection goes
//! below the join and moves them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::{JoinSide, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};

use super::each_node::NodeRule;

/// Whether it is a sort-merge join with a condition.
pub fn has_one(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<SortMergeJoinExec>()
        .is_some_and(|join| join.filter().is_some())
}

/// Has conditions be about columns that may be NULL, at least one.
#[derive(Debug)]
pub struct SoundMergeFilters;

impl NodeRule for SoundMergeFilters {
    const NAME: &'static str = "SoundMergeFilters";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = node.downcast_ref::<SortMergeJoinExec>() else {
            return Ok(None);
        };
        let Some(filter) = join.filter() else {
            return Ok(None);
        };
        let changed = SortMergeJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            join.on().to_vec(),
            Some(sound(filter, join)),
            join.join_type(),
            join.sort_options().to_vec(),
            join.null_equality(),
        )?;
        Ok(Some(Arc::new(changed)))
    }
}

fn sound(filter: &JoinFilter, join: &SortMergeJoinExec) -> JoinFilter {
    let mut places = filter.column_indices().to_vec();
    let mut fields: Vec<Field> = filter
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    if let (true, Some(first)) = (places.is_empty(), join.left().schema().fields().first()) {
        fields.push(first.as_ref().clone().with_nullable(true));
        places.push(ColumnIndex {
            index: 0,
            side: JoinSide::Left,
        });
    }
    let schema = Arc::new(Schema::new(fields));
    JoinFilter::new(Arc::clone(filter.expression()), places, schema)
}
