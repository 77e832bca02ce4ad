//! Subqueries in the conditions of joins, and those that are one side of a join.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, TableReference, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, SubqueryAlias};

use super::pull::Pulling;
use super::{Rewriter, depends, is_about, is_subquery, is_within, joined, restored};

impl Rewriter<'_> {
    /// A join whose condition has subqueries, or whose right side depends on the left.
    pub fn join(self, join: Join) -> Result<LogicalPlan> {
        if let Some((inner, alias)) = lateral(&join.right) {
            return self.lateral(join, inner, alias);
        }
        // Where only a subquery in it refers to the left side, it is not marked as lateral.
        if depends(&join.right, Some(join.left.schema()))? {
            let inner = join.right.as_ref().clone();
            return self.lateral(join, inner, None);
        }
        let has = |expr: &Option<Expr>| expr.as_ref().is_some_and(is_within);
        if !has(&join.filter) {
            return Ok(LogicalPlan::Join(join));
        }
        let columns = columns_of(&join);
        let Join {
            left,
            right,
            on,
            filter,
            join_type,
            join_constraint,
            null_equality,
            null_aware,
            ..
        } = join;
        let (mut left, mut right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
        let conditions = filter.map(split_conjunction_owned).unwrap_or_default();
        let (with, mut plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(is_within);
        let make = |left: LogicalPlan, right: LogicalPlan, conditions: Vec<Expr>| {
            Join::try_new(
                Arc::new(left),
                Arc::new(right),
                on,
                conjunction(conditions),
                join_type,
                join_constraint,
                null_equality,
                null_aware,
            )
            .map(LogicalPlan::Join)
        };
        if join_type == JoinType::Inner {
            let plan = make(left, right, plain)?;
            return match conjunction(with) {
                Some(condition) => self.filter(Filter::try_new(condition, Arc::new(plan))?, true),
                None => Ok(plan),
            };
        }
        for condition in with {
            let condition = condition.transform_down(|part| {
                if !is_subquery(&part) {
                    return Ok(Transformed::no(part));
                }
                let of_left = is_about(&part, left.schema())?;
                let side = match (of_left, is_about(&part, right.schema())?) {
                    (_, false) => &mut left,
                    (false, true) => &mut right,
                    (true, true) => {
                        return plan_err!(
                            "a subquery in ON of a {join_type} join is not supported where it is about both \
                             sides: {part}"
                        );
                    }
                };
                let value = self.value(part, side, false)?;
                Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
            })?;
            plain.push(condition.data);
        }
        restored(make(left, right, plain)?, columns)
    }

    /// Each row of the left with the rows that the right has for it.
    fn lateral(
        self,
        join: Join,
        inner: LogicalPlan,
        alias: Option<TableReference>,
    ) -> Result<LogicalPlan> {
        let columns = columns_of(&join);
        let left = Arc::unwrap_or_clone(join.left);
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return plan_err!("LATERAL is not supported in a {} join", join.join_type);
        }
        let outputs: Vec<_> = inner.schema().columns();
        let named: Vec<_> = join
            .right
            .schema()
            .iter()
            .map(|(_, field)| field.name().clone())
            .collect();
        let pulled = Pulling::new(self, &left, false).pulled(inner)?;
        let qualifier = TableReference::bare(self.fresh("lateral"));
        let kept = outputs.into_iter().zip(named).map(|(column, name)| {
            let relation = alias.clone().or_else(|| column.relation.clone());
            (column, relation, name)
        });
        let (right, mut conditions) = pulled.finished(kept.collect(), &qualifier, left.schema())?;
        conditions.extend(join.on.into_iter().map(|(l, r)| l.eq(r)));
        conditions.extend(join.filter);
        let kind = match conditions.is_empty() {
            true if join.join_type == JoinType::Left => {
                conditions.push(datafusion::logical_expr::lit(true));
                JoinType::Left
            }
            _ => join.join_type,
        };
        restored(joined(left, right, kind, conditions)?, columns)
    }
}

/// The subquery of a lateral join, and what it is called.
fn lateral(right: &LogicalPlan) -> Option<(LogicalPlan, Option<TableReference>)> {
    match right {
        LogicalPlan::Subquery(subquery) => Some((subquery.subquery.as_ref().clone(), None)),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => match input.as_ref() {
            LogicalPlan::Subquery(subquery) => {
                Some((subquery.subquery.as_ref().clone(), Some(alias.clone())))
            }
            _ => None,
        },
        _ => None,
    }
}

fn columns_of(join: &Join) -> Vec<Expr> {
    join.schema
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect()
}
