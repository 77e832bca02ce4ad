//! The side of a nested loop join that is held.
//!
//! A join that is refused memory for it, or by an operator beneath it, runs that side of the plan once more and
//! spills it. DataFusion has it run with the state that it has from the first time: repartitioning panics, joins
//! leave out rows. And each partition of the other side gives what has no match in it alone, where a join asks for
//! what has none in any. So the side runs anew, or not at all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result, resources_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};

use crate::planner::one_input::{one_input, same_rows};

/// Has the sides that nested loop joins hold run anew.
#[derive(Debug)]
pub struct HeldSides;

impl PhysicalOptimizerRule for HeldSides {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let is_by_partition = matches!(
                join.join_type(),
                JoinType::Inner
                    | JoinType::Right
                    | JoinType::RightSemi
                    | JoinType::RightAnti
                    | JoinType::RightMark
            );
            let is_one = join.right().output_partitioning().partition_count() == 1;
            let held = Held::over(Arc::clone(join.left()), is_by_partition || is_one);
            let sides = vec![held, Arc::clone(join.right())];
            let mode = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            Ok(Transformed::yes(node.replace_children(sides, mode)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "HeldSides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of its input, each time from the beginning.
#[derive(Debug)]
pub struct Held {
    pub input: Arc<dyn ExecutionPlan>,
    /// Whether the join may read them twice.
    may_again: bool,
    has_run: AtomicBool,
}

impl Held {
    fn over(input: Arc<dyn ExecutionPlan>, may_again: bool) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self {
            input,
            may_again,
            has_run: AtomicBool::new(false),
        })
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Self::over(input, self.may_again)
    }
}

impl DisplayAs for Held {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "HeldExec"),
        }
    }
}

impl ExecutionPlan for Held {
    fn name(&self) -> &'static str {
        "HeldExec"
    }

    one_input!("what is held");

    same_rows!();

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if !self.has_run.swap(true, Ordering::Relaxed) {
            return self.input.execute(partition, context);
        }
        if !self.may_again {
            return resources_err!(
                "NestedLoopJoin needs more memory than is left of memory_limit for the side that it holds, which \
                 a join of this kind can spill in one partition alone; raise memory_limit, or lower target_partitions"
            );
        }
        reset_plan_states(Arc::clone(&self.input))?.execute(partition, context)
    }
}
