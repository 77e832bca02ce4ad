//! What plan nodes that stand in front of one scan have in common.

/// Methods of `ExecutionPlan` for a node with its scan in `input`, and `with`, which makes it anew over
/// another one.
///
/// The node has no order of its own, and a sort that found its way below it would be lost when the plan is
/// encoded.
macro_rules! one_input {
    ($what:literal) => {
        fn children(&self) -> Vec<&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            vec![&self.input]
        }

        fn maintains_input_order(&self) -> Vec<bool> {
            vec![false]
        }

        fn benefits_from_input_partitioning(&self) -> Vec<bool> {
            vec![false]
        }

        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>,
            ) -> datafusion::common::Result<
                datafusion::common::tree_node::TreeNodeRecursion,
            >,
        ) -> datafusion::common::Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: std::sync::Arc<Self>,
            mut children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
            _: datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>
        {
            match (children.pop(), children.is_empty()) {
                (Some(input), true) => Ok(self.with(input)),
                _ => datafusion::common::internal_err!("{} has one input", $what),
            }
        }

        fn with_new_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>
        {
            use datafusion::physical_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
            let mode = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            self.replace_children(children, mode)
        }

        fn repartitioned(
            &self,
            target_partitions: usize,
            config: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::common::Result<
            Option<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        > {
            let input = self.input.repartitioned(target_partitions, config)?;
            Ok(input.map(|input| self.with(input)))
        }
    };
}

pub(crate) use one_input;
