//! Conditions of sort-merge joins besides their keys.
//!
//! DataFusion leaves out one that is about no column, has one fail on a row that has no other when what it is about
//! was never NULL beneath the join, and does not know where its columns are once a projection goes below the join.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};

/// Whether it is a sort-merge join with a condition.
pub fn has_one(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<SortMergeJoinExec>()
        .is_some_and(|join| join.filter().is_some())
}

/// Has conditions be about columns that may be NULL, at least one.
#[derive(Debug)]
pub struct SoundMergeFilters;

impl PhysicalOptimizerRule for SoundMergeFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<SortMergeJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some(filter) = join.filter() else {
                return Ok(Transformed::no(node));
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
            Ok(Transformed::yes(Arc::new(changed) as _))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "SoundMergeFilters"
    }

    fn schema_check(&self) -> bool {
        true
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
