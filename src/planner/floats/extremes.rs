//! `min` and `max` in the order of sorts.
//!
//! DataFusion's, in groups, begin with the largest and the smallest number, which infinity is beyond of, and pass over
//! NaN, the largest number of all. They keep the first of lists and structs that have such within, or fail.

use crate::planner::as_inner::as_inner;
use crate::planner::nested_extremes::NestedExtreme;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    StatisticsArgs,
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
    as_inner!();

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.return_field.data_type().is_nested()
            && self.inner.groups_accumulator_supported(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(kind)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_field.data_type();
        match kind.is_nested() {
            true => Ok(Box::new(NestedExtreme::new(kind, self.is_max)?)),
            false => self.inner.accumulator(arguments),
        }
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
        let kind = arguments.return_field.data_type();
        match kind.is_nested() {
            true => Ok(Box::new(NestedExtreme::sliding(kind, self.is_max)?)),
            false => self.inner.create_sliding_accumulator(arguments),
        }
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }
}
