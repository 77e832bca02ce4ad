//! Whether the columns of a plan can be told apart by their names.
//!
//! DataFusion 55 finds the column that a join's dynamic filter is about by its name, on the way down to a
//! scan: where two scans, or a scan and an expression, give columns of one name, rows are lost
//! (apache/datafusion#25244, #25262, #25264).

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Whether two things of a plan give columns of one name.
pub fn are_ambiguous(plan: &LogicalPlan) -> Result<bool> {
    let mut seen = HashSet::new();
    let mut twice = false;
    plan.apply_with_subqueries(|node| {
        let mut names: Vec<String> = Vec::new();
        match node {
            LogicalPlan::TableScan(scan) => {
                let fields = scan.projected_schema.fields().iter();
                names.extend(fields.map(|field| field.name().clone()));
            }
            LogicalPlan::Projection(projection) => made(&projection.expr, &mut names),
            LogicalPlan::Aggregate(aggregate) => {
                made(&aggregate.group_expr, &mut names);
                made(&aggregate.aggr_expr, &mut names);
            }
            LogicalPlan::Window(window) => made(&window.window_expr, &mut names),
            LogicalPlan::Values(values) => {
                let fields = values.schema.fields().iter();
                names.extend(fields.map(|field| field.name().clone()));
            }
            LogicalPlan::Unnest(unnest) => {
                let fields = unnest.schema.fields().iter();
                names.extend(fields.map(|field| field.name().clone()));
            }
            // What is joined in them cannot be told.
            LogicalPlan::Extension(_) | LogicalPlan::RecursiveQuery(_) => twice = true,
            _ => {}
        }
        for name in names {
            twice |= !seen.insert(name);
        }
        Ok(if twice {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(twice)
}

/// Names of expressions that are not columns under their own names.
fn made(exprs: &[Expr], names: &mut Vec<String>) {
    let new = exprs.iter().filter(|expr| match expr {
        Expr::Column(_) => false,
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Column(column) => column.name != alias.name,
            _ => true,
        },
        _ => true,
    });
    names.extend(new.map(|expr| expr.qualified_name().1));
}
