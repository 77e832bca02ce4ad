//! The plan node of a Parquet scan with floats: their statistics decide nothing.
//!
//! Statistics of row groups, pages and files leave NaN out, which SQL takes for larger than every other number
//! and equal to itself; and a NaN with a sign, as arithmetic elsewhere has left it, is brought into the form of
//! the others.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ColumnStatistics, Result, Statistics, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::parquet::change_sources;
use crate::planner::floats::canonical;
use crate::planner::one_input::one_input;
use crate::scan::positions::{exact_columns, has_floats};

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

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    one_input!("a guarded scan");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        canonical::stream(self.input.execute(partition, context)?)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

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

    fn supports_limit_pushdown(&self) -> bool {
        self.input.supports_limit_pushdown()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(self.with(self.input.with_fetch(limit)?))
    }

    fn fetch(&self) -> Option<usize> {
        self.input.fetch()
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let exact = exact_columns(&self.schema());
        let input = &self.input;
        let child =
            ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, exact, input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
