//! Files that no row of a predicate can be in.
//!
//! Statistics are bounds and never values. What is not trusted is unknown: of floats, as NaN is in no
//! statistics and larger than all of them; of decimals, which other writers have rounded.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use serde_json::Value;

use crate::error::Result;
use crate::write::layout::Layout;
use crate::write::values;

/// Spark cuts timestamps in statistics to milliseconds.
const CUT: i64 = 999;

/// What is known of a file's rows without reading it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Values of the partition columns, in their order.
    pub partition: Vec<ScalarValue>,
    /// Statistics as the log has them.
    pub statistics: Option<String>,
}

/// Whether each file may have rows for which all predicates are true.
pub fn may_match(
    files: &[Candidate],
    layout: &Layout,
    predicates: &[Expr],
    state: &SessionState,
) -> Result<Vec<bool>> {
    let keep = || vec![true; files.len()];
    let Some(predicate) = conjunction(predicates.iter().cloned()) else {
        return Ok(keep());
    };
    let bare = crate::write::expressions::bare(predicate)?;
    let schema = DFSchema::try_from(layout.schema.as_ref().clone())?;
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&layout.schema));
    // A predicate that is more than a comparison of columns prunes nothing.
    let Ok(physical) = crate::write::expressions::physical(state, bare, &schema) else {
        return Ok(keep());
    };
    let Ok(pruning) = builder.try_build(physical) else {
        return Ok(keep());
    };
    if pruning.always_true() {
        return Ok(keep());
    }
    let statistics = FileStatistics {
        files,
        layout,
        parsed: files
            .iter()
            .map(|file| serde_json::from_str(file.statistics.as_deref()?).ok())
            .collect(),
    };
    Ok(pruning.prune(&statistics).unwrap_or_else(|_| keep()))
}

struct FileStatistics<'a> {
    files: &'a [Candidate],
    layout: &'a Layout,
    parsed: Vec<Option<Value>>,
}

impl FileStatistics<'_> {
    fn schema(&self) -> &SchemaRef {
        &self.layout.schema
    }

    /// Place among the partition columns.
    fn partition(&self, column: &Column) -> Option<usize> {
        let index = self.schema().index_of(&column.name).ok()?;
        self.layout.partitions.iter().position(|i| *i == index)
    }

    fn values(&self, column: &Column, which: &str) -> Option<ArrayRef> {
        let index = self.schema().index_of(&column.name).ok()?;
        let kind = self.schema().field(index).data_type();
        if matches!(kind, DataType::Float32 | DataType::Float64) {
            return None;
        }
        let null = ScalarValue::try_from(kind).ok()?;
        let scalars: Vec<_> = match self.partition(column) {
            Some(place) => self
                .files
                .iter()
                .map(|f| f.partition[place].clone())
                .collect(),
            None => {
                let name = self.layout.physical[index].name();
                let bound = |parsed: &Option<Value>| {
                    let found = &parsed.as_ref()?[which][name];
                    parse(found, kind, which == "maxValues")
                };
                self.parsed
                    .iter()
                    .map(|parsed| bound(parsed).unwrap_or_else(|| null.clone()))
                    .collect()
            }
        };
        ScalarValue::iter_to_array(scalars).ok()
    }

    fn rows(&self, file: usize) -> Option<u64> {
        self.parsed[file].as_ref()?["numRecords"].as_u64()
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, "minValues")
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, "maxValues")
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema().index_of(&column.name).ok()?;
        let counts: UInt64Array = match self.partition(column) {
            Some(place) => (0..self.files.len())
                .map(|file| {
                    if self.files[file].partition[place].is_null() {
                        self.rows(file)
                    } else {
                        Some(0)
                    }
                })
                .collect(),
            None => {
                let name = self.layout.physical[index].name();
                self.parsed
                    .iter()
                    .map(|parsed| parsed.as_ref()?["nullCount"][name].as_u64())
                    .collect()
            }
        };
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = (0..self.files.len()).map(|file| self.rows(file)).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

fn parse(found: &Value, kind: &DataType, is_max: bool) -> Option<ScalarValue> {
    Some(match kind {
        DataType::Int8 => ScalarValue::Int8(Some(i8::try_from(found.as_i64()?).ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(found.as_i64()?).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(found.as_i64()?).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(found.as_i64()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(found.as_str()?.to_owned())),
        DataType::Date32 => {
            let date: NaiveDate = found.as_str()?.get(..10)?.parse().ok()?;
            let days = date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?);
            ScalarValue::Date32(Some(i32::try_from(days.num_days()).ok()?))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let at = values::timestamp(found.as_str()?)?;
            let at = if is_max { at.checked_add(CUT)? } else { at };
            ScalarValue::TimestampMicrosecond(Some(at), zone.clone())
        }
        _ => return None,
    })
}
