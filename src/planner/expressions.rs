//! Expressions that the planner carries out wrongly, in another form.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, LogicalPlan, Sort, SortExpr, lit};
use datafusion::optimizer::AnalyzerRule;

use super::cast_names;
use super::floats::{canonical, zeros};
use super::overflow;

/// Puts sound forms in the place of some expressions, in one walk:
///
/// - `x IS TRUE` and the like are never NULL for the logical plan and may be for the physical one, which is an
///   error where they are grouped;
/// - an aggregate that orders by something twice, or by a constant, panics;
/// - whole numbers wrap around (`overflow`), NaN has a sign or none (`floats::canonical`), and zero too
///   (`floats::zeros`).
#[derive(Debug)]
pub struct SoundExpressions;

impl AnalyzerRule for SoundExpressions {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let node = match node {
                LogicalPlan::Distinct(Distinct::On(distinct)) => {
                    let schema = Arc::clone(distinct.input.schema());
                    let order = distinct.sort_expr.map(once);
                    LogicalPlan::Distinct(Distinct::On(DistinctOn {
                        on_expr: distinct_keys(zeros::keys_of(distinct.on_expr, &schema)),
                        sort_expr: order.map(|order| zeros::ordered(order, &schema).data),
                        ..distinct
                    }))
                }
                LogicalPlan::Distinct(Distinct::All(input)) => {
                    LogicalPlan::Distinct(Distinct::All(zeros::one_nested(input)?))
                }
                other => other,
            };
            let mut schema = merge_schema(&node.inputs());
            if let LogicalPlan::TableScan(scan) = &node {
                schema.merge(&scan.projected_schema);
            }
            let names = NamePreserver::new(&node);
            let node = match node {
                LogicalPlan::Sort(sort) => zeros::ordered(sort.expr, &schema).update_data(|expr| {
                    LogicalPlan::Sort(Sort {
                        expr,
                        input: sort.input,
                        fetch: sort.fetch,
                    })
                }),
                other => Transformed::no(other),
            };
            // What is compared as a whole comes first among the expressions of a node.
            let mut keys = match &node.data {
                LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
                LogicalPlan::Join(join) => 2 * join.on.len(),
                _ => 0,
            };
            let changed = node.transform_data(|node| {
                node.map_expressions(|expr| {
                    let is_key = keys > 0;
                    keys = keys.saturating_sub(1);
                    match expr {
                        // Its members are the columns, and only they have names.
                        set @ Expr::GroupingSet(_) => {
                            set.map_children(|member| rewritten(member, &names, &schema, is_key))
                        }
                        other => rewritten(other, &names, &schema, is_key),
                    }
                })
            })?;
            match changed.transformed {
                true => changed.map_data(LogicalPlan::recompute_schema),
                false => Ok(changed),
            }
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "sound_expressions"
    }
}

/// The expression in its sound form, under the name that it had.
fn rewritten(
    expr: Expr,
    names: &NamePreserver,
    schema: &DFSchema,
    is_key: bool,
) -> Result<Transformed<Expr>> {
    let name = names.save(&expr);
    let changed = expr.transform_up(|part| {
        sound(part)
            .transform_data(|part| overflow::check(part, schema))?
            .transform_data(|part| Ok(canonical::wrap(part, schema)))?
            .transform_data(|part| Ok(zeros::wrap(part, schema)))
    })?;
    let changed = match is_key {
        true => changed.transform_data(|key| Ok(zeros::nested_key(key, schema)))?,
        false => changed,
    };
    Ok(changed.update_data(|expr| name.restore(expr)))
}

fn sound(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(call) => match cast_names::without(Expr::ScalarFunction(call)) {
            Ok(cast) => Transformed::yes(cast),
            Err(call) => Transformed::no(call),
        },
        Expr::IsTrue(inner) => Transformed::yes(decided(*inner, true)),
        Expr::IsNotTrue(inner) => Transformed::yes(decided(*inner, false)),
        Expr::IsFalse(inner) => Transformed::yes(decided(Expr::Not(inner), true)),
        Expr::IsNotFalse(inner) => Transformed::yes(decided(Expr::Not(inner), false)),
        Expr::IsUnknown(inner) => Transformed::yes(Expr::IsNull(inner)),
        Expr::IsNotUnknown(inner) => Transformed::yes(Expr::IsNotNull(inner)),
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if !params.order_by.is_empty() =>
        {
            let count = params.order_by.len();
            params.order_by = once(params.order_by);
            let is_other = params.order_by.len() != count;
            let expr = Expr::AggregateFunction(AggregateFunction { func, params });
            match is_other {
                true => Transformed::yes(expr),
                false => Transformed::no(expr),
            }
        }
        other => Transformed::no(other),
    }
}

/// The answer where a condition is true, and the opposite where it is false or NULL.
fn decided(condition: Expr, answer: bool) -> Expr {
    Expr::Case(Case::new(
        None,
        vec![(Box::new(condition), Box::new(lit(answer)))],
        Some(Box::new(lit(!answer))),
    ))
}

/// The keys of DISTINCT ON without what tells no rows apart any further; one where there is nothing else, as without
/// keys there is a row of no rows.
fn distinct_keys(keys: Vec<Expr>) -> Vec<Expr> {
    let mut seen = HashSet::new();
    let has_other = keys.iter().any(|key| !matches!(key, Expr::Literal(..)));
    let mut keys = keys;
    keys.retain(|key| !(has_other && matches!(key, Expr::Literal(..))) && seen.insert(key.clone()));
    keys
}

/// The order without what does not order anything further.
fn once(order: Vec<SortExpr>) -> Vec<SortExpr> {
    let mut seen = HashSet::new();
    let mut order = order;
    order.retain(|sort| !matches!(sort.expr, Expr::Literal(..)) && seen.insert(sort.expr.clone()));
    order
}
