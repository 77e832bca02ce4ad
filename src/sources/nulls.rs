//! NULL structs, whose fields are NULL too.
//!
//! Arrow leaves open what lies in the fields of a NULL struct (pyarrow writes zeros and empty text), and
//! DataFusion gives them as they are (apache/datafusion#25120).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StructArray, make_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

use crate::planner::nested;

/// Whether there are structs within.
pub fn has_structs(kind: &DataType) -> bool {
    nested::any(kind, &|kind| {
        matches!(kind, DataType::Struct(_) | DataType::Map(..))
    })
}

/// The array, with the fields of every NULL struct NULL.
pub fn masked(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        kind if !has_structs(kind) => Ok(Arc::clone(array)),
        DataType::Struct(_) => Ok(Arc::new(masked_struct(array.as_struct())?)),
        _ => nested::with_parts(array, &masked),
    }
}

fn masked_struct(given: &StructArray) -> Result<StructArray, ArrowError> {
    let nulls = given.nulls().filter(|nulls| nulls.null_count() > 0);
    // One that says of its fields what is not true is found out by what checks it.
    if nulls.is_none() && !given.columns().iter().any(|c| has_structs(c.data_type())) {
        return Ok(given.clone());
    }
    let columns = given.columns().iter().map(|column| {
        let column = match nulls {
            Some(nulls) => with_nulls(column, nulls)?,
            None => Arc::clone(column),
        };
        masked(&column)
    });
    let made = StructArray::try_new_with_length(
        given.fields().clone(),
        columns.collect::<Result<_, _>>()?,
        given.nulls().cloned(),
        given.len(),
    );
    Ok(made.unwrap_or_else(|_| given.clone()))
}

fn with_nulls(column: &ArrayRef, nulls: &NullBuffer) -> Result<ArrayRef, ArrowError> {
    // These have no nulls of their own.
    if matches!(
        column.data_type(),
        DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..)
    ) {
        return Ok(Arc::clone(column));
    }
    let both = NullBuffer::union(column.nulls(), Some(nulls));
    let data = column.to_data().into_builder().nulls(both).build()?;
    Ok(make_array(data))
}
