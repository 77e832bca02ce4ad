//! CSV and JSON scans whose errors name the file.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::proto::ExecutionPlanEncodeCtx;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, PhysicalExpr};
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{StreamExt, TryFutureExt};
use object_store::ObjectStore;

/// The scan, with errors of text files naming them.
pub fn located(scan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    scan.transform_down(|node| {
        let config = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>());
        let Some(config) = config else {
            return Ok(Transformed::no(node));
        };
        if !matches!(config.file_source().file_type(), "csv" | "json") {
            return Ok(Transformed::no(node));
        }
        let source = Located(Arc::clone(config.file_source()));
        let builder = FileScanConfigBuilder::from(config.clone());
        let changed = builder.with_source(Arc::new(source)).build();
        Ok(Transformed::yes(
            DataSourceExec::from_data_source(changed) as _
        ))
    })
    .data()
}

/// A source of text files, whose errors name the file.
struct Located(Arc<dyn FileSource>);

impl FileSource for Located {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let opener = self.0.create_file_opener(store, config, partition)?;
        Ok(Arc::new(LocatedOpener(opener)))
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        Arc::new(Self(self.0.with_batch_size(rows)))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt_extra(kind, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.0.supports_repartitioning()
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.0.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let changed = self.0.try_pushdown_projection(projection)?;
        Ok(changed.map(|source| Arc::new(Self(source)) as _))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(f)
    }

    fn try_to_proto(
        &self,
        config: &FileScanConfig,
        context: &ExecutionPlanEncodeCtx<'_>,
    ) -> Result<Option<PhysicalPlanNode>> {
        self.0.try_to_proto(config, context)
    }
}

struct LocatedOpener(Arc<dyn FileOpener>);

impl FileOpener for LocatedOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let place = Place {
            path: file.object_meta.location.to_string(),
            start: file.range.as_ref().map_or(0, |range| range.start),
        };
        let opened = self.0.open(file).map_err(|error| place.named(error, 0))?;
        Ok(Box::pin(async move {
            let rows = opened.map_err(|error| place.named(error, 0)).await?;
            let mut count = 0;
            let rows = rows.map(move |batch| match batch {
                Ok(batch) => {
                    count += batch.num_rows();
                    Ok(batch)
                }
                Err(error) => Err(place.named(error, count)),
            });
            Ok(rows.boxed())
        }))
    }
}

/// What of a file is read.
struct Place {
    path: String,
    /// The first byte.
    start: i64,
}

impl Place {
    fn named(&self, error: DataFusionError, rows: usize) -> DataFusionError {
        let Self { path, start } = self;
        let from = match start {
            0 => String::new(),
            start => format!(", counted from byte {start}"),
        };
        match error {
            // It says which line.
            DataFusionError::ArrowError(inner, trace) => match *inner {
                ArrowError::CsvError(text) => {
                    let named = ArrowError::CsvError(format!("{path}: {text}{from}"));
                    DataFusionError::ArrowError(Box::new(named), trace)
                }
                ArrowError::ParseError(text) => {
                    let named = ArrowError::ParseError(format!("{path}: {text}{from}"));
                    DataFusionError::ArrowError(Box::new(named), trace)
                }
                ArrowError::JsonError(text) => {
                    let named = format!("{path}: {text}, after {rows} rows{from}");
                    DataFusionError::ArrowError(Box::new(ArrowError::JsonError(named)), trace)
                }
                other => DataFusionError::ArrowError(Box::new(other), trace),
            },
            other => other,
        }
    }
}
