//! The side of a nested loop join that is held.
//!
//! A join that is refused memory for it, by an operator beneath it too, runs that side of the plan once more, with
//! the state that it has from the first time: repartitioning panics, joins leave out rows, and partitions of the
//! other side give rows twice. So it does not learn what it is that fails.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;

use crate::error::{ErrorKind, NativeError};
use crate::planner::one_input::{one_input, same_rows};

/// Has every nested loop join fail where it lacks memory.
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
            let held: Arc<dyn ExecutionPlan> = Arc::new(Held {
                input: Arc::clone(join.left()),
            });
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

/// The error for a consumer of memory, where it is such a join.
pub fn for_consumer(error: DataFusionError, consumer: &MemoryConsumer) -> DataFusionError {
    match consumer.name().starts_with("NestedLoopJoinLoad[") {
        true => hidden(error),
        false => error,
    }
}

fn hidden(error: DataFusionError) -> DataFusionError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(message) => {
            let error = NativeError::new(ErrorKind::ResourcesExhausted, message.clone());
            DataFusionError::External(Box::new(error))
        }
        _ => error,
    }
}

/// The rows of its input, whose lack of memory is not one that a join knows.
#[derive(Debug)]
pub struct Held {
    pub input: Arc<dyn ExecutionPlan>,
}

impl Held {
    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input })
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
        let rows = self.input.execute(partition, context).map_err(hidden)?;
        let schema = rows.schema();
        let rows = rows.map_err(hidden);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
