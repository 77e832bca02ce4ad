//! Columns of unions that may be NULL.
//!
//! A union says of its columns what its inputs said when it was made. Where a rule puts an expression in the place
//! of another one, of which it is not known that it is never NULL, the physical plan is another one than the
//! logical plan says, which is an error.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{LogicalPlan, Union};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// Has unions, and what is above them, say which columns may be NULL: the last of the rules.
#[derive(Debug)]
pub struct NullableUnions;

impl OptimizerRule for NullableUnions {
    fn name(&self) -> &'static str {
        "nullable_unions"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan.exists(|node| Ok(matches!(node, LogicalPlan::Union(_))))? {
            return Ok(Transformed::no(plan));
        }
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Union(union) => Ok(match with_nulls(&union)? {
                Some(schema) => Transformed::yes(LogicalPlan::Union(Union {
                    schema: Arc::new(schema),
                    ..union
                })),
                None => Transformed::no(LogicalPlan::Union(union)),
            }),
            other => Ok(Transformed::yes(other.recompute_schema()?)),
        })
    }
}

/// The schema of a union whose inputs may have NULL where it has none.
fn with_nulls(union: &Union) -> Result<Option<DFSchema>> {
    let is_nullable = |place: usize| {
        let mut inputs = union.inputs.iter();
        inputs.any(|input| input.schema().field(place).is_nullable())
    };
    let fields = union.schema.fields();
    let is_said = |place: usize| fields[place].is_nullable() || !is_nullable(place);
    if (0..fields.len()).all(is_said) {
        return Ok(None);
    }
    let fields = union.schema.iter().enumerate();
    let fields = fields.map(|(place, (relation, field))| {
        let nullable = field.is_nullable() || is_nullable(place);
        let field = field.as_ref().clone().with_nullable(nullable);
        (relation.cloned(), Arc::new(field))
    });
    let metadata = union.schema.as_arrow().metadata().clone();
    Ok(Some(DFSchema::new_with_metadata(
        fields.collect(),
        metadata,
    )?))
}
