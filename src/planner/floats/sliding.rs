//! Sums and averages of floats in frames that slide.
//!
//! DataFusion takes what leaves a frame from the sum, which then stays NaN or infinite once it was, and keeps
//! the error of every number that was far larger than the others. Here nothing is ever taken away: the frame is
//! a queue of two stacks, each with the sums of its parts.

use crate::planner::as_inner::as_inner_aggregate;
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator};

/// A frame of doubles.
#[derive(Debug)]
pub struct Sliding {
    is_average: bool,
    /// Sums of the oldest values from each on, the oldest last.
    leaving: Vec<f64>,
    /// Values that came since.
    entered: Vec<f64>,
    entered_sum: f64,
}

impl Sliding {
    pub fn sum() -> Self {
        Self::new(false)
    }

    fn average() -> Self {
        Self::new(true)
    }

    fn new(is_average: bool) -> Self {
        Self {
            is_average,
            leaving: Vec::new(),
            entered: Vec::new(),
            entered_sum: 0.0,
        }
    }

    fn leave(&mut self) -> Result<()> {
        if self.leaving.is_empty() {
            let mut sum = 0.0;
            for value in self.entered.drain(..).rev() {
                sum += value;
                self.leaving.push(sum);
            }
            self.entered_sum = 0.0;
        }
        match self.leaving.pop() {
            Some(_) => Ok(()),
            None => internal_err!("a value leaves a frame that it has not entered"),
        }
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.entered.push(value);
            self.entered_sum += value;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.leave()?;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let count = self.leaving.len() + self.entered.len();
        if count == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        let sum = match self.leaving.last() {
            Some(older) => older + self.entered_sum,
            None => self.entered_sum,
        };
        let value = match self.is_average {
            #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
            true => sum / count as f64,
            false => sum,
        };
        Ok(ScalarValue::Float64(Some(super::canonical::f64(value))))
    }

    fn size(&self) -> usize {
        let values = self.leaving.capacity() + self.entered.capacity();
        size_of_val(self) + values * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame has no state of a part")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("a frame is not put together of parts")
    }
}

pub fn avg() -> AggregateUDF {
    AggregateUDF::from(Average { inner: Avg::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    inner: Avg,
}

impl AggregateUDFImpl for Average {
    as_inner_aggregate!();

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(arguments)
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn Accumulator>> {
        let is_float = arguments
            .expr_fields
            .first()
            .is_some_and(|field| *field.data_type() == DataType::Float64);
        match is_float && !arguments.is_distinct {
            true => Ok(Box::new(Sliding::average())),
            false => self.inner.create_sliding_accumulator(arguments),
        }
    }
}
