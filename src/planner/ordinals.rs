//! Positions in ROLLUP, CUBE and GROUPING SETS: the planner takes a number there for a constant.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Select, SelectItem, Value, VisitMut, VisitorMut,
};

use crate::error::{ErrorKind, NativeError, Result};

/// Puts the expressions in the place of their positions.
///
/// # Errors
/// `sql` for a position that no expression of the SELECT has.
pub fn resolve(parsed: &mut impl VisitMut) -> Result<()> {
    match parsed.visit(&mut Positions) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Positions;

impl VisitorMut for Positions {
    type Break = NativeError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<NativeError> {
        let GroupByExpr::Expressions(groups, _) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        for group in groups {
            let (Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets)) = group else {
                continue;
            };
            for member in sets.iter_mut().flatten() {
                if let Some(position) = position(member) {
                    match at(&select.projection, position) {
                        Ok(expr) => *member = expr,
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn position(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.to_string().parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => position(inner),
        _ => None,
    }
}

fn at(projection: &[SelectItem], position: usize) -> Result<Expr> {
    let item = position
        .checked_sub(1)
        .and_then(|place| projection.get(place));
    match item {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => {
            Ok(expr.clone())
        }
        _ => Err(NativeError::new(
            ErrorKind::Sql,
            format!(
                "GROUP BY position {position} is not the place of an expression of SELECT, which has {}",
                projection.len()
            ),
        )),
    }
}
