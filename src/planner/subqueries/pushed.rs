//! The operators of a subquery, each for all rows of its domain.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    Column, JoinType, NullEquality, Result, ScalarValue, internal_err, plan_err,
};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Alias, Case, GroupingSet};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, FetchType, Join, JoinConstraint, Limit, LogicalPlan,
    LogicalPlanBuilder, Projection, SkipType, Sort, SortExpr, Subquery, SubqueryAlias, Union,
    Unnest, Window, lit,
};

use super::domain::Domain;
use super::pull::with_mark;
use super::{columns, filtered};
use crate::planner::set_operations::row_number;

/// The plan for each row of the domain, whose columns it has besides its own.
#[recursive::recursive]
pub fn pushed(plan: LogicalPlan, domain: &Domain) -> Result<LogicalPlan> {
    if domain.referred.is_empty() {
        return Ok(plan);
    }
    if !domain.depends(&plan)? {
        return LogicalPlanBuilder::from(domain.plan()?)
            .cross_join(plan)?
            .build();
    }
    match plan {
        LogicalPlan::Filter(filter) => {
            let input = pushed(Arc::unwrap_or_clone(filter.input), domain)?;
            filtered(vec![domain.resolved(filter.predicate)?], input)
        }
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let input = pushed(Arc::unwrap_or_clone(input), domain)?;
            projected(domain, expr, input)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, schema, .. }) => {
            let columns = input.schema().columns().into_iter().zip(schema.iter());
            let exprs = columns.map(|(column, (relation, field))| {
                Expr::Column(column).alias_qualified(relation.cloned(), field.name())
            });
            let exprs = exprs.collect();
            let input = pushed(Arc::unwrap_or_clone(input), domain)?;
            projected(domain, exprs, input)
        }
        LogicalPlan::Subquery(Subquery { subquery, .. }) => {
            pushed(Arc::unwrap_or_clone(subquery), domain)
        }
        LogicalPlan::Sort(Sort {
            input, fetch: None, ..
        }) => pushed(Arc::unwrap_or_clone(input), domain),
        LogicalPlan::Sort(Sort {
            expr,
            input,
            fetch: Some(fetch),
        }) => cut(domain, &expr, 0, Some(fetch), Arc::unwrap_or_clone(input)),
        LogicalPlan::Limit(limit) => limited(domain, limit),
        LogicalPlan::Aggregate(aggregate) => aggregated(domain, aggregate),
        LogicalPlan::Distinct(distinct) => distinguished(domain, distinct),
        LogicalPlan::Window(window) => windowed(domain, window),
        LogicalPlan::Union(union) => united(domain, union),
        LogicalPlan::Join(join) => joined(domain, join),
        LogicalPlan::Unnest(Unnest {
            input,
            exec_columns,
            options,
            ..
        }) => {
            let input = pushed(Arc::unwrap_or_clone(input), domain)?;
            LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(exec_columns, options)?
                .build()
        }
        other => plan_err!(
            "a subquery cannot depend on rows around it in {}",
            other.display()
        ),
    }
}

/// A projection of the expressions under the names that they have.
fn projected(domain: &Domain, exprs: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let own = exprs.into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(domain.resolved(expr)?))
    });
    let exprs = domain.columns().into_iter().map(Ok).chain(own);
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(input),
    )?))
}

/// A cut below projections, where its order is.
fn limited(domain: &Domain, limit: Limit) -> Result<LogicalPlan> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return plan_err!("LIMIT and OFFSET of a subquery are numbers");
    };
    let below = |input: Arc<LogicalPlan>| {
        LogicalPlan::Limit(Limit {
            skip: limit.skip.clone(),
            fetch: limit.fetch.clone(),
            input,
        })
    };
    match Arc::unwrap_or_clone(limit.input) {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let input = pushed(below(input), domain)?;
            projected(domain, expr, input)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let alias = SubqueryAlias::try_new(Arc::new(below(input)), alias)?;
            pushed(LogicalPlan::SubqueryAlias(alias), domain)
        }
        LogicalPlan::Sort(Sort {
            expr,
            input,
            fetch: None,
        }) => cut(domain, &expr, skip, fetch, Arc::unwrap_or_clone(input)),
        input => cut(domain, &[], skip, fetch, input),
    }
}

/// Some of the rows of each row of the domain, by their order.
fn cut(
    domain: &Domain,
    order: &[SortExpr],
    skip: usize,
    fetch: Option<usize>,
    input: LogicalPlan,
) -> Result<LogicalPlan> {
    let input = pushed(input, domain)?;
    let columns = columns(&input);
    let order = order.iter().map(|sort| {
        let expr = domain.resolved(sort.expr.clone())?;
        Ok(sort.with_expr(expr))
    });
    let name = domain.fresh("row");
    let number = row_number(domain.columns(), order.collect::<Result<_>>()?).alias(&name);
    let plan = LogicalPlanBuilder::from(input)
        .window(vec![number])?
        .build()?;
    let number = Expr::Column(Column::new_unqualified(name));
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    let mut conditions = vec![number.clone().gt(lit(count(skip)))];
    if let Some(fetch) = fetch {
        conditions.push(number.lt_eq(lit(count(skip.saturating_add(fetch)))));
    }
    LogicalPlanBuilder::from(filtered(conditions, plan)?)
        .project(columns)?
        .build()
}

fn aggregated(domain: &Domain, aggregate: Aggregate) -> Result<LogicalPlan> {
    let outputs = aggregate.schema.columns();
    let is_total = aggregate.group_expr.is_empty();
    let aggregates = aggregate.aggr_expr.clone();
    let kinds = aggregate
        .schema
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect::<Vec<_>>();
    let input = pushed(Arc::unwrap_or_clone(aggregate.input), domain)?;
    let names = NamePreserver::new_for_projection();
    let resolved = |expr: Expr| {
        let name = names.save(&expr);
        Ok::<_, DataFusionError>(name.restore(domain.resolved(expr)?))
    };
    let groups = match <[Expr; 1]>::try_from(aggregate.group_expr) {
        Ok([Expr::GroupingSet(sets)]) => vec![Expr::GroupingSet(grouped(domain, sets)?)],
        Ok([expr]) => with_domain(domain, vec![resolved(expr)?]),
        Err(exprs) => {
            let exprs = exprs.into_iter().map(resolved).collect::<Result<_>>()?;
            with_domain(domain, exprs)
        }
    };
    let exprs = aggregate
        .aggr_expr
        .into_iter()
        .map(resolved)
        .collect::<Result<Vec<_>>>()?;
    let made = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), groups, exprs)?);
    if !is_total {
        return Ok(made);
    }
    // There is a total of no rows too.
    let all = domain.anew();
    let mark = domain.fresh("seen");
    let plan = super::joined(
        all.plan()?,
        with_mark(made, &mark)?,
        JoinType::Left,
        all.same(domain),
    )?;
    let mut exprs: Vec<Expr> = all
        .columns()
        .into_iter()
        .zip(domain.columns())
        .map(|(value, column)| renamed(value, column))
        .collect();
    let is_missing = Expr::Column(Column::new_unqualified(mark)).is_null();
    for ((column, expr), kind) in outputs.into_iter().zip(&aggregates).zip(kinds) {
        let empty = of_nothing(expr, &kind)?;
        let value = Expr::Column(column.clone());
        let value = match empty.is_null() {
            true => value,
            false => either(is_missing.clone(), Expr::Literal(empty, None), value),
        };
        exprs.push(renamed(value, Expr::Column(column)));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(plan),
    )?))
}

pub fn either(condition: Expr, then: Expr, other: Expr) -> Expr {
    Expr::Case(Case::new(
        None,
        vec![(Box::new(condition), Box::new(then))],
        Some(Box::new(other)),
    ))
}

/// The value under the name of a column.
fn renamed(value: Expr, column: Expr) -> Expr {
    match column {
        Expr::Column(column) if value == Expr::Column(column.clone()) => value,
        Expr::Column(Column { relation, name, .. }) => value.alias_qualified(relation, name),
        _ => value,
    }
}

/// What an aggregate gives of no rows.
pub fn of_nothing(expr: &Expr, kind: &DataType) -> Result<ScalarValue> {
    match expr {
        Expr::Alias(Alias { expr, .. }) => of_nothing(expr, kind),
        Expr::AggregateFunction(function) => function.func.default_value(kind),
        other => internal_err!("{other} is no aggregate"),
    }
}

fn with_domain(domain: &Domain, exprs: Vec<Expr>) -> Vec<Expr> {
    let mut all = domain.columns();
    all.extend(exprs);
    all
}

/// Grouping sets for each row of the domain.
fn grouped(domain: &Domain, sets: GroupingSet) -> Result<GroupingSet> {
    let sets = match sets {
        GroupingSet::GroupingSets(sets) if !sets.iter().any(Vec::is_empty) => sets,
        _ => {
            return plan_err!(
                "a subquery that depends on rows around it cannot have a grand total beside other groups \
                 (ROLLUP, CUBE, or an empty grouping set)"
            );
        }
    };
    let sets = sets.into_iter().map(|set| {
        let set = set.into_iter().map(|expr| domain.resolved(expr));
        Ok(with_domain(domain, set.collect::<Result<_>>()?))
    });
    Ok(GroupingSet::GroupingSets(sets.collect::<Result<_>>()?))
}

fn distinguished(domain: &Domain, distinct: Distinct) -> Result<LogicalPlan> {
    match distinct {
        Distinct::All(input) => {
            let input = pushed(Arc::unwrap_or_clone(input), domain)?;
            Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
        }
        Distinct::On(DistinctOn {
            on_expr,
            select_expr,
            sort_expr,
            input,
            ..
        }) => {
            let input = pushed(Arc::unwrap_or_clone(input), domain)?;
            let resolved = |exprs: Vec<Expr>| {
                let exprs = exprs.into_iter().map(|expr| domain.resolved(expr));
                Ok::<_, DataFusionError>(with_domain(domain, exprs.collect::<Result<_>>()?))
            };
            let order = sort_expr
                .map(|order| {
                    let first = domain.columns().into_iter().map(|c| Ok(c.sort(true, true)));
                    let own = order.into_iter().map(|sort| {
                        let expr = domain.resolved(sort.expr.clone())?;
                        Ok(sort.with_expr(expr))
                    });
                    first.chain(own).collect::<Result<Vec<_>>>()
                })
                .transpose()?;
            let made = DistinctOn::try_new(
                resolved(on_expr)?,
                resolved(select_expr)?,
                order,
                Arc::new(input),
            )?;
            Ok(LogicalPlan::Distinct(Distinct::On(made)))
        }
    }
}

fn windowed(domain: &Domain, window: Window) -> Result<LogicalPlan> {
    let outputs = window.schema.columns();
    let own = outputs.len() - window.window_expr.len();
    let input = pushed(Arc::unwrap_or_clone(window.input), domain)?;
    let given = input.schema().fields().len();
    let functions = window.window_expr.into_iter().map(|expr| {
        let changed = domain.resolved(expr)?.transform(|part| {
            Ok(match part {
                Expr::WindowFunction(mut function) => {
                    let mut all = domain.columns();
                    all.append(&mut function.params.partition_by);
                    function.params.partition_by = all;
                    Transformed::yes(Expr::WindowFunction(function))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(changed.data)
    });
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlanBuilder::from(input).window(functions)?.build()?;
    // What a function is called tells how it is partitioned.
    let made = plan.schema().columns();
    let mut exprs = domain.columns();
    exprs.extend(outputs[..own].iter().cloned().map(Expr::Column));
    for (value, column) in made[given..].iter().zip(&outputs[own..]) {
        exprs.push(renamed(
            Expr::Column(value.clone()),
            Expr::Column(column.clone()),
        ));
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn united(domain: &Domain, union: Union) -> Result<LogicalPlan> {
    let count = union.schema.fields().len();
    let width = domain.referred.len() + count;
    let names: Vec<String> = (0..width).map(|_| domain.fresh("column")).collect();
    let inputs = union.inputs.into_iter().map(|input| {
        let own = columns(&input);
        let input = pushed(Arc::unwrap_or_clone(input), domain)?;
        let exprs = domain.columns().into_iter().chain(own).zip(&names);
        let exprs = exprs.map(|(expr, name)| expr.alias(name));
        let plan = LogicalPlanBuilder::from(input).project(exprs)?.build()?;
        Ok(Arc::new(plan))
    });
    let made = Union::try_new(inputs.collect::<Result<_>>()?)?;
    let outputs = union.schema.columns().into_iter().map(Expr::Column);
    let exprs = domain.columns().into_iter().chain(outputs).zip(&names);
    let exprs =
        exprs.map(|(column, name)| renamed(Expr::Column(Column::new_unqualified(name)), column));
    LogicalPlanBuilder::from(LogicalPlan::Union(made))
        .project(exprs)?
        .build()
}

fn joined(domain: &Domain, join: Join) -> Result<LogicalPlan> {
    let Join {
        left,
        right,
        on,
        filter,
        join_type,
        schema,
        null_equality,
        null_aware,
        ..
    } = join;
    let mut in_condition = match &filter {
        Some(condition) => domain.refers(condition)?,
        None => false,
    };
    for (left, right) in &on {
        in_condition |= domain.refers(left)? || domain.refers(right)?;
    }
    let (in_left, in_right) = (domain.depends(&left)?, domain.depends(&right)?);
    let (into_left, into_right) = match join_type {
        JoinType::Inner => (in_left || (in_condition && !in_right), in_right),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (true, in_right)
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (in_left, true)
        }
        JoinType::Full => (true, true),
    };
    // Of the two, the one whose rows come out has the name.
    let mut other = domain.anew();
    if matches!(join_type, JoinType::LeftMark | JoinType::RightMark)
        && let Some((Some(qualifier), _)) = schema.iter().last()
    {
        // The mark is qualified as the columns of the side that it tells of, all of them.
        other.qualifier = qualifier.clone();
    }
    let is_right = matches!(
        join_type,
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
    );
    let (of_left, of_right) = match (into_left && into_right, is_right) {
        (true, true) => (&other, domain),
        (true, false) => (domain, &other),
        (false, _) => (domain, domain),
    };
    let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
    let left = match into_left {
        true => pushed(left, of_left)?,
        false => left,
    };
    let right = match into_right {
        true => pushed(right, of_right)?,
        false => right,
    };
    let on = on
        .into_iter()
        .map(|(left, right)| Ok((domain.resolved(left)?, domain.resolved(right)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut conditions = Vec::new();
    if let Some(condition) = filter {
        // Where both sides have the domain, its rows are the same.
        conditions.push(domain.resolved(condition)?);
    }
    if into_left && into_right {
        conditions.extend(domain.same(&other));
    }
    let null_equality = match on.is_empty() {
        true => NullEquality::NullEqualsNothing,
        false => null_equality,
    };
    let made = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        conjunction(conditions),
        join_type,
        JoinConstraint::On,
        null_equality,
        null_aware,
    )?;
    let plan = LogicalPlan::Join(made);
    if !(into_left && into_right) {
        return Ok(plan);
    }
    let mut exprs: Vec<Expr> = match join_type {
        JoinType::Full => {
            let pairs = domain.columns().into_iter().zip(other.columns());
            pairs
                .map(|(one, two)| {
                    let value = either(one.clone().is_not_null(), one.clone(), two);
                    renamed(value, one)
                })
                .collect()
        }
        _ => domain.columns(),
    };
    exprs.extend(schema.columns().into_iter().map(Expr::Column));
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
