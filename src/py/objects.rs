//! Single objects at a location, through the same stack as everything else: what probes and checks use.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use url::Url;

use super::config::deadline;
use crate::error::{ErrorKind, NativeError, Result};
use crate::runtime;

/// The objects at and beneath one location.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeObjects {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

impl NativeObjects {
    pub fn new(store: Arc<dyn ObjectStore>, url: &Url) -> Result<Self> {
        let root = Path::from_url_path(url.path()).map_err(|e| {
            NativeError::new(
                ErrorKind::Configuration,
                format!("{url} is not a usable location: {e}"),
            )
        })?;
        Ok(Self { store, root })
    }

    /// Path of an object by its name beneath the location; empty for the location itself.
    fn path(&self, name: &str) -> Path {
        name.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.root.clone(), |path, part| path.join(part))
    }
}

#[pymethods]
impl NativeObjects {
    /// Names and sizes in bytes of the first objects beneath a folder, at most `limit`.
    #[pyo3(signature = (folder, limit, timeout=None))]
    fn list(
        &self,
        py: Python<'_>,
        folder: &str,
        limit: usize,
        timeout: Option<f64>,
    ) -> PyResult<Vec<(String, u64)>> {
        let (store, path) = (Arc::clone(&self.store), self.path(folder));
        let root = self.root.clone();
        Ok(runtime::run(py, deadline(timeout), async move {
            let mut listed = store.list(Some(&path)).take(limit);
            let mut found = Vec::new();
            while let Some(meta) = listed.next().await {
                let meta = meta?;
                let name = match meta.location.prefix_match(&root) {
                    Some(parts) => Path::from_iter(parts).to_string(),
                    None => meta.location.to_string(),
                };
                found.push((name, meta.size));
            }
            Ok(found)
        })?)
    }

    /// An object's bytes, or as many of its first as `first` says.
    #[pyo3(signature = (name, first=None, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        first: Option<u64>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let bytes: Bytes = runtime::run(py, deadline(timeout), async move {
            let options = GetOptions {
                range: first.map(|n| GetRange::Bounded(0..n)),
                ..GetOptions::default()
            };
            Ok(store.get_opts(&path, options).await?.bytes().await?)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Size in bytes and modification time in seconds since the epoch.
    #[pyo3(signature = (name, timeout=None))]
    fn head(&self, py: Python<'_>, name: &str, timeout: Option<f64>) -> PyResult<(u64, f64)> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        let meta = runtime::run(py, deadline(timeout), async move {
            Ok(store.head(&path).await?)
        })?;
        let modified = std::time::SystemTime::from(meta.last_modified)
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Ok((meta.size, modified.as_secs_f64()))
    }

    /// Puts an object; with `create`, only where there is none, and says whether that was so.
    #[pyo3(signature = (name, data, *, create=false, timeout=None))]
    fn put(
        &self,
        py: Python<'_>,
        name: &str,
        data: Vec<u8>,
        create: bool,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        Ok(runtime::run(py, deadline(timeout), async move {
            let mode = if create {
                PutMode::Create
            } else {
                PutMode::Overwrite
            };
            match store
                .put_opts(&path, PutPayload::from(data), mode.into())
                .await
            {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) if create => Ok(false),
                Err(e) => Err(e.into()),
            }
        })?)
    }

    /// Puts an object as a multipart upload of one part.
    #[pyo3(signature = (name, data, timeout=None))]
    fn put_multipart(
        &self,
        py: Python<'_>,
        name: &str,
        data: Vec<u8>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        Ok(runtime::run(py, deadline(timeout), async move {
            let mut upload = store.put_multipart(&path).await?;
            let sent = upload.put_part(PutPayload::from(data)).await;
            let done = match sent {
                Ok(()) => upload.complete().await.map(drop),
                Err(e) => Err(e),
            };
            if done.is_err() {
                // What could not be completed is not to be left; the first error is the one to tell.
                let _ = upload.abort().await;
            }
            Ok(done?)
        })?)
    }

    /// Deletes an object; one that is not there is deleted already.
    #[pyo3(signature = (name, timeout=None))]
    fn delete(&self, py: Python<'_>, name: &str, timeout: Option<f64>) -> PyResult<()> {
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        Ok(runtime::run(py, deadline(timeout), async move {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(e.into()),
            }
        })?)
    }
}
