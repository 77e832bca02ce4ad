//! The digest of a result: the same for the same rows, in whatever order and batches they come.
//!
//! Every row is hashed (xxHash64 with two seeds, over a canonical form of its values), and the hashes
//! are added up. What a type is stored as makes no difference (views, large offsets, dictionaries), what
//! it is does: the digest holds names and types of the columns.
//!
//! A sum of floats depends on the order of its terms, so there are two digests: `exact` takes floats bit
//! by bit (all NaN alike, and both zeros), `value` takes them at ten significant digits, four of
//! `Float32`. A number near the border of two roundings can still fall to either side.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Field, FieldRef, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use parking_lot::Mutex;
use twox_hash::XxHash64;

use crate::error::{ErrorKind, NativeError, Result};

/// Name of the way digests are made; another way gets another name.
pub const ALGORITHM: &str = "fusiondelta-1";

/// Two hashes make one of 128 bits.
type Pair = [u64; 2];
const SEEDS: Pair = [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F];

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: u64,
    value: Pair,
    exact: Pair,
}

/// A digest in the making; batches may come from several partitions at once.
#[derive(Debug)]
pub struct Digest {
    schema: Pair,
    sums: Mutex<Sums>,
}

/// A digest as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    pub rows: u64,
    pub value: String,
    pub exact: String,
}

impl Digest {
    /// # Errors
    /// `query` naming a column of a type that has no digest.
    pub fn new(schema: &Schema) -> Result<Self> {
        let mut hash = SEEDS;
        for field in schema.fields() {
            feed(&mut hash, field.name().as_bytes());
            feed(&mut hash, type_name(field)?.as_bytes());
        }
        Ok(Self {
            schema: hash,
            sums: Mutex::default(),
        })
    }

    /// Takes in a batch.
    pub fn add(&self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let mut value = vec![SEEDS; rows];
        let has_floats = batch
            .schema()
            .fields()
            .iter()
            .any(|field| holds_float(field.data_type()));
        let mut exact = if has_floats { value.clone() } else { vec![] };
        let mut cell = Vec::new();
        for column in batch.columns() {
            let apart = holds_float(column.data_type());
            let column = plain(column)?;
            for row in 0..rows {
                cell.clear();
                put(&mut cell, column.as_ref(), row, Floats::Rounded)?;
                feed(&mut value[row], &cell);
                if has_floats {
                    if apart {
                        cell.clear();
                        put(&mut cell, column.as_ref(), row, Floats::Exact)?;
                    }
                    feed(&mut exact[row], &cell);
                }
            }
        }
        let value = sum(&value);
        let exact = if has_floats { sum(&exact) } else { value };
        let mut sums = self.sums.lock();
        sums.rows += rows as u64;
        plus(&mut sums.value, value);
        plus(&mut sums.exact, exact);
        Ok(())
    }

    /// The digest of what came so far.
    pub fn now(&self) -> Digested {
        let sums = *self.sums.lock();
        let text = |sum: Pair| {
            let mut hash = self.schema;
            feed(&mut hash, &sums.rows.to_le_bytes());
            feed(&mut hash, &sum[0].to_le_bytes());
            feed(&mut hash, &sum[1].to_le_bytes());
            format!("{:016x}{:016x}", hash[0], hash[1])
        };
        Digested {
            rows: sums.rows,
            value: text(sums.value),
            exact: text(sums.exact),
        }
    }
}

fn feed(hash: &mut Pair, bytes: &[u8]) {
    for lane in hash {
        *lane = XxHash64::oneshot(*lane, bytes);
    }
}

fn plus(sum: &mut Pair, other: Pair) {
    for (lane, more) in sum.iter_mut().zip(other) {
        *lane = lane.wrapping_add(more);
    }
}

fn sum(rows: &[Pair]) -> Pair {
    let mut sum = [0, 0];
    for row in rows {
        plus(&mut sum, *row);
    }
    sum
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Floats {
    Rounded,
    Exact,
}

fn unsupported(data_type: &DataType) -> NativeError {
    NativeError::new(
        ErrorKind::Query,
        format!("a result with values of type {data_type} has no digest; cast them first"),
    )
}

/// The column without dictionaries and runs.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    let wanted = plain_type(column.data_type());
    if wanted == *column.data_type() {
        return Ok(Arc::clone(column));
    }
    Ok(cast(column, &wanted)?)
}

fn plain_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        let plain = plain_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(plain))
    };
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::RunEndEncoded(_, value) => plain_type(value.data_type()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

/// The type, whatever it is stored as.
fn type_name(field: &Field) -> Result<String> {
    Ok(match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "binary".into(),
        DataType::Dictionary(_, value) => type_name(&Field::new("", value.as_ref().clone(), true))?,
        DataType::RunEndEncoded(_, value) => type_name(value)?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("list<{}>", type_name(item)?),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|field| Ok(format!("{:?}:{}", field.name(), type_name(field)?)))
                .collect::<Result<_>>()?;
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => format!("map<{}>", type_name(entries)?),
        DataType::Union(..) => return Err(unsupported(field.data_type())),
        other => other.to_string(),
    })
}

fn holds_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Dictionary(_, value) => holds_float(value),
        DataType::RunEndEncoded(_, field)
        | DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => holds_float(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_float(field.data_type())),
        _ => false,
    }
}

/// The value as bytes that no other value of its type has: a mark for null, then fixed widths, or a
/// length and what is that long.
fn put(out: &mut Vec<u8>, array: &dyn Array, row: usize, floats: Floats) -> Result<()> {
    if array.is_null(row) {
        out.push(0);
        return Ok(());
    }
    macro_rules! fixed {
        ($kind:ty) => {
            out.extend_from_slice(&array.as_primitive::<$kind>().value(row).to_le_bytes())
        };
    }
    out.push(1);
    match array.data_type() {
        DataType::Null => {}
        DataType::Boolean => out.push(array.as_boolean().value(row).into()),
        DataType::Int8 => fixed!(Int8Type),
        DataType::Int16 => fixed!(Int16Type),
        DataType::Int32 => fixed!(Int32Type),
        DataType::Int64 => fixed!(Int64Type),
        DataType::UInt8 => fixed!(UInt8Type),
        DataType::UInt16 => fixed!(UInt16Type),
        DataType::UInt32 => fixed!(UInt32Type),
        DataType::UInt64 => fixed!(UInt64Type),
        DataType::Float16 => {
            float(
                out,
                array.as_primitive::<Float16Type>().value(row).into(),
                3,
                floats,
            );
        }
        DataType::Float32 => {
            float(
                out,
                array.as_primitive::<Float32Type>().value(row).into(),
                4,
                floats,
            );
        }
        DataType::Float64 => {
            float(
                out,
                array.as_primitive::<Float64Type>().value(row),
                10,
                floats,
            );
        }
        DataType::Decimal32(..) => fixed!(Decimal32Type),
        DataType::Decimal64(..) => fixed!(Decimal64Type),
        DataType::Decimal128(..) => fixed!(Decimal128Type),
        DataType::Decimal256(..) => fixed!(Decimal256Type),
        DataType::Date32 => fixed!(Date32Type),
        DataType::Date64 => fixed!(Date64Type),
        DataType::Time32(TimeUnit::Second) => fixed!(Time32SecondType),
        DataType::Time32(_) => fixed!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => fixed!(Time64MicrosecondType),
        DataType::Time64(_) => fixed!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => fixed!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => fixed!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => fixed!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => fixed!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => fixed!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => fixed!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => fixed!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => fixed!(DurationNanosecondType),
        DataType::Interval(IntervalUnit::YearMonth) => fixed!(IntervalYearMonthType),
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            out.extend_from_slice(&value.days.to_le_bytes());
            out.extend_from_slice(&value.milliseconds.to_le_bytes());
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.extend_from_slice(&value.months.to_le_bytes());
            out.extend_from_slice(&value.days.to_le_bytes());
            out.extend_from_slice(&value.nanoseconds.to_le_bytes());
        }
        DataType::Utf8 => sized(out, array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => sized(out, array.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => sized(out, array.as_string_view().value(row).as_bytes()),
        DataType::Binary => sized(out, array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => sized(out, array.as_binary::<i64>().value(row)),
        DataType::BinaryView => sized(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => sized(out, array.as_fixed_size_binary().value(row)),
        DataType::List(_) => list(out, array.as_list::<i32>().value(row).as_ref(), floats)?,
        DataType::LargeList(_) => list(out, array.as_list::<i64>().value(row).as_ref(), floats)?,
        DataType::ListView(_) => {
            list(out, array.as_list_view::<i32>().value(row).as_ref(), floats)?;
        }
        DataType::LargeListView(_) => {
            list(out, array.as_list_view::<i64>().value(row).as_ref(), floats)?;
        }
        DataType::FixedSizeList(..) => {
            list(out, array.as_fixed_size_list().value(row).as_ref(), floats)?;
        }
        DataType::Map(..) => list(out, &array.as_map().value(row), floats)?,
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                put(out, column.as_ref(), row, floats)?;
            }
        }
        other => return Err(unsupported(other)),
    }
    Ok(())
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn list(out: &mut Vec<u8>, items: &dyn Array, floats: Floats) -> Result<()> {
    out.extend_from_slice(&(items.len() as u64).to_le_bytes());
    for item in 0..items.len() {
        put(out, items, item, floats)?;
    }
    Ok(())
}

fn float(out: &mut Vec<u8>, number: f64, digits: usize, floats: Floats) {
    // All NaN are one, and so are both zeros.
    let number = if number.is_nan() {
        f64::NAN
    } else {
        number + 0.0
    };
    if floats == Floats::Exact || !number.is_finite() {
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        sized(out, format!("{number:.*e}", digits - 1).as_bytes());
    }
}
