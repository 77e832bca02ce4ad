//! Aggregates in frames that slide.
//!
//! DataFusion has many of which it knows no way to take a row away, and refuses them. From a variance, a correlation or a
//! regression it takes what has left the frame: they stay NaN once there was an infinity, and keep the error of every
//! number that was far larger than the others. From these nothing is taken away here: what can be put together of parts
//! is a queue of two stacks. What DataFusion can take away rightly, such as counts, it does; the rest is computed anew for
//! each frame.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr_common::physical_expr::PhysicalExpr;

/// An accumulator for a frame that slides.
///
/// # Errors
/// Where the function has none for these arguments.
pub fn sliding(
    function: &Arc<AggregateUDF>,
    arguments: AccumulatorArgs,
) -> Result<Box<dyn Accumulator>> {
    let call = Call::of(function, &arguments);
    if !call.is_distinct && OF_PARTS.contains(&function.name()) {
        return Ok(Box::new(Queued::new(call)?));
    }
    if let Ok(own) = function.create_sliding_accumulator(arguments)
        && own.supports_retract_batch()
    {
        return Ok(own);
    }
    // Fails here, where it does at all.
    call.accumulator()?;
    Ok(Box::new(Recomputed {
        call,
        rows: VecDeque::new(),
    }))
}

/// Those that can be put together of parts in any order, and give what they have of a part as often as they are asked.
const OF_PARTS: [&str; 19] = [
    "bit_and",
    "bit_or",
    "bool_and",
    "bool_or",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
];

/// A function with all that it is called with.
struct Call {
    function: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Call {
    fn of(function: &Arc<AggregateUDF>, arguments: &AccumulatorArgs) -> Self {
        Self {
            function: Arc::clone(function),
            return_field: Arc::clone(&arguments.return_field),
            schema: arguments.schema.clone(),
            ignore_nulls: arguments.ignore_nulls,
            order_bys: arguments.order_bys.to_vec(),
            is_reversed: arguments.is_reversed,
            name: arguments.name.to_owned(),
            is_distinct: arguments.is_distinct,
            exprs: arguments.exprs.to_vec(),
            expr_fields: arguments.expr_fields.to_vec(),
        }
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

/// A frame as two stacks: rows that came since the last one left, and, of those before, what is known of each and all
/// after it.
struct Queued {
    call: Call,
    /// The oldest last.
    leaving: Vec<Vec<ScalarValue>>,
    rows: Vec<Vec<ArrayRef>>,
    /// Of `rows`.
    entered: Box<dyn Accumulator>,
}

impl Queued {
    fn new(call: Call) -> Result<Self> {
        Ok(Self {
            entered: call.accumulator()?,
            call,
            leaving: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn turn(&mut self) -> Result<()> {
        let mut suffix = self.call.accumulator()?;
        for rows in self.rows.drain(..).rev() {
            for place in (0..count(&rows)).rev() {
                let row = rows.iter().map(|column| column.slice(place, 1));
                suffix.update_batch(&row.collect::<Vec<_>>())?;
                self.leaving.push(suffix.state()?);
            }
        }
        self.entered = self.call.accumulator()?;
        Ok(())
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queued").field(&self.call.name).finish()
    }
}

impl Accumulator for Queued {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // A FILTER may leave nothing of many rows.
        if count(values) > 0 {
            self.entered.update_batch(values)?;
            self.rows.push(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in 0..count(values) {
            if self.leaving.is_empty() {
                self.turn()?;
            }
            if self.leaving.pop().is_none() {
                return internal_err!("a row leaves a frame that it has not entered");
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut whole = self.call.accumulator()?;
        let entered = match self.rows.is_empty() {
            true => None,
            false => Some(self.entered.state()?),
        };
        for part in self.leaving.last().into_iter().chain(&entered) {
            let part = part.iter().map(ScalarValue::to_array);
            whole.merge_batch(&part.collect::<Result<Vec<_>>>()?)?;
        }
        whole.evaluate()
    }

    fn size(&self) -> usize {
        let states = self.leaving.iter().flatten().map(ScalarValue::size);
        let columns = self.rows.iter().flatten();
        let columns = columns.filter_map(|one| one.to_data().get_slice_memory_size().ok());
        size_of_val(self) + self.entered.size() + states.sum::<usize>() + columns.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame has no state of a part")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("a frame is not put together of parts")
    }
}

/// A frame as its rows.
struct Recomputed {
    call: Call,
    /// The arguments of the rows in the frame, some rows at a time.
    rows: VecDeque<Vec<ArrayRef>>,
}

impl fmt::Debug for Recomputed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recomputed").field(&self.call.name).finish()
    }
}

fn count(arguments: &[ArrayRef]) -> usize {
    arguments.first().map_or(0, |first| first.len())
}

impl Accumulator for Recomputed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if count(values) > 0 {
            self.rows.push_back(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut left = count(values);
        while left > 0
            && let Some(oldest) = self.rows.pop_front()
        {
            let rows = count(&oldest);
            if rows > left {
                let kept = oldest.iter().map(|one| one.slice(left, rows - left));
                self.rows.push_front(kept.collect());
            }
            left = left.saturating_sub(rows);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.rows.len() > 1 {
            let width = self.rows.front().map_or(0, Vec::len);
            let columns = (0..width).map(|place| {
                let parts = self.rows.iter().filter_map(|rows| rows.get(place));
                concat(&parts.map(AsRef::as_ref).collect::<Vec<_>>())
            });
            let whole = columns.collect::<std::result::Result<Vec<_>, _>>()?;
            self.rows = VecDeque::from([whole]);
        }
        let mut accumulator = self.call.accumulator()?;
        for rows in &self.rows {
            accumulator.update_batch(rows)?;
        }
        accumulator.evaluate()
    }

    fn size(&self) -> usize {
        let columns = self.rows.iter().flatten();
        let sizes = columns.filter_map(|one| one.to_data().get_slice_memory_size().ok());
        size_of_val(self) + sizes.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame has no state of a part")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("a frame is not put together of parts")
    }
}
