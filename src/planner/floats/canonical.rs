//! NaN in one form.
//!
//! Arithmetic gives a NaN with a sign on many processors (`0.0 / 0.0`, `inf - inf`), and so do data that were
//! made so. Comparisons and sorts take it for smaller than every other number.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float32Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions,
};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::planner::around::{self, Around, Computation};
use crate::planner::nested;
use crate::planner::of_first::of_first;

/// The number, NaN without a sign.
pub fn f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

fn is_odd(value: f64) -> bool {
    value.is_nan() && value.to_bits() != f64::NAN.to_bits()
}

fn is_odd_32(value: f32) -> bool {
    value.is_nan() && value.to_bits() != f32::NAN.to_bits()
}

/// Whether a column is one of floats.
pub fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Whether a column is one of floats, or has some within.
pub fn has_floats(kind: &DataType) -> bool {
    nested::any(kind, &is_float)
}

/// The column, each NaN in the same form, within lists, structs and maps too; the column itself where they are.
///
/// # Errors
/// Where a list, struct or map is not what its type says.
pub fn column(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match has_floats(array.data_type()) {
        true if is_float(array.data_type()) => Ok(floats(array)),
        true => nested::with_parts(array, &column),
        false => Ok(Arc::clone(array)),
    }
}

fn floats(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            match values.values().iter().any(|value| is_odd(*value)) {
                true => Arc::new(changed(values, f64)),
                false => Arc::clone(array),
            }
        }
        DataType::Float32 => {
            let values: &Float32Array = array.as_primitive::<Float32Type>();
            let canonical = |value: f32| if value.is_nan() { f32::NAN } else { value };
            match values.values().iter().any(|value| is_odd_32(*value)) {
                true => Arc::new(changed(values, canonical)),
                false => Arc::clone(array),
            }
        }
        _ => Arc::clone(array),
    }
}

fn changed<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    change: impl Fn(T::Native) -> T::Native,
) -> PrimitiveArray<T> {
    PrimitiveArray::new(
        values.values().iter().map(|value| change(*value)).collect(),
        values.nulls().cloned(),
    )
}

/// The batch with its columns so.
pub fn batch(batch: RecordBatch) -> Result<RecordBatch> {
    let schema: SchemaRef = batch.schema();
    if !schema.fields().iter().any(|f| has_floats(f.data_type())) {
        return Ok(batch);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().iter().map(column);
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
}

/// The rows with their columns so.
pub fn stream(rows: SendableRecordBatchStream) -> Result<SendableRecordBatchStream> {
    let schema = rows.schema();
    if !schema.fields().iter().any(|f| has_floats(f.data_type())) {
        return Ok(rows);
    }
    let rows = rows.map(|rows| batch(rows?));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Functions of numbers that are NaN of some.
const FUNCTIONS: [&str; 15] = [
    "acos", "acosh", "asin", "asinh", "atanh", "cos", "cot", "ln", "log", "log10", "log2", "power",
    "sin", "sqrt", "tan",
];

/// What computes floats, its NaN in one form.
pub fn wrap(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let gives_float = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| is_float(&kind));
    let may_be_odd = match &expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(
            op,
            Operator::Plus
                | Operator::Minus
                | Operator::Multiply
                | Operator::Divide
                | Operator::Modulo
        ),
        Expr::ScalarFunction(ScalarFunction { func, .. }) => FUNCTIONS.contains(&func.name()),
        Expr::Negative(_) => true,
        // Of a text such as '-nan'.
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => {
            expr.get_type(schema).is_ok_and(|kind| kind.is_string())
        }
        _ => false,
    };
    if !may_be_odd || !gives_float(&expr) {
        return Transformed::no(expr);
    }
    // What is computed further needs it once, at the end.
    let expr = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Expr::BinaryExpr(BinaryExpr {
            left: Box::new(bare(*left)),
            op,
            right: Box::new(bare(*right)),
        }),
        other => other,
    };
    Transformed::yes(function().call(vec![expr]))
}

/// Aggregates that compute a float of others: infinities of both signs have no sum.
const AGGREGATES: [&str; 23] = [
    "sum",
    "avg",
    "median",
    "percentile_cont",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "approx_median",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

/// Has the NaN of aggregates in one form.
pub fn aggregates(state: &mut SessionState) -> Result<()> {
    let around: Arc<dyn Around> = Arc::new(OneNan);
    for name in AGGREGATES {
        if let Some(function) = state.aggregate_functions().get(name).cloned() {
            state.register_udaf(around::aggregate(&function, &around))?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct OneNan;

impl Around for OneNan {
    fn begin(&self, gives: Option<&DataType>) -> Option<Box<dyn Computation>> {
        match gives.is_none_or(is_float) {
            true => Some(Box::new(Self)),
            false => None,
        }
    }
}

impl Computation for OneNan {
    fn value(&mut self, value: ScalarValue) -> Result<ScalarValue> {
        Ok(scalar(value))
    }

    fn column(&mut self, values: ArrayRef) -> Result<ArrayRef> {
        Ok(column(&values)?)
    }
}

fn scalar(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(value)) => ScalarValue::Float64(Some(f64(value))),
        ScalarValue::Float32(Some(value)) if value.is_nan() => ScalarValue::Float32(Some(f32::NAN)),
        other => other,
    }
}

fn bare(expr: Expr) -> Expr {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, mut args })
            if func.inner().downcast_ref::<Canonical>().is_some() && args.len() == 1 =>
        {
            match args.pop() {
                Some(inner) => inner,
                None => Expr::ScalarFunction(ScalarFunction { func, args }),
            }
        }
        other => other,
    }
}

/// The function, for plans that are decoded too.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Canonical {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &'static str {
        "canonical_nan"
    }

    of_first!();

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match arguments.args.as_slice() {
            [ColumnarValue::Array(array)] => ColumnarValue::Array(column(array)?),
            [ColumnarValue::Scalar(value)] => ColumnarValue::Scalar(scalar(value.clone())),
            _ => return internal_err!("canonical_nan has one argument"),
        })
    }
}
