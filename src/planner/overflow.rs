//! Integer arithmetic: what does not fit is an error and never wraps around (apache/datafusion#3520).

use std::sync::Arc;

use datafusion::arrow::array::Datum;
use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Puts arithmetic that looks at its results in the place of arithmetic that does not.
///
/// The last of the rules that type expressions: operands agree by then.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let mut schema = merge_schema(&node.inputs());
            if let LogicalPlan::TableScan(scan) = &node {
                schema.merge(&scan.projected_schema);
            }
            let names = NamePreserver::new(&node);
            let changed = node.map_expressions(|expr| {
                let name = names.save(&expr);
                let checked = expr.transform_up(|part| check(part, &schema))?;
                Ok(checked.update_data(|expr| name.restore(expr)))
            })?;
            match changed.transformed {
                true => changed.map_data(LogicalPlan::recompute_schema),
                false => Ok(changed),
            }
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let kind = |side: &Expr| side.get_type(schema).ok().filter(DataType::is_integer);
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::Plus | Operator::Minus | Operator::Multiply),
            right,
        }) if kind(&left).is_some() && kind(&right).is_some() => {
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

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        super::field_of_first(self.name(), &arguments)
    }

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
