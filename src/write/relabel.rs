//! The same values under other names: a table that maps columns calls them otherwise in its files, at every
//! depth.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

/// The array as one of type `to`, which differs in names and nullability alone.
///
/// # Errors
/// Where it differs in more.
pub fn relabel(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    match (values.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let given = values.as_struct();
            if given.num_columns() != fields.len() {
                return Err(differs(values, to));
            }
            let columns = given
                .columns()
                .iter()
                .zip(fields)
                .map(|(column, field)| relabel(column, field.data_type()))
                .collect::<Result<_, _>>()?;
            let made = StructArray::try_new_with_length(
                fields.clone(),
                columns,
                given.nulls().cloned(),
                given.len(),
            )?;
            Ok(Arc::new(made))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = values.as_list::<i32>();
            let made = ListArray::try_new(
                Arc::clone(item),
                list.offsets().clone(),
                relabel(list.values(), item.data_type())?,
                list.nulls().cloned(),
            )?;
            Ok(Arc::new(made))
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = values.as_map();
            let pair: ArrayRef = Arc::new(map.entries().clone());
            let pair = relabel(&pair, entries.data_type())?;
            let made = MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                pair.as_struct().clone(),
                map.nulls().cloned(),
                *sorted,
            )?;
            Ok(Arc::new(made))
        }
        _ => Err(differs(values, to)),
    }
}

fn differs(values: &ArrayRef, to: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!(
        "{} is not {to} under other names",
        values.data_type()
    ))
}
