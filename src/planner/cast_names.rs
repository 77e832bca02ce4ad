//! Casts that are told apart by name.
//!
//! DataFusion names an expression without the casts in it and refuses two of one name, as in
//! `SELECT sum(CAST(x AS DOUBLE)) AS a, sum(x) AS b`. There, each cast is put into a function that says its type,
//! which goes once names are given.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Ident, Select, SelectItem, Value, Visit, VisitMut, VisitorMut,
    visit_expressions, visit_expressions_mut,
};

use super::of_first::of_first;
use super::parse::call;

const NAME: &str = "cast_name";

/// Whether a statement is refused since two of its expressions have one name.
pub fn is_by_name(error: &DataFusionError) -> bool {
    let text = error.strip_backtrace();
    text.contains("unique expression names") || text.contains("duplicate unqualified field name")
}

/// Whether there is a cast in a statement or an expression.
pub fn are_in(parsed: &impl Visit) -> bool {
    let found = visit_expressions(parsed, |part| match part {
        SqlExpr::Cast { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Tells the casts of a statement apart, everywhere within.
pub fn tell_apart(parsed: &mut impl VisitMut) {
    let _ = parsed.visit(&mut Outputs);
    let _ = visit_expressions_mut(parsed, |part| {
        if let SqlExpr::Cast { data_type, .. } = &part {
            let kind = SqlExpr::Value(Value::SingleQuotedString(data_type.to_string()).into());
            let cast = std::mem::replace(part, SqlExpr::Value(Value::Null.into()));
            *part = call(NAME, vec![cast, kind]);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Names columns that are computed with a cast as the text says them.
struct Outputs;

impl VisitorMut for Outputs {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expr) = item else {
                continue;
            };
            if are_in(expr) {
                *item = SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', expr.to_string()),
                    expr: expr.clone(),
                };
            }
        }
        ControlFlow::Continue(())
    }
}

/// What an expression that says the type of a cast is about; the expression itself where it says none.
pub fn without(expr: Expr) -> std::result::Result<Expr, Expr> {
    match expr {
        Expr::ScalarFunction(mut call)
            if call.func.inner().downcast_ref::<CastName>().is_some() =>
        {
            match call.args.is_empty() {
                true => Err(Expr::ScalarFunction(call)),
                false => Ok(call.args.swap_remove(0)),
            }
        }
        other => Err(other),
    }
}

/// `cast_name(value, type)`: the value.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(CastName {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastName {
    signature: Signature,
}

impl ScalarUDFImpl for CastName {
    fn name(&self) -> &'static str {
        NAME
    }

    of_first!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("cast_name has two arguments"),
        }
    }
}
