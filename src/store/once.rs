//! The transaction log while a snapshot is loaded: no object is read twice, and nothing is listed twice.
//!
//! The kernel reads every commit once for protocol and metadata and once for the files, and a checkpoint
//! in many small ranges. While one load lasts, this store keeps what it has read: commits and checkpoints
//! are fetched whole, in one request each, and a listing answers any later one that begins no earlier.
//! The log is immutable, so what was read stays true; a load sees one listing of it, which may begin with
//! what an earlier load has listed. A write sees a new listing each time: others commit while it works.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Checkpoints up to this size are fetched whole; of larger ones the ranges that are asked for.
const WHOLE_CHECKPOINT: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
struct Kept {
    meta: ObjectMeta,
    bytes: Bytes,
}

type Cell = Arc<OnceCell<Kept>>;

/// Objects of a folder by name, from after an offset on.
#[derive(Clone, Debug)]
pub struct Listing {
    prefix: Path,
    offset: Path,
    found: Arc<Vec<ObjectMeta>>,
}

impl Listing {
    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// This listing up to where `newer` begins, and `newer`.
    fn continued(&self, newer: &Self) -> Self {
        let before = self
            .found
            .iter()
            .filter(|meta| meta.location <= newer.offset);
        Self {
            prefix: self.prefix.clone(),
            offset: self.offset.clone(),
            found: Arc::new(before.chain(newer.found.iter()).cloned().collect()),
        }
    }
}

#[derive(Debug, Default)]
struct Memory {
    objects: HashMap<Path, Cell>,
    listings: Vec<Listing>,
    /// Sizes that listings have told.
    sizes: HashMap<Path, u64>,
}

/// Reads through, once.
#[derive(Debug)]
pub struct OnceReads {
    inner: Arc<dyn ObjectStore>,
    memory: Arc<Mutex<Memory>>,
    keeps_listings: bool,
    /// What an earlier load has listed.
    earlier: Option<Listing>,
}

impl OnceReads {
    /// For a load, which may know an earlier listing.
    pub fn for_load(inner: Arc<dyn ObjectStore>, earlier: Option<Listing>) -> Self {
        Self {
            inner,
            memory: Arc::default(),
            keeps_listings: true,
            earlier,
        }
    }

    /// For a write: objects are kept, listings are made anew.
    pub fn for_write(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            memory: Arc::default(),
            keeps_listings: false,
            earlier: None,
        }
    }

    /// The listing that begins first.
    pub fn listing(&self) -> Option<Listing> {
        let memory = self.memory.lock();
        let first = memory
            .listings
            .iter()
            .min_by(|a, b| a.offset.cmp(&b.offset));
        first.cloned()
    }

    /// Lets go of what was kept; reads go through from here on as before.
    pub fn forget(&self) {
        *self.memory.lock() = Memory::default();
    }

    /// Where an object of the log is kept, if it is one that is fetched whole.
    fn cell(&self, location: &Path) -> Option<Cell> {
        let name = location.as_ref();
        let mut memory = self.memory.lock();
        let whole = name.contains("_delta_log/")
            && (name.ends_with(".json")
                || (name.ends_with(".parquet")
                    && memory
                        .sizes
                        .get(location)
                        .is_some_and(|size| *size <= WHOLE_CHECKPOINT)));
        whole.then(|| Arc::clone(memory.objects.entry(location.clone()).or_default()))
    }

    async fn kept(&self, cell: &Cell, location: &Path) -> Result<Kept> {
        cell.get_or_try_init(|| async {
            let found = self.inner.get_opts(location, GetOptions::default()).await?;
            let meta = found.meta.clone();
            Ok(Kept {
                meta,
                bytes: found.bytes().await?,
            })
        })
        .await
        .cloned()
    }

    fn known_listing(&self, prefix: &Path, offset: &Path) -> Option<Arc<Vec<ObjectMeta>>> {
        let memory = self.memory.lock();
        memory
            .listings
            .iter()
            .find(|l| l.prefix == *prefix && l.offset <= *offset)
            .map(|l| Arc::clone(&l.found))
    }
}

impl fmt::Display for OnceReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[warn(clippy::missing_trait_methods)]
impl ObjectStore for OnceReads {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let conditional = options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some()
            || options.version.is_some();
        let Some(cell) = self.cell(location).filter(|_| !conditional) else {
            return self.inner.get_opts(location, options).await;
        };
        let Kept { meta, bytes } = self.kept(&cell, location).await?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|e| Error::Generic {
                store: "log",
                source: Box::new(e),
            })?,
        };
        let part = slice(&bytes, &range);
        let payload = stream::once(async move { Ok(part) }).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Attributes::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(cell) = self.cell(location) else {
            return self.inner.get_ranges(location, ranges).await;
        };
        let Kept { bytes, .. } = self.kept(&cell, location).await?;
        Ok(ranges.iter().map(|range| slice(&bytes, range)).collect())
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(prefix) = prefix.cloned().filter(|_| self.keeps_listings) else {
            return self.inner.list_with_offset(prefix, offset);
        };
        let offset = offset.clone();
        if let Some(found) = self.known_listing(&prefix, &offset) {
            let later: Vec<_> = found
                .iter()
                .filter(|meta| meta.location > offset)
                .cloned()
                .map(Ok)
                .collect();
            return stream::iter(later).boxed();
        }
        let inner = self.inner.list_with_offset(Some(&prefix), &offset);
        let memory = Arc::clone(&self.memory);
        let earlier = self.earlier.clone();
        // Collected before it is passed on: half a listing must not be taken for all of it.
        stream::once(async move {
            let found: Vec<ObjectMeta> = inner.try_collect().await?;
            let found = Arc::new(found);
            let mut memory = memory.lock();
            for meta in found.iter() {
                memory.sizes.insert(meta.location.clone(), meta.size);
            }
            let listing = Listing {
                prefix,
                offset,
                found: Arc::clone(&found),
            };
            match earlier {
                Some(earlier)
                    if earlier.prefix == listing.prefix && earlier.offset < listing.offset =>
                {
                    memory.listings.push(earlier.continued(&listing));
                }
                _ => memory.listings.push(listing),
            }
            let all: Vec<_> = found.iter().cloned().map(Ok).collect();
            Ok::<_, Error>(stream::iter(all))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// A part of the bytes, or as much of it as there is.
fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (at(range.start), at(range.end));
    bytes.slice(start.min(end)..end)
}
