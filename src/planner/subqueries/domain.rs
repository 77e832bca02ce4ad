//! A subquery computed for all rows around it at once.
//!
//! The domain are the different values that it depends on. Each operator of the subquery then has the columns
//! of the domain beside its own (`pushed`): a filter compares with them, groups and windows are made for each of
//! its rows.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType, Result, TableReference, plan_err};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, Join, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Sort,
};

use super::{Rewriter, depends};

/// The values that a subquery depends on.
#[derive(Clone)]
pub struct Domain<'a> {
    rewriter: Rewriter<'a>,
    /// The rows around.
    outer: &'a LogicalPlan,
    /// Columns of these that are referred to.
    pub referred: Vec<Column>,
    /// Of its columns' names, which nothing else has.
    name: String,
    pub qualifier: TableReference,
}

impl<'a> Domain<'a> {
    pub fn of(plan: &LogicalPlan, outer: &'a LogicalPlan, rewriter: Rewriter<'a>) -> Result<Self> {
        let mut referred = Vec::new();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    if let Expr::OuterReferenceColumn(_, column) = part
                        && outer.schema().has_column(column)
                        && !referred.contains(column)
                    {
                        referred.push(column.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        let name = rewriter.fresh("domain");
        Ok(Self {
            rewriter,
            outer,
            referred,
            qualifier: TableReference::bare(name.as_str()),
            name,
        })
    }

    pub fn anew(&self) -> Self {
        let name = self.rewriter.fresh("domain");
        Self {
            qualifier: TableReference::bare(name.as_str()),
            name,
            ..self.clone()
        }
    }

    fn column(&self, place: usize) -> Column {
        Column::new(
            Some(self.qualifier.clone()),
            format!("{}_{place}", self.name),
        )
    }

    /// A name that nothing has.
    pub fn fresh(&self, what: &str) -> String {
        self.rewriter.fresh(what)
    }

    pub fn columns(&self) -> Vec<Expr> {
        (0..self.referred.len())
            .map(|place| Expr::Column(self.column(place)))
            .collect()
    }

    /// Its rows.
    pub fn plan(&self) -> Result<LogicalPlan> {
        let exprs = self.referred.iter().enumerate().map(|(place, column)| {
            let Column { relation, name, .. } = self.column(place);
            Expr::Column(column.clone()).alias_qualified(relation, name)
        });
        LogicalPlanBuilder::from(repeatable(self.outer)?)
            .project(exprs)?
            .distinct()?
            .build()
    }

    /// What joins a row of it with rows around.
    pub fn conditions(&self) -> Vec<Expr> {
        let referred = self.referred.iter().enumerate();
        let pairs = referred.filter_map(|(place, column)| {
            let field = self.outer.schema().field_from_column(column).ok()?;
            let outer = Expr::OuterReferenceColumn(Arc::clone(field), column.clone());
            Some((outer, Expr::Column(self.column(place)), field.is_nullable()))
        });
        equal(pairs.collect())
    }

    /// What joins a row of it with the same row of another one.
    pub fn same(&self, other: &Self) -> Vec<Expr> {
        let pairs = self.columns().into_iter().zip(other.columns());
        equal(pairs.map(|(one, two)| (one, two, true)).collect())
    }

    /// The expression about columns of the domain instead of rows around.
    pub fn resolved(&self, expr: Expr) -> Result<Expr> {
        let changed = expr.transform(|part| {
            let Expr::OuterReferenceColumn(_, column) = &part else {
                return Ok(Transformed::no(part));
            };
            match self.referred.iter().position(|known| known == column) {
                Some(place) => Ok(Transformed::yes(Expr::Column(self.column(place)))),
                None => Ok(Transformed::no(part)),
            }
        })?;
        Ok(changed.data)
    }

    pub fn refers(&self, expr: &Expr) -> Result<bool> {
        super::refers(expr, Some(self.outer.schema()))
    }

    pub fn depends(&self, plan: &LogicalPlan) -> Result<bool> {
        depends(plan, Some(self.outer.schema()))
    }
}

/// Equality of pairs, NULL being equal to NULL where there may be any: in all pairs then, so that all of them
/// are keys of a hash join.
fn equal(pairs: Vec<(Expr, Expr, bool)>) -> Vec<Expr> {
    let op = match pairs.iter().any(|(.., is_nullable)| *is_nullable) {
        true => Operator::IsNotDistinctFrom,
        false => Operator::Eq,
    };
    let pairs = pairs.into_iter();
    pairs
        .map(|(left, right, _)| {
            Expr::BinaryExpr(BinaryExpr {
                left: Box::new(left),
                op,
                right: Box::new(right),
            })
        })
        .collect()
}

/// A plan that gives at least the rows of `plan`, and the same whenever it runs.
fn repeatable(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let plan = at_least(plan)?;
    let is_other = plan.exists(|node| {
        let mut is_other = matches!(node, LogicalPlan::Limit(_))
            || matches!(node, LogicalPlan::Sort(sort) if sort.fetch.is_some());
        node.apply_expressions(|expr| {
            is_other |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(is_other)
    })?;
    match is_other {
        true => plan_err!(
            "a subquery depends on rows that may be others each time they are computed (LIMIT, or functions \
             such as random); give them a table of their own first"
        ),
        false => Ok(plan),
    }
}

#[recursive::recursive]
fn at_least(plan: &LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(Limit { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) => {
            at_least(input)
        }
        LogicalPlan::Filter(Filter {
            predicate, input, ..
        }) if predicate.is_volatile() => at_least(input),
        LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Join(Join {
            join_type: JoinType::Inner,
            ..
        }) => {
            let changed = plan
                .clone()
                .map_children(|child| Ok(Transformed::yes(at_least(&child)?)))?;
            Ok(changed.data)
        }
        other => Ok(other.clone()),
    }
}
