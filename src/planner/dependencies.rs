//! Which columns of an aggregate determine the others: its group keys, all of them.
//!
//! DataFusion hands on what it knows of the rows beneath, a join's among them, as if one side's key determined
//! the columns of the other, and then leaves group keys out.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Dependency, FunctionalDependence, FunctionalDependencies, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Rules that go by what determines what.
pub const BEFORE: [&str; 3] = [
    "eliminate_join",
    "optimize_projections",
    "replace_distinct_aggregate",
];

/// Says of every aggregate what its keys are.
#[derive(Debug)]
pub struct SoundDependencies;

impl OptimizerRule for SoundDependencies {
    fn name(&self) -> &'static str {
        "sound_dependencies"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        sound(plan)
    }
}

#[recursive::recursive]
fn sound(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_subqueries(sound)?;
    let was_changed = plan.transformed;
    let mut changed = plan.data.map_children(sound)?;
    changed.transformed |= was_changed;
    let (plan, is_changed) = match changed.transformed {
        true => (changed.data.recompute_schema()?, true),
        false => (changed.data, false),
    };
    let LogicalPlan::Aggregate(mut aggregate) = plan else {
        return Ok(Transformed::new_transformed(plan, is_changed));
    };
    let Some(known) = keys(&aggregate) else {
        let plan = LogicalPlan::Aggregate(aggregate);
        return Ok(Transformed::new_transformed(plan, is_changed));
    };
    let schema = aggregate.schema.as_ref().clone();
    aggregate.schema = Arc::new(schema.with_functional_dependencies(known)?);
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// What is to be known of an aggregate; nothing where it is known.
fn keys(aggregate: &Aggregate) -> Option<FunctionalDependencies> {
    let keys = aggregate.group_expr.len();
    let known = aggregate.schema.functional_dependencies();
    let is_sound = |one: &FunctionalDependence| one.source_indices.iter().copied().eq(0..keys);
    if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
        || known.iter().all(is_sound)
    {
        return None;
    }
    let fields = aggregate.schema.fields();
    let nullable = fields.iter().take(keys).any(|field| field.is_nullable());
    let all = (0..fields.len()).collect();
    let own =
        FunctionalDependence::new((0..keys).collect(), all, nullable).with_mode(Dependency::Single);
    Some(FunctionalDependencies::new(vec![own]))
}
