//! `min` and `max` of floats in groups, in the order in which NaN is the largest number.
//!
//! DataFusion's begin with the largest and the smallest number, which infinity is beyond of, and pass over NaN.

use crate::planner::as_inner::as_inner_aggregate;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

pub fn max() -> AggregateUDF {
    AggregateUDF::from(Extreme {
        inner: Max::new(),
        is_max: true,
    })
}

pub fn min() -> AggregateUDF {
    AggregateUDF::from(Extreme {
        inner: Min::new(),
        is_max: false,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme<F> {
    inner: F,
    is_max: bool,
}

/// The first and the last in `total_cmp`'s order: a NaN of either sign, with all bits.
const FIRST_64: f64 = f64::from_bits(u64::MAX);
const LAST_64: f64 = f64::from_bits(u64::MAX >> 1);
const FIRST_32: f32 = f32::from_bits(u32::MAX);
const LAST_32: f32 = f32::from_bits(u32::MAX >> 1);

macro_rules! groups {
    ($kind:ty, $type:expr, $is_max:expr, $first:expr, $last:expr) => {
        if $is_max {
            Box::new(
                PrimitiveGroupsAccumulator::<$kind, _>::new($type, |known, value| {
                    if value.total_cmp(known).is_gt() {
                        *known = value;
                    }
                })
                .with_starting_value($first),
            )
        } else {
            Box::new(
                PrimitiveGroupsAccumulator::<$kind, _>::new($type, |known, value| {
                    if value.total_cmp(known).is_lt() {
                        *known = value;
                    }
                })
                .with_starting_value($last),
            )
        }
    };
}

impl<F: AggregateUDFImpl + PartialEq + Eq + std::hash::Hash> AggregateUDFImpl for Extreme<F> {
    as_inner_aggregate!();

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

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
        let kind = arguments.return_field.data_type();
        Ok(match kind {
            DataType::Float64 => groups!(Float64Type, kind, self.is_max, FIRST_64, LAST_64),
            DataType::Float32 => groups!(Float32Type, kind, self.is_max, FIRST_32, LAST_32),
            _ => return self.inner.create_groups_accumulator(arguments),
        })
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(arguments)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }
}
