//! Outermost wrapper of the stack: every request is counted for the query that makes it.
//!
//! It stands above retries and caches of the store beneath, so a count is a request as the engine
//! asked for it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::account::{IoAccount, Operation, Purpose};

/// Last bytes of every Parquet file (format specification, "File format").
const PARQUET_MAGIC: &[u8] = b"PAR1";

#[derive(Debug)]
pub struct CountedStore {
    inner: Arc<dyn ObjectStore>,
    account: Arc<IoAccount>,
}

impl CountedStore {
    pub fn new(inner: Arc<dyn ObjectStore>, account: Arc<IoAccount>) -> Self {
        Self { inner, account }
    }
}

impl fmt::Display for CountedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
#[warn(clippy::missing_trait_methods)]
impl ObjectStore for CountedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.account.count(Operation::Put, location);
        let bytes = payload.content_length() as u64;
        let done = self.inner.put_opts(location, payload, options).await?;
        self.account.wrote(bytes);
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.account.count(Operation::Put, location);
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(CountedUpload {
            inner,
            account: Arc::clone(&self.account),
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            self.account.count(Operation::Head, location);
            return self.inner.get_opts(location, options).await;
        }
        let ranged = options.range.is_some();
        let mut purpose = Purpose::of(location.as_ref(), Operation::Get);
        let result = self.inner.get_opts(location, options).await;
        if let Ok(found) = &result {
            // A Parquet file ends with its footer; no data page reaches the last byte.
            if purpose == Purpose::Data
                && ranged
                && found.range.end == found.meta.size
                && location.as_ref().ends_with(".parquet")
            {
                purpose = Purpose::Footer;
            }
            self.account.read(found.range.end - found.range.start);
        }
        self.account.count_as(Operation::Get, purpose);
        result
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut purpose = Purpose::of(location.as_ref(), Operation::Get);
        let result = self.inner.get_ranges(location, ranges).await;
        if let Ok(found) = &result {
            // The size of the file is not told here, but the footer shows itself by its magic number.
            if purpose == Purpose::Data && found.iter().any(|b| b.ends_with(PARQUET_MAGIC)) {
                purpose = Purpose::Footer;
            }
            self.account
                .read(found.iter().map(|b| b.len() as u64).sum());
        }
        self.account.count_as(Operation::Get, purpose);
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let account = Arc::clone(&self.account);
        self.inner
            .delete_stream(locations)
            .inspect(move |done| {
                if let Ok(path) = done {
                    account.count(Operation::Delete, path);
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_list(prefix);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count_list(prefix);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.count_list(prefix);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.account.count(Operation::Copy, to);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.account.count(Operation::Copy, to);
        self.inner.rename_opts(from, to, options).await
    }
}

impl CountedStore {
    fn count_list(&self, prefix: Option<&Path>) {
        match prefix {
            Some(prefix) => self.account.count(Operation::List, prefix),
            None => self.account.count_as(Operation::List, Purpose::Data),
        }
    }
}

#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    account: Arc<IoAccount>,
    location: Path,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.account.count(Operation::Put, &self.location);
        let bytes = data.content_length() as u64;
        let account = Arc::clone(&self.account);
        let part = self.inner.put_part(data);
        Box::pin(async move {
            part.await?;
            account.wrote(bytes);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
