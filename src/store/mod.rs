//! Object stores, drawn outside in: counting (per query) → the store of the scheme and authority.
//!
//! A store is made once per engine and shared by log reads, Delta scans, file scans and writes. Each
//! query sees it through its own registry, so that a request is counted for the query that made it.

pub mod account;
mod counted;
pub mod escaped;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use parking_lot::RwLock;
use url::Url;

use crate::error::{ErrorKind, NativeError, Result};
use account::IoAccount;
use counted::CountedStore;

/// The engine's stores by scheme and authority.
#[derive(Debug, Default)]
pub struct Stores {
    made: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Stores {
    /// The store whose root is `/` of the URL's scheme and authority.
    pub fn get(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let key = format!("{}://{}", url.scheme(), url.authority());
        if let Some(found) = self.made.read().get(&key) {
            return Ok(Arc::clone(found));
        }
        let made: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "memory" => Arc::new(InMemory::new()),
            other => {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    format!(
                        "no storage profile serves {other}:// locations; this version reads and \
                         writes local paths, file:// and memory://"
                    ),
                ));
            }
        };
        Ok(Arc::clone(self.made.write().entry(key).or_insert(made)))
    }

    /// The same store, counting for `account`.
    pub fn counted(&self, url: &Url, account: &Arc<IoAccount>) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(CountedStore::new(
            self.get(url)?,
            Arc::clone(account),
        )))
    }
}

/// One query's view of the engine's stores.
#[derive(Debug)]
pub struct QueryStores {
    stores: Arc<Stores>,
    account: Arc<IoAccount>,
    /// Stores that an operation registers for itself (delta-rs' per-table prefixes).
    registered: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl QueryStores {
    pub fn new(stores: Arc<Stores>, account: Arc<IoAccount>) -> Self {
        Self {
            stores,
            account,
            registered: RwLock::default(),
        }
    }

    fn key(url: &Url) -> String {
        format!("{}://{}", url.scheme(), url.authority())
    }
}

impl ObjectStoreRegistry for QueryStores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.registered.write().insert(Self::key(url), store)
    }

    fn deregister_store(&self, url: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        self.registered
            .write()
            .remove(&Self::key(url))
            .ok_or_else(|| {
                DataFusionError::Execution(format!("no object store is registered for {url}"))
            })
    }

    fn get_store(&self, url: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        if let Some(found) = self.registered.read().get(&Self::key(url)) {
            return Ok(Arc::clone(found));
        }
        Ok(self.stores.counted(url, &self.account)?)
    }
}
