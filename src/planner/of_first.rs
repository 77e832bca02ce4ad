//! Scalar functions that give their first argument, in some form: a value of its type, and NULL where one is.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::ReturnFieldArgs;

/// The field of such a function.
pub fn field(name: &str, arguments: &ReturnFieldArgs) -> Result<FieldRef> {
    let fields = arguments.arg_fields;
    let kind = fields
        .first()
        .map_or(DataType::Null, |field| field.data_type().clone());
    let nullable = fields.iter().any(|field| field.is_nullable());
    Ok(Arc::new(Field::new(name, kind, nullable)))
}

/// What such a function has besides its name and what it computes, as of its field `signature`.
macro_rules! of_first {
    () => {
        fn signature(&self) -> &datafusion::logical_expr::Signature {
            &self.signature
        }

        fn return_type(
            &self,
            arguments: &[datafusion::arrow::datatypes::DataType],
        ) -> datafusion::common::Result<datafusion::arrow::datatypes::DataType> {
            Ok(arguments
                .first()
                .cloned()
                .unwrap_or(datafusion::arrow::datatypes::DataType::Null))
        }

        fn return_field_from_args(
            &self,
            arguments: datafusion::logical_expr::ReturnFieldArgs,
        ) -> datafusion::common::Result<datafusion::arrow::datatypes::FieldRef> {
            crate::planner::of_first::field(self.name(), &arguments)
        }
    };
}

pub(crate) use of_first;
