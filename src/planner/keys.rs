//! Keys of sorts, windows and ordered aggregates that are conditions.
//!
//! Whether rows are sorted by a key is told by what is known of its parts. Nothing is of a function and of CASE, not
//! even a type, and DataFusion fails to compare that with anything: it does not find rows sorted by
//! `upper(s) > 'a'` once it has sorted them, and refuses the plan. So such a key is a column of its own.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Sort, Window,
};
use datafusion::optimizer::AnalyzerRule;

/// Computes such keys beneath the operator.
#[derive(Debug)]
pub struct ComputedKeys;

impl AnalyzerRule for ComputedKeys {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Sort(sort) => in_sort(sort),
            LogicalPlan::Window(window) => in_window(window),
            LogicalPlan::Aggregate(aggregate) => in_aggregate(aggregate),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "computed_keys"
    }
}

fn in_sort(mut sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let mut keys = Keys::default();
    for key in &mut sort.expr {
        keys.take(&mut key.expr);
    }
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    }
    let columns = sort.input.schema().columns();
    let input = Arc::new(keys.beneath(&sort.input)?);
    let sorted = LogicalPlan::Sort(Sort { input, ..sort });
    let kept = columns.into_iter().map(Expr::Column);
    let plan = LogicalPlanBuilder::from(sorted).project(kept)?.build()?;
    Ok(Transformed::yes(plan))
}

fn in_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let (keys, functions) = Keys::of(&window.window_expr);
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = window.schema.columns();
    let computed = match with_keys(&window.input) {
        // What is sorted for the window beneath is not sorted anew.
        Some(beneath) if keys.are_in(beneath) => LogicalPlanBuilder::from(Arc::clone(beneath)),
        _ => LogicalPlanBuilder::from(keys.beneath(&window.input)?),
    };
    let kept = columns.into_iter().map(Expr::Column);
    let plan = computed.window(functions)?.project(kept)?.build()?;
    Ok(Transformed::yes(plan))
}

fn in_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let (keys, functions) = Keys::of(&aggregate.aggr_expr);
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let input = Arc::new(keys.beneath(&aggregate.input)?);
    let made = Aggregate::try_new(input, aggregate.group_expr, functions)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(made)))
}

/// What a function goes by: the keys of a window, and the order of an aggregate. With DISTINCT, this is one of the
/// arguments.
fn keys_of(function: &mut Expr) -> Vec<&mut Expr> {
    match function {
        Expr::WindowFunction(window) => {
            let WindowFunctionParams {
                partition_by,
                order_by,
                ..
            } = &mut window.params;
            let order = order_by.iter_mut().map(|key| &mut key.expr);
            partition_by.iter_mut().chain(order).collect()
        }
        Expr::AggregateFunction(AggregateFunction { params, .. }) if !params.distinct => params
            .order_by
            .iter_mut()
            .map(|key| &mut key.expr)
            .collect(),
        _ => vec![],
    }
}

/// The window beneath that has keys beside its columns, which only the projection leaves out.
fn with_keys(plan: &LogicalPlan) -> Option<&Arc<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = plan else {
        return None;
    };
    let keeps_columns = projection
        .expr
        .iter()
        .all(|one| matches!(one, Expr::Column(_)));
    let is_window = matches!(projection.input.as_ref(), LogicalPlan::Window(_));
    (keeps_columns && is_window).then_some(&projection.input)
}

/// Keys that are computed beneath.
#[derive(Default)]
struct Keys(Vec<Expr>);

impl Keys {
    /// Of functions, and these with columns in the place of the keys, called as before.
    fn of(functions: &[Expr]) -> (Self, Vec<Expr>) {
        let mut keys = Self::default();
        let functions = functions.iter().map(|function| {
            let mut changed = function.clone().unalias();
            let mut is_other = false;
            for key in keys_of(&mut changed) {
                is_other |= keys.take(key);
            }
            match is_other {
                true => changed.alias(function.schema_name().to_string()),
                false => function.clone(),
            }
        });
        let functions = functions.collect();
        (keys, functions)
    }

    /// Puts a column in the place of a key that is to be one; says whether it is.
    fn take(&mut self, key: &mut Expr) -> bool {
        if !is_condition(key) {
            return false;
        }
        let column = Expr::Column(Column::new_unqualified(name(key)));
        let key = std::mem::replace(key, column);
        if !self.0.contains(&key) {
            self.0.push(key);
        }
        true
    }

    fn are_in(&self, plan: &LogicalPlan) -> bool {
        let columns = plan.schema();
        let mut names = self.0.iter().map(name);
        names.all(|name| columns.has_column_with_unqualified_name(&name))
    }

    /// The rows with the keys beside them.
    fn beneath(self, input: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let keys = self.0.into_iter().map(|key| {
            let name = name(&key);
            key.alias(name)
        });
        LogicalPlanBuilder::from(Arc::clone(input))
            .project(columns.chain(keys).collect::<Vec<_>>())?
            .build()
    }
}

/// What the column of a key is called, and nothing else is.
fn name(key: &Expr) -> String {
    format!("__key {key}")
}

/// Whether a key compares something. A column may stand for something computed, where a filter says they are equal.
fn is_condition(key: &Expr) -> bool {
    let compares = key.exists(|part| {
        Ok(match part {
            Expr::Negative(_) | Expr::Not(_) => true,
            Expr::BinaryExpr(BinaryExpr { op, .. }) => {
                op.is_logic_operator() || op.supports_propagation()
            }
            _ => false,
        })
    });
    compares.unwrap_or(true)
}
