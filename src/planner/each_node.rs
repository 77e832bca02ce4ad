//! Rules for physical plans that look at one operator at a time.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// What a rule makes of an operator whose inputs it has seen already.
pub trait NodeRule: Debug + Send + Sync + 'static {
    const NAME: &'static str;

    /// What takes the operator's place; nothing where it stays.
    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>>;
}

/// The rule for all operators of a plan.
#[derive(Debug)]
pub struct EachNode<R>(pub R);

impl<R: NodeRule> PhysicalOptimizerRule for EachNode<R> {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match self.0.change(&node)? {
                Some(changed) => Transformed::yes(changed),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        R::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}
