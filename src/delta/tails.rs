//! The ends of Parquet files, read once.
//!
//! A footer is asked for with as much of the file's end as `metadata_size_hint` says, and that end
//! holds data too: of a small file all of it. It is kept while anything reads the file, so that a small
//! file costs one request, and so that the parts of a scan that begin with one file at the same moment
//! fetch its footer once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
// Not the type of this name one module up, which the readers do not find again in the cache.
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::parquet::DecodeResult;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// A file's last bytes and what they say.
#[derive(Debug)]
struct Tail {
    start: u64,
    bytes: Bytes,
    metadata: Arc<ParquetMetaData>,
}

impl Tail {
    /// The range, if all of it is here.
    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
        let end = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

type Cell = Arc<OnceCell<Tail>>;

/// Makes the readers of one scan.
#[derive(Debug)]
pub struct TailReaders {
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    inner: CachedParquetFileReaderFactory,
    /// Of the files that are being read: a tail lives as long as a reader of its file.
    open: Mutex<HashMap<Path, Weak<OnceCell<Tail>>>>,
}

impl TailReaders {
    pub fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>) -> Self {
        Self {
            inner: CachedParquetFileReaderFactory::new(Arc::clone(&store), Arc::clone(&cache)),
            store,
            cache,
            open: Mutex::default(),
        }
    }

    fn cell(&self, location: &Path) -> Cell {
        let mut open = self.open.lock();
        if let Some(cell) = open.get(location).and_then(Weak::upgrade) {
            return cell;
        }
        // Where as many have come as there is room for, those gone make it.
        if open.len() == open.capacity() {
            open.retain(|_, cell| cell.strong_count() > 0);
        }
        let cell = Cell::default();
        open.insert(location.clone(), Arc::downgrade(&cell));
        cell
    }
}

impl ParquetFileReaderFactory for TailReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        let meta = file.object_meta.clone();
        let inner = self
            .inner
            .create_reader(partition_index, file, metadata_size_hint, metrics)?;
        let Some(hint) = metadata_size_hint else {
            return Ok(inner);
        };
        Ok(Box::new(TailReader {
            inner,
            tail: self.cell(&meta.location),
            // Summed up with what the inner reader counts for the same file.
            scanned: MetricBuilder::new(metrics)
                .with_new_label("filename", meta.location.to_string())
                .counter("bytes_scanned", partition_index),
            end: End {
                store: Arc::clone(&self.store),
                cache: Arc::clone(&self.cache),
                meta,
                hint: u64::try_from(hint).unwrap_or(u64::MAX),
            },
        }))
    }
}

/// How the end of one file is fetched.
struct End {
    store: Arc<dyn ObjectStore>,
    cache: Arc<FileMetadataCache>,
    meta: ObjectMeta,
    /// Bytes.
    hint: u64,
}

impl End {
    /// Whether the metadata is known without a request, or all but its page index.
    fn is_cached(&self) -> bool {
        self.cache
            .get(&self.meta.location)
            .is_some_and(|entry| entry.is_valid_for(&self.meta))
    }

    async fn load(&self, policy: PageIndexPolicy) -> Result<Tail> {
        let outside = |error| ParquetError::External(Box::new(error));
        let location = &self.meta.location;
        let size = self.meta.size;
        let start = size.saturating_sub(self.hint);
        let bytes = self
            .store
            .get_range(location, start..size)
            .await
            .map_err(outside)?;
        let mut decoder = ParquetMetaDataPushDecoder::try_new(size)?.with_page_index_policy(policy);
        decoder.push_range(start..size, bytes.clone())?;
        let metadata = loop {
            match decoder.try_decode()? {
                DecodeResult::Data(metadata) => break Arc::new(metadata),
                DecodeResult::NeedsData(ranges) => {
                    let more = self.store.get_ranges(location, &ranges).await;
                    decoder.push_ranges(ranges, more.map_err(outside)?)?;
                }
                DecodeResult::Finished => {
                    let gone = "the decoder of the footer ended without metadata";
                    return Err(ParquetError::General(gone.into()));
                }
            }
        };
        let kept = CachedParquetMetaData::new(Arc::clone(&metadata));
        self.cache.put(
            location,
            CachedFileMetadataEntry::new(self.meta.clone(), Arc::new(kept)),
        );
        Ok(Tail {
            start,
            bytes,
            metadata,
        })
    }
}

/// Reads from a file's tail what is in it.
struct TailReader {
    inner: Box<dyn AsyncFileReader + Send>,
    end: End,
    tail: Cell,
    scanned: Count,
}

impl AsyncFileReader for TailReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        match self.tail.get().and_then(|tail| tail.slice(&range)) {
            Some(bytes) => {
                self.scanned.add(bytes.len());
                async move { Ok(bytes) }.boxed()
            }
            None => self.inner.get_bytes(range),
        }
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            let Some(tail) = self.tail.get() else {
                return self.inner.get_byte_ranges(ranges).await;
            };
            let mut found: Vec<_> = ranges.iter().map(|range| tail.slice(range)).collect();
            let (kept, missing): (Vec<_>, Vec<_>) =
                (0..ranges.len()).partition(|&n| found[n].is_some());
            self.scanned.add(
                kept.iter()
                    .filter_map(|&n| found[n].as_ref())
                    .map(Bytes::len)
                    .sum(),
            );
            if !missing.is_empty() {
                let asked = missing.iter().map(|&n| ranges[n].clone()).collect();
                let read = self.inner.get_byte_ranges(asked).await?;
                for (n, bytes) in missing.into_iter().zip(read) {
                    found[n] = Some(bytes);
                }
            }
            found
                .into_iter()
                .map(|bytes| bytes.ok_or_else(|| ParquetError::EOF("a range is missing".into())))
                .collect()
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            if self.tail.get().is_none() && self.end.is_cached() {
                return self.inner.get_metadata(options).await;
            }
            let policy = options.map_or(
                PageIndexPolicy::Optional,
                ArrowReaderOptions::column_index_policy,
            );
            let tail = self.tail.get_or_try_init(|| self.end.load(policy)).await?;
            let has_index =
                tail.metadata.column_index().is_some() && tail.metadata.offset_index().is_some();
            if has_index || policy == PageIndexPolicy::Skip {
                return Ok(Arc::clone(&tail.metadata));
            }
            // Read without its index before: the inner reader finds the rest.
            self.inner.get_metadata(options).await
        }
        .boxed()
    }
}
