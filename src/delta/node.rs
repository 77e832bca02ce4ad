//! The plan node of a Delta scan: it names the snapshot, and knows what its scan was made from.
//!
//! Rows, statistics, filters and limits pass through it untouched. What it adds is the account (a plan
//! says which version it reads) and a protobuf form: the scan beneath has none, but table, version,
//! projection, filters and limit make it again.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::cache::Pinned;
use crate::planner::floats::canonical;
use crate::planner::one_input::one_input;
use crate::scan::positions::exact_columns;

/// What a scan is made from.
#[derive(Clone, Debug)]
pub struct ScanSpec {
    pub uri: String,
    pub version: u64,
    pub pinned: Arc<Pinned>,
    /// Of the table, as filters see it.
    pub schema: SchemaRef,
    pub projection: Option<Vec<usize>>,
    pub filters: Vec<Expr>,
    pub limit: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct DeltaNode {
    pub spec: Arc<ScanSpec>,
    pub input: Arc<dyn ExecutionPlan>,
}

impl DeltaNode {
    pub fn new(spec: Arc<ScanSpec>, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { spec, input }
    }

    fn with(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(Arc::clone(&self.spec), input))
    }
}

impl DisplayAs for DeltaNode {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanSpec { uri, version, .. } = self.spec.as_ref();
        match format {
            DisplayFormatType::TreeRender => writeln!(f, "version={version}"),
            _ => write!(f, "DeltaSnapshotExec: table={uri}, version={version}"),
        }
    }
}

impl ExecutionPlan for DeltaNode {
    fn name(&self) -> &'static str {
        "DeltaSnapshotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    one_input!("a Delta scan");

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
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("a Delta scan has one input"),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        // What reads no file counts rows, and takes no limit though it says so.
        let takes_none =
            self.input.children().is_empty() && self.input.with_fetch(Some(1)).is_none();
        self.input.supports_limit_pushdown() && !takes_none
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
        // Statistics of row groups and pages know no NaN, which is larger than every other number.
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

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        self.input
            .try_pushdown_sort(order)?
            .try_map(|input| Ok(self.with(input)))
    }
}
