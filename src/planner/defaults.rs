//! `lag(x, n, d)` and `lead(x, n, d)` whose default is computed for each row.
//!
//! DataFusion knows literals only. Whether there is a row at that distance is asked with a constant argument, whose
//! `lag` is NULL where there is none and nowhere else.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, Ident, NullTreatment, ObjectNamePart, Select, SelectItem, UnaryOperator,
    Value, VisitMut, VisitorMut,
};

use super::parse::{call, folded};

/// Puts the default next to the function, everywhere within.
pub fn beside(parsed: &mut impl VisitMut) {
    let _ = parsed.visit(&mut Defaults);
}

struct Defaults;

impl VisitorMut for Defaults {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        // What is not named is called as it is written.
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Function(function)) = item
                && default(function).is_some()
            {
                *item = SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', function.to_string()),
                    expr: Expr::Function(function.clone()),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(default) = default(function)
        {
            *expr = apart(function, default.clone());
        }
        ControlFlow::Continue(())
    }
}

/// The default of a `lag` or `lead` where it is no literal.
fn default(function: &Function) -> Option<&Expr> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return None;
    };
    if function.over.is_none() || !matches!(folded(name).as_str(), "lag" | "lead") {
        return None;
    }
    match arguments(function)? {
        [_, _, FunctionArg::Unnamed(FunctionArgExpr::Expr(default))] if !is_literal(default) => {
            Some(default)
        }
        _ => None,
    }
}

fn arguments(function: &Function) -> Option<&[FunctionArg]> {
    match &function.args {
        FunctionArguments::List(list) => Some(&list.args),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        // A parameter has its value when the statement is planned.
        Expr::Value(_) => true,
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_literal(expr),
        _ => false,
    }
}

fn apart(function: &Function, default: Expr) -> Expr {
    let (mut value, mut row) = (function.clone(), function.clone());
    if let FunctionArguments::List(list) = &mut value.args {
        list.args.truncate(2);
    }
    if is_ignoring_nulls(&value) {
        // NULL only where there is no row, of which it has passed over those with NULL.
        return call("coalesce", vec![Expr::Function(value), default]);
    }
    if let FunctionArguments::List(list) = &mut row.args {
        list.args.truncate(2);
        if let Some(first) = list.args.first_mut() {
            let there = Expr::Value(Value::Boolean(true).into());
            *first = FunctionArg::Unnamed(FunctionArgExpr::Expr(there));
        }
    }
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::IsNull(Box::new(Expr::Function(row))),
            result: default,
        }],
        else_result: Some(Box::new(Expr::Function(value))),
    }
}

fn is_ignoring_nulls(function: &Function) -> bool {
    let in_list = match &function.args {
        FunctionArguments::List(list) => list.clauses.iter().any(|clause| {
            matches!(
                clause,
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls)
            )
        }),
        _ => false,
    };
    in_list || function.null_treatment == Some(NullTreatment::IgnoreNulls)
}
