//! Lists, structs and maps by what is in them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    StructArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

/// Whether a type is so, or one within it.
pub fn any(kind: &DataType, is_so: &dyn Fn(&DataType) -> bool) -> bool {
    is_so(kind)
        || match kind {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::Map(item, _) => any(item.data_type(), is_so),
            DataType::Struct(fields) => fields.iter().any(|field| any(field.data_type(), is_so)),
            _ => false,
        }
}

/// The column with others in the place of those that its values are made of: a list's items, a struct's fields, a
/// map's entries.
///
/// # Errors
/// Where they do not fit, or `change` fails.
pub fn with_parts(
    array: &ArrayRef,
    change: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::List(_) => Arc::new(list::<i32>(array.as_list(), change)?),
        DataType::LargeList(_) => Arc::new(list::<i64>(array.as_list(), change)?),
        DataType::FixedSizeList(..) => {
            let rows = array.len();
            let (item, size, values, nulls) = array.as_fixed_size_list().clone().into_parts();
            let values = change(&values)?;
            let made = FixedSizeListArray::try_new_with_length(item, size, values, nulls, rows)?;
            Arc::new(made)
        }
        DataType::Map(..) => {
            let (item, offsets, entries, nulls, is_sorted) = array.as_map().clone().into_parts();
            let entries: ArrayRef = Arc::new(entries);
            let entries = change(&entries)?.as_struct().clone();
            Arc::new(MapArray::try_new(item, offsets, entries, nulls, is_sorted)?)
        }
        DataType::Struct(_) => {
            let rows = array.len();
            let (fields, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().map(change).collect::<Result<_, _>>()?;
            let made = StructArray::try_new_with_length(fields, columns, nulls, rows)?;
            Arc::new(made)
        }
        _ => Arc::clone(array),
    })
}

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    change: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<GenericListArray<O>, ArrowError> {
    let (item, offsets, values, nulls) = array.clone().into_parts();
    GenericListArray::try_new(item, offsets, change(&values)?, nulls)
}
