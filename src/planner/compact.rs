//! Text and bytes of rows that are kept, without the pages they were read from.
//!
//! A view array keeps whole pages of a file for the few values that it shows of each, and every batch that is
//! cut out of it or sorted keeps them again: what is reserved for it is many times what it has. So views are
//! copied into buffers of their own below and above sorts, and below the side of a hash join that is kept.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ByteView, GenericByteViewArray, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::datatypes::{ByteViewType, DataType, Schema};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use super::each_node::NodeRule;
use super::one_input::{one_input, same_rows};

/// Bytes that may be kept for nothing.
const SPARE: usize = 16 * 1024;

/// Puts the nodes where rows are kept.
#[derive(Debug)]
pub struct CompactedViews;

impl NodeRule for CompactedViews {
    const NAME: &'static str = "CompactedViews";

    fn change(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(sort) = node.downcast_ref::<SortExec>()
            && sort.fetch().is_none()
            && has_views(&sort.schema())
        {
            let input = CompactViews::over(Arc::clone(sort.input()));
            let sort = anew(node, vec![input])?;
            return Ok(Some(CompactViews::over(sort)));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && has_views(&join.left().schema())
        {
            let left = CompactViews::over(Arc::clone(join.left()));
            let right = Arc::clone(join.right());
            return Ok(Some(anew(node, vec![left, right])?));
        }
        Ok(None)
    }
}

fn anew(
    node: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mode = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(children, mode)
}

fn is_view(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8View | DataType::BinaryView)
}

fn has_views(schema: &Schema) -> bool {
    schema.fields().iter().any(|f| is_view(f.data_type()))
}

/// Copies what is shown of views where they keep more than twice of it.
#[derive(Debug)]
pub struct CompactViews {
    pub input: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
}

impl CompactViews {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match input.downcast_ref::<Self>() {
            Some(_) => input,
            None => Arc::new(Self {
                input,
                metrics: ExecutionPlanMetricsSet::new(),
            }),
        }
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Self::over(input)
    }
}

impl DisplayAs for CompactViews {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            _ => write!(f, "CompactViewsExec"),
        }
    }
}

impl ExecutionPlan for CompactViews {
    fn name(&self) -> &'static str {
        "CompactViewsExec"
    }

    one_input!("what compacts views");

    same_rows!();

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let schema = input.schema();
        let compacted = input.map(move |batch| {
            let batch = batch?;
            let _timer = baseline.elapsed_compute().timer();
            let batch = compact(batch)?;
            baseline.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, compacted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8View => compacted(column, column.as_string_view()),
            DataType::BinaryView => compacted(column, column.as_binary_view()),
            _ => Arc::clone(column),
        });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect();
    Ok(RecordBatch::try_new_with_options(
        batch.schema(),
        columns,
        &rows,
    )?)
}

fn compacted<T: ByteViewType>(column: &ArrayRef, views: &GenericByteViewArray<T>) -> ArrayRef {
    let kept: usize = views.data_buffers().iter().map(|one| one.capacity()).sum();
    if kept <= SPARE {
        return Arc::clone(column);
    }
    let shown = shown(views);
    match kept > 2 * shown + SPARE {
        true => Arc::new(views.gc()),
        false => Arc::clone(column),
    }
}

/// Bytes of the values that lie in buffers.
fn shown<T: ByteViewType>(views: &GenericByteViewArray<T>) -> usize {
    const INLINE: u32 = 12;
    let lengths = views
        .views()
        .iter()
        .map(|view| ByteView::from(*view).length);
    lengths
        .filter(|length| *length > INLINE)
        .map(|length| length as usize)
        .sum()
}
