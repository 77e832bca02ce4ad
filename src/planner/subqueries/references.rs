//! Types of references to the rows around a subquery.
//!
//! They are taken when a text is planned, before types are settled: a column of a union has the type of its first
//! input then, one of `CASE` that of its first branch. `d.n > i.a` is then settled for the wrong type of `d.n`, and
//! the column is cast to it.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::depends;

/// Gives references the types that their columns have in the end. It comes before types are settled.
#[derive(Debug)]
pub struct SettledReferences;

/// A reference may be to a column that is of another reference, and so on.
const ROUNDS: usize = 8;

impl AnalyzerRule for SettledReferences {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !depends(&plan, None)? {
            return Ok(plan);
        }
        let mut plan = plan;
        for _ in 0..ROUNDS {
            let Ok(settled) = TypeCoercion::new().analyze(plan.clone(), config) else {
                // It says so itself.
                return Ok(plan);
            };
            let mut fields = Vec::new();
            found(&settled, &mut Vec::new(), &mut fields)?;
            if fields.iter().all(Option::is_none) {
                return Ok(plan);
            }
            let mut known = Vec::new();
            found(&plan, &mut Vec::new(), &mut known)?;
            if known.len() != fields.len() {
                break;
            }
            plan = typed(plan, &mut fields.into_iter())?;
        }
        plan_err!("the types of what a subquery refers to cannot be told; CAST it")
    }

    fn name(&self) -> &'static str {
        "settled_references"
    }
}

/// For each reference, in one order, the field that its column has where that is of another type; `outer` are the
/// rows around, the nearest last.
fn found(
    plan: &LogicalPlan,
    outer: &mut Vec<DFSchema>,
    fields: &mut Vec<Option<FieldRef>>,
) -> Result<()> {
    let around = merge_schema(&plan.inputs());
    plan.apply_expressions(|expr| {
        expr.apply(|part| {
            if let Expr::OuterReferenceColumn(field, column) = part {
                let schema = outer.iter().rev().find(|rows| rows.has_column(column));
                let known = schema
                    .map(|rows| rows.field_from_column(column))
                    .transpose()?;
                let other = known.filter(|known| known.data_type() != field.data_type());
                fields.push(other.cloned());
            }
            if let Some(subquery) = subquery_of(part) {
                outer.push(around.clone());
                found(&subquery.subquery, outer, fields)?;
                outer.pop();
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if let LogicalPlan::Join(join) = plan {
        found(&join.left, outer, fields)?;
        // The right side may be LATERAL.
        outer.push(join.left.schema().as_ref().clone());
        found(&join.right, outer, fields)?;
        outer.pop();
    } else {
        for input in plan.inputs() {
            found(input, outer, fields)?;
        }
    }
    Ok(())
}

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(membership) => Some(&membership.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// The plan with the next fields in the place of those of its references, in the order of `found`.
fn typed(
    plan: LogicalPlan,
    fields: &mut impl Iterator<Item = Option<FieldRef>>,
) -> Result<LogicalPlan> {
    let node = plan.map_expressions(|expr| {
        expr.transform_down(|part| {
            Ok(match part {
                Expr::OuterReferenceColumn(field, column) => {
                    let field = fields.next().flatten().unwrap_or(field);
                    Transformed::yes(Expr::OuterReferenceColumn(field, column))
                }
                Expr::ScalarSubquery(subquery) => {
                    Transformed::yes(Expr::ScalarSubquery(within(subquery, fields)?))
                }
                Expr::Exists(exists) => Transformed::yes(Expr::Exists(Exists {
                    subquery: within(exists.subquery, fields)?,
                    ..exists
                })),
                Expr::InSubquery(membership) => Transformed::yes(Expr::InSubquery(InSubquery {
                    subquery: within(membership.subquery, fields)?,
                    ..membership
                })),
                Expr::SetComparison(comparison) => {
                    Transformed::yes(Expr::SetComparison(SetComparison {
                        subquery: within(comparison.subquery, fields)?,
                        ..comparison
                    }))
                }
                other => Transformed::no(other),
            })
        })
    })?;
    let node = node
        .data
        .map_children(|input| Ok(Transformed::yes(typed(input, fields)?)))?;
    node.data.recompute_schema()
}

fn within(
    subquery: Subquery,
    fields: &mut impl Iterator<Item = Option<FieldRef>>,
) -> Result<Subquery> {
    let plan = typed(Arc::unwrap_or_clone(subquery.subquery), fields)?;
    Ok(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: subquery.spans,
    })
}
