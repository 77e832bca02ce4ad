//! The side of a nested loop join that is held.
//!
//! A join that is refused memory for it, or by an operator beneath it, runs that side of the plan once more and
//! spills it. DataFusion has it run with the state that it has from the first time: repartitioning panics, joins
//! leave out rows. And each partition of the other side gives what has no match in it alone, where a join asks for
//! what has none in any; a join that asks for what has none on the other side may leave it out. So the side runs
//! anew, or not at all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::{JoinType, Result, resources_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};

use crate::planner::each_node::NodeRule;
use crate::planner::one_input::{one_input, same_rows};

/// Has the sides that nested loop joins hold run anew.
#[derive(Debug)]
pub struct HeldSides {
    /// Whether joins are to hold them in steps where they can, at the price of partitions.
    pub in_steps: bool,
}

impl NodeRule for HeldSides {
    const NAME: &'static str = "HeldSides";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(None);
        };
        let mut right = Arc::clone(join.right());
        let may_again = match join.join_type() {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                let is_one = right.output_partitioning().partition_count() == 1;
                if self.in_steps && !is_one {
                    right = Arc::new(CoalescePartitionsExec::new(right));
                }
                self.in_steps || is_one
            }
            _ => false,
        };
        let sides = vec![Held::over(Arc::clone(join.left()), may_again), right];
        let mode = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Some(Arc::clone(node).replace_children(sides, mode)?))
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
                 this join cannot do in steps; raise memory_limit"
            );
        }
        reset_plan_states(Arc::clone(&self.input))?.execute(partition, context)
    }
}
