//! Columns that a join by USING has merged.
//!
//! DataFusion takes the left table's for them, which is NULL for rows of the right alone, and does not know them
//! in WHERE. Here an unqualified reference becomes what it stands for: the left one's in an inner or left join,
//! the right one's in a right join, whichever is there in a full one.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectNamePart, OrderBy, PipeOperator, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::parse::{self, folded};
use super::selects::{self, InSelects};
use crate::error::{ErrorKind, NativeError, Result};

/// Resolves the merged columns of every query within.
///
/// # Errors
/// `sql` for right and full joins whose merged columns cannot be told.
pub fn resolve(parsed: &mut impl VisitMut) -> Result<()> {
    selects::each(parsed, Resolver)
}

struct Resolver;

impl InSelects for Resolver {
    type Named = Vec<Merged>;

    fn in_query(&self, query: &Query) -> Result<()> {
        for operator in &query.pipe_operators {
            let PipeOperator::Join(join) = operator else {
                continue;
            };
            if let Some((
                kind @ (Kind::Right | Kind::Full),
                JoinConstraint::Using(_) | JoinConstraint::Natural,
            )) = kind_of(&join.join_operator)
            {
                return Err(unknown(kind, "USING or NATURAL"));
            }
        }
        Ok(())
    }

    fn in_select(&self, select: &mut Select) -> Result<Vec<Merged>> {
        in_select(select)
    }

    fn in_order(
        &self,
        order: &mut Option<OrderBy>,
        mut merged: Vec<Merged>,
        select: &Select,
    ) -> Result<()> {
        // What is selected under the name comes first.
        merged.retain(|one| !is_selected(select, &one.name));
        if !merged.is_empty() {
            let _ = order.visit(&mut Replacer::of(&merged));
        }
        Ok(())
    }
}

/// A merged column and what it stands for.
struct Merged {
    name: Ident,
    value: Expr,
    /// Whether it is other than the left table's.
    is_other: bool,
}

fn in_select(select: &mut Select) -> Result<Vec<Merged>> {
    let mut merged = Vec::new();
    for from in &mut select.from {
        in_from(from, &mut merged)?;
    }
    if merged.is_empty() {
        return Ok(merged);
    }
    for item in &mut select.projection {
        if let SelectItem::Wildcard(options) = item {
            let others: Vec<_> = merged.iter().filter(|one| one.is_other).collect();
            if others.is_empty() {
                continue;
            }
            let items = options
                .opt_replace
                .get_or_insert(ReplaceSelectItem { items: vec![] });
            for one in others {
                if !items
                    .items
                    .iter()
                    .any(|item| is_same(&item.column_name, &one.name))
                {
                    items.items.push(Box::new(ReplaceSelectElement {
                        expr: one.value.clone(),
                        column_name: Ident::with_quote('"', folded(&one.name)),
                        as_keyword: true,
                    }));
                }
            }
        } else if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
            && let Some(one) = find(&merged, name)
        {
            *item = match &one.value {
                // Another column of the name may stand beside it.
                column @ Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(column.clone()),
                value => SelectItem::ExprWithAlias {
                    expr: value.clone(),
                    alias: one.name.clone(),
                },
            };
        }
    }
    let mut replacer = Replacer::of(&merged);
    let _ = select.projection.visit(&mut replacer);
    let _ = select.distinct.visit(&mut replacer);
    let _ = select.selection.visit(&mut replacer);
    let _ = select.group_by.visit(&mut replacer);
    let _ = select.having.visit(&mut replacer);
    let _ = select.qualify.visit(&mut replacer);
    Ok(merged)
}

/// Joins in parentheses. What they have merged cannot be told apart under a name of their own.
fn in_factor(factor: &mut TableFactor, merged: &mut Vec<Merged>) -> Result<()> {
    match factor {
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => in_from(table_with_joins, merged),
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => {
            let mut inner = Vec::new();
            in_from(table_with_joins, &mut inner)?;
            match inner.iter().any(|one| one.is_other) {
                true => Err(unknown(Kind::Full, "USING")),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn in_from(from: &mut TableWithJoins, merged: &mut Vec<Merged>) -> Result<()> {
    let own = merged.len();
    in_factor(&mut from.relation, merged)?;
    let mut tables = vec![name_of(&from.relation)];
    for Join {
        relation,
        join_operator,
        ..
    } in &mut from.joins
    {
        let _ = join_operator.visit(&mut Replacer::of(&merged[own..]));
        let before = merged.len();
        in_factor(relation, merged)?;
        if merged.len() > before
            && !matches!(
                kind_of(join_operator),
                Some((_, JoinConstraint::On(_))) | None
            )
        {
            return Err(unknown(Kind::Full, "USING of a join in parentheses"));
        }
        let right = name_of(relation);
        let kind = kind_of(join_operator);
        match kind {
            Some((kind, JoinConstraint::Using(names))) => {
                for name in names {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
                        continue;
                    };
                    merge(merged, own, &tables, right.as_ref(), kind, name)?;
                }
            }
            Some((kind @ (Kind::Right | Kind::Full), JoinConstraint::Natural)) => {
                return Err(unknown(kind, "NATURAL"));
            }
            _ => {}
        }
        tables.push(right);
    }
    Ok(())
}

fn merge(
    merged: &mut Vec<Merged>,
    own: usize,
    tables: &[Option<Ident>],
    right: Option<&Ident>,
    kind: Kind,
    name: &Ident,
) -> Result<()> {
    let column = |table: &Ident| Expr::CompoundIdentifier(vec![table.clone(), name.clone()]);
    let before = merged[own..]
        .iter()
        .position(|one| is_same(&one.name, name))
        .map(|place| place + own);
    let left = match (before, tables) {
        (Some(place), _) => Some(merged[place].value.clone()),
        (None, [Some(table)]) => Some(column(table)),
        _ => None,
    };
    if before.is_some_and(|place| merged[place].is_other) {
        return Err(NativeError::new(
            ErrorKind::Sql,
            format!(
                "USING ({name}) is not supported after a RIGHT or FULL JOIN that has merged {name}; name the \
                 columns with ON"
            ),
        ));
    }
    let (value, is_other) = match (kind, left, right) {
        (Kind::Inner | Kind::Left, Some(left), _) => (left, false),
        // DataFusion's own way: it knows which table has the column.
        (Kind::Inner | Kind::Left, None, _) => return Ok(()),
        (Kind::Right, _, Some(right)) => (column(right), true),
        (Kind::Full, Some(left), Some(right)) => (coalesce(left, column(right)), true),
        _ => return Err(unknown(kind, "USING")),
    };
    let one = Merged {
        name: name.clone(),
        value,
        is_other,
    };
    match before {
        Some(place) => merged[place] = one,
        None => merged.push(one),
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

fn kind_of(operator: &JoinOperator) -> Option<(Kind, &JoinConstraint)> {
    Some(match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
            (Kind::Inner, constraint)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
            (Kind::Left, constraint)
        }
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (Kind::Right, constraint)
        }
        JoinOperator::FullOuter(constraint) => (Kind::Full, constraint),
        _ => return None,
    })
}

fn unknown(kind: Kind, how: &str) -> NativeError {
    let kind = match kind {
        Kind::Right => "RIGHT",
        _ => "FULL",
    };
    NativeError::new(
        ErrorKind::Sql,
        format!("{kind} JOIN with {how} is not supported here; name the columns with ON"),
    )
}

/// What a relation's columns can be qualified with.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => match (alias, name.0.as_slice()) {
            (Some(alias), _) => Some(alias.name.clone()),
            (None, [ObjectNamePart::Identifier(name)]) => Some(name.clone()),
            _ => None,
        },
        TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::Function { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
        _ => None,
    }
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    parse::call("coalesce", vec![left, right])
}

fn is_selected(select: &Select, name: &Ident) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => is_same(alias, name),
        SelectItem::UnnamedExpr(Expr::Identifier(other)) => is_same(other, name),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            parts.last().is_some_and(|last| is_same(last, name))
        }
        SelectItem::Wildcard(_) => true,
        _ => false,
    })
}

fn find<'a>(merged: &'a [Merged], name: &Ident) -> Option<&'a Merged> {
    merged.iter().find(|one| is_same(&one.name, name))
}

fn is_same(one: &Ident, other: &Ident) -> bool {
    folded(one) == folded(other)
}

/// Puts what merged columns stand for in their place, but in queries within.
struct Replacer<'a> {
    merged: &'a [Merged],
    depth: usize,
    /// Names of the parameters of the lambdas around.
    bound: Vec<String>,
}

impl<'a> Replacer<'a> {
    fn of(merged: &'a [Merged]) -> Self {
        Self {
            merged,
            depth: 0,
            bound: Vec::new(),
        }
    }
}

impl VisitorMut for Replacer<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Lambda(lambda) = expr {
            let names = lambda.params.iter().map(|one| folded(&one.name));
            self.bound.extend(names);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Lambda(lambda) => {
                let left = self.bound.len().saturating_sub(lambda.params.len());
                self.bound.truncate(left);
            }
            Expr::Identifier(name) if self.depth == 0 && !self.bound.contains(&folded(name)) => {
                if let Some(one) = find(self.merged, name) {
                    *expr = one.value.clone();
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
