//! Row values: `(a, b) IN (SELECT x, y …)`, `(a, b) = (c, d)`, `(a, b) < (c, d)`.
//!
//! DataFusion compares them as structs of literals and columns, for which NULL is a value, and knows no subquery of
//! several columns. Here they are what the standard says of them, comparisons of their members.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SetExpr,
    TableFactor, UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::parse::parse;
use crate::error::{ErrorKind, NativeError, Result};

/// Says every comparison of row values as one of their members.
///
/// # Errors
/// `sql` where two row values have different numbers of members.
pub fn compared(parsed: &mut impl VisitMut) -> Result<()> {
    match parsed.visit(&mut Rows) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rows;

impl VisitorMut for Rows {
    type Break = NativeError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<NativeError> {
        let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
        let on = joins.filter_map(|join| match &mut join.join_operator {
            JoinOperator::Join(JoinConstraint::On(on))
            | JoinOperator::Inner(JoinConstraint::On(on)) => Some(on),
            _ => None,
        });
        let own = [
            &mut select.selection,
            &mut select.having,
            &mut select.qualify,
        ];
        for condition in own.into_iter().flatten().chain(on) {
            if let Err(error) = conditions(condition) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<NativeError> {
        match value(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Conditions that all have to hold: of what is NULL it only matters that it does not.
fn conditions(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            conditions(left)?;
            conditions(right)
        }
        Expr::Nested(inner) => conditions(inner),
        Expr::InSubquery {
            expr: row,
            subquery,
            negated,
        } => {
            let Some(row) = members(row) else {
                return Ok(());
            };
            let holds = equals_columns(row);
            let found = match negated {
                false => exists(subquery, holds, row.len())?,
                true => {
                    let may_hold = Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(holds))));
                    not(exists(subquery, may_hold, row.len())?)
                }
            };
            *expr = found;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A comparison anywhere, which may be NULL.
fn value(expr: &mut Expr) -> Result<()> {
    let compared = match expr {
        Expr::InSubquery {
            expr: row,
            subquery,
            negated,
        } => {
            let Some(row) = members(row) else {
                return Ok(());
            };
            let holds = equals_columns(row);
            let unknown = Expr::IsNull(Box::new(Expr::Nested(Box::new(holds.clone()))));
            let truth = Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![
                    CaseWhen {
                        condition: exists(subquery, holds, row.len())?,
                        result: literal(Value::Boolean(!*negated)),
                    },
                    CaseWhen {
                        condition: exists(subquery, unknown, row.len())?,
                        result: literal(Value::Null),
                    },
                ],
                else_result: Some(Box::new(literal(Value::Boolean(*negated)))),
            };
            Expr::Nested(Box::new(truth))
        }
        Expr::InList {
            expr: row,
            list,
            negated,
        } => {
            let Some(row) = members(row) else {
                return Ok(());
            };
            let mut any = Vec::with_capacity(list.len());
            for other in list.iter() {
                match members(other) {
                    Some(other) => any.push(comparison(row, &BinaryOperator::Eq, other)?),
                    None => return Ok(()),
                }
            }
            let found = balanced(any, &BinaryOperator::Or);
            match negated {
                true => not(found),
                false => found,
            }
        }
        Expr::BinaryOp { left, op, right } => match (members(left), members(right)) {
            (Some(left), Some(right)) => comparison(left, op, right)?,
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    *expr = compared;
    Ok(())
}

fn members(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(members) => Some(members),
        Expr::Nested(inner) => members(inner),
        _ => None,
    }
}

/// How two row values compare, by the standard's rules.
fn comparison(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Expr> {
    if left.len() != right.len() {
        return Err(NativeError::new(
            ErrorKind::Sql,
            format!(
                "a row value of {} members is compared with one of {}",
                left.len(),
                right.len()
            ),
        ));
    }
    let pairs = left.iter().zip(right);
    let equal = |pairs: &[(&Expr, &Expr)]| {
        let all = pairs
            .iter()
            .map(|(left, right)| of(left, BinaryOperator::Eq, right));
        balanced(all.collect(), &BinaryOperator::And)
    };
    let pairs: Vec<_> = pairs.collect();
    let strict = match op {
        BinaryOperator::Eq => return Ok(equal(&pairs)),
        BinaryOperator::NotEq => return Ok(not(equal(&pairs))),
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        other => {
            return Err(NativeError::new(
                ErrorKind::Sql,
                format!("{other} is not supported between row values"),
            ));
        }
    };
    let mut any = Vec::with_capacity(pairs.len());
    for (place, (left, right)) in pairs.iter().enumerate() {
        let is_last = place + 1 == pairs.len();
        let decides = of(
            left,
            if is_last { op.clone() } else { strict.clone() },
            right,
        );
        any.push(match place {
            0 => decides,
            _ => nested(equal(&pairs[..place]), BinaryOperator::And, decides),
        });
    }
    Ok(balanced(any, &BinaryOperator::Or))
}

fn of(left: &Expr, op: BinaryOperator, right: &Expr) -> Expr {
    nested(left.clone(), op, right.clone())
}

fn nested(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
}

/// All of them, as deep as it has to be.
fn balanced(mut exprs: Vec<Expr>, op: &BinaryOperator) -> Expr {
    let half = exprs.len() / 2;
    let rest = exprs.split_off(half);
    match (exprs.is_empty(), rest.len()) {
        (_, 0) => literal(Value::Boolean(*op == BinaryOperator::And)),
        (true, _) => rest.into_iter().next().unwrap_or(literal(Value::Null)),
        (false, _) => nested(balanced(exprs, op), op.clone(), balanced(rest, op)),
    }
}

fn not(expr: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(Expr::Nested(Box::new(expr))),
    }))
}

fn literal(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn column(place: usize) -> String {
    format!("__row_{}", place + 1)
}

/// That a row value equals the columns of the subquery that `exists` asks.
fn equals_columns(row: &[Expr]) -> Expr {
    let all = row.iter().enumerate().map(|(place, member)| {
        let column = Expr::Identifier(Ident::new(column(place)));
        of(member, BinaryOperator::Eq, &column)
    });
    balanced(all.collect(), &BinaryOperator::And)
}

/// Whether a subquery of `width` columns has a row for which the condition holds.
fn exists(subquery: &Query, condition: Expr, width: usize) -> Result<Expr> {
    let names: Vec<_> = (0..width).map(column).collect();
    let sql = format!(
        "EXISTS (SELECT 1 FROM (SELECT 1) AS __rows ({}) WHERE true)",
        names.join(", ")
    );
    let broken = || NativeError::new(ErrorKind::Internal, "an expression could not be made");
    let (mut made, _) = parse(&sql, &GenericDialect {}, 50).map_err(|_| broken())?;
    let Expr::Exists {
        subquery: asked, ..
    } = &mut made
    else {
        return Err(broken());
    };
    let SetExpr::Select(select) = asked.body.as_mut() else {
        return Err(broken());
    };
    select.selection = Some(condition);
    match select.from.first_mut().map(|from| &mut from.relation) {
        Some(TableFactor::Derived {
            subquery: inner, ..
        }) => **inner = subquery.clone(),
        _ => return Err(broken()),
    }
    Ok(made)
}
