//! The functions that subqueries go through which stand for one value: those that may have several rows, and
//! those that may have none.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `single_row(value, rows)`: the value, and an error where there was more than one row.
pub fn single() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Single {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

/// `nullable(value)`: the value, in a column that may be NULL.
pub fn nullable() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Nullable {
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable {
    signature: Signature,
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &'static str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.pop() {
            Some(value) => Ok(value),
            None => internal_err!("nullable has one argument"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Single {
    signature: Signature,
}

impl ScalarUDFImpl for Single {
    fn name(&self) -> &'static str {
        "single_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let count = arguments.number_rows;
        let [value, rows] = arguments.args.as_slice() else {
            return internal_err!("single_row has two arguments");
        };
        let rows = rows.to_array(count)?;
        let has_several = rows
            .as_primitive_opt::<Int64Type>()
            .is_none_or(|rows| rows.iter().flatten().any(|rows| rows > 1));
        match has_several {
            true => exec_err!("a subquery that stands for one value has more than one row"),
            false => Ok(value.clone()),
        }
    }
}
