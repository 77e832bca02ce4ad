//! Columns of one name in what a query gives: `SELECT k, k`, `SELECT *, k`, `SELECT a AS x, b AS x`.
//!
//! DataFusion refuses two expressions of one name. Where it does, they are planned under names of their own, and
//! called as they are said in the end.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, Query, SelectItem, SetExpr, SetQuantifier, Statement, visit_expressions,
};

use super::cast_names;
use super::parse::folded;

/// Names that columns are planned under, with those that they are given where they have one.
#[derive(Default)]
pub struct Apart(HashMap<String, Option<String>>);

/// The name that a statement is refused for, as two of its expressions have it; nothing for other errors.
pub fn refused(error: &DataFusionError) -> Option<String> {
    let text = error.strip_backtrace();
    if let Some((_, name)) = text.split_once("and unqualified field name ") {
        let (name, _) = name.split_once(" which would be ambiguous")?;
        return Some(name.trim_matches('"').to_lowercase());
    }
    if !cast_names::is_by_name(error) {
        return None;
    }
    let (_, text) = text.split_once("expression \"")?;
    let (name, _) = text.split_once("\" at position")?;
    let name = name.rsplit_once(" AS ").map_or(name, |(_, alias)| alias);
    let name = name.rsplit('.').next().unwrap_or(name);
    Some(name.trim_matches('"').to_lowercase())
}

/// Tells apart what a query gives under one name: what the text says twice, and columns of the names in `refused`
/// besides all those that `*` stands for, one of which has the name.
pub fn tell_apart(statement: &mut DfStatement, refused: &[String]) -> Apart {
    let mut apart = Apart::default();
    match statement {
        DfStatement::Statement(statement) => {
            if let Statement::Query(query) = statement.as_mut() {
                apart.in_query(
                    query,
                    &mut Names {
                        refused,
                        sorted: vec![],
                    },
                );
            }
        }
        DfStatement::Explain(explain) => return tell_apart(&mut explain.statement, refused),
        _ => {}
    }
    apart
}

struct Names<'a> {
    refused: &'a [String],
    /// Those that an ORDER BY says.
    sorted: Vec<String>,
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
    /// Whether anything is told apart.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn in_query(&mut self, query: &mut Query, names: &mut Names) {
        // What goes on with the columns knows them by their names.
        if !query.pipe_operators.is_empty() {
            return;
        }
        let _ = visit_expressions(&query.order_by, |part| {
            match part {
                SqlExpr::Identifier(name) => names.sorted.push(folded(name)),
                SqlExpr::CompoundIdentifier(parts) => names.sorted.extend(parts.last().map(folded)),
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        });
        self.in_body(&mut query.body, names);
    }

    /// In every operand: the names are those of the first.
    fn in_body(&mut self, body: &mut SetExpr, names: &mut Names) {
        match body {
            SetExpr::Select(select) => self.in_items(&mut select.projection, names),
            SetExpr::Query(query) => self.in_query(query, names),
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
                self.in_body(left, names);
                self.in_body(right, names);
            }
            _ => {}
        }
    }

    fn in_items(&mut self, items: &mut [SelectItem], names: &Names) {
        let said: HashSet<String> = items
            .iter()
            .filter_map(|item| Some(Called::of(item)?.name().to_owned()))
            .collect();
        let mut before: Vec<(Called, SelectItem)> = Vec::new();
        let mut has_all = false;
        for item in items {
            let Some(called) = Called::of(item) else {
                has_all = true;
                continue;
            };
            let has = |those: &[String]| those.iter().any(|name| name == called.name());
            let is_told = match before.iter().find(|(other, _)| other.meets(&called)) {
                // An order by a name that two values have is about neither.
                Some((_, twin)) => !has(&names.sorted) || is_same(twin, item),
                // A column is the one of its name; another value is not what an order by the name is about.
                None => {
                    has_all && has(names.refused) && (called.is_column() || !has(&names.sorted))
                }
            };
            before.push((called.clone(), item.clone()));
            if !is_told {
                continue;
            }
            let mut number = self.0.len() + 1;
            let own = loop {
                let own = format!("{}:{number}", called.name());
                match said.contains(&own) {
                    true => number += 1,
                    false => break own,
                }
            };
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
