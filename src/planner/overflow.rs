//! Integer arithmetic: what does not fit is an error and never wraps around (apache/datafusion#3520).

use std::sync::Arc;

use datafusion::arrow::array::Datum;
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::of_first::of_first;

/// Arithmetic that looks at its results, in the place of arithmetic that does not. Operands agree in their types.
pub fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let kind = |side: &Expr| side.get_type(schema).ok().filter(DataType::is_integer);
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::Plus | Operator::Minus | Operator::Multiply),
            right,
        }) if kind(&left).is_some()
            && kind(&right).is_some()
            && !is_null(&left)
            && !is_null(&right) =>
        {
            Transformed::yes(Checked::of(op).call(vec![*left, *right]))
        }
        Expr::Negative(inner) => match kind(&inner) {
            Some(kind) => {
                let zero = Expr::Literal(ScalarValue::new_zero(&kind)?, None);
                Transformed::yes(Checked::of(Operator::Minus).call(vec![zero, *inner]))
            }
            None => Transformed::no(Expr::Negative(inner)),
        },
        other => Transformed::no(other),
    })
}

/// Arithmetic with NULL is NULL, and is simplified to it where it is an operator.
fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// The functions, for plans that are decoded.
pub fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    [Operator::Plus, Operator::Minus, Operator::Multiply]
        .into_iter()
        .map(Checked::of)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl Checked {
    fn of(operator: Operator) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Self {
            operator,
            signature: Signature::any(2, Volatility::Immutable),
        }))
    }

    fn compute(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ColumnarValue> {
        let result = match self.operator {
            Operator::Plus => add(left, right)?,
            Operator::Minus => sub(left, right)?,
            _ => mul(left, right)?,
        };
        Ok(ColumnarValue::Array(result))
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    of_first!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [ColumnarValue::Array(left), ColumnarValue::Array(right)] => self.compute(left, right),
            [ColumnarValue::Array(left), ColumnarValue::Scalar(right)] => {
                self.compute(left, &right.to_scalar()?)
            }
            [ColumnarValue::Scalar(left), ColumnarValue::Array(right)] => {
                self.compute(&left.to_scalar()?, right)
            }
            [ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)] => {
                let result = self.compute(&left.to_scalar()?, &right.to_scalar()?)?;
                let result = result.into_array(1)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                    &result, 0,
                )?))
            }
            _ => internal_err!("{} has two arguments", self.name()),
        }
    }
}
