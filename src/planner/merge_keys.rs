//! Keys of joins as a sort-merge join can compare them.
//!
//! DataFusion's has no comparison for some types, tells `-0.0` from `0.0` where it sorts and not where it compares,
//! and panics on NaN. So floats are joined as whole numbers of the same order, and other types as the numbers or
//! the text that stand for them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast,
};

/// The plan with such keys; nothing where some have no such form.
pub fn merged(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let mut is_possible = true;
    let plan = plan.clone().transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(mut join) = node else {
            return Ok(Transformed::no(node));
        };
        let mut is_changed = false;
        let mut key = |expr: Expr, schema: &DFSchema| -> Result<Expr> {
            let kind = expr.get_type(schema)?;
            Ok(match form(&kind) {
                Some(Form::Same) => expr,
                Some(Form::Cast(kind)) => {
                    is_changed = true;
                    cast(expr, kind)
                }
                Some(Form::Number) => {
                    is_changed = true;
                    function().call(vec![expr])
                }
                None => {
                    is_possible = false;
                    expr
                }
            })
        };
        let pairs = std::mem::take(&mut join.on).into_iter();
        let pairs = pairs.map(|(left, right)| {
            Ok((
                key(left, join.left.schema())?,
                key(right, join.right.schema())?,
            ))
        });
        let pairs = pairs.collect::<Result<_>>()?;
        join.on = pairs;
        Ok(Transformed::new_transformed(
            LogicalPlan::Join(join),
            is_changed,
        ))
    })?;
    Ok(is_possible.then_some(plan.data))
}

/// What a key is compared as.
enum Form {
    Same,
    Cast(DataType),
    /// A whole number of the same order.
    Number,
}

fn form(kind: &DataType) -> Option<Form> {
    Some(match kind {
        DataType::Float32 | DataType::Float64 => Form::Number,
        DataType::Timestamp(_, Some(_)) | DataType::Time64(_) | DataType::Duration(_) => {
            Form::Cast(DataType::Int64)
        }
        DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond) => Form::Cast(DataType::Int32),
        DataType::Dictionary(_, value) => match form(value)? {
            Form::Same => Form::Cast(value.as_ref().clone()),
            _ => return None,
        },
        DataType::Null
        | DataType::Boolean
        | DataType::Timestamp(_, None)
        | DataType::Date32
        | DataType::Date64
        | DataType::Decimal128(..)
        | DataType::Binary
        | DataType::BinaryView
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::LargeUtf8 => Form::Same,
        other if other.is_integer() => Form::Same,
        _ => return None,
    })
}

/// `merge_key(float)`: a whole number with the order of the float, both zeros one, and NaN the largest.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(MergeKey {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MergeKey {
    signature: Signature,
}

impl ScalarUDFImpl for MergeKey {
    fn name(&self) -> &'static str {
        "merge_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Float64] => Ok(DataType::Int64),
            [DataType::Float32] => Ok(DataType::Int32),
            _ => internal_err!("merge_key has one argument, which is a float"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else {
            return internal_err!("merge_key has one argument");
        };
        let array = value.to_array(arguments.number_rows)?;
        let keys: ArrayRef = match array.data_type() {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>();
                Arc::new(values.unary::<_, Int64Type>(key_64))
            }
            _ => {
                let values = array.as_primitive::<Float32Type>();
                Arc::new(values.unary::<_, Int32Type>(key_32))
            }
        };
        Ok(ColumnarValue::Array(keys))
    }
}

fn key_64(value: f64) -> i64 {
    let value = if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    };
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63) & i64::MAX)
}

fn key_32(value: f32) -> i32 {
    let value = if value.is_nan() {
        f32::NAN
    } else {
        value + 0.0
    };
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{key_32, key_64};

    #[test]
    fn keys_have_the_order_of_floats() {
        let floats = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            f64::MIN_POSITIVE,
            1.5,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(
            floats
                .windows(2)
                .all(|pair| key_64(pair[0]) < key_64(pair[1]))
        );
        assert_eq!(key_64(-0.0), key_64(0.0));
        assert_eq!(key_64(-f64::NAN), key_64(f64::NAN));
        let floats = [
            f32::NEG_INFINITY,
            f32::MIN,
            -1.5,
            0.0,
            1.5,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        assert!(
            floats
                .windows(2)
                .all(|pair| key_32(pair[0]) < key_32(pair[1]))
        );
        assert_eq!(key_32(-0.0), key_32(0.0));
        assert_eq!(key_32(-f32::NAN), key_32(f32::NAN));
    }
}
