//! The plan node above a scan by position: it leaves deleted rows out and gives columns the table's names, in
//! every partition of the scan by itself.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, UInt32Type};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use super::positions::{Deleted, exact_columns};
use crate::planner::floats::canonical;
use crate::planner::one_input::one_input;
use crate::write::relabel::relabel;

/// Leaves deleted rows out, and gives columns the table's names.
#[derive(Debug)]
pub struct PositionExec {
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    /// Columns of the input with file and position.
    places: Option<(usize, usize)>,
    deleted: Arc<Deleted>,
    /// Whether the input has the table's own names.
    is_plain: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PositionExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        places: Option<(usize, usize)>,
        deleted: Arc<Deleted>,
        is_plain: bool,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        // Columns of the scan have other names than the table's where it maps them: what the scan is
        // partitioned by says nothing of these.
        let count = input.output_partitioning().partition_count();
        let properties = properties
            .with_partitioning(datafusion::physical_expr::Partitioning::UnknownPartitioning(count));
        Self {
            input,
            schema,
            places,
            deleted,
            is_plain,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(
            input,
            Arc::clone(&self.schema),
            self.places,
            Arc::clone(&self.deleted),
            self.is_plain,
        ))
    }
}

impl DisplayAs for PositionExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.deleted.len();
        match format {
            DisplayFormatType::TreeRender => writeln!(f, "files_with_deletions={files}"),
            _ => write!(f, "DeltaPositionExec: files_with_deletions={files}"),
        }
    }
}

impl ExecutionPlan for PositionExec {
    fn name(&self) -> &'static str {
        "DeltaPositionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    one_input!("a scan by position");

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = Arc::clone(&self.schema);
        let (places, deleted) = (self.places, Arc::clone(&self.deleted));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = input.map(move |batch| {
            let batch = canonical::batch(live(batch?, places, &deleted, &schema)?)?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    /// What the reader prunes row groups and pages by. Statistics of floats know no NaN.
    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &datafusion::common::config::ConfigOptions,
    ) -> Result<FilterDescription> {
        // Files that call columns otherwise are pruned by what the log says of them alone.
        if !self.is_plain {
            return Ok(FilterDescription::all_unsupported(
                &parent_filters,
                &self.children(),
            ));
        }
        let exact = exact_columns(&self.schema);
        let input = &self.input;
        let child =
            ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, exact, input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &datafusion::common::config::ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}

/// A batch without its deleted rows, under the names and in the types of `schema`.
fn live(
    batch: RecordBatch,
    places: Option<(usize, usize)>,
    deleted: &Deleted,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let batch = match places {
        Some((file, row)) if !deleted.is_empty() && batch.num_rows() > 0 => {
            let files = batch.column(file).as_primitive::<UInt32Type>().values();
            let rows = batch.column(row).as_primitive::<Int64Type>().values();
            match mask(files, rows, deleted) {
                Some(mask) => filter_record_batch(&batch, &mask)?,
                None => batch,
            }
        }
        _ => batch,
    };
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| relabel(column, field.data_type()))
        .collect::<std::result::Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &rows,
    )?)
}

/// Which rows of a batch are left; nothing where all are.
fn mask(files: &[u32], rows: &[i64], deleted: &Deleted) -> Option<BooleanArray> {
    let mut kept = vec![true; rows.len()];
    let mut start = 0;
    // A run of rows of one file, one after the other: a batch is one, mostly.
    while start < rows.len() {
        let file = files[start];
        let mut end = start + 1;
        while end < rows.len() && files[end] == file && rows[end] == rows[end - 1] + 1 {
            end += 1;
        }
        if let Some(gone) = deleted.get(&file) {
            let first = u64::try_from(rows[start]).unwrap_or_default();
            let last = u64::try_from(rows[end - 1]).unwrap_or_default();
            let mut positions = gone.iter();
            positions.advance_to(first);
            for position in positions.take_while(|position| *position <= last) {
                if let Ok(at) = usize::try_from(position - first) {
                    kept[start + at] = false;
                }
            }
        }
        start = end;
    }
    kept.contains(&false).then(|| kept.into())
}
