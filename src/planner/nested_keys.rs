//! Keys of ordered aggregates and DISTINCT ON that are lists, structs or maps.
//!
//! What each partition has put in order is merged by comparing values one by one, and DataFusion fails, or panics, on
//! those of nested types. So such a key is compared as bytes of the same order.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BinaryBuilder};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Distinct, DistinctOn, Expr, ExprSchemable, LogicalPlan,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, SortExpr, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;

/// Has them compared so.
#[derive(Debug)]
pub struct NestedKeys;

impl AnalyzerRule for NestedKeys {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate) => in_aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::On(distinct)) => Ok(in_distinct(distinct)),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "nested_keys"
    }
}

fn in_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(aggregate.input.schema());
    let mut is_changed = false;
    let functions = aggregate.aggr_expr.iter().map(|function| {
        let Expr::AggregateFunction(AggregateFunction { func, mut params }) =
            function.clone().unalias()
        else {
            return function.clone();
        };
        // With DISTINCT, an order is one of the arguments.
        let order = match params.distinct {
            true => Transformed::no(params.order_by),
            false => comparable(params.order_by, &schema),
        };
        if !order.transformed {
            return function.clone();
        }
        is_changed = true;
        params.order_by = order.data;
        Expr::AggregateFunction(AggregateFunction { func, params })
            .alias(function.schema_name().to_string())
    });
    let functions = functions.collect::<Vec<_>>();
    if !is_changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let made = Aggregate::try_new(aggregate.input, aggregate.group_expr, functions)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(made)))
}

fn in_distinct(distinct: DistinctOn) -> Transformed<LogicalPlan> {
    let order = distinct.sort_expr.unwrap_or_default();
    comparable(order, distinct.input.schema()).update_data(|order| {
        LogicalPlan::Distinct(Distinct::On(DistinctOn {
            sort_expr: (!order.is_empty()).then_some(order),
            ..distinct
        }))
    })
}

fn comparable(order: Vec<SortExpr>, schema: &DFSchema) -> Transformed<Vec<SortExpr>> {
    let mut is_changed = false;
    let order = order.into_iter().map(|sort| {
        let kind = sort.expr.get_type(schema);
        if !kind.is_ok_and(|kind| kind.is_nested()) {
            return sort;
        }
        is_changed = true;
        // What is NULL within goes where NULL goes.
        let nulls_first = sort.nulls_first == sort.asc;
        SortExpr {
            expr: function().call(vec![sort.expr, lit(nulls_first)]),
            ..sort
        }
    });
    let order = order.collect();
    Transformed::new_transformed(order, is_changed)
}

/// `nested_key(value, nulls_first)`: bytes in the ascending order of the values, with what is NULL within them first or
/// last; NULL where the value is.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(NestedKey {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NestedKey {
    signature: Signature,
}

impl ScalarUDFImpl for NestedKey {
    fn name(&self) -> &'static str {
        "nested_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [
            value,
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(nulls_first))),
        ] = arguments.args.as_slice()
        else {
            return internal_err!("nested_key has a value and where NULL goes");
        };
        match value {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(keys(values, *nulls_first)?)),
            ColumnarValue::Scalar(value) => {
                let key = keys(&value.to_array()?, *nulls_first)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&key, 0)?))
            }
        }
    }
}

fn keys(values: &ArrayRef, nulls_first: bool) -> Result<ArrayRef> {
    let order = SortOptions {
        descending: false,
        nulls_first,
    };
    let field = SortField::new_with_options(values.data_type().clone(), order);
    let rows = RowConverter::new(vec![field])?.convert_columns(std::slice::from_ref(values))?;
    let mut keys = BinaryBuilder::with_capacity(values.len(), rows.size());
    for (place, row) in rows.iter().enumerate() {
        match values.is_null(place) {
            true => keys.append_null(),
            false => keys.append_value(row),
        }
    }
    Ok(Arc::new(keys.finish()))
}
