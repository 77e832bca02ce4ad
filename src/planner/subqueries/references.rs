//! Types of references to the rows around a subquery.
//!
//! They are taken when a text is planned, before types are settled: a column of a union has the type of its first
//! input then, one of `CASE` that of its first branch. `d.n > i.a` is then settled for the wrong type of `d.n`, and
//! the column is cast to it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
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
            let mut others = HashMap::new();
            compare(&settled, &mut Vec::new(), &mut others)?;
            if others.is_empty() {
                return Ok(plan);
            }
            plan = typed(plan, &others)?;
        }
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "settled_references"
    }
}

type Types = HashMap<Column, FieldRef>;

/// Finds the references whose columns have other types, `outer` being the rows around, the nearest last.
fn compare(plan: &LogicalPlan, outer: &mut Vec<DFSchema>, others: &mut Types) -> Result<()> {
    if let LogicalPlan::Join(join) = plan {
        // The right side may be LATERAL.
        compare(&join.left, outer, others)?;
        outer.push(join.left.schema().as_ref().clone());
        compare(&join.right, outer, others)?;
        outer.pop();
    } else {
        for input in plan.inputs() {
            compare(input, outer, others)?;
        }
    }
    let around = merge_schema(&plan.inputs());
    plan.apply_expressions(|expr| {
        expr.apply(|part| {
            match part {
                Expr::OuterReferenceColumn(field, column) => {
                    let schema = outer.iter().rev().find(|rows| rows.has_column(column));
                    if let Some(schema) = schema {
                        let known = schema.field_from_column(column)?;
                        if known.data_type() != field.data_type() {
                            others.insert(column.clone(), Arc::clone(known));
                        }
                    }
                }
                Expr::ScalarSubquery(subquery) => {
                    within(&subquery.subquery, &around, outer, others)?;
                }
                Expr::Exists(exists) => {
                    within(&exists.subquery.subquery, &around, outer, others)?;
                }
                Expr::InSubquery(membership) => {
                    within(&membership.subquery.subquery, &around, outer, others)?;
                }
                Expr::SetComparison(comparison) => {
                    within(&comparison.subquery.subquery, &around, outer, others)?;
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn within(
    subquery: &LogicalPlan,
    around: &DFSchema,
    outer: &mut Vec<DFSchema>,
    others: &mut Types,
) -> Result<()> {
    outer.push(around.clone());
    compare(subquery, outer, others)?;
    outer.pop();
    Ok(())
}

/// The plan, its references of these types.
fn typed(plan: LogicalPlan, types: &Types) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let changed = node.map_expressions(|expr| {
            expr.transform_up(|part| {
                Ok(match part {
                    Expr::OuterReferenceColumn(field, column) => match types.get(&column) {
                        Some(known) => {
                            Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(known), column))
                        }
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    },
                    other => Transformed::no(other),
                })
            })
        })?;
        // Of what is beneath, too.
        Ok(Transformed::yes(changed.data.recompute_schema()?))
    })
    .data()
}
