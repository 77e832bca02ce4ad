//! Whether the columns beneath a join can be told apart by their names.
//!
//! DataFusion 55 finds the column that a join's dynamic filter is about by its name, on the way down one
//! side of the join: where two scans there, or a scan and an expression, give columns of one name, rows are
//! lost (apache/datafusion#25244, #25262, #25264).

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Whether a side of any join has two things that give columns of one name.
pub fn are_ambiguous(plan: &LogicalPlan) -> Result<bool> {
    let mut found = Beneath::of(plan).beneath_join;
    plan.apply_with_subqueries(|node| {
        node.apply_subqueries(|subquery| {
            found |= Beneath::of(subquery).beneath_join;
            Ok(TreeNodeRecursion::Jump)
        })
    })?;
    Ok(found)
}

/// What a part of a plan gives names to.
#[derive(Default)]
struct Beneath {
    names: HashSet<String>,
    /// Whether one of them is given twice.
    twice: bool,
    /// Whether that is so of a side of a join.
    beneath_join: bool,
}

impl Beneath {
    fn of(plan: &LogicalPlan) -> Self {
        let mut all = Self::default();
        for input in plan.inputs() {
            let side = Self::of(input);
            all.beneath_join |= side.beneath_join;
            all.beneath_join |= side.twice && matches!(plan, LogicalPlan::Join(_));
            all.twice |= side.twice;
            for name in side.names {
                all.add(name);
            }
        }
        match plan {
            LogicalPlan::TableScan(scan) => {
                for field in scan.projected_schema.fields() {
                    all.add(field.name().clone());
                }
            }
            LogicalPlan::Values(values) => {
                for field in values.schema.fields() {
                    all.add(field.name().clone());
                }
            }
            LogicalPlan::Projection(projection) => all.made(&projection.expr),
            LogicalPlan::Aggregate(aggregate) => {
                all.made(&aggregate.group_expr);
                all.made(&aggregate.aggr_expr);
            }
            LogicalPlan::Window(window) => all.made(&window.window_expr),
            // What these give names to is not looked into.
            LogicalPlan::Unnest(_) | LogicalPlan::Extension(_) | LogicalPlan::RecursiveQuery(_) => {
                all.twice = true;
            }
            _ => {}
        }
        all
    }

    fn add(&mut self, name: String) {
        self.twice |= !self.names.insert(name);
    }

    /// Takes in expressions that are not columns under their own names.
    fn made(&mut self, exprs: &[Expr]) {
        for expr in exprs {
            let is_own = match expr {
                Expr::Column(_) => true,
                Expr::Alias(alias) => {
                    matches!(alias.expr.as_ref(), Expr::Column(c) if c.name == alias.name)
                }
                _ => false,
            };
            if !is_own {
                self.add(expr.qualified_name().1);
            }
        }
    }
}
