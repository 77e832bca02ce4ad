//! The order of a Z curve: rows whose values lie close together in several columns lie close together.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Bytes of each column's value that count.
const BYTES: usize = 16;

/// The place of a row on the curve through these columns.
pub fn place(columns: Vec<Expr>) -> Expr {
    ScalarUDF::from(Place {
        signature: Signature::variadic_any(Volatility::Immutable),
    })
    .call(columns)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    signature: Signature,
}

impl ScalarUDFImpl for Place {
    fn name(&self) -> &'static str {
        "z_order"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        // Bytes that are in the order of the values, of each column by itself.
        let mut columns = Vec::with_capacity(arguments.args.len());
        for column in &arguments.args {
            let values = column.to_array(rows)?;
            let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
            columns.push(converter.convert_columns(&[values])?);
        }
        let mut places: Vec<Vec<u8>> = Vec::with_capacity(rows);
        for row in 0..rows {
            let keys: Vec<&[u8]> = columns.iter().map(|keys| keys.row(row).data()).collect();
            places.push(interleaved(&keys));
        }
        let places: BinaryArray = places.iter().map(Some).collect();
        Ok(ColumnarValue::Array(Arc::new(places) as ArrayRef))
    }
}

/// The bits of all keys in turn, the highest first.
fn interleaved(keys: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0_u8; BYTES * keys.len()];
    let mut at = 0;
    for bit in 0..BYTES * 8 {
        for key in keys {
            let byte = key.get(bit / 8).copied().unwrap_or_default();
            let is_set = byte >> (7 - bit % 8) & 1;
            out[at / 8] |= is_set << (7 - at % 8);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::interleaved;

    #[test]
    fn bits_alternate() {
        let found = interleaved(&[&[0b1111_0000], &[0b0000_1111]]);
        assert_eq!(found[..2], [0b1010_1010, 0b0101_0101]);
    }
}
