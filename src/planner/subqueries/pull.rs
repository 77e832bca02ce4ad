//! Conditions that a subquery has on rows around it, moved out of it.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue, TableReference};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, GroupingSet, Join, LogicalPlan,
    LogicalPlanBuilder, Projection, SkipType, Sort, Subquery, SubqueryAlias, lit,
};

use super::domain::Domain;
use super::pushed::pushed;
use super::{Rewriter, depends, filtered, inlined, refers};

/// A subquery that depends on no rows around it any longer, and on what they are joined with it.
pub struct Pulled {
    pub plan: LogicalPlan,
    /// About its columns, and about those of the rows around as outer references.
    pub conditions: Vec<Expr>,
}

/// What a column of a subquery is called outside.
pub type Kept = (Column, Option<TableReference>, String);

impl Pulled {
    /// The plan with the columns that are kept, and those that the conditions need under `qualifier`; and the
    /// conditions about these and the columns of `outer`.
    pub fn finished(
        self,
        kept: Vec<Kept>,
        qualifier: &TableReference,
        outer: &DFSchema,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let mut exprs: Vec<Expr> = kept
            .into_iter()
            .map(|(column, relation, name)| Expr::Column(column).alias_qualified(relation, name))
            .collect();
        let name = |place| Column::new(Some(qualifier.clone()), format!("c{place}"));
        let (conditions, more) = renamed(self.conditions, name)?;
        exprs.extend(more);
        let conditions = conditions.into_iter();
        let conditions = conditions.map(|condition| inlined(condition, outer));
        let conditions = conditions.collect::<Result<_>>()?;
        if exprs.is_empty() {
            exprs.push(lit(true).alias_qualified(Some(qualifier.clone()), "c"));
        }
        let plan = Projection::try_new(exprs, Arc::new(self.plan))?;
        Ok((LogicalPlan::Projection(plan), conditions))
    }
}

/// The way out of a subquery.
pub struct Pulling<'a> {
    rewriter: Rewriter<'a>,
    outer: &'a LogicalPlan,
    /// Whether nothing matters of its rows but whether there are any for which the conditions hold.
    exists: bool,
    /// Whether a part was computed for all rows around.
    is_pushed: Cell<bool>,
}

impl<'a> Pulling<'a> {
    pub fn new(rewriter: Rewriter<'a>, outer: &'a LogicalPlan, exists: bool) -> Self {
        Self {
            rewriter,
            outer,
            exists,
            is_pushed: Cell::new(false),
        }
    }

    fn depends(&self, plan: &LogicalPlan) -> Result<bool> {
        depends(plan, Some(self.outer.schema()))
    }

    fn refers(&self, expr: &Expr) -> Result<bool> {
        refers(expr, Some(self.outer.schema()))
    }

    #[recursive::recursive]
    pub fn pulled(&self, plan: LogicalPlan) -> Result<Pulled> {
        if !self.depends(&plan)? {
            return Ok(Pulled {
                plan,
                conditions: vec![],
            });
        }
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) if self.is_plain(&projection.expr)? => {
                let Projection { expr, input, .. } = projection;
                let pulled = self.pulled(Arc::unwrap_or_clone(input))?;
                self.projected(expr, pulled)
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, schema, .. }) => {
                let columns = input.schema().columns().into_iter().zip(schema.iter());
                let exprs = columns.map(|(column, (relation, field))| {
                    Expr::Column(column).alias_qualified(relation.cloned(), field.name())
                });
                let exprs = exprs.collect();
                let pulled = self.pulled(Arc::unwrap_or_clone(input))?;
                self.projected(exprs, pulled)
            }
            LogicalPlan::Subquery(Subquery { subquery, .. }) => {
                self.pulled(Arc::unwrap_or_clone(subquery))
            }
            // Rows have no order within a join.
            LogicalPlan::Sort(Sort {
                input, fetch: None, ..
            }) => self.pulled(Arc::unwrap_or_clone(input)),
            LogicalPlan::Distinct(Distinct::All(input)) if self.exists => {
                self.pulled(Arc::unwrap_or_clone(input))
            }
            // Groups without anything computed of them.
            LogicalPlan::Aggregate(Aggregate {
                input,
                group_expr,
                aggr_expr,
                ..
            }) if self.exists
                && aggr_expr.is_empty()
                && !group_expr.is_empty()
                && !matches!(group_expr.as_slice(), [Expr::GroupingSet(_)])
                && self.is_plain(&group_expr)? =>
            {
                let pulled = self.pulled(Arc::unwrap_or_clone(input))?;
                self.projected(group_expr, pulled)
            }
            LogicalPlan::Join(join) if self.can_pull_through(&join)? => self.join(join),
            plan => self.pushed(plan),
        }
    }

    /// As `pulled`, where nothing but conditions depends on rows around.
    pub fn plain(&self, plan: LogicalPlan) -> Result<Option<Pulled>> {
        let pulled = self.pulled(plan)?;
        Ok((!self.is_pushed.get()).then_some(pulled))
    }

    fn is_plain(&self, exprs: &[Expr]) -> Result<bool> {
        for expr in exprs {
            if self.refers(expr)? || expr.is_volatile() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn filter(&self, filter: Filter) -> Result<Pulled> {
        let mut pulled = self.pulled(Arc::unwrap_or_clone(filter.input))?;
        let mut own = Vec::new();
        for condition in split_conjunction_owned(filter.predicate) {
            match self.refers(&condition)? {
                true => pulled.conditions.push(condition),
                false => own.push(condition),
            }
        }
        pulled.plan = filtered(own, pulled.plan)?;
        Ok(pulled)
    }

    /// A projection that has the columns that conditions need as well.
    fn projected(&self, mut exprs: Vec<Expr>, pulled: Pulled) -> Result<Pulled> {
        let name = |_| Column::new_unqualified(self.rewriter.fresh("column"));
        let (conditions, more) = renamed(pulled.conditions, name)?;
        exprs.extend(more);
        let plan = Projection::try_new(exprs, Arc::new(pulled.plan))?;
        Ok(Pulled {
            plan: LogicalPlan::Projection(plan),
            conditions,
        })
    }

    /// Whether conditions on the rows of a join are conditions on those of the side that they are about.
    fn can_pull_through(&self, join: &Join) -> Result<bool> {
        for (left, right) in &join.on {
            if self.refers(left)? || self.refers(right)? {
                return Ok(false);
            }
        }
        Ok(match join.join_type {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                let in_condition = match &join.filter {
                    Some(condition) => self.refers(condition)?,
                    None => false,
                };
                !in_condition && !self.depends(&join.right)?
            }
            _ => false,
        })
    }

    fn join(&self, join: Join) -> Result<Pulled> {
        let left = self.pulled(Arc::unwrap_or_clone(join.left))?;
        let right = self.pulled(Arc::unwrap_or_clone(join.right))?;
        let mut conditions = left.conditions;
        conditions.extend(right.conditions);
        let mut own = Vec::new();
        for condition in join.filter.map(split_conjunction_owned).unwrap_or_default() {
            match self.refers(&condition)? {
                true => conditions.push(condition),
                false => own.push(condition),
            }
        }
        let made = Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            join.on,
            datafusion::logical_expr::utils::conjunction(own),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        Ok(Pulled {
            plan: LogicalPlan::Join(made),
            conditions,
        })
    }

    /// The subquery for all rows around at once.
    fn pushed(&self, plan: LogicalPlan) -> Result<Pulled> {
        self.is_pushed.set(true);
        let domain = Domain::of(&plan, self.outer, self.rewriter)?;
        let conditions = domain.conditions();
        let plan = pushed(plan, &domain)?;
        Ok(Pulled { plan, conditions })
    }
}

/// The conditions, their columns under names that are given by number, and these columns so called.
fn renamed(
    conditions: Vec<Expr>,
    name: impl Fn(usize) -> Column,
) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let mut needed: Vec<(Column, Column)> = Vec::new();
    let conditions = conditions.into_iter().map(|condition| {
        let changed = condition.transform(|part| {
            let Expr::Column(column) = part else {
                return Ok(Transformed::no(part));
            };
            let known = needed.iter().find(|(known, _)| *known == column);
            let known = known.map(|(_, name)| name.clone());
            let called = known.unwrap_or_else(|| {
                let called = name(needed.len());
                needed.push((column, called.clone()));
                called
            });
            Ok(Transformed::yes(Expr::Column(called)))
        })?;
        Ok(changed.data)
    });
    let conditions = conditions.collect::<Result<_>>()?;
    let columns = needed
        .into_iter()
        .map(|(column, called)| Expr::Column(column).alias_qualified(called.relation, called.name));
    Ok((conditions, columns.collect()))
}

/// Whether a plan has a row whatever its tables have.
pub fn is_never_empty(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.as_slice() {
            [] => true,
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().any(Vec::is_empty),
            [Expr::GroupingSet(_)] => true,
            _ => false,
        },
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Values(values) => !values.values.is_empty(),
        LogicalPlan::Union(union) => union.inputs.iter().any(|input| is_never_empty(input)),
        LogicalPlan::Limit(limit) => {
            let keeps = matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
                && matches!(
                    limit.get_fetch_type(),
                    Ok(FetchType::Literal(None | Some(1..)))
                );
            keeps && is_never_empty(&limit.input)
        }
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. })
        | LogicalPlan::Sort(Sort {
            input, fetch: None, ..
        }) => is_never_empty(input),
        LogicalPlan::Window(window) => is_never_empty(&window.input),
        LogicalPlan::Distinct(distinct) => is_never_empty(distinct.input()),
        _ => false,
    }
}

/// Whether a plan has one row at most, for each row around it.
pub fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() <= 1,
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1))))
                || is_single(&limit.input)
        }
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. })
        | LogicalPlan::Filter(Filter { input, .. })
        | LogicalPlan::Sort(Sort { input, .. }) => is_single(input),
        LogicalPlan::Window(window) => is_single(&window.input),
        LogicalPlan::Distinct(distinct) => is_single(distinct.input()),
        _ => false,
    }
}

/// The plan and a column that is true in every row of it.
pub fn with_mark(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let mut exprs = super::columns(&plan);
    exprs.push(Expr::Literal(ScalarValue::Boolean(Some(true)), None).alias(name));
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
