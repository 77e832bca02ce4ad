//! Subqueries as joins.
//!
//! DataFusion turns some subqueries into joins, some of them wrongly (apache/datafusion#24960, #25283, #25480,
//! #25519), and refuses the others. Here every one is: a subquery whose rows depend on the rows around it
//! becomes a query of its own, computed for all values that it depends on at once (Neumann and Kemper,
//! "Unnesting Arbitrary Queries", BTW 2015). Where the dependence is a condition on its rows alone, the
//! condition moves into the join instead.
//!
//! Two kinds are left to DataFusion: a value that depends on nothing around it, which is computed once before
//! the query (unless `enable_physical_uncorrelated_scalar_subquery` is off), and `x NOT IN (…)` of the like as a condition of its own, which its anti join knows.

mod domain;
mod joins;
mod pull;
mod pushed;
mod quantified;
mod references;
mod scalar;
mod single;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, ExprSchema, JoinType, NullEquality, Result, TableReference, plan_err,
};
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, DistinctOn, Expr, Filter, Join, JoinConstraint, LogicalPlan,
    LogicalPlanBuilder, Operator, Projection, Subquery,
};
use datafusion::optimizer::AnalyzerRule;

use pull::Pulling;
use quantified::Quantified;
pub use references::SettledReferences;
pub use single::{nullable, single};

/// Turns subqueries into joins.
///
/// One of the rules that come after types are settled.
#[derive(Debug, Default)]
pub struct Subqueries {
    /// Names given so far. A session plans one query.
    names: AtomicUsize,
}

impl AnalyzerRule for Subqueries {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_any(&plan)? {
            return Ok(plan);
        }
        refuse_aggregates_around(&plan)?;
        let rewriter = Rewriter {
            names: &self.names,
            is_once: config
                .optimizer
                .enable_physical_uncorrelated_scalar_subquery,
        };
        rewriter.rewritten(plan, false)
    }

    fn name(&self) -> &'static str {
        "subqueries_to_joins"
    }
}

/// # Errors
/// For an aggregate within a subquery that is of the rows around it alone: in SQL it is computed there, and DataFusion
/// would compute it of the subquery's rows.
fn refuse_aggregates_around(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            for expr in &aggregate.aggr_expr {
                expr.apply(|part| match part {
                    Expr::AggregateFunction(call) if is_around(&call.params)? => plan_err!(
                        "{part} in a subquery is of columns of the query around it alone, and belongs to that \
                         query: compute it there"
                    ),
                    _ => Ok(TreeNodeRecursion::Continue),
                })?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Whether an aggregate is about columns around, and about no others.
fn is_around(of: &AggregateFunctionParams) -> Result<bool> {
    let order = of.order_by.iter().map(|sort| &sort.expr);
    let mut is_outer = false;
    for expr in of.args.iter().chain(of.filter.as_deref()).chain(order) {
        is_outer |= refers(expr, None)?;
        if expr.exists(|part| Ok(matches!(part, Expr::Column(_)) || is_subquery(part)))? {
            return Ok(false);
        }
    }
    Ok(is_outer)
}

fn has_any(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let mut found = matches!(node, LogicalPlan::Subquery(_));
        node.apply_expressions(|expr| {
            found |= is_within(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

/// Whether an expression is, or has in it, a subquery.
fn is_within(expr: &Expr) -> bool {
    expr.exists(|part| Ok(is_subquery(part))).unwrap_or(true)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
    )
}

/// Whether a plan depends on rows around it, as far as they have the columns of `outer`; on any where `None`.
fn depends(plan: &LogicalPlan, outer: Option<&DFSchema>) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= refers(expr, outer)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether an expression refers to rows around its query, as far as they have the columns of `outer`.
fn refers(expr: &Expr, outer: Option<&DFSchema>) -> Result<bool> {
    expr.exists(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) => {
                outer.is_none_or(|schema| schema.has_column(column))
            }
            _ => false,
        })
    })
}

/// The expression, its references to rows around that have the columns of `outer` as columns.
fn inlined(expr: Expr, outer: &DFSchema) -> Result<Expr> {
    let changed = expr.transform(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) if outer.has_column(&column) => {
                Transformed::yes(Expr::Column(column))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(changed.data)
}

/// The expression as one within a subquery of the rows it is about.
fn as_outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let changed = expr.transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let field = schema.field_from_column(&column)?;
                Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(changed.data)
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect()
}

fn filtered(conditions: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(
            condition,
            Arc::new(input),
        )?)),
        None => Ok(input),
    }
}

fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    kind: JoinType,
    conditions: Vec<Expr>,
) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        vec![],
        conjunction(conditions),
        kind,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?))
}

#[derive(Clone, Copy)]
struct Rewriter<'a> {
    names: &'a AtomicUsize,
    /// Whether a value that depends on nothing around it is computed before the query, and not joined to it.
    is_once: bool,
}

impl Rewriter<'_> {
    /// A name that nothing has.
    fn fresh(self, what: &str) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed) + 1;
        format!("__{what}_{number}")
    }

    /// The plan without subqueries; `is_nested` where it is one itself.
    #[recursive::recursive]
    fn rewritten(self, plan: LogicalPlan, is_nested: bool) -> Result<LogicalPlan> {
        let schemas = |plan: &LogicalPlan| {
            let inputs = plan.inputs().into_iter();
            inputs
                .map(|input| Arc::clone(input.schema()))
                .collect::<Vec<_>>()
        };
        let before = schemas(&plan);
        let plan = plan
            .map_children(|child| {
                let is_nested = is_nested || matches!(child, LogicalPlan::Subquery(_));
                Ok(Transformed::yes(self.rewritten(child, is_nested)?))
            })?
            .data;
        // A value that may have no row is NULL there.
        let plan = match schemas(&plan) == before {
            true => plan,
            false => plan.recompute_schema()?,
        };
        let plan = plan
            .map_subqueries(|inner| match inner {
                LogicalPlan::Subquery(subquery) => {
                    let inner = Arc::unwrap_or_clone(subquery.subquery);
                    let inner = self.rewritten(inner, true)?;
                    Ok(Transformed::yes(LogicalPlan::Subquery(Subquery {
                        subquery: Arc::new(inner),
                        ..subquery
                    })))
                }
                other => Ok(Transformed::yes(self.rewritten(other, true)?)),
            })?
            .data;
        if let LogicalPlan::Join(join) = plan {
            return self.join(join);
        }
        let mut found = false;
        plan.apply_expressions(|expr| {
            found |= is_within(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        match plan {
            plan if !found => Ok(plan),
            LogicalPlan::Filter(filter) => self.filter(filter, is_nested),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            plan => self.others(plan),
        }
    }

    fn filter(self, filter: Filter, is_nested: bool) -> Result<LogicalPlan> {
        let columns = columns(&filter.input);
        let input = Arc::unwrap_or_clone(filter.input);
        let conditions = split_conjunction_owned(filter.predicate);
        let (with, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(is_within);
        let mut input = filtered(plain, input)?;
        let mut rest = Vec::new();
        for condition in with {
            match Quantified::of(condition) {
                Ok(quantified) => {
                    let schema = Arc::clone(input.schema());
                    // The anti join that knows NULL.
                    if quantified.is_plain_not_in(&schema)? && !is_nested {
                        rest.push(quantified.into_expr()?);
                    } else {
                        input = self.selected(input, quantified)?;
                    }
                }
                Err(condition) => {
                    let condition = self.value(condition, &mut input, true)?;
                    rest.push(condition);
                }
            }
        }
        let plan = filtered(rest, input)?;
        restored(plan, columns)
    }

    fn projection(self, projection: Projection) -> Result<LogicalPlan> {
        let mut input = Arc::unwrap_or_clone(projection.input);
        let names = NamePreserver::new_for_projection();
        let exprs = projection
            .expr
            .into_iter()
            .map(|expr| {
                let name = names.save(&expr);
                Ok(name.restore(self.value(expr, &mut input, false)?))
            })
            .collect::<Result<_>>()?;
        // The schema stays as it was said to be, whatever the joins make of NULL.
        let made = Projection::try_new(exprs, Arc::new(input))?;
        Ok(LogicalPlan::Projection(made))
    }

    fn distinct_on(self, distinct: DistinctOn) -> Result<LogicalPlan> {
        let mut input = Arc::unwrap_or_clone(distinct.input);
        let names = NamePreserver::new_for_projection();
        let mut values = |exprs: Vec<Expr>| {
            let values = exprs.into_iter().map(|expr| {
                let name = names.save(&expr);
                Ok(name.restore(self.value(expr, &mut input, false)?))
            });
            values.collect::<Result<Vec<_>>>()
        };
        let on = values(distinct.on_expr)?;
        let select = values(distinct.select_expr)?;
        let order = match distinct.sort_expr {
            Some(order) => {
                let exprs = values(order.iter().map(|sort| sort.expr.clone()).collect())?;
                let pairs = order.iter().zip(exprs);
                Some(pairs.map(|(sort, expr)| sort.with_expr(expr)).collect())
            }
            None => None,
        };
        let made = DistinctOn::try_new(on, select, order, Arc::new(input))?;
        Ok(LogicalPlan::Distinct(Distinct::On(made)))
    }

    /// Nodes whose expressions are about the rows of their only input.
    fn others(self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let input = match plan.inputs().as_slice() {
            [input] => (*input).clone(),
            _ => return plan_err!("a subquery is not supported in {}", plan.display()),
        };
        if !matches!(
            plan,
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_)
        ) {
            return plan_err!("a subquery is not supported in {}", plan.display());
        }
        let columns = columns(&plan);
        let mut input = input;
        let names = NamePreserver::new(&plan);
        let exprs = plan
            .expressions()
            .into_iter()
            .map(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_down(|part| match is_subquery(&part) {
                    true => {
                        let value = self.value(part, &mut input, false)?;
                        let value = self.as_column(value, &mut input)?;
                        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
                    }
                    false => Ok(Transformed::no(part)),
                })?;
                Ok(name.restore(changed.data))
            })
            .collect::<Result<_>>()?;
        let plan = plan.with_new_exprs(exprs, vec![input])?;
        restored(plan, columns)
    }

    /// The value as a column of `input`: what groups and sorts is computed once.
    fn as_column(self, value: Expr, input: &mut LogicalPlan) -> Result<Expr> {
        if matches!(value, Expr::Column(_)) {
            return Ok(value);
        }
        let name = self.fresh("value");
        let mut exprs = columns(input);
        exprs.push(value.alias(&name));
        *input = LogicalPlanBuilder::from(input.clone())
            .project(exprs)?
            .build()?;
        Ok(Expr::Column(Column::new_unqualified(name)))
    }

    /// The expression, its subqueries as columns that are joined to `input`.
    ///
    /// `is_condition` where rows for which it is NULL are left out like those for which it is false.
    fn value(self, expr: Expr, input: &mut LogicalPlan, is_condition: bool) -> Result<Expr> {
        if !is_within(&expr) {
            return Ok(expr);
        }
        if is_condition
            && let Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::And | Operator::Or),
                right,
            }) = expr
        {
            let left = Box::new(self.value(*left, input, true)?);
            let right = Box::new(self.value(*right, input, true)?);
            return Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }));
        }
        match Quantified::of(expr) {
            Ok(quantified) => self.truth(quantified, input, is_condition),
            Err(Expr::ScalarSubquery(subquery)) => {
                self.scalar(Arc::unwrap_or_clone(subquery.subquery), input)
            }
            Err(expr) => {
                let changed = expr
                    .map_children(|part| Ok(Transformed::yes(self.value(part, input, false)?)))?;
                Ok(changed.data)
            }
        }
    }

    /// The rows of `input` for which it is true.
    fn selected(self, input: LogicalPlan, quantified: Quantified) -> Result<LogicalPlan> {
        if let Some(truth) = quantified.known()? {
            return filtered(vec![datafusion::logical_expr::lit(truth)], input);
        }
        let mut input = input;
        let quantified = self.with_columns(quantified, &mut input)?;
        if let Some(truth) = self.once(&quantified, &mut input)? {
            return filtered(vec![truth], input);
        }
        let (subquery, is_anti) = quantified.selecting(input.schema())?;
        let kind = match is_anti {
            true => JoinType::LeftAnti,
            false => JoinType::LeftSemi,
        };
        let pulled = Pulling::new(self, &input, true).pulled(subquery)?;
        let qualifier = TableReference::bare(self.fresh("subquery"));
        let (right, conditions) = pulled.finished(vec![], &qualifier, input.schema())?;
        joined(input, right, kind, always(conditions))
    }

    /// Whether a subquery has rows, for each row of `input`: a column that is never NULL.
    fn mark(self, subquery: LogicalPlan, input: &mut LogicalPlan) -> Result<Expr> {
        let pulled = Pulling::new(self, input, true).pulled(subquery)?;
        let qualifier = TableReference::bare(self.fresh("subquery"));
        let (right, conditions) = pulled.finished(vec![], &qualifier, input.schema())?;
        let left = std::mem::replace(input, LogicalPlanBuilder::empty(false).build()?);
        *input = joined(left, right, JoinType::LeftMark, always(conditions))?;
        Ok(Expr::Column(Column::new(Some(qualifier), "mark")))
    }
}

/// A join needs a condition.
fn always(conditions: Vec<Expr>) -> Vec<Expr> {
    match conditions.is_empty() {
        true => vec![datafusion::logical_expr::lit(true)],
        false => conditions,
    }
}

/// Whether an expression, or a subquery in it, refers to columns of `schema`.
fn is_about(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    expr.exists(|part| {
        Ok(match part {
            Expr::Column(column) => schema.has_column(column),
            Expr::Exists(exists) => depends(&exists.subquery.subquery, Some(schema))?,
            Expr::InSubquery(within) => depends(&within.subquery.subquery, Some(schema))?,
            Expr::SetComparison(set) => depends(&set.subquery.subquery, Some(schema))?,
            Expr::ScalarSubquery(subquery) => depends(&subquery.subquery, Some(schema))?,
            _ => false,
        })
    })
}

/// The plan with these columns alone.
fn restored(plan: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
