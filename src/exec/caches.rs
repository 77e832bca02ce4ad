//! What queries of an engine keep of files: footers, listings, statistics. One cache of each kind,
//! bounded in bytes, shared by all queries, or seen by each tenant as its own.

use std::collections::HashMap as StdHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::common::{HashMap, Result, TableReference};
use datafusion::execution::cache::cache_manager::{
    CacheManager, CacheManagerConfig, CachedFileList, CachedFileMetadata, CachedFileMetadataEntry,
};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::execution::cache::{Cache, CacheEntryInfo, CacheKey, CacheValue, TableScopedPath};
use object_store::path::Path;

use super::engine::EngineConfig;

/// A key that can be moved into the space of a tenant.
trait Spaced: CacheKey {
    fn within(&self, space: &str) -> Self;
    fn path(&self) -> &Path;
}

impl Spaced for Path {
    fn within(&self, space: &str) -> Self {
        Path::from_iter(std::iter::once(space.into()).chain(self.parts()))
    }

    fn path(&self) -> &Path {
        self
    }
}

impl Spaced for TableScopedPath {
    fn within(&self, space: &str) -> Self {
        Self {
            table: self.table.clone(),
            path: self.path.within(space),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A cache that knows how well it serves.
struct Kept<K: CacheKey, V: CacheValue> {
    inner: DefaultCache<K, V>,
    hits: AtomicU64,
    misses: AtomicU64,
    added: AtomicU64,
    removed: AtomicU64,
}

impl<K: Spaced + 'static, V: CacheValue + 'static> Kept<K, V> {
    fn new(limit: usize, ttl: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            inner: DefaultCache::new_with_ttl(limit, ttl),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            added: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        })
    }

    /// The cache as a tenant sees it; as everybody does where `space` is empty.
    fn view(self: &Arc<Self>, space: &str) -> Arc<dyn Cache<K, V>> {
        Arc::new(View {
            kept: Arc::clone(self),
            space: space.to_owned(),
        })
    }

    fn clear(&self) {
        self.removed
            .fetch_add(self.inner.len() as u64, Ordering::Relaxed);
        self.inner.clear();
    }

    fn reading(&self) -> CacheReading<FileEntry> {
        let mut entries: Vec<_> = self
            .inner
            .list_entries()
            .into_iter()
            .map(|(key, info)| (key.path().to_string(), info.size_bytes))
            .collect();
        entries.sort();
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let gone = read(&self.added).saturating_sub(entries.len() as u64);
        CacheReading {
            limit: self.inner.cache_limit(),
            hits: read(&self.hits),
            misses: read(&self.misses),
            evictions: gone.saturating_sub(read(&self.removed)),
            entries,
        }
    }
}

struct View<K: CacheKey, V: CacheValue> {
    kept: Arc<Kept<K, V>>,
    space: String,
}

impl<K: Spaced, V: CacheValue> View<K, V> {
    fn key(&self, key: &K) -> K {
        if self.space.is_empty() {
            key.clone()
        } else {
            key.within(&self.space)
        }
    }
}

impl<K: Spaced + 'static, V: CacheValue + 'static> Cache<K, V> for View<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let found = self.kept.inner.get(&self.key(key));
        let counter = match found {
            Some(_) => &self.kept.hits,
            None => &self.kept.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn put(&self, key: &K, value: V) -> Option<V> {
        let before = self.kept.inner.put(&self.key(key), value);
        if before.is_none() {
            self.kept.added.fetch_add(1, Ordering::Relaxed);
        }
        before
    }

    fn remove(&self, key: &K) -> Option<V> {
        let removed = self.kept.inner.remove(&self.key(key));
        if removed.is_some() {
            self.kept.removed.fetch_add(1, Ordering::Relaxed);
        }
        removed
    }

    fn contains_key(&self, key: &K) -> bool {
        self.kept.inner.contains_key(&self.key(key))
    }

    fn len(&self) -> usize {
        self.kept.inner.len()
    }

    fn clear(&self) {
        self.kept.clear();
    }

    fn name(&self) -> String {
        self.kept.inner.name()
    }

    fn cache_limit(&self) -> usize {
        self.kept.inner.cache_limit()
    }

    fn update_cache_limit(&self, limit: usize) {
        self.kept.inner.update_cache_limit(limit);
    }

    fn cache_ttl(&self) -> Option<Duration> {
        self.kept.inner.cache_ttl()
    }

    fn update_cache_ttl(&self, ttl: Option<Duration>) {
        self.kept.inner.update_cache_ttl(ttl);
    }

    fn drop_table_entries(&self, table: &TableReference) -> Result<()> {
        self.kept.inner.drop_table_entries(table)
    }

    fn list_entries(&self) -> HashMap<K, CacheEntryInfo<V>> {
        self.kept.inner.list_entries()
    }
}

/// State of a cache, for people.
#[derive(Clone, Debug)]
pub struct CacheReading<E> {
    /// What it holds; bytes come last in each.
    pub entries: Vec<E>,
    pub limit: usize,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
}

/// Path and bytes of what is kept of a file.
pub type FileEntry = (String, usize);

/// The caches of an engine.
pub struct Caches {
    metadata: Arc<Kept<Path, CachedFileMetadataEntry>>,
    listings: Arc<Kept<TableScopedPath, CachedFileList>>,
    statistics: Arc<Kept<TableScopedPath, CachedFileMetadata>>,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caches")
    }
}

impl Caches {
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            metadata: Kept::new(config.metadata_cache, None),
            listings: Kept::new(config.list_files_cache, config.list_files_ttl),
            statistics: Kept::new(config.file_statistics_cache, None),
        }
    }

    /// The caches as the queries of a tenant see them. A cache without room is none.
    pub fn config(&self, tenant: &str) -> CacheManagerConfig {
        let listings = self.listings.inner.cache_limit();
        let statistics = self.statistics.inner.cache_limit();
        CacheManagerConfig::default()
            .with_file_metadata_cache(Some(self.metadata.view(tenant)))
            .with_metadata_cache_limit(self.metadata.inner.cache_limit())
            .with_list_files_cache((listings > 0).then(|| self.listings.view(tenant)))
            .with_list_files_cache_limit(listings)
            .with_list_files_cache_ttl(self.listings.inner.cache_ttl())
            .with_file_statistics_cache((statistics > 0).then(|| self.statistics.view(tenant)))
            .with_file_statistics_cache_limit(statistics)
    }

    pub fn manager(&self, tenant: &str) -> Result<Arc<CacheManager>> {
        CacheManager::try_new(&self.config(tenant))
    }

    pub fn readings(&self) -> StdHashMap<&'static str, CacheReading<FileEntry>> {
        StdHashMap::from([
            ("metadata_cache", self.metadata.reading()),
            ("list_files_cache", self.listings.reading()),
            ("statistics_cache", self.statistics.reading()),
        ])
    }

    pub fn clear(&self) {
        self.metadata.clear();
        self.listings.clear();
        self.statistics.clear();
    }
}
