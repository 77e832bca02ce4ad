//! Parquet sources beneath a scan, made anew with something changed.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{Distribution, ExecutionPlan};

/// The scan with each Parquet source as `change` gives it; `None` leaves one as it is.
pub fn change_sources(
    scan: Arc<dyn ExecutionPlan>,
    change: impl Fn(&FileScanConfig, &ParquetSource) -> Result<Option<FileScanConfig>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // With deletion vectors the scan holds on to the very sources that it was made with, and to one
    // stream, in which it counts rows off.
    let counts_rows = !scan.children().is_empty()
        && matches!(
            scan.input_distribution_requirements().child_distribution(0),
            Some(Distribution::SinglePartition)
        );
    if counts_rows {
        return Ok(scan);
    }
    scan.transform_down(|node| {
        let Some((config, source)) = node
            .downcast_ref::<DataSourceExec>()
            .and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>)
        else {
            return Ok(Transformed::no(node));
        };
        Ok(match change(config, source)? {
            Some(changed) => Transformed::yes(DataSourceExec::from_data_source(changed) as _),
            None => Transformed::no(node),
        })
    })
    .data()
}
