//! Filters on their way down a plan.
//!
//! In a physical plan, DataFusion finds the columns of a filter in the rows beneath an operator by their names:
//! where two are called alike it takes either (apache/datafusion#25244), and rows are lost. No filter goes below
//! an operator that gives two columns of one name.
//!
//! In a logical plan, it takes a condition that is about no column for one about group keys, partition keys or
//! either side of a join. One such as `NULL` goes below a total, which has a row whatever is filtered beneath it;
//! one such as `random() < 0.5` is asked of other rows there. Both stay.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result, internal_err};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::abandoned::Abandoned;
use super::bounded::{BoundedLiterals, HeldSides, InSteps};
use super::compact::CompactedViews;
use super::dependencies::{self, SoundDependencies};
use super::each_node::EachNode;
use super::floats::canonical::is_float;
use super::interrupt::Interruptible;
use super::merge_filters::{self, SoundMergeFilters};
use super::one_input::one_input;
use super::properties::SoundProperties;
use super::unions::NullableUnions;

/// DataFusion's rules for logical plans, kept from what they get wrong.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    for rule in Optimizer::new().rules {
        if dependencies::BEFORE.contains(&rule.name()) {
            rules.push(Arc::new(SoundDependencies));
        }
        rules.push(match rule.name() {
            "push_down_filter" => Arc::new(Around(rule, pushed)),
            "eliminate_cross_join" => Arc::new(Around(rule, uncrossed)),
            "extract_equijoin_predicate" => Arc::new(Around(rule, extracted)),
            _ => rule,
        });
    }
    rules.push(Arc::new(NullableUnions));
    rules
}

type Rule = dyn OptimizerRule + Send + Sync;

/// A rule, but for what it would get wrong.
#[derive(Debug)]
struct Around(Arc<Rule>, Rewrite);

type Rewrite = fn(&Rule, LogicalPlan, &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>>;

impl OptimizerRule for Around {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        (self.1)(self.0.as_ref(), plan, config)
    }
}

/// Filters a step further down.
fn pushed(
    rule: &Rule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let filter = match plan {
        LogicalPlan::Filter(filter) if is_total(&filter.input) => {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        LogicalPlan::Filter(filter)
            if filter.predicate.is_volatile() && !is_by_row(&filter.input) =>
        {
            filter
        }
        other => return rule.rewrite(other, config),
    };
    let conditions = split_conjunction_owned(filter.predicate);
    let (volatile, others): (Vec<_>, Vec<_>) = conditions.into_iter().partition(Expr::is_volatile);
    let input = match conjunction(others) {
        Some(others) => {
            let others = Filter::try_new(others, filter.input)?;
            rule.rewrite(LogicalPlan::Filter(others), config)?
        }
        None => Transformed::no(Arc::unwrap_or_clone(filter.input)),
    };
    input.map_data(|input| {
        Ok(match conjunction(volatile) {
            Some(volatile) => LogicalPlan::Filter(Filter::try_new(volatile, Arc::new(input))?),
            None => input,
        })
    })
}

/// Keys of one join are compared alike: an equality that NULL does not meet is none of those that it does.
fn extracted(
    rule: &Rule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Join(join)
            if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty() =>
        {
            Ok(Transformed::no(LogicalPlan::Join(join)))
        }
        other => rule.rewrite(other, config),
    }
}

/// Inner joins are made one list of tables and keys, and joined anew: keys that NULL meets stay among themselves.
fn uncrossed(
    rule: &Rule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let is_inner = |plan: &LogicalPlan| matches!(plan, LogicalPlan::Join(join) if join.join_type == JoinType::Inner);
    let apart = plan.transform_up_with_subqueries(|node| {
        let meets_null = matches!(&node, LogicalPlan::Join(join)
            if join.join_type == JoinType::Inner
                && join.null_equality == NullEquality::NullEqualsNull);
        if !meets_null {
            return Ok(Transformed::no(node));
        }
        let node = node.map_children(|child| match is_inner(&child) {
            true => set_apart(child).map(Transformed::yes),
            false => Ok(Transformed::no(child)),
        })?;
        Ok(Transformed::yes(set_apart(node.data)?))
    })?;
    rule.rewrite(apart.data, config)
}

/// The plan beneath a projection of all its columns, which goes once the others are seen to.
fn set_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    let columns = columns.collect();
    let projection = Projection::try_new(columns, Arc::new(plan))?;
    Ok(LogicalPlan::Projection(projection))
}

/// Whether a plan, down to the next node that a filter would be pushed through, has a row for each that is
/// beneath: a condition that is another one each time means the same there.
fn is_by_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => is_by_row(&filter.input),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::Union(_) => true,
        _ => false,
    }
}

/// Whether a plan has a row whatever is filtered beneath it: a total, alone or beside groups.
fn is_total(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let groups = aggregate.group_expr.as_slice();
            groups.is_empty() || matches!(groups, [Expr::GroupingSet(_)])
        }
        LogicalPlan::Filter(filter) => is_total(&filter.input),
        _ => false,
    }
}

/// DataFusion's rules for physical plans, kept from what they get wrong, and what lets a plan be abandoned; for one
/// that is to need less memory, with joins that hold a side `in_steps`.
pub fn physical_rules(
    abandoned: &Arc<Abandoned>,
    pool: &Arc<dyn MemoryPool>,
    in_steps: bool,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        match rule.name() {
            name if name.starts_with("FilterPushdown") => {
                rules.push(Arc::new(Guarded(rule, has_equal_names)));
            }
            "aggregate_statistics" => rules.push(Arc::new(IfItCan(rule))),
            "LimitAggregation" => rules.push(Arc::new(Guarded(rule, groups_floats))),
            "EnsureRequirements" => {
                if in_steps {
                    rules.push(Arc::new(EachNode(InSteps)));
                }
                rules.push(Arc::new(SoundProperties));
                rules.push(rule);
            }
            // Before the filters that joins make while they run.
            "EnsureCooperative" => {
                rules.push(rule);
                rules.push(Arc::new(EachNode(Interruptible(Arc::clone(abandoned)))));
                rules.push(Arc::new(EachNode(CompactedViews)));
                rules.push(Arc::new(EachNode(SoundMergeFilters)));
                rules.push(Arc::new(EachNode(HeldSides { in_steps })));
            }
            "ProjectionPushdown" => rules.push(Arc::new(Guarded(rule, merge_filters::has_one))),
            _ => rules.push(rule),
        }
    }
    // What is constant is none any more for other rules.
    rules.push(Arc::new(EachNode(BoundedLiterals(Arc::clone(pool)))));
    rules
}

/// A rule that leaves a plan as it is where it fails.
#[derive(Debug)]
struct IfItCan(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for IfItCan {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.0.optimize(Arc::clone(&plan), config).unwrap_or(plan))
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// A rule that does not see beneath some operators.
#[derive(Debug)]
struct Guarded(
    Arc<dyn PhysicalOptimizerRule + Send + Sync>,
    fn(&Arc<dyn ExecutionPlan>) -> bool,
);

impl PhysicalOptimizerRule for Guarded {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan
            .transform_up(|node| {
                let node = match is_volatile_filter(&node) {
                    true => node.map_children(|input| Ok(Transformed::yes(barred(input))))?,
                    false => Transformed::no(node),
                };
                Ok(match (self.1)(&node.data) {
                    true => Transformed::yes(barred(node.data)),
                    false => node,
                })
            })
            .data()?;
        let without = (config.optimizer.enable_aggregate_dynamic_filter_pushdown
            && bounds_some(&plan))
        .then(|| {
            let mut config = config.clone();
            config.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
            config
        });
        let plan = self.0.optimize(plan, without.as_ref().unwrap_or(config))?;
        // The input of a filter may stand behind two.
        plan.transform_up(|node| {
            let mut inner = &node;
            while let Some(barrier) = inner.downcast_ref::<Barrier>() {
                inner = &barrier.input;
            }
            Ok(match Arc::ptr_eq(inner, &node) {
                true => Transformed::no(node),
                false => Transformed::yes(Arc::clone(inner)),
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

fn barred(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(Barrier { input })
}

/// Whether there is an aggregate without groups that has a least or largest value of an expression: its filter
/// says which rows the columns' least and largest values may be in, and nothing of the expression's.
fn bounds_some(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_of_column = |aggregate: &Arc<AggregateFunctionExpr>| {
        let arguments = aggregate.expressions();
        arguments
            .iter()
            .all(|argument| argument.downcast_ref::<Column>().is_some())
    };
    let has_other = plan
        .downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| {
            aggregate.group_expr().is_empty() && !aggregate.aggr_expr().iter().all(is_of_column)
        });
    has_other || plan.children().into_iter().any(bounds_some)
}

/// Of the groups with the largest values alone, those of NaN are not found again, which is a panic.
fn groups_floats(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    plan.downcast_ref::<AggregateExec>()
        .is_some_and(|aggregate| {
            let groups = aggregate.group_expr().expr().len();
            let mut fields = schema.fields().iter().take(groups);
            fields.any(|field| is_float(field.data_type()))
        })
}

fn is_volatile_filter(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<FilterExec>()
        .is_some_and(|filter| is_volatile(filter.predicate()))
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
        barred(input)
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
