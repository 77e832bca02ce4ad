//! Outermost wrapper of the stack: every request is counted for the query that makes it.
//!
//! A store on the other side of a wire tells of its requests itself (`wire`), each page, part and retry;
//! for files and memory, which have none, a call is a request.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::parquet::file::FOOTER_SIZE;
use futures::future::Future;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart, coalesce_ranges,
};

use super::account::{IoAccount, Operation, Purpose};
use super::create::create;
use super::failure::{explain, explain_body};
use super::profile::Policy;
use super::request::Call;

/// Last bytes of every Parquet file (format specification, "File format").
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// A store as the counting wrapper needs to know it.
#[derive(Clone, Debug)]
pub struct Backend {
    pub store: Arc<dyn ObjectStore>,
    /// How it is asked; `None` for a store without a wire.
    pub wire: Option<Arc<Policy>>,
}

#[derive(Clone, Debug)]
pub struct CountedStore {
    inner: Arc<dyn ObjectStore>,
    wire: Option<Arc<Policy>>,
    account: Arc<IoAccount>,
}

impl CountedStore {
    pub fn new(backend: Backend, account: Arc<IoAccount>) -> Self {
        Self {
            inner: backend.store,
            wire: backend.wire,
            account,
        }
    }

    pub(super) fn call(&self, operation: Operation, path: &Path) -> Arc<Call> {
        Call::new(
            &self.account,
            operation,
            Purpose::of(path.as_ref(), operation),
            path.as_ref(),
        )
    }

    /// Runs a call to its result, explained if it failed.
    async fn run<T>(&self, call: &Arc<Call>, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.wire.is_some() {
            return call.run(work).await.map_err(|e| explain(e, call));
        }
        let started = Instant::now();
        let done = work.await;
        call.sent(started.elapsed(), None);
        done
    }

    /// Puts an object, as part of a call.
    pub(super) async fn put(
        &self,
        call: &Arc<Call>,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let work = self.inner.put_opts(location, payload, options);
        let done = self.run(call, work).await?;
        call.moved(bytes);
        Ok(done)
    }

    /// A call whose request is sent once.
    pub(super) fn call_once(&self, operation: Operation, path: &Path) -> Arc<Call> {
        let purpose = Purpose::of(path.as_ref(), operation);
        Call::once(&self.account, operation, purpose, path.as_ref())
    }

    fn listing(&self, prefix: Option<&Path>) -> Arc<Call> {
        let operation = Operation::List;
        match prefix {
            Some(prefix) => self.call(operation, prefix),
            None => Call::new(&self.account, operation, Purpose::Data, ""),
        }
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        inner: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let call = self.listing(prefix);
        if self.wire.is_none() {
            call.sent(Default::default(), None);
            return inner;
        }
        call.stream(inner)
            .map(move |found| found.map_err(|e| explain(e, &call)))
            .boxed()
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
        self.account.wrote(location);
        match &self.wire {
            Some(policy) if options.mode == PutMode::Create => {
                create(self, policy, location, payload, options).await
            }
            _ => {
                let call = self.call(Operation::Put, location);
                self.put(&call, location, payload, options).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.account.wrote(location);
        let call = self.call(Operation::Multipart, location);
        let inner = self
            .run(&call, self.inner.put_multipart_opts(location, options))
            .await?;
        Ok(Box::new(CountedUpload {
            inner: Some(inner),
            store: self.clone(),
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let operation = match (head, &options.range) {
            (true, _) => Operation::Head,
            (false, Some(_)) => Operation::GetRange,
            (false, None) => Operation::Get,
        };
        let call = self.call(operation, location);
        let mut found = self
            .run(&call, self.inner.get_opts(location, options))
            .await?;
        if head {
            return Ok(found);
        }
        let purpose = Purpose::of(location.as_ref(), operation);
        // A Parquet file ends with its footer, which may be read in two: no data page reaches it.
        let is_footer = purpose == Purpose::Data
            && operation == Operation::GetRange
            && found.range.end + FOOTER_SIZE as u64 >= found.meta.size
            && location.as_ref().ends_with(".parquet");
        call.settle(if is_footer { Purpose::Footer } else { purpose });
        call.moved(found.range.end - found.range.start);
        if self.wire.is_some()
            && let GetResultPayload::Stream(body) = found.payload
        {
            // A body that breaks off is asked for again while it is read.
            let scoped = call.stream(body);
            let body = scoped.map(move |part| part.map_err(|e| explain_body(e, &call)));
            found.payload = GetResultPayload::Stream(body.boxed());
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(policy) = &self.wire {
            let fetch = |range: Range<u64>| {
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range)),
                    ..GetOptions::default()
                };
                self.get_opts(location, options).and_then(GetResult::bytes)
            };
            return coalesce_ranges(ranges, fetch, policy.coalesce).await;
        }
        let operation = Operation::GetRange;
        let call = self.call(operation, location);
        let found = self
            .run(&call, self.inner.get_ranges(location, ranges))
            .await?;
        let mut purpose = Purpose::of(location.as_ref(), operation);
        // The size of the file is not told here, but the footer shows itself by its magic number.
        if purpose == Purpose::Data && found.iter().any(|b| b.ends_with(PARQUET_MAGIC)) {
            purpose = Purpose::Footer;
        }
        call.settle(purpose);
        call.moved(found.iter().map(|b| b.len() as u64).sum());
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let deleted = self.inner.delete_stream(locations);
        let account = Arc::clone(&self.account);
        let operation = Operation::Delete;
        if self.wire.is_some() {
            // Many objects in one request, which are all of one table.
            let call = Call::new(&account, operation, Purpose::Data, "");
            return call
                .stream(deleted)
                .map(move |done| done.map_err(|e| explain(e, &call)))
                .boxed();
        }
        deleted
            .inspect(move |done| {
                if let Ok(path) = done {
                    let purpose = Purpose::of(path.as_ref(), operation);
                    account.count(operation, purpose, 1, 0, Default::default());
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let call = self.listing(prefix);
        self.run(&call, self.inner.list_with_delimiter(prefix))
            .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let call = self.call(Operation::Copy, to);
        self.run(&call, self.inner.copy_opts(from, to, options))
            .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let call = self.call(Operation::Copy, to);
        self.run(&call, self.inner.rename_opts(from, to, options))
            .await
    }
}

#[derive(Debug)]
struct CountedUpload {
    /// `None` once it has ended.
    inner: Option<Box<dyn MultipartUpload>>,
    store: CountedStore,
    location: Path,
}

impl CountedUpload {
    fn ended(&self) -> Error {
        Error::Generic {
            store: "object store",
            source: format!("the upload of {} has ended already", self.location).into(),
        }
    }
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let bytes = data.content_length() as u64;
        let store = self.store.clone();
        let call = store.call(Operation::Multipart, &self.location);
        // The part is made within the call too: some stores begin to send at once.
        let Some(inner) = self.inner.as_mut() else {
            let ended = self.ended();
            return Box::pin(async move { Err(ended) });
        };
        let part = inner.put_part(data);
        Box::pin(async move {
            store.run(&call, part).await?;
            call.moved(bytes);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let ended = self.ended();
        let call = self.store.call(Operation::Multipart, &self.location);
        let store = self.store.clone();
        let inner = self.inner.as_mut().ok_or(ended)?;
        let done = store.run(&call, inner.complete()).await?;
        self.inner = None;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        let call = self.store.call(Operation::Multipart, &self.location);
        let store = self.store.clone();
        match self.inner.take() {
            Some(mut inner) => store.run(&call, inner.abort()).await,
            None => Ok(()),
        }
    }
}

impl Drop for CountedUpload {
    /// Parts of an upload that nobody ends are stored, and paid for, until somebody aborts it.
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take().filter(|_| self.store.wire.is_some()) else {
            return;
        };
        let call = self.store.call(Operation::Multipart, &self.location);
        let store = self.store.clone();
        if let Ok(runtime) = crate::runtime::handle() {
            // What cannot be aborted is left to the bucket's lifecycle rules.
            runtime.spawn(async move {
                let _ = store.run(&call, inner.abort()).await;
            });
        }
    }
}
