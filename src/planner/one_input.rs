//! What plan nodes with one input have in common.

/// Methods of `ExecutionPlan` for a node with what it stands above in `input`, and `with`, which makes it anew over
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

/// Methods of `ExecutionPlan` for a node that gives a row for each of its input's: it asks for statistics of the
/// same partitions, and a filter has done below what it would do above.
macro_rules! one_row_each {
    () => {
        fn child_stats_requests(
            &self,
            partition: Option<usize>,
        ) -> Vec<datafusion::physical_plan::statistics::ChildStats> {
            vec![datafusion::physical_plan::statistics::ChildStats::At(
                partition,
            )]
        }

        fn cardinality_effect(
            &self,
        ) -> datafusion::physical_plan::execution_plan::CardinalityEffect {
            datafusion::physical_plan::execution_plan::CardinalityEffect::Equal
        }

        fn handle_child_pushdown_result(
            &self,
            _: datafusion::physical_plan::filter_pushdown::FilterPushdownPhase,
            result: datafusion::physical_plan::filter_pushdown::ChildPushdownResult,
            _: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::common::Result<
            datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation<
                std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
            >,
        > {
            Ok(
                datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation::if_all(
                    result,
                ),
            )
        }
    };
}

pub(crate) use one_row_each;

/// Methods of `ExecutionPlan` for a node that gives the rows of its input, as they are: statistics, and filters on
/// their way down, are the input's.
macro_rules! same_rows {
    () => {
        crate::planner::one_input::one_row_each!();

        fn statistics_from_inputs(
            &self,
            input_stats: &[std::sync::Arc<datafusion::common::Statistics>],
            _: &datafusion::physical_plan::statistics::StatisticsArgs,
        ) -> datafusion::common::Result<std::sync::Arc<datafusion::common::Statistics>> {
            match input_stats {
                [input] => Ok(std::sync::Arc::clone(input)),
                _ => datafusion::common::internal_err!("{} has one input", self.name()),
            }
        }

        fn gather_filters_for_pushdown(
            &self,
            _: datafusion::physical_plan::filter_pushdown::FilterPushdownPhase,
            parent_filters: Vec<std::sync::Arc<dyn datafusion::physical_expr::PhysicalExpr>>,
            _: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::common::Result<
            datafusion::physical_plan::filter_pushdown::FilterDescription,
        > {
            datafusion::physical_plan::filter_pushdown::FilterDescription::from_children(
                parent_filters,
                &self.children(),
            )
        }
    };
}

pub(crate) use same_rows;
