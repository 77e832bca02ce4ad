//! Zero in one form, where `-0.0` would be told from `0.0`.
//!
//! Comparisons, groups and hash joins take them for equal. Long `IN` lists, `CASE x WHEN`, `nullif`, and the
//! keys of sorts and windows do not; and nothing does within lists and structs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, InList, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SortExpr, Volatility,
};

use super::canonical::{has_floats, is_float};
use crate::planner::nested;
use crate::planner::of_first::of_first;

/// What goes by the sign of a zero, so that it does not.
pub fn wrap(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares(op) && (is_nested(&left, schema) || is_nested(&right, schema)) =>
        {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                left: Box::new(unsigned(*left)),
                op,
                right: Box::new(unsigned(*right)),
            }))
        }
        Expr::Between(between) if is_nested(&between.expr, schema) => {
            Transformed::yes(Expr::Between(Between {
                expr: Box::new(unsigned(*between.expr)),
                negated: between.negated,
                low: Box::new(unsigned(*between.low)),
                high: Box::new(unsigned(*between.high)),
            }))
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if OF_LISTS.contains(&func.name()) && args.iter().any(|one| is_nested(one, schema)) =>
        {
            // The third one is what is put in the place of others.
            let args = args.into_iter().enumerate();
            let args = args.map(|(place, one)| match place < 2 && is_of(&one, schema) {
                true => unsigned(one),
                false => one,
            });
            let args = args.collect();
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if params.distinct && params.args.iter().any(|one| is_nested(one, schema)) =>
        {
            // Its order is one of the arguments.
            for sort in &mut params.order_by {
                if params.args.contains(&sort.expr) {
                    sort.expr = unsigned(sort.expr.clone());
                }
            }
            params.args = params.args.into_iter().map(unsigned).collect();
            Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        Expr::InList(list) if list.list.iter().any(may_be_zero) && is_of(&list.expr, schema) => {
            Transformed::yes(Expr::InList(InList {
                expr: Box::new(unsigned(*list.expr)),
                list: list.list.into_iter().map(unsigned).collect(),
                negated: list.negated,
            }))
        }
        Expr::Case(Case {
            expr: Some(operand),
            when_then_expr,
            else_expr,
        }) if when_then_expr.iter().any(|(when, _)| may_be_zero(when))
            && is_of(&operand, schema) =>
        {
            let branches = when_then_expr.into_iter();
            Transformed::yes(Expr::Case(Case {
                expr: Some(Box::new(unsigned(*operand))),
                when_then_expr: branches
                    .map(|(when, then)| (Box::new(unsigned(*when)), then))
                    .collect(),
                else_expr,
            }))
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.name() == "nullif"
                && args
                    .iter()
                    .all(|one| may_be_zero(one) && is_of(one, schema)) =>
        {
            let args = args.into_iter().map(unsigned).collect();
            Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
        Expr::WindowFunction(window) => {
            let WindowFunction { fun, mut params } = *window;
            let keys = params.partition_by.into_iter();
            let keys = keys.map(|key| as_key(key, schema)).collect::<Vec<_>>();
            let order = ordered(params.order_by, schema);
            let is_distinct =
                params.distinct && params.args.iter().any(|one| is_nested(one, schema));
            if is_distinct {
                params.args = params.args.into_iter().map(unsigned).collect();
            }
            let is_changed =
                keys.iter().any(|key| key.transformed) || order.transformed || is_distinct;
            params.partition_by = keys.into_iter().map(|key| key.data).collect();
            params.order_by = order.data;
            let window = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
            Transformed::new_transformed(window, is_changed)
        }
        // With DISTINCT, an order is one of the arguments.
        Expr::AggregateFunction(AggregateFunction { func, mut params }) if !params.distinct => {
            let order = ordered(params.order_by, schema);
            params.order_by = order.data;
            let aggregate = Expr::AggregateFunction(AggregateFunction { func, params });
            Transformed::new_transformed(aggregate, order.transformed)
        }
        other => Transformed::no(other),
    }
}

fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// Functions that look for values in lists.
const OF_LISTS: [&str; 16] = [
    "array_distinct",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_union",
    "map_extract",
];

/// The order of rows that does not go by the sign of a zero.
pub fn ordered(order: Vec<SortExpr>, schema: &DFSchema) -> Transformed<Vec<SortExpr>> {
    let mut is_changed = false;
    let order = order.into_iter().map(|sort| {
        let key = as_key(sort.expr, schema);
        is_changed |= key.transformed;
        SortExpr {
            expr: key.data,
            ..sort
        }
    });
    let order = order.collect();
    Transformed::new_transformed(order, is_changed)
}

/// Keys that do not go by the sign of a zero.
pub fn keys_of(keys: Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    let keys = keys.into_iter().map(|key| as_key(key, schema).data);
    keys.collect()
}

fn as_key(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_literal = matches!(expr, Expr::Literal(..));
    match !is_literal && !is_unsigned(&expr) && is_of(&expr, schema) {
        true => Transformed::yes(unsigned(expr)),
        false => Transformed::no(expr),
    }
}

/// The key of a group or join; without the sign of zeros within lists and structs, which these go by.
pub fn nested_key(key: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match !is_unsigned(&key) && is_nested(&key, schema) {
        true => Transformed::yes(unsigned(key)),
        false => Transformed::no(key),
    }
}

/// Rows of which equal ones are to be one, likewise.
pub fn one_nested(rows: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    let schema = Arc::clone(rows.schema());
    let mut is_changed = false;
    let columns = schema.iter().map(|(table, field)| {
        let column = Expr::Column(Column::new(table.cloned(), field.name()));
        let key = nested_key(column, &schema);
        is_changed |= key.transformed;
        match key.transformed {
            true => key.data.alias_qualified(table.cloned(), field.name()),
            false => key.data,
        }
    });
    let columns: Vec<_> = columns.collect();
    match is_changed {
        true => Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(
            columns, rows,
        )?))),
        false => Ok(rows),
    }
}

fn is_of(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| has_floats(&kind))
}

fn is_nested(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    expr.get_type(schema)
        .is_ok_and(|kind| has_floats(&kind) && !is_float(&kind))
}

fn may_be_zero(expr: &(impl AsRef<Expr> + ?Sized)) -> bool {
    match expr.as_ref() {
        Expr::Literal(ScalarValue::Float64(value), _) => *value == Some(0.0),
        Expr::Literal(ScalarValue::Float32(value), _) => *value == Some(0.0),
        _ => true,
    }
}

fn unsigned(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(value, metadata) => match scalar(value.clone()) {
            Ok(value) => Expr::Literal(value, metadata),
            Err(_) => function().call(vec![Expr::Literal(value, metadata)]),
        },
        other if is_unsigned(&other) => other,
        other => function().call(vec![other]),
    }
}

fn is_unsigned(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Unsigned>().is_some())
}

fn scalar(value: ScalarValue) -> Result<ScalarValue> {
    Ok(match value {
        // Minus zero and zero are zero.
        ScalarValue::Float64(Some(value)) => ScalarValue::Float64(Some(value + 0.0)),
        ScalarValue::Float32(Some(value)) => ScalarValue::Float32(Some(value + 0.0)),
        other if has_floats(&other.data_type()) => {
            ScalarValue::try_from_array(&column(&other.to_array()?)?, 0)?
        }
        other => other,
    })
}

fn column(array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            match values
                .values()
                .iter()
                .any(|value| value.to_bits() == (-0.0_f64).to_bits())
            {
                true => Arc::new(values.unary::<_, Float64Type>(|value| value + 0.0)),
                false => Arc::clone(array),
            }
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            match values
                .values()
                .iter()
                .any(|value| value.to_bits() == (-0.0_f32).to_bits())
            {
                true => Arc::new(values.unary::<_, Float32Type>(|value| value + 0.0)),
                false => Arc::clone(array),
            }
        }
        kind if has_floats(kind) => nested::with_parts(array, &column)?,
        _ => Arc::clone(array),
    })
}

/// `unsigned_zero(value)`: the value, and 0.0 where it is -0.0.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Unsigned {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unsigned {
    signature: Signature,
}

impl ScalarUDFImpl for Unsigned {
    fn name(&self) -> &'static str {
        "unsigned_zero"
    }

    of_first!();

    /// What is sorted with -0.0 first is sorted without.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(inputs
            .first()
            .map_or(SortProperties::Unordered, |input| input.sort_properties))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match arguments.args.as_slice() {
            [ColumnarValue::Array(array)] => ColumnarValue::Array(column(array)?),
            [ColumnarValue::Scalar(value)] => ColumnarValue::Scalar(scalar(value.clone())?),
            _ => return internal_err!("unsigned_zero has one argument"),
        })
    }
}
