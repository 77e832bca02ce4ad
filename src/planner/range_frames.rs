//! Windows ordered by a key that DataFusion has no ranges of: bytes, times of day, durations, intervals, lists, structs,
//! maps.
//!
//! It refuses them with an internal error, or, behind another key, takes values of nested types for equal that are not.
//! A range that begins and ends with the rows that are equal to the current
//! one, or nowhere, is one of groups.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, SortExpr, Window, WindowFrame, WindowFrameBound,
    WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

/// Has such windows go by groups, before types are settled.
#[derive(Debug)]
pub struct RangeFrames;

impl AnalyzerRule for RangeFrames {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Window(window) => in_window(window),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "range_frames"
    }
}

fn in_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(window.input.schema());
    let mut is_changed = false;
    let functions = window.window_expr.iter().map(|function| {
        let Some(changed) = in_groups(function, &schema)? else {
            return Ok(function.clone());
        };
        is_changed = true;
        Ok(changed.alias(function.schema_name().to_string()))
    });
    let functions = functions.collect::<Result<Vec<_>>>()?;
    match is_changed {
        true => {
            let window = Window::try_new(functions, window.input)?;
            Ok(Transformed::yes(LogicalPlan::Window(window)))
        }
        false => Ok(Transformed::no(LogicalPlan::Window(window))),
    }
}

/// The function with a frame of groups; nothing where its own can stay.
fn in_groups(function: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let Expr::WindowFunction(mut found) = function.clone().unalias() else {
        return Ok(None);
    };
    let frame = &found.params.window_frame;
    let Some(key) = found.params.order_by.first() else {
        return Ok(None);
    };
    if frame.units != WindowFrameUnits::Range {
        return Ok(None);
    }
    let kind = key.expr.get_type(schema).unwrap_or(DataType::Null);
    let is_nested = |key: &SortExpr| key.expr.get_type(schema).is_ok_and(|kind| kind.is_nested());
    if !has_no_ranges(&kind) && !found.params.order_by.iter().any(is_nested) {
        return Ok(None);
    }
    if has_distance(&frame.start_bound) || has_distance(&frame.end_bound) {
        return plan_err!(
            "a window ordered by {key} of type {kind} cannot have a RANGE of a distance; \
             use ROWS or GROUPS, or order it by a number or a timestamp"
        );
    }
    found.params.window_frame = WindowFrame::new_bounds(
        WindowFrameUnits::Groups,
        frame.start_bound.clone(),
        frame.end_bound.clone(),
    );
    Ok(Some(Expr::WindowFunction(found)))
}

fn has_no_ranges(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => has_no_ranges(values),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => true,
        // Values of nested types are not compared one by one, but for being equal.
        other => other.is_nested(),
    }
}

fn has_distance(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::CurrentRow => false,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
            !distance.is_null()
        }
    }
}
