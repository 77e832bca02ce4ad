//! The plan node of a Delta scan: it names the snapshot, and knows what its scan was made from.
//!
//! Rows, statistics, filters and limits pass through it untouched. What it adds is the account (a plan
//! says which version it reads) and a protobuf form: the scan beneath has none, but table, version,
//! projection, filters and limit make it again.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use super::cache::Pinned;
use crate::planner::one_input::one_input;
use crate::scan::passes_on::passes_on;

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

    one_input!("a Delta scan");
    passes_on!();

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

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        self.input
            .try_pushdown_sort(order)?
            .try_map(|input| Ok(self.with(input)))
    }
}
