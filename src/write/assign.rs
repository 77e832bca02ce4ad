//! Store assignment: which values a column takes, and how they get its type.
//!
//! A value is kept or refused, never changed on the way (SQL's store assignment, stricter than ANSI's
//! where that rounds): numbers grow, and shrink where they fit; text, numbers, dates and timestamps do
//! not become each other. What a column of a table cannot be refused for by its type is checked value by
//! value. A `CAST` in the SQL of a change is its writer's word and comes here as what it gives.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{CastOptions, cast_with_options, kernels::cmp::distinct};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit,
    TimestampNanosecondType,
};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{ErrorKind, NativeError, Result};

/// Values that do not fit are errors, not NULL.
const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: datafusion::arrow::util::display::FormatOptions::new(),
};

/// The type that a column of a new table gets for data of a type; `None` where Delta has none.
pub fn delta_type(kind: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match kind {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => {
            kind.clone()
        }
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date32 | T::Date64 => T::Date32,
        T::Timestamp(_, zone) => {
            T::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => {
            // A negative scale is a number of zeros.
            let zeros = u8::try_from(-i16::from(*scale)).unwrap_or(0);
            let precision = precision.checked_add(zeros)?;
            let scale = (*scale).max(0);
            if precision > 38 || i16::from(scale) > i16::from(precision) {
                return None;
            }
            T::Decimal128(precision, scale)
        }
        T::Dictionary(_, value) => delta_type(value)?,
        T::RunEndEncoded(_, value) => delta_type(value.data_type())?,
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => {
            let inner = delta_type(item.data_type())?;
            T::List(Arc::new(Field::new("element", inner, item.is_nullable())))
        }
        T::Struct(fields) => {
            let fields: Option<Fields> = fields
                .iter()
                .map(|f| {
                    Some(Field::new(
                        f.name(),
                        delta_type(f.data_type())?,
                        f.is_nullable(),
                    ))
                })
                .collect();
            T::Struct(fields.filter(|fields| !fields.is_empty())?)
        }
        T::Map(entries, _) => {
            let T::Struct(pair) = entries.data_type() else {
                return None;
            };
            let [key, value] = pair.as_ref() else {
                return None;
            };
            let key = Field::new("key", delta_type(key.data_type())?, false);
            let inner = delta_type(value.data_type())?;
            let value = Field::new("value", inner, value.is_nullable());
            T::Map(
                Arc::new(Field::new(
                    "key_value",
                    T::Struct(vec![key, value].into()),
                    false,
                )),
                false,
            )
        }
        _ => return None,
    })
}

/// Why a column of type `to` takes no values of type `from`; `None` where it takes some.
pub fn obstacle(from: &DataType, to: &DataType) -> Option<String> {
    use DataType as T;
    let refused = || Some(format!("{} does not become {}", named(from), named(to)));
    if let T::Dictionary(_, value) = from {
        return obstacle(value, to);
    }
    if let T::RunEndEncoded(_, value) = from {
        return obstacle(value.data_type(), to);
    }
    let fits = match (from, to) {
        (T::Null, _) | (T::Boolean, T::Boolean) => true,
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, T::Float32 | T::Float64) if from.is_integer() || is_decimal(from) => true,
        (from, T::Float32 | T::Float64) if from.is_floating() => true,
        (from, to) if from.is_integer() && is_decimal(to) => true,
        (from, to) if is_decimal(from) && is_decimal(to) => true,
        (from, to) if is_whole(from) && to.is_integer() => true,
        (from, to) if is_text(from) && is_text(to) => true,
        (from, to) if is_binary(from) && is_binary(to) => true,
        (T::Date32 | T::Date64, T::Date32 | T::Timestamp(_, None)) => true,
        (T::Timestamp(_, from), T::Timestamp(_, to)) => from.is_some() == to.is_some(),
        _ => false,
    };
    if fits {
        return None;
    }
    match (from, to) {
        (from, T::List(to)) => match item(from) {
            Some(from) => obstacle(from.data_type(), to.data_type()),
            None => refused(),
        },
        (T::Map(from, _), T::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (T::Struct(from), T::Struct(to)) => from
                .iter()
                .zip(to)
                .find_map(|(from, to)| obstacle(from.data_type(), to.data_type())),
            _ => refused(),
        },
        (T::Struct(from), T::Struct(to)) => {
            let extra = from.iter().find(|f| to.find(f.name()).is_none());
            if let Some(extra) = extra {
                return Some(format!("the struct has no field {:?}", extra.name()));
            }
            to.iter().find_map(|to| match from.find(to.name()) {
                Some((_, from)) => obstacle(from.data_type(), to.data_type())
                    .map(|why| format!("field {:?}: {why}", to.name())),
                None if to.is_nullable() => None,
                None => Some(format!("the field {:?} is missing", to.name())),
            })
        }
        _ => refused(),
    }
}

/// A type as SQL calls it.
pub fn named(kind: &DataType) -> String {
    use DataType as T;
    match kind {
        T::Boolean => "boolean".to_owned(),
        T::Int8 => "byte".to_owned(),
        T::Int16 => "short".to_owned(),
        T::Int32 => "integer".to_owned(),
        T::Int64 => "long".to_owned(),
        T::Float32 => "float".to_owned(),
        T::Float64 => "double".to_owned(),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string".to_owned(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary".to_owned(),
        T::Date32 | T::Date64 => "date".to_owned(),
        T::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        T::Timestamp(_, None) => "timestamp_ntz".to_owned(),
        T::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        T::Dictionary(_, value) => named(value),
        other => other.to_string(),
    }
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// A decimal without a fraction.
fn is_whole(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) if *scale <= 0
    )
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// The items of any kind of list.
fn item(kind: &DataType) -> Option<&FieldRef> {
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// Values as a column of type `to` keeps them.
///
/// # Errors
/// Why a value cannot be kept.
pub fn store(
    values: &ArrayRef,
    to: &DataType,
    truncate: bool,
) -> std::result::Result<ArrayRef, String> {
    use DataType as T;
    let from = values.data_type();
    if from == to {
        return Ok(Arc::clone(values));
    }
    let strict = |values: &ArrayRef, to: &DataType| {
        cast_with_options(values, to, &STRICT).map_err(|e| reason(&e.to_string()))
    };
    match (from, to) {
        (T::Null, _) => Ok(new_null_array(to, values.len())),
        (T::Dictionary(_, value), _) => {
            let plain = strict(values, value)?;
            store(&plain, to, truncate)
        }
        (T::RunEndEncoded(_, value), _) => {
            let plain = strict(values, value.data_type())?;
            store(&plain, to, truncate)
        }
        (from, T::List(to_item)) => {
            let list = match from {
                T::List(_) => Arc::clone(values),
                other => {
                    let item = item(other).ok_or_else(|| format!("{other} is no list"))?;
                    strict(values, &T::List(Arc::clone(item)))?
                }
            };
            let list = list.as_list::<i32>();
            let inner = store(list.values(), to_item.data_type(), truncate)?;
            ListArray::try_new(
                Arc::clone(to_item),
                list.offsets().clone(),
                inner,
                list.nulls().cloned(),
            )
            .map(|made| Arc::new(made) as ArrayRef)
            .map_err(|e| reason(&e.to_string()))
        }
        (T::Map(..), T::Map(entries, sorted)) => {
            let map = values.as_map();
            let T::Struct(pair) = entries.data_type() else {
                return Err("a map has no keys".to_owned());
            };
            let keys = store(map.keys(), pair[0].data_type(), truncate)?;
            let inner = store(map.values(), pair[1].data_type(), truncate)?;
            let pair = StructArray::try_new(pair.clone(), vec![keys, inner], None)
                .map_err(|e| reason(&e.to_string()))?;
            MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                pair,
                map.nulls().cloned(),
                *sorted,
            )
            .map(|made| Arc::new(made) as ArrayRef)
            .map_err(|e| reason(&e.to_string()))
        }
        (T::Struct(_), T::Struct(fields)) => {
            let given = values.as_struct();
            let columns = fields
                .iter()
                .map(|field| match given.column_by_name(field.name()) {
                    Some(column) => store(column, field.data_type(), truncate),
                    None => Ok(new_null_array(field.data_type(), values.len())),
                })
                .collect::<std::result::Result<Vec<_>, _>>()?;
            StructArray::try_new_with_length(
                fields.clone(),
                columns,
                given.nulls().cloned(),
                values.len(),
            )
            .map(|made| Arc::new(made) as ArrayRef)
            .map_err(|e| reason(&e.to_string()))
        }
        (T::Timestamp(TimeUnit::Nanosecond, _), T::Timestamp(..)) => {
            if !truncate && has_nanoseconds(values) {
                return Err(NANOSECONDS.to_owned());
            }
            strict(values, to)
        }
        // What a double or a float holds exactly, and nothing else.
        (from, T::Float32 | T::Float64) if from.is_integer() || is_decimal(from) => {
            let made = strict(values, to)?;
            let back = cast_with_options(&made, from, &STRICT)
                .map_err(|_| format!("a value is too large for {}", named(to)))?;
            same(values, &back, to)?;
            Ok(made)
        }
        (T::Float64, T::Float32) => {
            let made = strict(values, to)?;
            let grown = values
                .as_primitive::<Float64Type>()
                .iter()
                .zip(made.as_primitive::<Float32Type>().iter())
                .any(|pair| matches!(pair, (Some(a), Some(b)) if a.is_finite() && b.is_infinite()));
            if grown {
                return Err("a double is too large for float".to_owned());
            }
            Ok(made)
        }
        (from, to) if is_decimal(from) && is_decimal(to) => {
            let made = strict(values, to)?;
            let back = strict(&made, from)?;
            same(values, &back, to)?;
            Ok(made)
        }
        (T::Date64, T::Date32) => {
            let made = strict(values, to)?;
            let back = strict(&made, from)?;
            same(values, &back, to)?;
            Ok(made)
        }
        _ => strict(values, to),
    }
}

/// Refuses values that are others once they have come back. (0.1 becomes a double and one tenth again.)
fn same(before: &ArrayRef, after: &ArrayRef, to: &DataType) -> std::result::Result<(), String> {
    let differs = distinct(before, after).map_err(|e| reason(&e.to_string()))?;
    if differs.true_count() > 0 {
        return Err(format!("a value would lose digits as {}", named(to)));
    }
    Ok(())
}

fn reason(message: &str) -> String {
    let plain = message
        .trim_start_matches("Cast error: ")
        .trim_start_matches("Invalid argument error: ")
        .trim_start_matches("Compute error: ");
    plain.to_owned()
}

const NANOSECONDS: &str = "a timestamp has nanoseconds, and a Delta table keeps microseconds; round \
                           it, or pass allow_truncated_timestamps=True";

fn has_nanoseconds(values: &ArrayRef) -> bool {
    values
        .as_primitive::<TimestampNanosecondType>()
        .iter()
        .flatten()
        .any(|n| n % 1000 != 0)
}

/// What an expression gives, as a column keeps it; the column's name is for errors.
pub fn assigned(expr: Expr, from: &DataType, column: &Field, truncate: bool) -> Result<Expr> {
    if let Some(why) = obstacle(from, column.data_type()) {
        return Err(refused(column.name(), &why));
    }
    if from == column.data_type() {
        return Ok(expr);
    }
    let stored = StoreAs {
        column: column.name().clone(),
        to: column.data_type().clone(),
        truncate,
        signature: Signature::any(1, Volatility::Immutable),
    };
    Ok(ScalarUDF::from(stored).call(vec![expr]))
}

pub fn refused(column: &str, why: &str) -> NativeError {
    NativeError::new(
        ErrorKind::SchemaMismatch,
        format!("column {column:?}: {why}; CAST it if that is meant"),
    )
    .with("columns", column)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StoreAs {
    column: String,
    to: DataType,
    truncate: bool,
    signature: Signature,
}

impl ScalarUDFImpl for StoreAs {
    fn name(&self) -> &'static str {
        "store_as"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let values = match &arguments.args[0] {
            ColumnarValue::Array(values) => Arc::clone(values),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let stored = store(&values, &self.to, self.truncate)
            .map_err(|why| DataFusionError::from(value_error(&self.column, &why)))?;
        Ok(match &arguments.args[0] {
            ColumnarValue::Array(_) => ColumnarValue::Array(stored),
            ColumnarValue::Scalar(_) => {
                ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&stored, 0)?)
            }
        })
    }
}

fn value_error(column: &str, why: &str) -> NativeError {
    NativeError::new(
        ErrorKind::SchemaMismatch,
        format!("column {column:?}: {why}"),
    )
    .with("columns", column)
}

/// Refuses NULL where a column, or anything within it, takes none.
pub fn check_nulls(batch: &RecordBatch, schema: &SchemaRef) -> Result<()> {
    for (field, values) in schema.fields().iter().zip(batch.columns()) {
        nulls(field, values, None, field.name())?;
    }
    Ok(())
}

/// `hidden` has the rows that a NULL further up hides.
fn nulls(field: &Field, values: &ArrayRef, hidden: Option<&NullBuffer>, path: &str) -> Result<()> {
    if !field.is_nullable() && values.null_count() > 0 {
        let seen = match (values.nulls(), hidden) {
            (Some(own), Some(above)) => (0..own.len()).any(|i| own.is_null(i) && above.is_valid(i)),
            (Some(own), None) => own.null_count() > 0,
            (None, _) => values.logical_null_count() > 0,
        };
        if seen {
            return Err(NativeError::new(
                ErrorKind::SchemaMismatch,
                format!("column {path:?} is NOT NULL and a row has NULL in it"),
            )
            .with("columns", path));
        }
    }
    match (field.data_type(), values.data_type()) {
        (DataType::Struct(fields), DataType::Struct(_)) => {
            if !fields.iter().any(|f| needs_look(f)) {
                return Ok(());
            }
            let given = values.as_struct();
            let above = NullBuffer::union(hidden, given.nulls());
            for (field, column) in fields.iter().zip(given.columns()) {
                let path = format!("{path}.{}", field.name());
                nulls(field, column, above.as_ref(), &path)?;
            }
            Ok(())
        }
        (DataType::List(item), DataType::List(_)) if needs_look(item) => {
            let list = values.as_list::<i32>();
            let start = usize::try_from(list.offsets()[0]).unwrap_or_default();
            let end = usize::try_from(list.offsets()[list.len()]).unwrap_or_default();
            let inner = list.values().slice(start, end - start);
            nulls(item, &inner, None, &format!("{path}.element"))
        }
        (DataType::Map(entries, _), DataType::Map(..)) => {
            let map = values.as_map();
            let DataType::Struct(pair) = entries.data_type() else {
                return Ok(());
            };
            for (field, column) in pair.iter().zip([map.keys(), map.values()]) {
                if needs_look(field) {
                    nulls(field, column, None, &format!("{path}.{}", field.name()))?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn needs_look(field: &Field) -> bool {
    if !field.is_nullable() {
        return true;
    }
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().any(|f| needs_look(f)),
        DataType::List(item) => needs_look(item),
        DataType::Map(entries, _) => needs_look(entries),
        _ => false,
    }
}

/// The schema with every field nullable at every depth: what rows have before they are checked.
pub fn lenient(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|f| lenient_field(f)).collect();
    Arc::new(Schema::new(fields))
}

pub fn lenient_field(field: &Field) -> FieldRef {
    let kind = lenient_type(field.data_type());
    let made = Field::new(field.name(), kind, true).with_metadata(field.metadata().clone());
    Arc::new(made)
}

pub fn lenient_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| lenient_field(f)).collect())
        }
        DataType::List(item) => DataType::List(lenient_field(item)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return kind.clone();
            };
            let pair: Fields = pair
                .iter()
                .enumerate()
                .map(|(i, f)| {
                    // A key of an Arrow map is never nullable.
                    let kind = lenient_type(f.data_type());
                    Arc::new(Field::new(f.name(), kind, i == 1))
                })
                .collect();
            let entries = Field::new(entries.name(), DataType::Struct(pair), false);
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    }
}
