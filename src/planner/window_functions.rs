//! Functions of windows, stopped and bounded.
//!
//! A window computes each of its partitions in one step, and some functions look at the whole frame for each row:
//! `median(x) OVER (ORDER BY y)` takes minutes for a partition of some 100,000 rows. `array_agg(x) OVER ()` has as
//! many values in each row as the partition has rows.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::AnalyzerRule;

use super::abandoned::Abandoned;
use super::around;
use super::bounded::{Frame, Results};
use super::interrupt::Watch;

/// Has the functions of windows look whether the query is abandoned, and reserve memory for what they give.
pub struct SoundWindows {
    pub abandoned: Arc<Abandoned>,
    pub pool: Arc<dyn MemoryPool>,
}

impl fmt::Debug for SoundWindows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoundWindows")
    }
}

impl AnalyzerRule for SoundWindows {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let batch_size = config.execution.batch_size.get();
        plan.transform_up_with_subqueries(|node| match node {
            node @ LogicalPlan::Window(_) => node.map_expressions(|expr| {
                expr.transform_up(|part| {
                    Ok(match part {
                        Expr::WindowFunction(window) => {
                            Transformed::yes(self.sound(*window, batch_size))
                        }
                        other => Transformed::no(other),
                    })
                })
            }),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "sound_windows"
    }
}

/// Window functions that look at the frame of each row.
const OVER_FRAMES: [&str; 3] = ["first_value", "last_value", "nth_value"];

impl SoundWindows {
    fn sound(&self, window: WindowFunction, batch_size: usize) -> Expr {
        let params = &window.params;
        let over = Frame {
            frame: &params.window_frame,
            is_ordered: !params.order_by.is_empty(),
            is_aggregate: matches!(window.fun, WindowFunctionDefinition::AggregateUDF(_)),
            batch_size,
        };
        let watch = Watch::between_calls(&self.abandoned);
        let results = Results::of(window.fun.name(), &over, &self.pool);
        let fun = match window.fun {
            WindowFunctionDefinition::AggregateUDF(fun) => {
                let fun = around::aggregate(&around::aggregate(&fun, &watch), &results);
                WindowFunctionDefinition::AggregateUDF(fun)
            }
            WindowFunctionDefinition::WindowUDF(fun) if OVER_FRAMES.contains(&fun.name()) => {
                let fun = around::window(&around::window(&fun, &watch), &results);
                WindowFunctionDefinition::WindowUDF(fun)
            }
            other => other,
        };
        Expr::WindowFunction(Box::new(WindowFunction { fun, ..window }))
    }
}
