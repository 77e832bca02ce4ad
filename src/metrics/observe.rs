//! Requests and cache hits of each Parquet scan, as metrics of its operator.
//!
//! DataFusion's reader counts bytes alone. This one goes around whatever reader a scan has: while it
//! works, what reaches the store is counted for the scan (`store::scan`), and metadata that came without
//! a request was in the cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetFileReaderFactory};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::sources::parquet::change_sources;
use crate::store::scan::ScanIo;

/// Label of the metrics that says which scan of the request trace they belong to.
pub const SCAN: &str = "scan";

static SCANS: AtomicUsize = AtomicUsize::new(0);

/// The scan, its Parquet readers observed.
pub fn observed(scan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    change_sources(scan, |config, source| {
        let Some(inner) = source.parquet_file_reader_factory() else {
            return Ok(None);
        };
        let readers = ObservedReaders {
            scan: SCANS.fetch_add(1, Ordering::Relaxed),
            inner: Arc::clone(inner),
        };
        let source = source
            .clone()
            .with_parquet_file_reader_factory(Arc::new(readers));
        let builder = FileScanConfigBuilder::from(config.clone());
        Ok(Some(builder.with_source(Arc::new(source)).build()))
    })
}

/// Readers of one scan.
#[derive(Debug)]
struct ObservedReaders {
    scan: usize,
    inner: Arc<dyn ParquetFileReaderFactory>,
}

impl ParquetFileReaderFactory for ObservedReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let builder = || MetricBuilder::new(metrics).with_new_label(SCAN, self.scan.to_string());
        let count = |name| builder().counter(name, partition_index);
        let io = Arc::new(ScanIo {
            scan: self.scan,
            requests: count("io_requests"),
            retries: count("io_retries"),
            bytes: count("io_bytes"),
            time: builder().subset_time("io_time", partition_index),
        });
        let hits = count("metadata_cache_hits");
        let misses = count("metadata_cache_misses");
        let inner = self
            .inner
            .create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(ObservedReader {
            inner,
            io,
            hits,
            misses,
            is_known: false,
        }))
    }
}

struct ObservedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    io: Arc<ScanIo>,
    hits: Count,
    misses: Count,
    /// Whether the metadata was asked for before.
    is_known: bool,
}

impl AsyncFileReader for ObservedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let io = Arc::clone(&self.io);
        let work = self.inner.get_bytes(range);
        async move { io.run(work).await }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let io = Arc::clone(&self.io);
        let work = self.inner.get_byte_ranges(ranges);
        async move { io.run(work).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let before = self.io.requests.value();
            let found = self.io.run(self.inner.get_metadata(options)).await?;
            if !std::mem::replace(&mut self.is_known, true) {
                if self.io.requests.value() == before {
                    self.hits.add(1);
                } else {
                    self.misses.add(1);
                }
            }
            Ok(found)
        }
        .boxed()
    }
}
