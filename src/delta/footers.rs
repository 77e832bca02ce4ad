//! Footers in one request: delta-rs' scan leaves out how much of a file's end to read at first, so that
//! each footer costs one request for its length and one for itself.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

/// The scan, whose Parquet reader begins with the last `bytes` of each file (DataFusion's setting
/// `execution.parquet.metadata_size_hint`).
pub fn with_size_hint(
    scan: Arc<dyn ExecutionPlan>,
    bytes: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    scan.transform_down(|node| {
        let Some((config, source)) = node
            .downcast_ref::<DataSourceExec>()
            .and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>)
        else {
            return Ok(Transformed::no(node));
        };
        let source = source.clone().with_metadata_size_hint(bytes);
        let config = FileScanConfigBuilder::from(config.clone())
            .with_source(Arc::new(source))
            .build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config)))
    })
    .data()
}
