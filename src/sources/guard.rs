//! The plan node of a Parquet scan with floats: their statistics decide nothing.
//!
//! Statistics of row groups, pages and files leave NaN out, which SQL takes for larger than every other number
//! and equal to itself; and a NaN with a sign, as arithmetic elsewhere has left it, is brought into the form of
//! the others.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{ColumnStatistics, Result, Statistics, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::parquet::change_sources;
use crate::planner::one_input::one_input;
use crate::scan::passes_on::passes_on;
use crate::scan::positions::has_floats;

/// A scan of Parquet files that have floats.
#[derive(Clone, Debug)]
pub struct FloatGuard {
    pub input: Arc<dyn ExecutionPlan>,
}

impl FloatGuard {
    /// The scan, guarded where its files have floats.
    ///
    /// `files` is the schema of the files, which their statistics follow.
    pub fn over(scan: Arc<dyn ExecutionPlan>, files: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
        if !files.fields().iter().any(|f| has_floats(f.data_type())) {
            return Ok(scan);
        }
        let input = change_sources(scan, |config, _| {
            let groups = config.file_groups.iter().map(|group| {
                let files = group.iter().cloned().map(|file| PartitionedFile {
                    statistics: file
                        .statistics
                        .as_deref()
                        .map(|known| Arc::new(without_floats(known.clone(), files))),
                    ..file
                });
                FileGroup::new(files.collect())
            });
            let builder = FileScanConfigBuilder::from(config.clone());
            Ok(Some(builder.with_file_groups(groups.collect()).build()))
        })?;
        Ok(Self { input }.guard())
    }

    fn guard(self) -> Arc<dyn ExecutionPlan> {
        Arc::new(self)
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Self { input }.guard()
    }
}

/// Statistics that know nothing of floats but which are null.
fn without_floats(mut known: Statistics, schema: &SchemaRef) -> Statistics {
    for (column, field) in known.column_statistics.iter_mut().zip(schema.fields()) {
        if has_floats(field.data_type()) {
            *column = ColumnStatistics {
                null_count: column.null_count,
                byte_size: column.byte_size,
                ..ColumnStatistics::new_unknown()
            };
        }
    }
    known
}

impl DisplayAs for FloatGuard {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "FloatGuardExec"),
        }
    }
}

impl ExecutionPlan for FloatGuard {
    fn name(&self) -> &'static str {
        "FloatGuardExec"
    }

    one_input!("a guarded scan");
    passes_on!();

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::new(without_floats(
                input.as_ref().clone(),
                &self.schema(),
            ))),
            _ => internal_err!("a guarded scan has one input"),
        }
    }
}
