//! Columns of one name in what a query gives: `SELECT k, k`, `SELECT *, k`, `SELECT a AS x, b AS x`.
//!
//! DataFusion refuses two expressions of one name. They are planned under names of their own, and called as they
//! are said in the end.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, Query, SelectItem, SetExpr, SetQuantifier, Statement, visit_expressions,
};

use super::parse::folded;

/// Names that columns are planned under, with those that they are given where they have one.
#[derive(Default)]
pub struct Apart(HashMap<String, Option<String>>);

/// Tells apart what a query gives under one name.
pub fn tell_apart(statement: &mut DfStatement) -> Apart {
    let mut apart = Apart::default();
    match statement {
        DfStatement::Statement(statement) => {
            if let Statement::Query(query) = statement.as_mut() {
                apart.in_query(query);
            }
        }
        DfStatement::Explain(explain) => return tell_apart(&mut explain.statement),
        _ => {}
    }
    apart
}

/// Names that the ORDER BY of a query says.
struct Sorted {
    names: Vec<String>,
    /// Whether it may say columns besides those that the query gives.
    is_one: bool,
}

/// What an expression of a SELECT is called, as far as its text says.
#[derive(PartialEq, Eq, Clone)]
enum Called {
    As(String),
    Column(String),
    /// With what it is qualified by.
    Qualified(String, String),
    /// By itself.
    Nothing(String),
}

impl Called {
    fn of(item: &SelectItem) -> Option<Self> {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(Self::As(folded(alias))),
            SelectItem::UnnamedExpr(SqlExpr::Identifier(name)) => Some(Self::Column(folded(name))),
            SelectItem::UnnamedExpr(SqlExpr::CompoundIdentifier(parts)) => {
                let (last, table) = parts.split_last()?;
                let table = table.iter().map(folded).collect::<Vec<_>>();
                Some(Self::Qualified(table.join("."), folded(last)))
            }
            SelectItem::UnnamedExpr(expr) => Some(Self::Nothing(expr.to_string().to_lowercase())),
            _ => None,
        }
    }

    fn name(&self) -> &str {
        let (Self::As(name) | Self::Column(name) | Self::Qualified(_, name) | Self::Nothing(name)) =
            self;
        name
    }

    /// Columns of two tables may have one name.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Qualified(..), Self::Qualified(..)) => self == other,
            _ => self.name() == other.name(),
        }
    }

    fn is_column(&self) -> bool {
        matches!(self, Self::Column(_) | Self::Qualified(..))
    }
}

impl Apart {
    fn in_query(&mut self, query: &mut Query) {
        let mut sorted = Vec::new();
        let _ = visit_expressions(&query.order_by, |part| {
            match part {
                SqlExpr::Identifier(name) => sorted.push(folded(name)),
                SqlExpr::CompoundIdentifier(parts) => sorted.extend(parts.last().map(folded)),
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        });
        let is_one =
            matches!(query.body.as_ref(), SetExpr::Select(select) if select.distinct.is_none());
        self.in_body(
            &mut query.body,
            &Sorted {
                names: sorted,
                is_one,
            },
        );
    }

    /// In every operand: the names are those of the first.
    fn in_body(&mut self, body: &mut SetExpr, sorted: &Sorted) {
        match body {
            SetExpr::Select(select) => self.in_items(&mut select.projection, sorted),
            SetExpr::Query(query) => self.in_query(query),
            SetExpr::SetOperation {
                left,
                right,
                set_quantifier,
                ..
            } if !matches!(
                set_quantifier,
                SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName
            ) =>
            {
                self.in_body(left, sorted);
                self.in_body(right, sorted);
            }
            _ => {}
        }
    }

    fn in_items(&mut self, items: &mut [SelectItem], sorted: &Sorted) {
        let mut before: Vec<(Called, SelectItem)> = Vec::new();
        let mut has_all = false;
        for item in items {
            let Some(called) = Called::of(item) else {
                has_all = true;
                continue;
            };
            let twin = before.iter().find(|(other, _)| other.meets(&called));
            let is_sorted = sorted.names.iter().any(|name| name == called.name());
            let is_told = match twin {
                // An order by a name that two values have is about neither.
                Some((_, twin)) => !is_sorted || is_same(twin, item),
                // Maybe: not all that stands for columns has this one.
                None => has_all && called.is_column() && (!is_sorted || sorted.is_one),
            };
            before.push((called.clone(), item.clone()));
            if !is_told {
                continue;
            }
            let own = format!("{}:{}", called.name(), self.0.len() + 1);
            let alias = Ident::with_quote('"', own.as_str());
            let (expr, name) = match item {
                SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), Some(folded(alias))),
                SelectItem::UnnamedExpr(expr) => (expr.clone(), None),
                _ => continue,
            };
            *item = SelectItem::ExprWithAlias { expr, alias };
            self.0.insert(own, name);
        }
    }

    /// The plan, its columns called as they are said.
    ///
    /// # Errors
    /// What DataFusion says of the projection.
    pub fn called(mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let given = plan.schema().columns();
        if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
            || !given.iter().any(|column| self.0.contains_key(&column.name))
        {
            return Ok(plan);
        }
        self.find(&plan)?;
        let name_of = |name: &str| self.0.get(name).cloned().flatten();
        let names: Vec<_> = given.iter().map(|column| name_of(&column.name)).collect();
        let columns = given.into_iter().zip(&names).enumerate();
        let columns = columns.map(|(place, (column, name))| {
            let name = match name {
                Some(name) => name.clone(),
                None if names.iter().flatten().any(|name| *name == column.name) => {
                    column.name.clone()
                }
                None => return Expr::Column(column),
            };
            let place = TableReference::bare(format!("column {}", place + 1));
            Expr::Column(column).alias_qualified(Some(place), name)
        });
        let columns: Vec<_> = columns.collect();
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }

    /// Finds what columns without a name of their own are called.
    fn find(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply(|node| {
            for expr in node.expressions() {
                let Expr::Alias(alias) = &expr else {
                    continue;
                };
                if let Some(name @ None) = self.0.get_mut(&alias.name) {
                    *name = Some(match alias.expr.as_ref() {
                        Expr::Column(column) => column.name.clone(),
                        other => other.schema_name().to_string(),
                    });
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

fn is_same(one: &SelectItem, other: &SelectItem) -> bool {
    let expr = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.to_string())
        }
        _ => None,
    };
    expr(one) == expr(other)
}
