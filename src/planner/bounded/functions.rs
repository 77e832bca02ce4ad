//! Functions whose results can be far larger than what they are made of, within the memory of the query.
//!
//! How large a result will be is worked out before it is made, of constants in a plan too, and reserved for as
//! long as it is made.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::LARGEST;
use crate::planner::as_inner::as_inner;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
};

/// Bytes from which on the places in a text are counted, instead of those that there may be.
const WORTH_A_LOOK: u64 = 16 * 1024 * 1024;

/// Puts bounds on the functions of a session, by its memory.
pub fn bound(state: &mut SessionState) -> Result<()> {
    let pool = Arc::clone(&state.runtime_env().memory_pool);
    for (name, size) in FUNCTIONS {
        let Some(inner) = state.scalar_functions().get(name).cloned() else {
            continue;
        };
        state.register_udf(Arc::new(ScalarUDF::from(Bounded {
            inner,
            size,
            pool: Arc::clone(&pool),
        })))?;
    }
    Ok(())
}

type Size = fn(&[ArrayRef]) -> Option<u64>;

const FUNCTIONS: [(&str, Size); 10] = [
    ("concat", joined),
    ("concat_ws", joined_by),
    ("repeat", repeated),
    ("lpad", padded),
    ("rpad", padded),
    ("replace", replaced),
    ("array_repeat", repeated_items),
    ("array_resize", resized),
    ("range", series),
    ("generate_series", series),
];

#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
    pool: Arc<dyn MemoryPool>,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

/// Not simplified: what some become of constants (`concat_ws`) is no longer within bounds.
impl ScalarUDFImpl for Bounded {
    as_inner!();

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        // Of constants one result is made.
        let rows = match arguments.args.iter().all(is_constant) {
            true => 1,
            false => arguments.number_rows,
        };
        let reservation = MemoryConsumer::new(self.name()).register(&self.pool);
        for value in &arguments.args {
            // To see how large a result is, constants are repeated.
            if let ColumnarValue::Scalar(constant) = value {
                reservation.try_grow(constant.size().saturating_mul(rows))?;
            }
        }
        let given = arguments.args.iter();
        let given = given.map(|value| value.to_array(rows));
        let given = given.collect::<Result<Vec<_>>>()?;
        let bytes = (self.size)(&given).unwrap_or_default();
        drop(given);
        if bytes > LARGEST {
            return exec_err!(
                "{} would give {bytes} bytes at once, more than an array holds",
                self.name()
            );
        }
        reservation.free();
        reservation.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        self.inner.invoke_with_args(arguments)
    }
}

/// Whole numbers; of anything else nothing is known.
fn numbers(array: &ArrayRef) -> Option<ArrayRef> {
    cast(array, &DataType::Int64).ok()
}

fn number(array: &ArrayRef, row: usize) -> Option<i64> {
    let array = array.as_primitive::<Int64Type>();
    array.is_valid(row).then(|| array.value(row))
}

fn count(array: &ArrayRef, row: usize) -> u64 {
    number(array, row).map_or(0, |number| u64::try_from(number).unwrap_or(0))
}

/// Bytes of each text.
fn lengths(array: &ArrayRef) -> Option<Vec<u64>> {
    let length = |text: Option<&str>| text.map_or(0, |text| text.len() as u64);
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(length).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(length).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(length).collect(),
        _ => return None,
    })
}

fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

fn joined(given: &[ArrayRef]) -> Option<u64> {
    let sizes = given
        .iter()
        .map(|array| Some(total(lengths(array)?.into_iter())));
    Some(total(sizes.collect::<Option<Vec<_>>>()?.into_iter()))
}

/// The separator stands once less than there are texts.
fn joined_by(given: &[ArrayRef]) -> Option<u64> {
    let [separator, texts @ ..] = given else {
        return None;
    };
    let between = total(lengths(separator)?.into_iter());
    let places = texts.len().saturating_sub(1) as u64;
    Some(joined(texts)?.saturating_add(between.saturating_mul(places)))
}

fn repeated(given: &[ArrayRef]) -> Option<u64> {
    let [text, times] = given else {
        return None;
    };
    let (lengths, times) = (lengths(text)?, numbers(times)?);
    let sizes = lengths.into_iter().enumerate();
    Some(total(sizes.map(|(row, length)| {
        length.saturating_mul(count(&times, row))
    })))
}

/// A character that pads has four bytes at most.
fn padded(given: &[ArrayRef]) -> Option<u64> {
    let length = numbers(given.get(1)?)?;
    let width = match given.get(2) {
        Some(fill) => widest(fill)?,
        None => 1,
    };
    let rows = 0..length.len();
    Some(total(
        rows.map(|row| count(&length, row).saturating_mul(width)),
    ))
}

/// Bytes of the widest character of texts, at most four.
fn widest(texts: &ArrayRef) -> Option<u64> {
    let is_plain = match texts.data_type() {
        DataType::Utf8 => texts.as_string::<i32>().iter().flatten().all(str::is_ascii),
        DataType::LargeUtf8 => texts.as_string::<i64>().iter().flatten().all(str::is_ascii),
        DataType::Utf8View => texts.as_string_view().iter().flatten().all(str::is_ascii),
        _ => return None,
    };
    Some(if is_plain { 1 } else { 4 })
}

fn replaced(given: &[ArrayRef]) -> Option<u64> {
    let [text, from, to] = given else {
        return None;
    };
    let (sizes, from_sizes, to) = (lengths(text)?, lengths(from)?, lengths(to)?);
    let size = |places: &dyn Fn(usize) -> u64| {
        let rows = sizes.iter().zip(&to).enumerate();
        total(rows.map(|(row, (size, to))| size.saturating_add(places(row).saturating_mul(*to))))
    };
    // Before every character and at the end, where nothing is replaced.
    let most = size(&|row| (sizes[row] + 1) / from_sizes[row].max(1));
    if most <= WORTH_A_LOOK {
        return Some(most);
    }
    let (text, from) = (
        cast(text, &DataType::Utf8View).ok()?,
        cast(from, &DataType::Utf8View).ok()?,
    );
    let (text, from) = (text.as_string_view(), from.as_string_view());
    Some(size(
        &|row| match text.is_valid(row) && from.is_valid(row) {
            true => text.value(row).matches(from.value(row)).count() as u64,
            false => 0,
        },
    ))
}

/// Bytes of a value, on average.
fn width(array: &ArrayRef) -> u64 {
    let rows = array.len().max(1) as u64;
    if let Some(lengths) = lengths(array) {
        return (total(lengths.into_iter()) / rows).max(1);
    }
    let bytes = array.to_data().get_slice_memory_size().unwrap_or_default() as u64;
    (bytes / rows).max(1)
}

fn repeated_items(given: &[ArrayRef]) -> Option<u64> {
    let [item, times] = given else {
        return None;
    };
    let (width, times) = (width_of_items(item), numbers(times)?);
    let rows = 0..times.len();
    Some(total(
        rows.map(|row| count(&times, row).saturating_mul(width)),
    ))
}

/// Bytes of a value without what an array has besides its values.
fn width_of_items(array: &ArrayRef) -> u64 {
    match array.data_type().primitive_width() {
        Some(bytes) => bytes as u64,
        None => width(array),
    }
}

fn resized(given: &[ArrayRef]) -> Option<u64> {
    let size = numbers(given.get(1)?)?;
    let item = match given.first()?.data_type() {
        DataType::List(item) | DataType::LargeList(item) => item.data_type().primitive_width(),
        _ => None,
    };
    let width = item.unwrap_or(16) as u64;
    let rows = 0..size.len();
    Some(total(
        rows.map(|row| count(&size, row).saturating_mul(width)),
    ))
}

fn series(given: &[ArrayRef]) -> Option<u64> {
    let last = given.last()?;
    if let DataType::Interval(_) = last.data_type() {
        return series_of_times(given);
    }
    let numbers: Vec<_> = given.iter().map(numbers).collect::<Option<_>>()?;
    let rows = 0..last.len();
    Some(total(rows.map(|row| {
        let at = |place: usize| numbers.get(place).and_then(|array| number(array, row));
        let (start, stop, step) = match numbers.len() {
            1 => (Some(0), at(0), Some(1)),
            2 => (at(0), at(1), Some(1)),
            _ => (at(0), at(1), at(2)),
        };
        let (Some(start), Some(stop), Some(step)) = (start, stop, step) else {
            return 0;
        };
        let distance = i128::from(stop) - i128::from(start);
        items(distance, i128::from(step))
    })))
}

fn series_of_times(given: &[ArrayRef]) -> Option<u64> {
    const DAY: i128 = 86_400_000_000_000;
    let [start, stop, step] = given else {
        return None;
    };
    let instants = |array: &ArrayRef| {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
        numbers(&cast(array, &kind).ok()?)
    };
    let (start, stop) = (instants(start)?, instants(stop)?);
    let step = cast(step, &DataType::Interval(IntervalUnit::MonthDayNano)).ok()?;
    let step: &IntervalMonthDayNanoArray = step.as_primitive::<IntervalMonthDayNanoType>();
    let rows = 0..start.len();
    Some(total(rows.map(|row| {
        let (Some(start), Some(stop), true) =
            (number(&start, row), number(&stop, row), step.is_valid(row))
        else {
            return 0;
        };
        let step = step.value(row);
        let days = i128::from(step.months) * 28 + i128::from(step.days);
        let step = days * DAY + i128::from(step.nanoseconds);
        items((i128::from(stop) - i128::from(start)) * 1000, step)
    })))
}

/// Bytes of a series over a distance.
fn items(distance: i128, step: i128) -> u64 {
    const WIDTH: u64 = 8;
    match distance.checked_div(step) {
        Some(count) if count >= 0 => u64::try_from(count)
            .unwrap_or(u64::MAX)
            .saturating_add(1)
            .saturating_mul(WIDTH),
        _ => 0,
    }
}
