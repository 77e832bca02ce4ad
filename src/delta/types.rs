//! Data as a Delta table can hold it (protocol section "Primitive Types"): what has to be made another
//! type, and what cannot be.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Schema, TimeUnit, TimestampNanosecondType,
};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;

use crate::error::{ErrorKind, NativeError, Result};

/// The plan with every top-level column of a type that a Delta table can hold: timestamps of another zone
/// as the same instant in UTC, the only zone there is; unsigned numbers of a table to be made as the next
/// larger signed ones. Timestamps with nanoseconds are refused once a value has some, unless they may be
/// cut off.
///
/// # Errors
/// `schema_mismatch`, naming the columns that have no type in Delta.
pub fn fitted(input: LogicalPlan, is_new: bool, truncate: bool) -> Result<LogicalPlan> {
    let schema = Arc::clone(input.schema());
    let mut changed = false;
    let mut problems = Vec::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (qualifier, field) in schema.iter() {
        let mut column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let kind = field.data_type();
        let wider = if is_new { wider(kind) } else { None };
        if let Some(problem) = problem(field, wider.as_ref(), is_new) {
            problems.push(problem);
        }
        let mut made = false;
        if !truncate && has_nanoseconds(kind) {
            column = ScalarUDF::from(Exact::new(field.name())).call(vec![column]);
            made = true;
        }
        if let Some(wider) = wider {
            column = cast(column, wider);
            made = true;
        }
        if matches!(kind, DataType::Timestamp(_, Some(zone)) if zone.as_ref() != "UTC") {
            column = cast(
                column,
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            );
            made = true;
        }
        changed |= made;
        columns.push(if made {
            column.alias(field.name())
        } else {
            column
        });
    }
    if !problems.is_empty() {
        return Err(NativeError::new(
            ErrorKind::SchemaMismatch,
            format!("a Delta table cannot hold {}", problems.join("; ")),
        ));
    }
    if !changed {
        return Ok(input);
    }
    Ok(LogicalPlanBuilder::from(input).project(columns)?.build()?)
}

fn wider(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        _ => return None,
    })
}

/// Why a column cannot be in a table.
fn problem(field: &Field, wider: Option<&DataType>, is_new: bool) -> Option<String> {
    let kind = wider.unwrap_or_else(|| field.data_type());
    let name = field.name();
    if is_new && contains(kind, &|t| *t == DataType::Null) {
        return Some(format!(
            "column {name:?}, which has no type but null; cast it to one"
        ));
    }
    let alone = Schema::new(vec![Field::new(name, plain(kind), true)]);
    let converted: std::result::Result<StructType, _> = (&alone).try_into_kernel();
    converted.err().map(|_| {
        format!("column {name:?}, as it has no type for {kind}; cast it to one that there is")
    })
}

/// Encodings of one type made alike.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(_, value) => plain(value),
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        other => other.clone(),
    }
}

fn has_nanoseconds(kind: &DataType) -> bool {
    contains(kind, &|t| {
        matches!(t, DataType::Timestamp(TimeUnit::Nanosecond, _))
    })
}

fn contains(kind: &DataType, is_it: &dyn Fn(&DataType) -> bool) -> bool {
    if is_it(kind) {
        return true;
    }
    match kind {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::ListView(inner)
        | DataType::LargeListView(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => contains(inner.data_type(), is_it),
        DataType::Struct(fields) => fields.iter().any(|f| contains(f.data_type(), is_it)),
        DataType::Dictionary(_, value) => contains(value, is_it),
        _ => false,
    }
}

/// How the error begins by which it is known again where only its text comes through.
pub const NANOSECONDS: &str = "timestamps with nanoseconds in column ";

/// Gives its argument back, or fails where it has nanoseconds, which a Delta table would lose.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    column: String,
    signature: Signature,
}

impl Exact {
    fn new(column: &str) -> Self {
        Self {
            column: column.to_owned(),
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        "exact_microseconds"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::clone(&arguments.arg_fields[0]))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let values = arguments.args[0].to_array(arguments.number_rows)?;
        if has_rest(&values) {
            return Err(NativeError::new(
                ErrorKind::SchemaMismatch,
                format!(
                    "{NANOSECONDS}{:?}: a Delta table keeps microseconds; round them, or pass \
                     allow_truncated_timestamps=True",
                    self.column
                ),
            )
            .into());
        }
        Ok(ColumnarValue::Array(values))
    }
}

/// Whether any value within has nanoseconds that are no whole microseconds.
fn has_rest(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values
            .as_primitive::<TimestampNanosecondType>()
            .iter()
            .flatten()
            .any(|n| n % 1000 != 0),
        DataType::List(_) => has_rest(values.as_list::<i32>().values()),
        DataType::LargeList(_) => has_rest(values.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => has_rest(values.as_fixed_size_list().values()),
        DataType::Map(..) => {
            let map = values.as_map();
            has_rest(map.keys()) || has_rest(map.values())
        }
        DataType::Struct(_) => values.as_struct().columns().iter().any(has_rest),
        _ => false,
    }
}
