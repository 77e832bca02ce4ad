//! Lists, structs and maps by what is in them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
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
/// map's entries. The column itself where they are what they were, or where it says of them what is not so, which
/// is found out by what checks it.
///
/// # Errors
/// Where `change` fails.
pub fn with_parts(
    array: &ArrayRef,
    change: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let made = match array.data_type() {
        DataType::List(_) => list::<i32>(array.as_list(), change)?,
        DataType::LargeList(_) => list::<i64>(array.as_list(), change)?,
        DataType::FixedSizeList(..) => {
            let rows = array.len();
            let (item, size, values, nulls) = array.as_fixed_size_list().clone().into_parts();
            other(&values, change)?.map(|values| {
                FixedSizeListArray::try_new_with_length(item, size, values, nulls, rows).map(shared)
            })
        }
        DataType::Map(..) => {
            let (item, offsets, entries, nulls, is_sorted) = array.as_map().clone().into_parts();
            let (offsets, first, count) = rebased(&offsets);
            let entries: ArrayRef = Arc::new(entries.slice(first, count));
            other(&entries, change)?.map(|entries| {
                let entries = entries.as_struct().clone();
                MapArray::try_new(item, offsets, entries, nulls, is_sorted).map(shared)
            })
        }
        DataType::Struct(_) => {
            let rows = array.len();
            let (fields, columns, nulls) = array.as_struct().clone().into_parts();
            let changed = columns.iter().map(change).collect::<Result<Vec<_>, _>>()?;
            let is_same = |(a, b): (&ArrayRef, &ArrayRef)| Arc::ptr_eq(a, b);
            let are_same = columns.iter().zip(&changed).all(is_same);
            (!are_same)
                .then(|| StructArray::try_new_with_length(fields, changed, nulls, rows).map(shared))
        }
        _ => None,
    };
    Ok(match made {
        Some(Ok(made)) => made,
        Some(Err(_)) | None => Arc::clone(array),
    })
}

fn shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

type Made = Result<ArrayRef, ArrowError>;

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    change: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<Option<Made>, ArrowError> {
    let (item, offsets, values, nulls) = array.clone().into_parts();
    // A slice of a list keeps the items of the whole.
    let (offsets, first, count) = rebased(&offsets);
    let changed = other(&values.slice(first, count), change)?;
    Ok(changed.map(|values| GenericListArray::try_new(item, offsets, values, nulls).map(shared)))
}

/// What is changed, where it is not what it was.
fn other(
    values: &ArrayRef,
    change: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let changed = change(values)?;
    Ok((!Arc::ptr_eq(values, &changed)).then_some(changed))
}

/// The offsets from 0 on, the first item, and how many items there are.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, usize, usize) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let moved = offsets.iter().map(|offset| *offset - first).collect();
    (
        OffsetBuffer::new(moved),
        first.as_usize(),
        (last - first).as_usize(),
    )
}
