//! The transaction log as a listing: which versions there are, and when they were committed.
//!
//! File names are the Delta protocol's (section "Delta Log Entries" and "Checkpoints").

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::logstore::{LogStore, LogStoreRef, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use url::Url;

use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;
use crate::store::dynamodb::LockTable;
use crate::store::escaped::EscapedListings;
use crate::store::literal::LiteralPaths;
use crate::store::native_url;
use crate::store::once::{Listing, OnceReads};

/// What a listing of `_delta_log` shows.
#[derive(Clone, Debug, Default)]
pub struct LogListing {
    /// Commit files: version to modification time in milliseconds since the epoch.
    pub commits: BTreeMap<u64, i64>,
    pub checkpoints: Vec<u64>,
}

impl LogListing {
    /// Versions that can be read: from the oldest checkpoint, or from 0 where the log is whole.
    pub fn readable(&self) -> Option<(u64, u64)> {
        let newest = self
            .commits
            .keys()
            .next_back()
            .copied()
            .max(self.checkpoints.iter().max().copied())?;
        let oldest = if self.commits.contains_key(&0) {
            0
        } else {
            self.checkpoints.iter().min().copied()?
        };
        Some((oldest, newest))
    }

    fn add(&mut self, meta: &ObjectMeta) {
        let Some(name) = meta.location.filename() else {
            return;
        };
        let Some((digits, rest)) = name.split_at_checked(20) else {
            return;
        };
        let Ok(version) = digits.parse::<u64>() else {
            return;
        };
        if rest == ".json" {
            self.commits
                .insert(version, meta.last_modified.timestamp_millis());
        } else if rest.starts_with(".checkpoint.") {
            self.checkpoints.push(version);
        }
    }
}

/// The engine's own object store for a table's location, counting for `account`.
fn table_store(
    engine: &Engine,
    url: &Url,
    account: &Arc<IoAccount>,
) -> Result<Arc<dyn ObjectStore>> {
    let store = engine.stores.counted(url, account)?;
    // The URL escapes a percent sign in the table's own path as %25.
    Ok(if url.path().contains("%25") {
        Arc::new(EscapedListings(store))
    } else {
        store
    })
}

fn log_store_over(root: Arc<dyn ObjectStore>, url: &Url) -> Result<LogStoreRef> {
    let beneath = beneath(&root, url)?;
    Ok(made_of(beneath, root, url))
}

/// The store whose root is the table.
fn beneath(root: &Arc<dyn ObjectStore>, url: &Url) -> Result<Arc<dyn ObjectStore>> {
    let table = table_path(&native_url(url))?;
    Ok(Arc::new(PrefixStore::new(Arc::clone(root), table)))
}

fn made_of(beneath: Arc<dyn ObjectStore>, root: Arc<dyn ObjectStore>, url: &Url) -> LogStoreRef {
    default_logstore(beneath, root, &native_url(url), &StorageConfig::default())
}

/// A log store for reading the change data feed.
pub fn feed_store(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<LogStoreRef> {
    let root = table_store(engine, url, account)?;
    let beneath = Arc::new(LiteralPaths(beneath(&root, url)?));
    Ok(made_of(beneath, root, url))
}

/// A log store over the engine's own object store, counting for `account`.
pub fn log_store(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<LogStoreRef> {
    log_store_over(table_store(engine, url, account)?, url)
}

/// The table of locks that commits to a table go through, and the table's path in it: that of Hadoop, not
/// encoded and without a slash at the end.
pub fn lock(engine: &Engine, url: &Url) -> Result<Option<(Arc<LockTable>, String)>> {
    let Some(lock) = engine.stores.lock(url)? else {
        return Ok(None);
    };
    let path = table_path(url)?;
    let host = url.host_str().unwrap_or_default();
    Ok(Some((lock, format!("{}://{host}/{path}", url.scheme()))))
}

/// Finishes the newest commit of a table, where it went through a table of locks and its writer did not.
pub async fn recover(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<()> {
    if let Some((lock, path)) = lock(engine, url)? {
        let log_store = log_store(engine, url, account)?;
        let store = LogStore::object_store(log_store.as_ref(), None);
        lock.recover(store.as_ref(), &path).await?;
    }
    Ok(())
}

/// The log of a table while a snapshot of it is loaded: nothing is read twice. What was read is let go
/// of with this value, also where the log store lives on.
pub struct Loading {
    pub log_store: LogStoreRef,
    reads: Arc<OnceReads>,
}

impl Loading {
    /// `earlier` is what a load of an older version has listed.
    pub fn new(
        engine: &Engine,
        url: &Url,
        account: &Arc<IoAccount>,
        earlier: Option<Listing>,
    ) -> Result<Self> {
        let store = table_store(engine, url, account)?;
        Self::over(OnceReads::for_load(store, earlier), url)
    }

    /// For a write, which reads the commits it meets and its own.
    pub fn for_write(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<Self> {
        let store = table_store(engine, url, account)?;
        Self::over(OnceReads::for_write(store), url)
    }

    fn over(reads: OnceReads, url: &Url) -> Result<Self> {
        let reads = Arc::new(reads);
        let log_store = log_store_over(Arc::clone(&reads) as _, url)?;
        Ok(Self { log_store, reads })
    }

    /// What the load has listed.
    pub fn listing(&self) -> Option<Listing> {
        self.reads.listing()
    }

    /// Commit files from `version` on, in the listing that the load itself will use.
    pub async fn list_from(&self, url: &Url, version: u64) -> Result<LogListing> {
        list_from_store(self.reads.as_ref(), url, version).await
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.reads.forget();
    }
}

pub fn table_path(url: &Url) -> Result<Path> {
    Path::from_url_path(url.path()).map_err(|e| {
        NativeError::new(
            ErrorKind::Source,
            format!("{url} is not a usable location: {e}"),
        )
    })
}

pub fn log_folder(url: &Url) -> Result<Path> {
    Ok(table_path(url)?.join("_delta_log"))
}

/// Everything at the top of the table's log folder.
pub async fn list(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<LogListing> {
    let store = engine.stores.counted(url, account)?;
    let folder = log_folder(url)?;
    let found = store.list_with_delimiter(Some(&folder)).await?;
    let mut listing = LogListing::default();
    for meta in &found.objects {
        listing.add(meta);
    }
    Ok(listing)
}

/// Commit files from `version` on.
pub async fn list_from(
    engine: &Engine,
    url: &Url,
    version: u64,
    account: &Arc<IoAccount>,
) -> Result<LogListing> {
    let store = engine.stores.counted(url, account)?;
    list_from_store(store.as_ref(), url, version).await
}

async fn list_from_store(store: &dyn ObjectStore, url: &Url, version: u64) -> Result<LogListing> {
    let folder = log_folder(url)?;
    // Strictly after the name just below this version's commit file.
    let offset = folder.clone().join(format!("{version:020}"));
    let mut listing = LogListing::default();
    let mut found = store.list_with_offset(Some(&folder), &offset);
    while let Some(meta) = found.try_next().await? {
        listing.add(&meta);
    }
    Ok(listing)
}

/// Time of a commit in milliseconds: its in-commit timestamp where the table keeps them, else the
/// modification time of its file (protocol section "In-Commit Timestamps").
async fn in_commit_time(
    store: &dyn ObjectStore,
    folder: &Path,
    version: u64,
) -> Result<Option<i64>> {
    let path = folder.clone().join(format!("{version:020}.json"));
    let bytes = store.get(&path).await?.bytes().await?;
    let Some(line) = bytes.split(|b| *b == b'\n').next() else {
        return Ok(None);
    };
    let action: serde_json::Value = match serde_json::from_slice(line) {
        Ok(action) => action,
        Err(_) => return Ok(None),
    };
    Ok(action["commitInfo"]["inCommitTimestamp"].as_i64())
}

/// The last version committed at or before `at_ms` (milliseconds since the epoch).
///
/// # Errors
/// `snapshot_not_found` when the instant lies before the oldest readable version.
pub async fn version_at(
    engine: &Engine,
    url: &Url,
    at_ms: i64,
    in_commit: bool,
    account: &Arc<IoAccount>,
) -> Result<u64> {
    let listing = list(engine, url, account).await?;
    let Some((oldest, newest)) = listing.readable() else {
        return Err(not_a_table(engine, url, account).await);
    };
    let store = engine.stores.counted(url, account)?;
    let folder = log_folder(url)?;
    let mut found = None;
    let mut first = None;
    let mut previous = i64::MIN;
    for (version, modified_ms) in listing.commits.range(oldest..=newest) {
        let time = if in_commit {
            in_commit_time(store.as_ref(), &folder, *version)
                .await?
                .unwrap_or(*modified_ms)
        } else {
            // Clocks of writers differ; the protocol's readers make times strictly increasing.
            (*modified_ms).max(previous.saturating_add(1))
        };
        previous = time;
        first.get_or_insert((*version, time));
        if time <= at_ms {
            found = Some(*version);
        } else {
            break;
        }
    }
    found.ok_or_else(|| {
        let oldest_text = match first {
            Some((version, time)) => format!("version {version}, committed at {}", instant(time)),
            None => format!("version {oldest}"),
        };
        NativeError::new(
            ErrorKind::SnapshotNotFound,
            format!(
                "no version of {url} is as old as {}; the oldest readable one is {oldest_text}",
                instant(at_ms)
            ),
        )
        .with("uri", url.as_str())
    })
}

/// An instant as ISO 8601 in UTC.
pub fn instant(ms: i64) -> String {
    deltalake::arrow::temporal_conversions::timestamp_ms_to_datetime(ms)
        .map(|t| format!("{}Z", t.format("%Y-%m-%dT%H:%M:%S%.3f")))
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// Why there is nothing to read at `url`.
pub async fn not_a_table(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> NativeError {
    let something = async {
        let store = engine.stores.counted(url, account)?;
        let table = Path::from_url_path(url.path()).map_err(object_store::Error::from)?;
        let found = store.list_with_delimiter(Some(&table)).await?;
        Ok::<_, NativeError>(!found.objects.is_empty() || !found.common_prefixes.is_empty())
    };
    let message = match something.await {
        Ok(true) => format!(
            "{url} is not a Delta table: it has files but no _delta_log; for Parquet, CSV or JSON \
             files use ParquetSource, CsvSource or JsonSource"
        ),
        Ok(false) => format!("there is no table at {url}: the location is empty or does not exist"),
        Err(e) => e.message,
    };
    NativeError::new(ErrorKind::Source, message).with("uri", url.as_str())
}

/// # Errors
/// `snapshot_not_found` when the log has neither a commit nor a checkpoint of this version.
pub async fn require_version(
    engine: &Engine,
    url: &Url,
    version: u64,
    account: &Arc<IoAccount>,
) -> Result<()> {
    let listing = list_from(engine, url, version, account).await?;
    if listing.commits.contains_key(&version) || listing.checkpoints.contains(&version) {
        return Ok(());
    }
    let error = NativeError::new(
        ErrorKind::SnapshotNotFound,
        format!("there is no version {version} of {url}"),
    );
    Err(explain_missing(engine, url, Some(version), error, account).await)
}

/// Refines a failure to load a version by what the log really has.
pub async fn explain_missing(
    engine: &Engine,
    url: &Url,
    version: Option<u64>,
    error: NativeError,
    account: &Arc<IoAccount>,
) -> NativeError {
    let Ok(listing) = list(engine, url, account).await else {
        return error;
    };
    let Some((oldest, newest)) = listing.readable() else {
        if listing.commits.is_empty() {
            return not_a_table(engine, url, account).await;
        }
        return error;
    };
    match version {
        Some(wanted) if wanted > newest || wanted < oldest => NativeError::new(
            if wanted < oldest {
                ErrorKind::SnapshotExpired
            } else {
                ErrorKind::SnapshotNotFound
            },
            format!(
                "version {wanted} of {url} cannot be read{}; versions {oldest} to {newest} can",
                if wanted < oldest {
                    " any more: its log was cleaned"
                } else {
                    ""
                }
            ),
        )
        .with("uri", url.as_str())
        .with("version", wanted.to_string())
        .with("oldest", oldest.to_string())
        .with("newest", newest.to_string()),
        _ => NativeError {
            message: format!("{url}: {}", error.message),
            ..error
        },
    }
}
