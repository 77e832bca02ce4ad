//! Subqueries that stand for a value.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result, TableReference, plan_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery,
    SubqueryAlias, lit,
};

use super::domain::Domain;
use super::pull::{Kept, Pulled, Pulling, is_never_empty, is_single, with_mark};
use super::pushed::{either, of_nothing, pushed};
use super::{Rewriter, depends, inlined, joined, refers};

impl Rewriter<'_> {
    /// The value of a subquery for each row of `input`.
    pub fn scalar(self, plan: LogicalPlan, input: &mut LogicalPlan) -> Result<Expr> {
        if plan.schema().fields().len() != 1 {
            return plan_err!(
                "a subquery that stands for a value has one column, not {}",
                plan.schema().fields().len()
            );
        }
        if !depends(&plan, None)? {
            if !self.is_once {
                return self.joined_once(plan, input);
            }
            return once(plan);
        }
        match self.total(&plan, input)? {
            Some(value) => Ok(value),
            None => self.looked_up(plan, input),
        }
    }

    /// The value of a subquery that depends on nothing around it, joined to every row.
    fn joined_once(self, plan: LogicalPlan, input: &mut LogicalPlan) -> Result<Expr> {
        let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
        let value = first_value_udaf().call(vec![value]).alias("v");
        let rows = count_udaf().call(vec![lit(1_i64)]).alias("n");
        let qualifier = TableReference::bare(self.fresh("subquery"));
        let made = Aggregate::try_new(Arc::new(plan), vec![], vec![value, rows])?;
        let right = LogicalPlanBuilder::from(LogicalPlan::Aggregate(made))
            .alias(qualifier.clone())?
            .build()?;
        let left = std::mem::replace(input, LogicalPlanBuilder::empty(false).build()?);
        *input = joined(left, right, JoinType::Left, super::always(vec![]))?;
        let column = |name: &str| Expr::Column(Column::new(Some(qualifier.clone()), name));
        Ok(super::single().call(vec![column("v"), column("n")]))
    }

    /// The value of an aggregate without groups whose rows are those with the same values as the row around.
    fn total(self, plan: &LogicalPlan, input: &mut LogicalPlan) -> Result<Option<Expr>> {
        let outer = Arc::clone(input.schema());
        let Some((value, aggregate)) = totalled(plan)? else {
            return Ok(None);
        };
        if refers(&value, None)? {
            return Ok(None);
        }
        for expr in &aggregate.aggr_expr {
            if refers(expr, None)? {
                return Ok(None);
            }
        }
        let pulling = Pulling::new(self, input, false);
        let Some(pulled) = pulling.plain(aggregate.input.as_ref().clone())? else {
            return Ok(None);
        };
        let mut keys = Vec::with_capacity(pulled.conditions.len());
        for condition in pulled.conditions {
            let Some(key) = key(condition)? else {
                return Ok(None);
            };
            keys.push(key);
        }
        let qualifier = TableReference::bare(self.fresh("subquery"));
        let mut groups = Vec::with_capacity(keys.len());
        let mut conditions = Vec::with_capacity(keys.len());
        for (place, Key { inner, op, outer }) in keys.into_iter().enumerate() {
            let name = format!("c{place}");
            groups.push(inner.alias(&name));
            conditions.push(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(outer),
                op,
                right: Box::new(Expr::Column(Column::new_unqualified(name))),
            }));
        }
        let names: Vec<_> = aggregate.schema.columns();
        let exprs = aggregate.aggr_expr.iter().enumerate();
        let exprs = exprs.map(|(place, expr)| match expr {
            Expr::Alias(alias) => alias.expr.as_ref().clone().alias(format!("a{place}")),
            other => other.clone().alias(format!("a{place}")),
        });
        let made = Aggregate::try_new(Arc::new(pulled.plan), groups, exprs.collect())?;
        let right = with_mark(LogicalPlan::Aggregate(made), "seen")?;
        let kept = right.schema().columns().into_iter();
        let kept: Vec<Kept> = kept
            .map(|column| {
                let name = column.name.clone();
                (column, Some(qualifier.clone()), name)
            })
            .collect();
        let right = Pulled {
            plan: right,
            conditions: vec![],
        };
        let (right, _) = right.finished(kept, &qualifier, &outer)?;
        let conditions = conditions
            .into_iter()
            .map(|condition| inlined(qualified(condition, &qualifier)?, &outer))
            .collect::<Result<Vec<_>>>()?;
        let left = std::mem::replace(input, LogicalPlanBuilder::empty(false).build()?);
        *input = joined(left, right, JoinType::Left, super::always(conditions))?;
        let is_missing = Expr::Column(Column::new(Some(qualifier.clone()), "seen")).is_null();
        let mut found = Vec::with_capacity(names.len());
        for ((place, expr), field) in aggregate
            .aggr_expr
            .iter()
            .enumerate()
            .zip(aggregate.schema.fields())
        {
            let value = Expr::Column(Column::new(Some(qualifier.clone()), format!("a{place}")));
            let empty = of_nothing(expr, field.data_type())?;
            found.push(match empty.is_null() {
                true => value,
                false => either(is_missing.clone(), Expr::Literal(empty, None), value),
            });
        }
        let value = value.transform(|part| {
            Ok(match &part {
                Expr::Column(column) => match names.iter().position(|name| name == column) {
                    Some(place) => Transformed::yes(found[place].clone()),
                    None => Transformed::no(part),
                },
                _ => Transformed::no(part),
            })
        })?;
        Ok(Some(value.data))
    }

    /// The value of any other subquery.
    fn looked_up(self, plan: LogicalPlan, input: &mut LogicalPlan) -> Result<Expr> {
        let outer = Arc::clone(input.schema());
        let is_single = is_single(&plan);
        let column = Column::from(plan.schema().qualified_field(0));
        let domain = Domain::of(&plan, input, self)?;
        let conditions = domain.conditions();
        let keys = domain.columns();
        let mut plan = pushed(plan, &domain)?;
        let qualifier = TableReference::bare(self.fresh("subquery"));
        let mut kept: Vec<Kept> = vec![(column.clone(), Some(qualifier.clone()), "v".to_owned())];
        if !is_single {
            let value = first_value_udaf().call(vec![Expr::Column(column)]);
            let value = value.alias("v");
            let rows = count_udaf().call(vec![lit(1_i64)]).alias("n");
            let made = Aggregate::try_new(Arc::new(plan), keys, vec![value, rows])?;
            plan = LogicalPlan::Aggregate(made);
            let own = |name: &str| {
                (
                    Column::new_unqualified(name),
                    Some(qualifier.clone()),
                    name.to_owned(),
                )
            };
            kept = vec![own("v"), own("n")];
        }
        let pulled = Pulled { plan, conditions };
        let (right, conditions) = pulled.finished(kept, &qualifier, &outer)?;
        let left = std::mem::replace(input, LogicalPlanBuilder::empty(false).build()?);
        *input = joined(left, right, JoinType::Left, super::always(conditions))?;
        let column = |name: &str| Expr::Column(Column::new(Some(qualifier.clone()), name));
        Ok(match is_single {
            true => column("v"),
            false => super::single().call(vec![column("v"), column("n")]),
        })
    }
}

/// A value that is computed once, before the query. DataFusion does not see that there may be no row.
fn once(plan: LogicalPlan) -> Result<Expr> {
    let subquery = |plan: LogicalPlan| {
        Expr::ScalarSubquery(Subquery {
            subquery: Arc::new(plan),
            outer_ref_columns: vec![],
            spans: Default::default(),
        })
    };
    let (relation, field) = plan.schema().qualified_field(0);
    if is_never_empty(&plan) {
        return Ok(subquery(plan));
    }
    let column = Column::from((relation, field));
    if !is_stored(&plan, &column) {
        // Within, what turns out to be a constant would not be NULL again.
        return Ok(super::nullable().call(vec![subquery(plan)]));
    }
    if field.is_nullable() {
        return Ok(subquery(plan));
    }
    let name = (column.relation.clone(), column.name.clone());
    let value = super::nullable().call(vec![Expr::Column(column)]);
    let value = value.alias_qualified(name.0, name.1);
    let plan = LogicalPlanBuilder::from(plan)
        .project(vec![value])?
        .build()?;
    Ok(subquery(plan))
}

/// Whether a column is one of a table.
fn is_stored(plan: &LogicalPlan, column: &Column) -> bool {
    let place = || plan.schema().columns().iter().position(|one| one == column);
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Filter(filter) => is_stored(&filter.input, column),
        LogicalPlan::Limit(limit) => is_stored(&limit.input, column),
        LogicalPlan::Sort(sort) => is_stored(&sort.input, column),
        LogicalPlan::SubqueryAlias(alias) => place().is_some_and(|place| {
            let columns = alias.input.schema().columns();
            is_stored(&alias.input, &columns[place])
        }),
        LogicalPlan::Projection(projection) => place().is_some_and(|place| {
            let expr = projection.expr[place].clone().unalias_nested().data;
            expr.try_as_col()
                .is_some_and(|below| is_stored(&projection.input, below))
        }),
        _ => false,
    }
}

/// The aggregate without groups that a plan ends in, and the value that is made of its columns.
fn totalled(plan: &LogicalPlan) -> Result<Option<(Expr, &Aggregate)>> {
    let mut value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let mut plan = plan;
    loop {
        match plan {
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
                return Ok(Some((value, aggregate)));
            }
            LogicalPlan::Projection(Projection {
                expr,
                input,
                schema,
                ..
            }) => {
                let names = schema.columns();
                let changed = value.transform(|part| {
                    Ok(match &part {
                        Expr::Column(column) => {
                            match names.iter().position(|name| name == column) {
                                Some(place) => {
                                    Transformed::yes(expr[place].clone().unalias_nested().data)
                                }
                                None => Transformed::no(part),
                            }
                        }
                        _ => Transformed::no(part),
                    })
                })?;
                value = changed.data;
                plan = input;
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, schema, .. }) => {
                let names = schema.columns();
                let below = input.schema().columns();
                let changed = value.transform(|part| {
                    Ok(match &part {
                        Expr::Column(column) => {
                            match names.iter().position(|name| name == column) {
                                Some(place) => Transformed::yes(Expr::Column(below[place].clone())),
                                None => Transformed::no(part),
                            }
                        }
                        _ => Transformed::no(part),
                    })
                })?;
                value = changed.data;
                plan = input;
            }
            _ => return Ok(None),
        }
        if value.is_volatile() {
            return Ok(None);
        }
    }
}

/// A condition that something of the subquery equals something of the rows around.
struct Key {
    inner: Expr,
    op: Operator,
    outer: Expr,
}

fn key(condition: Expr) -> Result<Option<Key>> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: op @ (Operator::Eq | Operator::IsNotDistinctFrom),
        right,
    }) = condition
    else {
        return Ok(None);
    };
    for (inner, outer) in [(&left, &right), (&right, &left)] {
        if !refers(inner, None)? && outer.column_refs().is_empty() && !inner.is_volatile() {
            return Ok(Some(Key {
                inner: inner.as_ref().clone(),
                op,
                outer: outer.as_ref().clone(),
            }));
        }
    }
    Ok(None)
}

/// The expression, its columns under a qualifier.
fn qualified(expr: Expr, qualifier: &TableReference) -> Result<Expr> {
    let changed = expr.transform(|part| {
        Ok(match part {
            Expr::Column(Column { name, .. }) => {
                Transformed::yes(Expr::Column(Column::new(Some(qualifier.clone()), name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(changed.data)
}
