//! Keys of sorts and windows that are conditions of something computed.
//!
//! Whether rows are sorted by a key is told by what is known of its parts. Nothing is of a function and of CASE, not
//! even a type, and DataFusion fails to compare that with anything: it does not find rows sorted by
//! `upper(s) > 'a'` once it has sorted them, and refuses the plan. So such a key is a column of its own.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Sort, Window};
use datafusion::optimizer::AnalyzerRule;

/// Computes such keys beneath the sort or window.
#[derive(Debug)]
pub struct ComputedKeys;

impl AnalyzerRule for ComputedKeys {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Sort(sort) => in_sort(sort),
            LogicalPlan::Window(window) => in_window(window),
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
    let mut keys = Keys::default();
    let functions = window.window_expr.iter().map(|function| {
        let Expr::WindowFunction(mut found) = function.clone().unalias() else {
            return function.clone();
        };
        let mut is_other = false;
        let params = &mut found.params;
        for key in &mut params.partition_by {
            is_other |= keys.take(key);
        }
        for key in &mut params.order_by {
            is_other |= keys.take(&mut key.expr);
        }
        match is_other {
            true => Expr::WindowFunction(found).alias(function.schema_name().to_string()),
            false => function.clone(),
        }
    });
    let functions: Vec<_> = functions.collect();
    if keys.0.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = window.schema.columns();
    let input = keys.beneath(&window.input)?;
    let computed = LogicalPlanBuilder::from(input).window(functions)?;
    let kept = columns.into_iter().map(Expr::Column);
    Ok(Transformed::yes(computed.project(kept)?.build()?))
}

/// Keys that are computed beneath.
#[derive(Default)]
struct Keys(Vec<Expr>);

impl Keys {
    /// Puts a column in the place of a key that is to be one; says whether it is.
    fn take(&mut self, key: &mut Expr) -> bool {
        if !is_condition(key) {
            return false;
        }
        let place = self.0.iter().position(|one| one == key);
        let place = place.unwrap_or_else(|| {
            self.0.push(key.clone());
            self.0.len() - 1
        });
        *key = Expr::Column(Column::new_unqualified(name(place)));
        true
    }

    /// The rows with the keys beside them.
    fn beneath(self, input: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let keys = self.0.into_iter().enumerate();
        let keys = keys.map(|(place, key)| key.alias(name(place)));
        LogicalPlanBuilder::from(Arc::clone(input))
            .project(columns.chain(keys).collect::<Vec<_>>())?
            .build()
    }
}

fn name(place: usize) -> String {
    format!("__key_{}", place + 1)
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
