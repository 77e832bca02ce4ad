//! `INTERVAL '1 day' * n`, which DataFusion does not plan.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{DFSchema, Result, exec_err, internal_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::of_first::of_first;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Plans an interval times a whole number, on either side.
#[derive(Debug)]
pub struct Intervals;

impl ExprPlanner for Intervals {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::Multiply {
            return Ok(PlannerResult::Original(expr));
        }
        let is_interval = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Interval(_)));
        let is_number = |side: &Expr| {
            side.get_type(schema)
                .is_ok_and(|kind| kind.is_integer() || kind.is_null())
        };
        let RawBinaryExpr { op, left, right } = expr;
        Ok(if is_interval(&left) && is_number(&right) {
            PlannerResult::Planned(function().call(vec![left, whole(right)]))
        } else if is_number(&left) && is_interval(&right) {
            PlannerResult::Planned(function().call(vec![right, whole(left)]))
        } else {
            PlannerResult::Original(RawBinaryExpr { op, left, right })
        })
    }
}

/// The number as one of 64 bits, which no unsigned one becomes by itself.
fn whole(number: Expr) -> Expr {
    cast(number, DataType::Int64)
}

/// `interval_times(interval, number)`.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Times {
        signature: Signature::exact(vec![INTERVAL, DataType::Int64], Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Times {
    signature: Signature,
}

impl ScalarUDFImpl for Times {
    fn name(&self) -> &'static str {
        "interval_times"
    }

    of_first!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [intervals, numbers] = arguments.args.as_slice() else {
            return internal_err!("interval_times has two arguments");
        };
        let intervals = intervals.to_array(arguments.number_rows)?;
        let numbers = numbers.to_array(arguments.number_rows)?;
        let pairs = intervals
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .zip(numbers.as_primitive::<Int64Type>());
        let products = pairs.map(|pair| match pair {
            (Some(interval), Some(number)) => product(interval, number).map(Some),
            _ => Ok(None),
        });
        let products = products.collect::<Result<IntervalMonthDayNanoArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(products)))
    }
}

fn product(interval: IntervalMonthDayNano, number: i64) -> Result<IntervalMonthDayNano> {
    let part = |part: i32| i64::from(part).checked_mul(number)?.try_into().ok();
    let parts = (
        part(interval.months),
        part(interval.days),
        interval.nanoseconds.checked_mul(number),
    );
    match parts {
        (Some(months), Some(days), Some(nanoseconds)) => {
            Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
        }
        _ => exec_err!("overflow: an interval times {number} does not fit an interval"),
    }
}
