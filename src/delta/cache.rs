//! Snapshots by (uri, version): loaded once, shared, bounded in bytes.
//!
//! A version of a Delta table never changes, so an entry is valid for ever, unless the table was
//! deleted and made anew; resolving "latest" notices that by the commit file's modification time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use deltalake::DeltaTable;
use deltalake::kernel::EagerSnapshot;
use deltalake::table::state::DeltaTableState;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use url::Url;

use super::flights::Flights;
use super::log;
use crate::error::Result;
use crate::exec::caches::CacheReading;
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;
use crate::store::once::Listing;

/// Estimated bytes of a snapshot besides its files, and of each file in it.
const SNAPSHOT_BYTES: usize = 64 * 1024;
const FILE_BYTES: usize = 1024;

/// Estimated bytes of an entry of a listing of the log.
const LISTED_BYTES: usize = 200;

/// From here on a version is looked for before it is loaded: the kernel's time and memory for one that
/// does not exist grow with its number.
const FAR_VERSION: u64 = 100_000;

/// A table at one version.
#[derive(Debug)]
pub struct Pinned {
    pub url: Url,
    pub version: u64,
    pub snapshot: Arc<EagerSnapshot>,
    /// What was listed to load it: a later version begins with it.
    listing: Option<Listing>,
    bytes: usize,
    totals: OnceLock<(usize, u64)>,
}

impl Pinned {
    /// Active files and their bytes.
    pub fn totals(&self) -> (usize, u64) {
        *self.totals.get_or_init(|| {
            let log = self.snapshot.log_data();
            let bytes = log.iter().map(|file| file.size().unsigned_abs()).sum();
            (log.num_files(), bytes)
        })
    }
}

type Cell = Arc<OnceCell<Arc<Pinned>>>;

/// A table, as the tenant that loaded it knows it (all do, where caches are shared).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    tenant: String,
    uri: String,
}

impl Place {
    fn of(url: &Url, account: &IoAccount) -> Self {
        Self {
            tenant: account.tenant().to_owned(),
            uri: url.to_string(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    cell: Cell,
    used: u64,
}

/// The newest version seen of a table and when that was.
#[derive(Clone, Debug)]
struct Newest {
    version: u64,
    at: Instant,
}

#[derive(Debug, Default)]
struct Tables {
    entries: HashMap<(Place, u64), Entry>,
    newest: HashMap<Place, Newest>,
    clock: u64,
}

#[derive(Debug)]
pub struct SnapshotCache {
    limit: usize,
    tables: Mutex<Tables>,
    flights: Flights,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// URI, version and bytes of a snapshot.
pub type SnapshotEntry = (String, u64, usize);

impl SnapshotCache {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            tables: Mutex::default(),
            flights: Flights::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    pub fn reading(&self) -> CacheReading<SnapshotEntry> {
        let tables = self.tables.lock();
        let mut entries: Vec<_> = tables
            .entries
            .iter()
            .filter_map(|((place, version), e)| {
                let bytes = e.cell.get()?.bytes;
                Some((place.uri.clone(), *version, bytes))
            })
            .collect();
        entries.sort();
        CacheReading {
            entries,
            limit: self.limit,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    pub fn clear(&self) {
        *self.tables.lock() = Tables::default();
    }

    fn cell(&self, place: &Place, version: u64) -> Cell {
        let mut tables = self.tables.lock();
        tables.clock += 1;
        let used = tables.clock;
        let entry = tables
            .entries
            .entry((place.clone(), version))
            .or_insert_with(|| Entry {
                cell: Cell::default(),
                used,
            });
        entry.used = used;
        Arc::clone(&entry.cell)
    }

    fn cached(&self, place: &Place, version: u64) -> Option<Arc<Pinned>> {
        let tables = self.tables.lock();
        tables
            .entries
            .get(&(place.clone(), version))
            .and_then(|e| e.cell.get().cloned())
    }

    fn newest(&self, place: &Place) -> Option<Newest> {
        self.tables.lock().newest.get(place).cloned()
    }

    fn saw_newest(&self, place: Place, version: u64) {
        self.tables.lock().newest.insert(
            place,
            Newest {
                version,
                at: Instant::now(),
            },
        );
    }

    /// Drops every version of a table.
    fn forget(&self, place: &Place) {
        let mut tables = self.tables.lock();
        tables.entries.retain(|(at, _), _| at != place);
        tables.newest.remove(place);
    }

    /// Least recently used entries go until the rest fits. Those in use live on with their users.
    fn evict(&self) {
        let mut tables = self.tables.lock();
        let mut loaded: Vec<_> = tables
            .entries
            .iter()
            .filter_map(|(key, e)| e.cell.get().map(|p| (e.used, key.clone(), p.bytes)))
            .collect();
        let mut total: usize = loaded.iter().map(|(_, _, bytes)| bytes).sum();
        loaded.sort();
        for (_, key, bytes) in loaded {
            if total <= self.limit {
                break;
            }
            tables.entries.remove(&key);
            total -= bytes;
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Opens a table at `version`; one load per version however many ask at once.
pub async fn open_version(
    engine: &Engine,
    url: &Url,
    version: u64,
    account: &Arc<IoAccount>,
) -> Result<Arc<Pinned>> {
    let cell = engine.snapshots.cell(&Place::of(url, account), version);
    if let Some(found) = cell.get() {
        engine.snapshots.hits.fetch_add(1, Ordering::Relaxed);
        return Ok(Arc::clone(found));
    }
    let pinned = cell
        .get_or_try_init(|| async {
            engine.snapshots.misses.fetch_add(1, Ordering::Relaxed);
            if version >= FAR_VERSION {
                log::require_version(engine, url, version, account).await?;
            }
            let loading = log::Loading::new(engine, url, account, None)?;
            let loaded = EagerSnapshot::try_new(loading.log_store.as_ref(), Some(version)).await;
            match loaded {
                Ok(snapshot) => Ok(Arc::new(pin(url, snapshot, loading.listing()))),
                Err(e) => {
                    Err(log::explain_missing(engine, url, Some(version), e.into(), account).await)
                }
            }
        })
        .await?;
    let pinned = Arc::clone(pinned);
    engine.snapshots.evict();
    Ok(pinned)
}

fn pin(url: &Url, snapshot: EagerSnapshot, listing: Option<Listing>) -> Pinned {
    let files = snapshot.log_data().num_files();
    let listed = listing.as_ref().map_or(0, Listing::len);
    Pinned {
        url: url.clone(),
        version: snapshot.version(),
        bytes: SNAPSHOT_BYTES + files * FILE_BYTES + listed * LISTED_BYTES,
        listing,
        snapshot: Arc::new(snapshot),
        totals: OnceLock::new(),
    }
}

/// Opens a table at its newest version: one listing from the newest version known, and an update by
/// what is new; nothing at all within `staleness`. Many callers share a look.
pub async fn open_latest(
    engine: &Engine,
    url: &Url,
    staleness: Duration,
    account: &Arc<IoAccount>,
) -> Result<Arc<Pinned>> {
    if !staleness.is_zero()
        && let Some((at, pinned)) = known(engine, &Place::of(url, account))
        && at.elapsed() <= staleness
    {
        engine.snapshots.hits.fetch_add(1, Ordering::Relaxed);
        return Ok(pinned);
    }
    let look = load_latest(engine, url, account);
    engine
        .snapshots
        .flights
        .share(Place::of(url, account), look)
        .await
}

/// The newest version that was seen, and when.
fn known(engine: &Engine, place: &Place) -> Option<(Instant, Arc<Pinned>)> {
    let newest = engine.snapshots.newest(place)?;
    let pinned = engine.snapshots.cached(place, newest.version)?;
    Some((newest.at, pinned))
}

async fn load_latest(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<Arc<Pinned>> {
    log::recover(engine, url, account).await?;
    if let Some((_, pinned)) = known(engine, &Place::of(url, account)) {
        if let Some(updated) = update(engine, &pinned, account).await? {
            return Ok(updated);
        }
        engine.snapshots.forget(&Place::of(url, account));
    }
    let loading = log::Loading::new(engine, url, account, None)?;
    let snapshot = match EagerSnapshot::try_new(loading.log_store.as_ref(), None).await {
        Ok(snapshot) => snapshot,
        Err(e) => return Err(log::explain_missing(engine, url, None, e.into(), account).await),
    };
    let listing = loading.listing();
    Ok(publish(engine, url, snapshot, listing, account))
}

/// The newest version from a known one, or `None` when the table is no longer the same.
async fn update(
    engine: &Engine,
    known: &Arc<Pinned>,
    account: &Arc<IoAccount>,
) -> Result<Option<Arc<Pinned>>> {
    let loading = log::Loading::new(engine, &known.url, account, known.listing.clone())?;
    let listing = loading.list_from(&known.url, known.version).await?;
    let Some(modified_ms) = listing.commits.get(&known.version) else {
        return Ok(None);
    };
    let loaded = known.snapshot.version_timestamp(known.version);
    if loaded.is_some_and(|ms| ms != *modified_ms) {
        return Ok(None);
    }
    let newest = listing.commits.keys().next_back().copied();
    if newest == Some(known.version) {
        engine.snapshots.hits.fetch_add(1, Ordering::Relaxed);
        let place = Place::of(&known.url, account);
        engine.snapshots.saw_newest(place, known.version);
        return Ok(Some(Arc::clone(known)));
    }
    let mut table = DeltaTable::new(Arc::clone(&loading.log_store));
    table.state = Some(DeltaTableState::new(EagerSnapshot::clone(&known.snapshot)));
    table.update_incremental(newest).await?;
    engine.snapshots.misses.fetch_add(1, Ordering::Relaxed);
    let snapshot = table.snapshot()?.snapshot().clone();
    let listing = loading.listing();
    Ok(Some(publish(
        engine, &known.url, snapshot, listing, account,
    )))
}

fn replace(engine: &Engine, place: Place, pinned: Arc<Pinned>) -> Arc<Pinned> {
    let mut tables = engine.snapshots.tables.lock();
    tables.clock += 1;
    let used = tables.clock;
    let entry = Entry {
        cell: Arc::new(OnceCell::new_with(Some(Arc::clone(&pinned)))),
        used,
    };
    tables.entries.insert((place, pinned.version), entry);
    pinned
}

/// Puts a freshly loaded snapshot into the cache as its table's newest.
pub fn publish(
    engine: &Engine,
    url: &Url,
    snapshot: EagerSnapshot,
    listing: Option<Listing>,
    account: &IoAccount,
) -> Arc<Pinned> {
    let place = Place::of(url, account);
    let made = Arc::new(pin(url, snapshot, listing));
    let pinned = replace(engine, place.clone(), made);
    engine.snapshots.saw_newest(place, pinned.version);
    engine.snapshots.evict();
    pinned
}
