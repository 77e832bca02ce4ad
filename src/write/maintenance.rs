//! Upkeep of a table's log, and what is left of its versions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::EagerSnapshot;
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use url::Url;

use super::commit::entry;
use crate::delta::{cache, log};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;
use crate::store::native_url;

/// Writes a checkpoint of the newest version (protocol section "Checkpoints").
pub async fn checkpoint(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<u64> {
    let pinned = cache::open_latest(engine, url, std::time::Duration::ZERO, account).await?;
    let loading = log::Loading::for_write(engine, url, account)?;
    let mut table = DeltaTable::new(Arc::clone(&loading.log_store));
    table.state = Some(DeltaTableState::new(EagerSnapshot::clone(&pinned.snapshot)));
    create_checkpoint(&table, None).await?;
    Ok(pinned.version)
}

/// What a cleaning of the log is to leave.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The oldest version that has to stay readable.
    pub from: u64,
    /// Entries that are as young as this stay, in milliseconds since the epoch.
    pub since_ms: i64,
    pub dry_run: bool,
}

/// What was cleaned away, or would be.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// Names in the log's folder.
    pub removed: Vec<String>,
    /// The oldest version that can be read afterwards; `None` where there is no table.
    pub oldest: Option<u64>,
}

/// Parts of one checkpoint: of how many, and those that are there.
#[derive(Debug, Default)]
struct Parts {
    of: usize,
    found: BTreeSet<usize>,
}

/// The log folder's files that belong to versions, and the checkpoints that are whole.
#[derive(Debug, Default)]
struct Log {
    files: BTreeMap<u64, Vec<ObjectMeta>>,
    commits: BTreeMap<u64, i64>,
    whole: BTreeSet<u64>,
    parts: BTreeMap<u64, Parts>,
}

impl Log {
    fn add(&mut self, meta: ObjectMeta) {
        let Some(name) = meta.location.filename().map(str::to_owned) else {
            return;
        };
        let Some((version, rest)) = name
            .split_at_checked(20)
            .and_then(|(digits, rest)| Some((digits.parse::<u64>().ok()?, rest)))
        else {
            return;
        };
        let known = match rest {
            ".json" => {
                let modified = meta.last_modified.timestamp_millis();
                self.commits.insert(version, modified);
                true
            }
            ".crc" => true,
            ".checkpoint.parquet" => self.whole.insert(version),
            _ => match rest.strip_prefix(".checkpoint.") {
                Some(rest) => self.add_part(version, rest),
                None => false,
            },
        };
        if known {
            self.files.entry(version).or_default().push(meta);
        }
    }

    /// A part of a checkpoint, or a V2 one, which has an id (protocol section "Checkpoints").
    fn add_part(&mut self, version: u64, rest: &str) -> bool {
        let Some(rest) = rest
            .strip_suffix(".parquet")
            .or_else(|| rest.strip_suffix(".json"))
        else {
            return false;
        };
        let numbers = rest
            .split_once('.')
            .and_then(|(part, of)| Some((part.parse::<usize>().ok()?, of.parse::<usize>().ok()?)));
        match numbers {
            Some((part, of)) => {
                let parts = self.parts.entry(version).or_default();
                parts.of = of;
                parts.found.insert(part);
                if parts.found.len() == of {
                    self.whole.insert(version);
                }
            }
            None => {
                self.whole.insert(version);
            }
        }
        true
    }
}

/// Removes entries of the log before the newest whole checkpoint from which every promised version can
/// still be read. Without such a checkpoint nothing is removed.
pub async fn clean(
    engine: &Engine,
    url: &Url,
    keep: Keep,
    account: &Arc<IoAccount>,
) -> Result<Cleaned> {
    let store = engine.stores.counted(url, account)?;
    let folder = log::log_folder(url)?;
    let mut found = Log::default();
    for meta in store.list_with_delimiter(Some(&folder)).await?.objects {
        found.add(meta);
    }
    let Some(oldest) = found.commits.keys().next().copied() else {
        return Err(log::not_a_table(engine, url, account).await);
    };
    // Younger entries stay, and so does what they build on.
    let young = found
        .commits
        .iter()
        .find(|(_, modified)| **modified >= keep.since_ms)
        .map_or(u64::MAX, |(version, _)| *version);
    let promised = keep.from.min(young);
    let Some(checkpoint) = found.whole.range(..=promised).next_back().copied() else {
        return Ok(Cleaned {
            removed: Vec::new(),
            oldest: Some(oldest),
        });
    };
    let gone: Vec<Path> = found
        .files
        .range(..checkpoint)
        .flat_map(|(_, files)| files.iter().map(|meta| meta.location.clone()))
        .collect();
    let names = gone
        .iter()
        .filter_map(|path| path.filename().map(str::to_owned))
        .collect();
    if !keep.dry_run && !gone.is_empty() {
        // It is read before anything goes: one that cannot be read would take the table with it.
        readable(engine, url, checkpoint, account).await?;
        // Oldest first: what is left is readable at any moment.
        for path in gone {
            let one = stream::iter([Ok(path)]).boxed();
            store.delete_stream(one).try_collect::<Vec<_>>().await?;
        }
        engine.snapshots.clear();
    }
    Ok(Cleaned {
        removed: names,
        oldest: Some(if keep.dry_run { oldest } else { checkpoint }),
    })
}

/// # Errors
/// The checkpoint's own, where the table cannot be read from it.
async fn readable(
    engine: &Engine,
    url: &Url,
    checkpoint: u64,
    account: &Arc<IoAccount>,
) -> Result<()> {
    let loading = log::Loading::new(engine, url, account, None)?;
    EagerSnapshot::try_new(loading.log_store.as_ref(), Some(checkpoint))
        .await
        .map(|_| ())
        .map_err(|e| {
            NativeError::new(
                ErrorKind::Source,
                format!(
                    "the log of {url} was not cleaned: version {checkpoint} cannot be read from its \
                     checkpoint: {}",
                    NativeError::from(e)
                ),
            )
        })
}

/// Versions whose log is there and whose data files are all there too, in order.
pub async fn readable_versions(
    engine: &Engine,
    url: &Url,
    account: &Arc<IoAccount>,
) -> Result<Vec<u64>> {
    let listing = log::list(engine, url, account).await?;
    let Some((oldest, newest)) = listing.readable() else {
        return Err(log::not_a_table(engine, url, account).await);
    };
    let there = data_files(engine, url, account).await?;
    let log_store = log::log_store(engine, url, account)?;
    let first = cache::open_version(engine, url, oldest, account).await?;
    let is_missing = |path: &Path| !there.contains(path);
    let mut missing: BTreeSet<Path> = first
        .snapshot
        .log_data()
        .iter()
        .map(|file| file.object_store_path())
        .filter(is_missing)
        .collect();
    let mut versions = Vec::new();
    if missing.is_empty() {
        versions.push(oldest);
    }
    for version in oldest + 1..=newest {
        let Some(entry) = entry::read(log_store.as_ref(), version).await? else {
            return Err(gap(url, version));
        };
        for path in &entry.removed {
            missing.remove(&object_path(path));
        }
        missing.extend(
            entry
                .added
                .iter()
                .map(|p| object_path(p))
                .filter(is_missing),
        );
        if missing.is_empty() {
            versions.push(version);
        }
    }
    Ok(versions)
}

fn gap(url: &Url, version: u64) -> NativeError {
    NativeError::new(
        ErrorKind::Source,
        format!("the log of {url} has no version {version}, though it has later ones"),
    )
}

/// Objects of the table outside its log, by paths relative to it.
async fn data_files(engine: &Engine, url: &Url, account: &Arc<IoAccount>) -> Result<HashSet<Path>> {
    let store = engine.stores.counted(url, account)?;
    let folder = log::table_path(&native_url(url))?;
    let mut found = HashSet::new();
    let mut listing = store.list(Some(&folder));
    while let Some(meta) = listing.try_next().await? {
        let Some(parts) = meta.location.prefix_match(&folder) else {
            continue;
        };
        let name: Path = parts.collect();
        if !name.as_ref().starts_with("_delta_log/") {
            found.insert(name);
        }
    }
    Ok(found)
}

/// A path of the log as the store spells it.
pub fn object_path(path: &str) -> Path {
    Path::parse(path).unwrap_or_else(|_| Path::from(path))
}
