//! Filters on their way down a plan.
//!
//! In a physical plan, DataFusion finds the columns of a filter in the rows beneath an operator by their names:
//! where two are called alike it takes either (apache/datafusion#25244), and rows are lost. No filter goes below
//! an operator that gives two columns of one name.
//!
//! In a logical plan, it takes a filter that is about no column for one about group keys, and puts it below an
//! aggregate without any, which has a row whatever is filtered beneath it. No filter goes below such an aggregate.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{NullEquality, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::abandoned::Abandoned;
use super::compact::CompactedViews;
use super::dependencies::{self, SoundDependencies};
use super::interrupt::Interruptible;
use super::one_input::one_input;

/// DataFusion's rules for logical plans, kept from what they get wrong.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    for rule in Optimizer::new().rules {
        if dependencies::BEFORE.contains(&rule.name()) {
            rules.push(Arc::new(SoundDependencies));
        }
        let is_left: fn(&LogicalPlan) -> bool = match rule.name() {
            "push_down_filter" => filters_total,
            "extract_equijoin_predicate" => has_keys_of_null,
            _ => {
                rules.push(rule);
                continue;
            }
        };
        rules.push(Arc::new(Unless { rule, is_left }));
    }
    rules
}

/// A rule, but for what it would get wrong.
#[derive(Debug)]
struct Unless {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    is_left: fn(&LogicalPlan) -> bool,
}

impl OptimizerRule for Unless {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match (self.is_left)(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.rule.rewrite(plan, config),
        }
    }
}

/// A filter above a total stays there.
fn filters_total(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Filter(filter) if is_total(&filter.input))
}

/// Keys of one join are compared alike: an equality that NULL does not meet is none of those that it does.
fn has_keys_of_null(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join)
        if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty())
}

fn is_total(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Filter(filter) => is_total(&filter.input),
        _ => false,
    }
}

/// DataFusion's rules for physical plans, kept from what they get wrong, and what lets a plan be abandoned.
pub fn physical_rules(
    abandoned: &Arc<Abandoned>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        match rule.name() {
            name if name.starts_with("FilterPushdown") => rules.push(Arc::new(Guarded(rule))),
            // Before the filters that joins make while they run.
            "EnsureCooperative" => {
                rules.push(rule);
                rules.push(Arc::new(Interruptible(Arc::clone(abandoned))));
                rules.push(Arc::new(CompactedViews));
            }
            _ => rules.push(rule),
        }
    }
    rules
}

#[derive(Debug)]
struct Guarded(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for Guarded {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan
            .transform_up(|node| {
                Ok(match has_equal_names(&node) {
                    true => Transformed::yes(Arc::new(Barrier { input: node }) as _),
                    false => Transformed::no(node),
                })
            })
            .data()?;
        let plan = self.0.optimize(plan, config)?;
        plan.transform_up(|node| {
            Ok(match node.downcast_ref::<Barrier>() {
                Some(barrier) => Transformed::yes(Arc::clone(&barrier.input)),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn has_equal_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut names = HashSet::with_capacity(schema.fields().len());
    !schema
        .fields()
        .iter()
        .all(|field| names.insert(field.name()))
}

/// Stands above an operator while filters are pushed, and lets none through.
#[derive(Debug)]
struct Barrier {
    input: Arc<dyn ExecutionPlan>,
}

impl Barrier {
    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input })
    }
}

impl DisplayAs for Barrier {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barrier")
    }
}

impl ExecutionPlan for Barrier {
    fn name(&self) -> &'static str {
        "Barrier"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    one_input!("a barrier");

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a barrier does not run")
    }
}
