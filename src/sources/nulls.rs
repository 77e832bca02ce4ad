//! NULL structs, whose fields are NULL too.
//!
//! Arrow leaves open what lies in the fields of a NULL struct (pyarrow writes zeros and empty text), and
//! DataFusion gives them as they are (apache/datafusion#25120).

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    StructArray, make_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

/// Whether there are structs within.
pub fn has_structs(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_structs(item.data_type())
        }
        _ => false,
    }
}

/// The array, with the fields of every NULL struct NULL.
pub fn masked(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_structs(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::Struct(_) => Arc::new(masked_struct(array.as_struct())?),
        DataType::List(_) => masked_list(array.as_list::<i32>())?,
        DataType::LargeList(_) => masked_list(array.as_list::<i64>())?,
        DataType::FixedSizeList(item, size) => {
            let list = array.as_fixed_size_list();
            let values = masked(list.values())?;
            let nulls = list.nulls().cloned();
            let made = FixedSizeListArray::try_new(Arc::clone(item), *size, values, nulls)?;
            Arc::new(made)
        }
        DataType::Map(entry, ordered) => {
            let map = array.as_map();
            let made = MapArray::try_new(
                Arc::clone(entry),
                map.offsets().clone(),
                masked_struct(map.entries())?,
                map.nulls().cloned(),
                *ordered,
            )?;
            Arc::new(made)
        }
        _ => Arc::clone(array),
    })
}

fn masked_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<ArrayRef, ArrowError> {
    let (DataType::List(item) | DataType::LargeList(item)) = list.data_type() else {
        return Ok(Arc::new(list.clone()));
    };
    let made = GenericListArray::try_new(
        Arc::clone(item),
        list.offsets().clone(),
        masked(list.values())?,
        list.nulls().cloned(),
    )?;
    Ok(Arc::new(made))
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
