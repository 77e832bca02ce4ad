//! `sum` of whole numbers and decimals: what does not fit the type of the result is an error.
//!
//! DataFusion's wraps around (apache/datafusion#3520). Sums are kept in 128 bits, so that whether one fits says
//! its end and not the order of its rows.

use std::sync::Arc;

use super::floats::Sliding;
use crate::planner::as_inner::as_inner_aggregate;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array,
    PrimitiveArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

/// The function under the name of DataFusion's.
pub fn checked_sum() -> AggregateUDF {
    AggregateUDF::from(CheckedSum {
        inner: Sum::default(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

/// What a sum gives.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Int64,
    UInt64,
    Decimal(u8, i8),
}

impl Kind {
    /// `None` for what DataFusion sums rightly, or in a type that is not for us.
    fn of(result: &DataType) -> Option<Self> {
        match result {
            DataType::Int64 => Some(Self::Int64),
            DataType::UInt64 => Some(Self::UInt64),
            DataType::Decimal128(precision, scale) => Some(Self::Decimal(*precision, *scale)),
            _ => None,
        }
    }

    fn state(self) -> DataType {
        match self {
            Self::Int64 | Self::UInt64 => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        }
    }

    fn check(self, sum: i128) -> Result<()> {
        let fits = match self {
            Self::Int64 => i64::try_from(sum).is_ok(),
            Self::UInt64 => u64::try_from(sum).is_ok(),
            Self::Decimal(precision, _) => {
                let digits = 10_u128.checked_pow(u32::from(precision));
                digits.is_none_or(|most| sum.unsigned_abs() < most)
            }
        };
        match (fits, self) {
            (true, _) => Ok(()),
            (false, Self::Int64) => exec_err!(
                "overflow: a sum of integers does not fit BIGINT; sum them as DECIMAL(38, 0)"
            ),
            (false, Self::UInt64) => exec_err!(
                "overflow: a sum of integers does not fit BIGINT UNSIGNED; sum them as DECIMAL(38, 0)"
            ),
            (false, Self::Decimal(precision, scale)) => {
                exec_err!("overflow: a sum of decimals does not fit DECIMAL({precision}, {scale})")
            }
        }
    }

    fn result(self, sums: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        for (row, sum) in sums.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                self.check(*sum)?;
            }
        }
        // Values of rows that are NULL may be anything.
        let narrow = sums.iter();
        Ok(match self {
            Self::Int64 => Arc::new(PrimitiveArray::<Int64Type>::new(
                narrow
                    .map(|s| i64::try_from(*s).unwrap_or_default())
                    .collect(),
                nulls,
            )),
            Self::UInt64 => Arc::new(PrimitiveArray::<UInt64Type>::new(
                narrow
                    .map(|s| u64::try_from(*s).unwrap_or_default())
                    .collect(),
                nulls,
            )),
            Self::Decimal(precision, scale) => Arc::new(
                Decimal128Array::new(sums.into(), nulls)
                    .with_precision_and_scale(precision, scale)?,
            ),
        })
    }

    fn scalar(self, sum: Option<i128>) -> Result<ScalarValue> {
        if let Some(sum) = sum {
            self.check(sum)?;
        }
        Ok(match self {
            Self::Int64 => ScalarValue::Int64(sum.and_then(|s| s.try_into().ok())),
            Self::UInt64 => ScalarValue::UInt64(sum.and_then(|s| s.try_into().ok())),
            Self::Decimal(precision, scale) => ScalarValue::Decimal128(sum, precision, scale),
        })
    }

    /// The sum of the values that are there; `None` where there is none.
    fn total(self, values: &ArrayRef) -> Result<Option<i128>> {
        match values.data_type() {
            DataType::Int64 => total(values.as_primitive::<Int64Type>()),
            DataType::UInt64 => total(values.as_primitive::<UInt64Type>()),
            DataType::Decimal128(..) => total(values.as_primitive::<Decimal128Type>()),
            other => internal_err!("a sum of {other}"),
        }
    }
}

fn total<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> Result<Option<i128>>
where
    T::Native: Into<i128>,
{
    if values.null_count() == values.len() {
        return Ok(None);
    }
    let mut sum: i128 = 0;
    for value in values.iter().flatten() {
        sum = sum.add_checked(value.into())?;
    }
    Ok(Some(sum))
}

impl AggregateUDFImpl for CheckedSum {
    as_inner_aggregate!();

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let kind = Kind::of(arguments.return_field.data_type());
        match (kind, arguments.is_distinct) {
            (None, _) => self.inner.accumulator(arguments),
            (Some(kind), false) => Ok(Box::new(Total::new(kind))),
            (Some(kind), true) => Ok(Box::new(DistinctTotal {
                kind,
                values: self.inner.accumulator(arguments)?,
            })),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match Kind::of(arguments.return_field.data_type()) {
            Some(kind) if !arguments.is_distinct => {
                let name = format_state_name(arguments.name, "sum");
                Ok(vec![Arc::new(Field::new(name, kind.state(), true))])
            }
            _ => self.inner.state_fields(arguments),
        }
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match Kind::of(arguments.return_field.data_type()) {
            Some(kind) => Ok(Box::new(Totals::new(kind))),
            None => self.inner.create_groups_accumulator(arguments),
        }
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn Accumulator>> {
        let result = arguments.return_field.data_type();
        match Kind::of(result) {
            Some(kind) if !arguments.is_distinct => Ok(Box::new(Total::new(kind))),
            // It gives nothing back: DataFusion refuses frames that slide.
            Some(_) => self.accumulator(arguments),
            None if !arguments.is_distinct && *result == DataType::Float64 => {
                Ok(Box::new(Sliding::sum()))
            }
            _ => self.inner.create_sliding_accumulator(arguments),
        }
    }
}

/// One sum.
#[derive(Debug)]
struct Total {
    kind: Kind,
    sum: i128,
    /// How many values are in it.
    count: u64,
}

impl Total {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            sum: 0,
            count: 0,
        }
    }

    fn sum(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

fn present(values: &ArrayRef) -> u64 {
    (values.len() - values.null_count()) as u64
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(more) = self.kind.total(&values[0])? {
            self.sum = self.sum.add_checked(more)?;
            self.count += present(&values[0]);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kind.scalar(self.sum())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![match self.kind.state() {
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(self.sum(), precision, scale)
            }
            other => return internal_err!("a sum kept as {other}"),
        }])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(less) = self.kind.total(&values[0])? {
            self.sum = self.sum.sub_checked(less)?;
            self.count -= present(&values[0]);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// The sum of values that differ; what they are is known to DataFusion's own.
#[derive(Debug)]
struct DistinctTotal {
    kind: Kind,
    values: Box<dyn Accumulator>,
}

impl Accumulator for DistinctTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.values.state()?;
        let Some(ScalarValue::List(lists)) = state.first() else {
            return internal_err!("the values of a distinct sum are no list");
        };
        let mut sum = Total::new(self.kind);
        sum.update_batch(&[Arc::clone(lists.values())])?;
        sum.evaluate()
    }

    fn size(&self) -> usize {
        self.values.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }
}

/// Sums of groups.
#[derive(Debug)]
struct Totals {
    kind: Kind,
    sums: Vec<i128>,
    seen: NullState,
    /// Whether one has left 128 bits, which only decimals can.
    is_lost: bool,
}

impl Totals {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            sums: Vec::new(),
            seen: NullState::new(),
            is_lost: false,
        }
    }

    fn add<T: ArrowPrimitiveType + Send>(
        &mut self,
        values: &PrimitiveArray<T>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) where
        T::Native: Into<i128>,
    {
        self.sums.resize(count, 0);
        let (sums, is_lost) = (&mut self.sums, &mut self.is_lost);
        self.seen
            .accumulate(groups, values, filter, count, |group, value| {
                let (sum, overflows) = sums[group].overflowing_add(value.into());
                sums[group] = sum;
                *is_lost |= overflows;
            });
    }

    fn taken(&mut self, emit: EmitTo) -> Result<(Vec<i128>, Option<NullBuffer>)> {
        if self.is_lost {
            return exec_err!("overflow: a sum of decimals does not fit 128 bits");
        }
        Ok((emit.take_needed(&mut self.sums), self.seen.build(emit)))
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let values = &values[0];
        match values.data_type() {
            DataType::Int64 => {
                self.add(values.as_primitive::<Int64Type>(), groups, filter, count);
            }
            DataType::UInt64 => {
                self.add(values.as_primitive::<UInt64Type>(), groups, filter, count);
            }
            DataType::Decimal128(..) => {
                self.add(
                    values.as_primitive::<Decimal128Type>(),
                    groups,
                    filter,
                    count,
                );
            }
            other => return internal_err!("a sum of {other}"),
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.taken(emit)?;
        self.kind.result(sums, nulls)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.taken(emit)?;
        let state = Decimal128Array::new(sums.into(), nulls).with_data_type(self.kind.state());
        Ok(vec![Arc::new(state)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let wide = match values[0].data_type() {
            DataType::Int64 => widened(values[0].as_primitive::<Int64Type>(), filter),
            DataType::UInt64 => widened(values[0].as_primitive::<UInt64Type>(), filter),
            DataType::Decimal128(..) => widened(values[0].as_primitive::<Decimal128Type>(), filter),
            other => return internal_err!("a sum of {other}"),
        };
        Ok(vec![Arc::new(wide.with_data_type(self.kind.state()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.seen.size()
    }
}

/// Each value as a sum of its own; NULL where the filter is not true.
fn widened<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    filter: Option<&BooleanArray>,
) -> Decimal128Array
where
    T::Native: Into<i128>,
{
    let kept = filter.map(|filter| {
        let is_true = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        NullBuffer::new(is_true)
    });
    Decimal128Array::new(
        values
            .values()
            .iter()
            .map(|value| (*value).into())
            .collect(),
        NullBuffer::union(values.nulls(), kept.as_ref()),
    )
}
