//! Object stores, drawn outside in: counting and its calls (per query) → retries of the store's client →
//! the wire (concurrency, what may not be repeated) → credentials.
//!
//! A store is made once per engine and (scheme, authority, profile), and shared by log reads, Delta scans,
//! file scans and writes. Each query sees it through its own registry, so that a request is counted for
//! the query that made it.

pub mod account;
mod counted;
mod create;
pub mod credentials;
pub mod dynamodb;
pub mod escaped;
pub mod failure;
pub mod literal;
pub mod once;
pub mod profile;
pub mod request;
mod routed;
pub mod scan;
pub mod trace;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use parking_lot::RwLock;
use url::Url;

use crate::error::{ErrorKind, NativeError, Result};
use crate::store::dynamodb::LockTable;
use account::IoAccount;
use counted::{Backend, CountedStore};
use profile::{StoreKind, StoreProfile};
use routed::RoutedStore;

/// The engine's stores by scheme and authority.
#[derive(Debug)]
pub struct Stores {
    profiles: Vec<StoreProfile>,
    made: RwLock<HashMap<String, Backend>>,
    /// Tables of locks by the prefix of their profile.
    locks: RwLock<HashMap<String, Arc<LockTable>>>,
}

impl Stores {
    pub fn new(mut profiles: Vec<StoreProfile>) -> Self {
        for profile in &mut profiles {
            if let Ok(prefix) = Url::parse(&profile.prefix) {
                profile.prefix = native_url(&prefix).to_string();
            }
        }
        Self {
            profiles,
            made: RwLock::default(),
            locks: RwLock::default(),
        }
    }

    /// The store whose root is `/` of the URL's scheme and authority.
    pub fn get(&self, url: &Url) -> Result<Backend> {
        let url = &native_url(url);
        let key = root(url);
        if let Some(found) = self.made.read().get(&key) {
            return Ok(found.clone());
        }
        let made = self.make(url, &key)?;
        Ok(self.made.write().entry(key).or_insert(made).clone())
    }

    /// One store, or one for each prefix of the bucket that has a profile of its own.
    fn make(&self, url: &Url, root: &str) -> Result<Backend> {
        let mut whole: Option<&StoreProfile> = None;
        let mut parts = Vec::new();
        for profile in &self.profiles {
            if !profile.kind.serves(url.scheme()) {
                continue;
            }
            match profile.prefix.strip_prefix(root) {
                Some(path) if path.starts_with('/') && path.len() > 1 => {
                    parts.push((path, profile))
                }
                _ if covers(&profile.prefix, root)
                    && whole.is_none_or(|w| w.prefix.len() <= profile.prefix.len()) =>
                {
                    whole = Some(profile);
                }
                _ => {}
            }
        }
        let whole = whole.map(|p| p.store(url)).transpose()?;
        if parts.is_empty() {
            return whole.ok_or_else(|| not_served(url));
        }
        let mut routes = Vec::new();
        let mut wire = whole.as_ref().and_then(|w| w.wire.clone());
        for (path, profile) in parts {
            let backend = profile.store(url)?;
            wire = wire.or(backend.wire);
            routes.push((path.to_owned(), backend.store));
        }
        let store = RoutedStore::new(routes, whole.map(|w| w.store))?;
        Ok(Backend {
            store: Arc::new(store),
            wire,
        })
    }

    /// The profile that serves a location.
    fn serving(&self, url: &Url) -> Result<&StoreProfile> {
        let url = &native_url(url);
        self.profiles
            .iter()
            .filter(|p| p.kind.serves(url.scheme()) && covers(&p.prefix, url.as_str()))
            .max_by_key(|p| p.prefix.len())
            .ok_or_else(|| not_served(url))
    }

    /// Which link of a credential chain serves the location; `None` where its profile names one itself.
    pub async fn identity(&self, url: &Url) -> Result<Option<String>> {
        self.serving(url)?.identity().await
    }

    /// The table of locks that commits to the location go through; `None` where they go through none.
    pub fn lock(&self, url: &Url) -> Result<Option<Arc<LockTable>>> {
        let profile = self.serving(url)?;
        if profile.lock.is_none() {
            return Ok(None);
        }
        let key = &profile.prefix;
        if let Some(found) = self.locks.read().get(key) {
            return Ok(Some(Arc::clone(found)));
        }
        let Some(made) = profile.lock()?.map(Arc::new) else {
            return Ok(None);
        };
        let mut locks = self.locks.write();
        Ok(Some(Arc::clone(locks.entry(key.clone()).or_insert(made))))
    }

    /// The same store, counting for `account`.
    pub fn counted(&self, url: &Url, account: &Arc<IoAccount>) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(CountedStore::new(
            self.get(url)?,
            Arc::clone(account),
        )))
    }
}

/// The location as the native side spells it. DataFusion and delta-rs tell stores apart by scheme and
/// host alone, where `abfss://container@account.host/` has the container in front of these: two
/// containers of an account would be taken for one.
pub fn native_url(url: &Url) -> Url {
    let (container, Some(host)) = (url.username(), url.host_str()) else {
        return url.clone();
    };
    if container.is_empty() || !StoreKind::Azure.serves(url.scheme()) {
        return url.clone();
    }
    // No container has a dot in its name.
    let text = format!("az://{container}.{host}{}", url.path());
    Url::parse(&text).unwrap_or_else(|_| url.clone())
}

/// Scheme and authority: what a store is the root of.
fn root(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

/// Whether a location is a prefix or lies beneath it, by whole names; the empty one covers all.
fn covers(prefix: &str, location: &str) -> bool {
    prefix.is_empty()
        || location
            .strip_prefix(prefix.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn not_served(url: &Url) -> NativeError {
    NativeError::new(
        ErrorKind::Configuration,
        format!(
            "no storage profile serves {}; give the engine one, as in \
             FusionDeltaEngine(storage=StorageProfile.from_env())",
            root(url)
        ),
    )
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
}

impl ObjectStoreRegistry for QueryStores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.registered.write().insert(root(url), store)
    }

    fn deregister_store(&self, url: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        self.registered.write().remove(&root(url)).ok_or_else(|| {
            DataFusionError::Execution(format!("no object store is registered for {url}"))
        })
    }

    fn get_store(&self, url: &Url) -> DfResult<Arc<dyn ObjectStore>> {
        if let Some(found) = self.registered.read().get(&root(url)) {
            return Ok(Arc::clone(found));
        }
        Ok(self.stores.counted(url, &self.account)?)
    }
}
