//! The ends of Parquet files, read once.
//!
//! A footer is asked for with as much of the file's end as `metadata_size_hint` says, and that end
//! holds data too: of a small file all of it. It is kept while anything reads the file, so that a small
//! file costs one request, and so that the parts of a scan that begin with one file at the same moment
//! fetch its footer once.
//!
//! The page index lies before the footer. DataFusion reads it for each query that can use it; here it
//! is kept with the footer when it was read once, as long as there is room for indexes.

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
            metadata: None,
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
    /// What is known without a request: the metadata, or all of it but its page index.
    fn cached(&self) -> Option<CachedFileMetadataEntry> {
        let entry = self.cache.get(&self.meta.location);
        entry.filter(|entry| entry.is_valid_for(&self.meta))
    }

    /// Keep the page index for later queries, unless indexes would take the place of footers: half of
    /// the cache is theirs, were all its entries like this one.
    fn keep_index(&self, known: &ParquetMetaData, range: Range<u64>, bytes: &Bytes) {
        let is_there = self.cached().is_some_and(|entry| {
            let found = entry.file_metadata.as_any();
            let found = found.downcast_ref::<CachedParquetMetaData>();
            found.is_some_and(|found| has_index(found.parquet_metadata()))
        });
        if is_there {
            return;
        }
        if let Some(found) = with_index(known, self.meta.size, range, bytes) {
            let all = found.memory_size().saturating_mul(self.cache.len().max(1));
            if all <= self.cache.cache_limit() / 2 {
                self.keep(&Arc::new(found));
            }
        }
    }

    /// Keep the metadata for later queries.
    fn keep(&self, metadata: &Arc<ParquetMetaData>) {
        let kept = CachedParquetMetaData::new(Arc::clone(metadata));
        self.cache.put(
            &self.meta.location,
            CachedFileMetadataEntry::new(self.meta.clone(), Arc::new(kept)),
        );
    }

    async fn load(&self) -> Result<Tail> {
        self.read().await.map_err(|error| match error {
            // Of a store, which names the file.
            ParquetError::External(_) => error,
            error => ParquetError::General(format!(
                "the footer of {} cannot be read: {error}",
                self.meta.location
            )),
        })
    }

    /// A part of the file, all of it: of a file that was cut off, stores give what there is.
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let asked = range.end - range.start;
        let bytes = self.store.get_range(&self.meta.location, range).await;
        let bytes = bytes.map_err(|error| ParquetError::External(Box::new(error)))?;
        if bytes.len() as u64 != asked {
            return Err(ParquetError::EOF(format!(
                "the file has fewer than the {} bytes it had when it was written",
                self.meta.size
            )));
        }
        Ok(bytes)
    }

    async fn read(&self) -> Result<Tail> {
        let size = self.meta.size;
        let start = size.saturating_sub(self.hint);
        let bytes = self.fetch(start..size).await?;
        let mut decoder = ParquetMetaDataPushDecoder::try_new(size)?
            .with_page_index_policy(PageIndexPolicy::Skip);
        decoder.push_range(start..size, bytes.clone())?;
        let metadata = loop {
            match decoder.try_decode()? {
                DecodeResult::Data(metadata) => break Arc::new(metadata),
                DecodeResult::NeedsData(ranges) => {
                    for range in ranges {
                        let more = self.fetch(range.clone()).await?;
                        decoder.push_range(range, more)?;
                    }
                }
                DecodeResult::Finished => {
                    let gone = "the decoder of the footer ended without metadata";
                    return Err(ParquetError::General(gone.into()));
                }
            }
        };
        self.keep(&metadata);
        Ok(Tail {
            start,
            bytes,
            metadata,
        })
    }
}

/// Where the page index of a file lies, all of it; `None` where it has none, or it was read.
fn index_range(metadata: &ParquetMetaData) -> Option<Range<u64>> {
    if has_index(metadata) {
        return None;
    }
    let columns = metadata.row_groups().iter().flat_map(|one| one.columns());
    let parts = columns.flat_map(|column| {
        [
            (column.column_index_offset(), column.column_index_length()),
            (column.offset_index_offset(), column.offset_index_length()),
        ]
    });
    let ranges = parts.filter_map(|(offset, length)| {
        let start = u64::try_from(offset?).ok()?;
        Some(start..start + u64::try_from(length?).ok()?)
    });
    ranges.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
}

fn has_index(metadata: &ParquetMetaData) -> bool {
    metadata.column_index().is_some() && metadata.offset_index().is_some()
}

/// The metadata with the page index, which is in some bytes of the file. One that is broken is left
/// to who needs it.
fn with_index(
    metadata: &ParquetMetaData,
    size: u64,
    range: Range<u64>,
    bytes: &Bytes,
) -> Option<ParquetMetaData> {
    if bytes.len() as u64 != range.end - range.start {
        return None;
    }
    let decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(size, metadata.clone());
    let mut decoder = decoder
        .ok()?
        .with_page_index_policy(PageIndexPolicy::Optional);
    decoder.push_range(range, bytes.clone()).ok()?;
    match decoder.try_decode().ok()? {
        DecodeResult::Data(found) => Some(found).filter(has_index),
        _ => None,
    }
}

/// Reads from a file's tail what is in it.
struct TailReader {
    inner: Box<dyn AsyncFileReader + Send>,
    end: End,
    tail: Cell,
    /// What was given last.
    metadata: Option<Arc<ParquetMetaData>>,
    scanned: Count,
}

impl TailReader {
    async fn find(&mut self, options: Option<&ArrowReaderOptions>) -> Result<Arc<ParquetMetaData>> {
        if self.tail.get().is_none() && self.end.cached().is_some() {
            return self.inner.get_metadata(options).await;
        }
        let policy = options.map_or(
            PageIndexPolicy::Optional,
            ArrowReaderOptions::column_index_policy,
        );
        let tail = self.tail.get_or_try_init(|| self.end.load()).await?;
        if policy == PageIndexPolicy::Skip {
            return Ok(Arc::clone(&tail.metadata));
        }
        // The inner reader finds the rest.
        self.inner.get_metadata(options).await
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes> {
        let bytes = match self.tail.get().and_then(|tail| tail.slice(&range)) {
            Some(bytes) => {
                self.scanned.add(bytes.len());
                bytes
            }
            None => self.inner.get_bytes(range.clone()).await?,
        };
        let metadata = self.metadata.as_ref();
        if let Some(known) = metadata.filter(|known| index_range(known).as_ref() == Some(&range)) {
            self.end.keep_index(known, range, &bytes);
        }
        Ok(bytes)
    }
}

impl AsyncFileReader for TailReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.read(range).boxed()
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
            let found = self.find(options).await?;
            self.metadata = Some(Arc::clone(&found));
            Ok(found)
        }
        .boxed()
    }
}
