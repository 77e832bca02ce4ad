//! Columns in the encodings that operators know what to do with.
//!
//! - Arrow data and files come with dictionaries whose keys are as narrow as one batch needs; put together, the values
//!   of several batches have no number then.
//! - A dictionary may have NULL among its values, where operators look for it among the keys.
//! - List views and run-end encoded columns cannot be hashed, and are compared without regard to NULL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use crate::planner::nested;

/// The type of a column as operators know it.
pub fn known(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(key, value) => {
            let is_narrow = matches!(
                key.as_ref(),
                DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16
            );
            match is_narrow {
                true => DataType::Dictionary(Box::new(DataType::Int32), value.clone()),
                false => kind.clone(),
            }
        }
        DataType::RunEndEncoded(_, values) => known(values.data_type()),
        DataType::List(item) | DataType::ListView(item) => DataType::List(field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::LargeList(field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(parts) => DataType::Struct(fields(parts)),
        DataType::Map(entry, is_sorted) => DataType::Map(field(entry), *is_sorted),
        other => other.clone(),
    }
}

fn field(of: &FieldRef) -> FieldRef {
    let kind = known(of.data_type());
    match kind == *of.data_type() {
        true => Arc::clone(of),
        false => Arc::new(Field::clone(of).with_data_type(kind)),
    }
}

fn fields(of: &Fields) -> Fields {
    of.iter().map(field).collect()
}

/// The schema with the types of its columns so.
pub fn schema(of: &SchemaRef) -> SchemaRef {
    let fields = fields(of.fields());
    match fields == *of.fields() {
        true => Arc::clone(of),
        false => Arc::new(Schema::new_with_metadata(fields, of.metadata().clone())),
    }
}

/// The column so.
///
/// # Errors
/// Where a column is not what its type says.
pub fn column(of: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = known(of.data_type());
    let column = match kind == *of.data_type() {
        true => Arc::clone(of),
        false => cast(of, &kind)?,
    };
    match nested::any(&kind, &is_dictionary) {
        true => without_null_values(&column),
        false => Ok(column),
    }
}

fn is_dictionary(kind: &DataType) -> bool {
    matches!(kind, DataType::Dictionary(..))
}

/// The column with NULL among the keys of its dictionaries alone.
fn without_null_values(of: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(dictionary) = of.as_any_dictionary_opt() else {
        return match nested::any(of.data_type(), &is_dictionary) {
            true => nested::with_parts(of, &without_null_values),
            false => Ok(Arc::clone(of)),
        };
    };
    if dictionary.values().null_count() == 0 {
        return Ok(Arc::clone(of));
    }
    let nulls = dictionary.logical_nulls();
    let data = of.to_data().into_builder().nulls(nulls).build()?;
    Ok(make_array(data))
}
