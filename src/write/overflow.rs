//! Integer arithmetic in changes: what does not fit is an error and never wraps around.

use std::sync::Arc;

use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
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
                let checked = expr.transform_up(|part| Ok(check(part, &schema)))?;
                Ok(checked.update_data(|expr| name.restore(expr)))
            })?;
            changed.map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

fn check(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Transformed::no(expr);
    };
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
        return Transformed::no(expr);
    }
    let is_whole = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_integer());
    if !is_whole(left) || !is_whole(right) {
        return Transformed::no(expr);
    }
    let function = ScalarUDF::from(Checked {
        operator: *op,
        signature: Signature::any(2, Volatility::Immutable),
    });
    let arguments = vec![left.as_ref().clone(), right.as_ref().clone()];
    Transformed::yes(Arc::new(function).call(arguments))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
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

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let left = arguments.args[0].to_array(rows)?;
        let right = arguments.args[1].to_array(rows)?;
        let result = match self.operator {
            Operator::Plus => add(&left, &right)?,
            Operator::Minus => sub(&left, &right)?,
            _ => mul(&left, &right)?,
        };
        Ok(ColumnarValue::Array(result))
    }
}
