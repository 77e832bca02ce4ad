//! One bucket whose parts have profiles of their own: each path goes to the store of the longest prefix
//! above it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::error::{ErrorKind, NativeError};

#[derive(Debug)]
struct Routes {
    /// Longest prefix first.
    parts: Vec<(Path, Arc<dyn ObjectStore>)>,
    rest: Option<Arc<dyn ObjectStore>>,
}

impl Routes {
    fn to(&self, path: &Path) -> Result<&Arc<dyn ObjectStore>> {
        self.parts
            .iter()
            .find(|(prefix, _)| path.prefix_matches(prefix))
            .map(|(_, store)| store)
            .or(self.rest.as_ref())
            .ok_or_else(|| object_store::Error::Generic {
                store: "routes",
                source: Box::new(NativeError::new(
                    ErrorKind::Configuration,
                    format!("no storage profile serves {path}; give the engine one for its prefix"),
                )),
            })
    }
}

#[derive(Debug)]
pub struct RoutedStore {
    routes: Arc<Routes>,
}

impl RoutedStore {
    /// Stores by URL path of their prefix, and the one for all else.
    pub fn new(
        parts: Vec<(String, Arc<dyn ObjectStore>)>,
        rest: Option<Arc<dyn ObjectStore>>,
    ) -> crate::error::Result<Self> {
        let mut parts = parts
            .into_iter()
            .map(|(path, store)| Ok((Path::from_url_path(path)?, store)))
            .collect::<Result<Vec<_>, object_store::path::Error>>()
            .map_err(|e| NativeError::new(ErrorKind::Configuration, e.to_string()))?;
        parts.sort_by_key(|(path, _)| std::cmp::Reverse(path.as_ref().len()));
        Ok(Self {
            routes: Arc::new(Routes { parts, rest }),
        })
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce(&Arc<dyn ObjectStore>) -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.routes.to(prefix.unwrap_or(&Path::default())) {
            Ok(store) => list(store),
            Err(e) => stream::once(async { Err(e) }).boxed(),
        }
    }
}

impl fmt::Display for RoutedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.routes.rest {
            Some(rest) => write!(f, "{rest}"),
            None => f.write_str("routes"),
        }
    }
}

#[async_trait]
#[warn(clippy::missing_trait_methods)]
impl ObjectStore for RoutedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let store = self.routes.to(location)?;
        store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let store = self.routes.to(location)?;
        store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.routes.to(location)?.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.routes.to(location)?.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let routes = Arc::clone(&self.routes);
        locations
            .and_then(move |path| {
                let routes = Arc::clone(&routes);
                async move {
                    routes.to(&path)?.delete(&path).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |store| store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |store| store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let store = self.routes.to(prefix.unwrap_or(&Path::default()))?;
        store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.routes.to(to)?.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.routes.to(to)?.rename_opts(from, to, options).await
    }
}
