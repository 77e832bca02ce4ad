//! Dictionaries with room for more values than those of one batch.
//!
//! Arrow data and files come with keys as narrow as one batch of them needs; put together, the values of several
//! batches have no number then.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

/// The type with keys of 32 bits, where it is a dictionary of narrower ones.
fn widened(kind: &DataType) -> Option<DataType> {
    let DataType::Dictionary(key, value) = kind else {
        return None;
    };
    let is_narrow = matches!(
        key.as_ref(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16
    );
    is_narrow.then(|| DataType::Dictionary(Box::new(DataType::Int32), value.clone()))
}

/// The schema with wide dictionaries among its columns.
pub fn schema(of: &SchemaRef) -> SchemaRef {
    if of.fields().iter().all(|f| widened(f.data_type()).is_none()) {
        return Arc::clone(of);
    }
    let fields = of
        .fields()
        .iter()
        .map(|field| match widened(field.data_type()) {
            Some(kind) => Arc::new(Field::clone(field).with_data_type(kind)),
            None => Arc::clone(field),
        });
    let fields = fields.collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, of.metadata().clone()))
}

/// The column with wide keys.
pub fn column(of: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match widened(of.data_type()) {
        Some(kind) => cast(of, &kind),
        None => Ok(Arc::clone(of)),
    }
}
