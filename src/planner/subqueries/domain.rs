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
    Projection, Sort, SubqueryAlias,
};

use super::{Rewriter, depends, filtered};

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
        if is_volatile(plan)? && !referred.is_empty() {
            return plan_err!(
                "a subquery that depends on rows around it cannot call a function such as random, which \
                 gives something else for each of them; call it outside"
            );
        }
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
        LogicalPlanBuilder::from(repeatable(self.outer, &self.referred)?)
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

/// A plan that gives at least the rows of `plan` as far as `wanted` columns go, and the same whenever it runs.
fn repeatable(plan: &LogicalPlan, wanted: &[Column]) -> Result<LogicalPlan> {
    let plan = at_least(plan, wanted)?;
    let has_cut = plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::Limit(_))
            || matches!(node, LogicalPlan::Sort(sort) if sort.fetch.is_some()))
    })?;
    let mut is_other = has_cut || is_volatile(&plan)?;
    for column in wanted {
        is_other |= !is_settled(&plan, column)?;
    }
    match is_other {
        true => plan_err!(
            "a subquery depends on rows that may be others each time they are computed (LIMIT, functions such \
             as random, sums of floats, windows); give them a table of their own first"
        ),
        false => Ok(plan),
    }
}

fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// Whether a column has the same values whenever the plan runs: a sum of floats does not, which depends on the
/// order of its terms, nor does what goes by an order that is not total.
#[recursive::recursive]
fn is_settled(plan: &LogicalPlan, column: &Column) -> Result<bool> {
    let Some(place) = plan.schema().maybe_index_of_column(column) else {
        return Ok(false);
    };
    let at = |input: &LogicalPlan, place: usize| {
        let column = Column::from(input.schema().qualified_field(place));
        is_settled(input, &column)
    };
    let all = |expr: &Expr, input: &LogicalPlan| -> Result<bool> {
        for column in expr.column_refs() {
            if !is_settled(input, column)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    Ok(match plan {
        LogicalPlan::Projection(projection) => all(&projection.expr[place], &projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => at(&alias.input, place)?,
        LogicalPlan::Filter(filter) => at(&filter.input, place)?,
        LogicalPlan::Sort(sort) => at(&sort.input, place)?,
        LogicalPlan::Distinct(Distinct::All(input)) => at(input, place)?,
        LogicalPlan::Window(window) if place < window.input.schema().fields().len() => {
            at(&window.input, place)?
        }
        LogicalPlan::Union(union) => {
            for input in &union.inputs {
                if !at(input, place)? {
                    return Ok(false);
                }
            }
            true
        }
        LogicalPlan::Join(join) => {
            let of_left = join.left.schema().maybe_index_of_column(column).is_some();
            match of_left {
                true => is_settled(&join.left, column)?,
                // A mark is.
                false => match join.right.schema().maybe_index_of_column(column) {
                    Some(_) => is_settled(&join.right, column)?,
                    None => true,
                },
            }
        }
        LogicalPlan::Aggregate(aggregate) => {
            let keys = aggregate.group_expr.len();
            match aggregate.group_expr.get(place) {
                _ if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) => false,
                Some(key) => all(key, &aggregate.input)?,
                None => match aggregate.aggr_expr.get(place - keys) {
                    Some(expr) => is_settled_aggregate(expr, plan, place),
                    None => false,
                },
            }
        }
        LogicalPlan::TableScan(_) | LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    })
}

/// Whether an aggregate gives the same whatever the order of its rows.
fn is_settled_aggregate(expr: &Expr, plan: &LogicalPlan, place: usize) -> bool {
    const SETTLED: [&str; 11] = [
        "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "grouping", "max",
        "min", "sum",
    ];
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::AggregateFunction(function) = expr else {
        return false;
    };
    let name = function.func.name();
    let is_float = plan.schema().field(place).data_type().is_floating();
    SETTLED.contains(&name) && (!is_float || matches!(name, "max" | "min"))
}

/// The plan without what only leaves rows out, or adds columns that are not wanted.
#[recursive::recursive]
fn at_least(plan: &LogicalPlan, wanted: &[Column]) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Limit(Limit { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) => {
            at_least(input, wanted)
        }
        LogicalPlan::Filter(Filter {
            predicate, input, ..
        }) if predicate.is_volatile() => at_least(input, wanted),
        LogicalPlan::Join(Join {
            left,
            right,
            join_type: JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark,
            schema,
            ..
        }) if wanted.iter().all(|column| {
            left.schema().has_column(column) && !right.schema().has_column(column)
        }) && !schema.fields().is_empty() =>
        {
            at_least(left, wanted)
        }
        LogicalPlan::Filter(Filter {
            predicate, input, ..
        }) => {
            // It may be about columns of a join that is left out.
            let mut needed = wanted.to_vec();
            needed.extend(predicate.column_refs().into_iter().cloned());
            let input = at_least(input, &needed)?;
            filtered(vec![predicate.clone()], input)
        }
        // Of the domain each row is there once.
        LogicalPlan::Distinct(Distinct::All(input)) => at_least(input, wanted),
        LogicalPlan::Projection(projection) => {
            let columns = projection.schema.columns();
            let pairs = projection.expr.iter().zip(&columns);
            let exprs: Vec<Expr> = pairs
                .filter(|(_, column)| wanted.contains(column))
                .map(|(expr, _)| expr.clone())
                .collect();
            if exprs.len() < wanted.len() {
                return Ok(plan.clone());
            }
            let needed = columns_in(exprs.iter());
            let input = at_least(&projection.input, &needed)?;
            let made = Projection::try_new(exprs, Arc::new(input))?;
            Ok(LogicalPlan::Projection(made))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias {
            input,
            alias,
            schema,
            ..
        }) => {
            let below = input.schema().columns();
            let pairs = schema.columns().into_iter().zip(below);
            let needed: Vec<Column> = pairs
                .filter(|(column, _)| wanted.contains(column))
                .map(|(_, below)| below)
                .collect();
            let input = at_least(input, &needed)?;
            let made = SubqueryAlias::try_new(Arc::new(input), alias.clone())?;
            Ok(LogicalPlan::SubqueryAlias(made))
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let pairs = join.on.iter().flat_map(|(left, right)| [left, right]);
            let mut needed = columns_in(pairs.chain(&join.filter));
            needed.extend(wanted.iter().cloned());
            let side = |side: &LogicalPlan| {
                let own = needed
                    .iter()
                    .filter(|column| side.schema().has_column(column));
                at_least(side, &own.cloned().collect::<Vec<_>>())
            };
            let made = Join::try_new(
                Arc::new(side(&join.left)?),
                Arc::new(side(&join.right)?),
                join.on.clone(),
                join.filter.clone(),
                join.join_type,
                join.join_constraint,
                join.null_equality,
                join.null_aware,
            )?;
            Ok(LogicalPlan::Join(made))
        }
        other => Ok(other.clone()),
    }
}

fn columns_in<'a>(exprs: impl Iterator<Item = &'a Expr>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for column in exprs.flat_map(Expr::column_refs) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    columns
}
