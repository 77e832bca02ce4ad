//! From an operation to a committed version, or to a failure that says what became of it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{EagerSnapshot, Transaction};
use deltalake::logstore::{LogStore, LogStoreRef};
use deltalake::table::state::DeltaTableState;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::entry::{self, Effect, Entry};
use super::gate::{Attempt, Gate, Hook, Lost, Progress, Reads, names};
use super::litter;
use super::locked::LockedLog;
use crate::delta::cache::{self, Pinned};
use crate::delta::{features, log};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::scan::raw_paths;
use crate::store::account::IoAccount;

/// What is common to everything that commits.
#[derive(Clone)]
pub struct CommitSpec {
    pub url: Url,
    pub commit_id: String,
    pub run_id: String,
    pub query_id: String,
    /// Text by name, kept in `commitInfo`; the commit id among it.
    pub metadata: HashMap<String, String>,
    /// Application id and version (protocol section "Transaction Identifiers").
    pub transaction: Option<(String, i64)>,
    /// Version of the table that the rows to be written were read from it at.
    pub source_version: Option<u64>,
    pub reads: Reads,
    /// Whether the operation only adds rows, and has read none.
    pub blind: bool,
    /// Whether the operation makes several commits, each complete in itself.
    pub several: bool,
    pub hook: Option<Hook>,
}

/// What an operation works with.
pub struct Prepared {
    /// The table as it was read; without a state where there is none yet.
    pub table: DeltaTable,
    pub existing: Option<Arc<Pinned>>,
    pub store: LogStoreRef,
    pub properties: CommitProperties,
    /// What the gate knows of it.
    pub progress: Arc<Progress>,
}

impl Prepared {
    /// The snapshot that the operation builds on.
    /// # Errors
    /// `source` where there is no table.
    pub fn existing_snapshot(&self) -> Result<EagerSnapshot> {
        self.snapshot().ok_or_else(|| {
            let url = self.store.root_url();
            NativeError::new(ErrorKind::Source, format!("there is no table at {url}"))
        })
    }

    pub fn snapshot(&self) -> Option<EagerSnapshot> {
        let found = self.existing.as_ref()?;
        Some(EagerSnapshot::clone(&found.snapshot))
    }
}

/// What an operation gives back.
pub struct Finished {
    pub table: DeltaTable,
    /// Its own metrics, by name.
    pub metrics: Value,
}

/// What became of it.
#[derive(Debug)]
pub struct Done {
    /// The version the table has now.
    pub version: u64,
    pub read_version: Option<u64>,
    /// Whether there is a commit; without one there was nothing to do.
    pub committed: bool,
    /// Whether an earlier run of the same idempotency key made it.
    pub replayed: bool,
    /// The commit id, which is the earlier run's where it was replayed.
    pub commit_id: String,
    pub effect: Effect,
    pub attempts: Vec<Attempt>,
    pub metrics: Value,
}

/// The table at its newest version, or `None` where there is none yet.
pub async fn open_if_exists(
    engine: &Engine,
    url: &Url,
    account: &Arc<IoAccount>,
) -> Result<Option<Arc<Pinned>>> {
    match cache::open_latest(engine, url, std::time::Duration::ZERO, account).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind == ErrorKind::Source => {
            let listing = log::list(engine, url, account).await?;
            if listing.commits.is_empty() && listing.checkpoints.is_empty() {
                Ok(None)
            } else {
                Err(e)
            }
        }
        Err(e) => Err(e),
    }
}

/// Runs `operation` on the table's newest version, until it is done or `stop` is cancelled.
///
/// # Errors
/// The operation's own, with `outcome`: `not_committed`, or `unknown` where a commit was sent and neither
/// answered nor found.
pub async fn run<W, F>(
    engine: &Engine,
    spec: &CommitSpec,
    account: &Arc<IoAccount>,
    stop: &CancellationToken,
    operation: W,
) -> Result<Done>
where
    W: FnOnce(Prepared) -> F,
    F: Future<Output = Result<Finished>>,
{
    let existing = open_if_exists(engine, &spec.url, account).await?;
    let read_version = existing.as_ref().map(|found| found.version);
    if let Some(found) = &existing {
        features::can_write(&spec.url, &found.snapshot)?;
    }
    let loading = log::Loading::for_write(engine, &spec.url, account)?;
    let progress = Progress::new(
        spec,
        read_version,
        existing.as_deref().is_some_and(appends_pass),
        match &existing {
            Some(found) => raw_paths::respelled(&found.snapshot)?,
            None => HashMap::new(),
        },
    );
    let inner: LogStoreRef = match log::lock(engine, &spec.url)? {
        Some((lock, path)) => {
            let plain = Arc::clone(&loading.log_store);
            LockedLog::new(plain, lock, path, Some(Arc::clone(&progress)))
        }
        None => Arc::clone(&loading.log_store),
    };
    if let Some(found) = &existing
        && let Some(done) = replayed(inner.as_ref(), spec, found).await?
    {
        return Ok(done);
    }
    progress.step("read", read_version).await;
    let gate: LogStoreRef = Gate::new(Arc::clone(&inner), Arc::clone(&progress));
    let mut table = DeltaTable::new(Arc::clone(&gate));
    table.state = existing
        .as_ref()
        .map(|found| DeltaTableState::new(EagerSnapshot::clone(&found.snapshot)));
    let prepared = Prepared {
        table,
        existing: existing.clone(),
        store: gate,
        properties: properties(spec),
        progress: Arc::clone(&progress),
    };
    let ended = until_stopped(operation(prepared), &progress, stop).await;
    let done = |version, effect, metrics| Done {
        version,
        read_version,
        committed: true,
        replayed: false,
        commit_id: spec.commit_id.clone(),
        effect,
        attempts: progress.attempts(),
        metrics,
    };
    let error = match ended {
        Ok(Finished { table, metrics }) => {
            let snapshot = table.snapshot()?.snapshot().clone();
            let now = snapshot.version();
            cache::publish(engine, &spec.url, snapshot, None, account);
            return Ok(match progress.committed() {
                Some((version, effect)) => done(version, effect, metrics),
                None => Done {
                    committed: false,
                    ..done(now, Effect::default(), metrics)
                },
            });
        }
        Err(_) if progress.is_nothing() && read_version.is_some() => {
            return Ok(Done {
                committed: false,
                ..done(
                    read_version.unwrap_or_default(),
                    Effect::default(),
                    progress.metrics(),
                )
            });
        }
        Err(error) => error,
    };
    if let Some((version, effect)) = progress.committed() {
        // What came after the commit failed (a checkpoint, for one); of several commits, a later one.
        if !spec.several {
            return Ok(done(version, effect, progress.metrics()));
        }
        return Err(error
            .with("outcome", "partly_committed")
            .with("version", version.to_string()));
    }
    let found = if progress.attempts().is_empty() {
        Ok(None)
    } else {
        find(engine, inner.as_ref(), spec, read_version, account).await
    };
    match found {
        Ok(Some((version, effect))) => Ok(done(version, effect, progress.metrics())),
        Ok(None) if progress.is_doubtful() => Err(error
            .with("outcome", "unknown")
            .with("commit_id", spec.commit_id.clone())),
        Ok(None) => {
            clean(engine, spec, account).await;
            if is_conflict(&error, "ConcurrentTransaction")
                && let Some(newest) = open_if_exists(engine, &spec.url, account).await?
                && let Some(done) = replayed(inner.as_ref(), spec, &newest).await?
            {
                return Ok(done);
            }
            let error = explained(error, inner.as_ref(), &progress, read_version).await;
            Err(error.with("outcome", "not_committed"))
        }
        Err(doubt) => Err(error
            .with("outcome", "unknown")
            .with("commit_id", spec.commit_id.clone())
            .with("doubt", doubt.message)),
    }
}

/// The operation's end; or, once `stop` is cancelled, as soon as no commit of it is on its way.
async fn until_stopped(
    operation: impl Future<Output = Result<Finished>>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Finished> {
    let mut operation = pin!(operation);
    // What computes fails in its own words once it is stopped.
    let unless_stopped =
        |error: NativeError| match stop.is_cancelled() && error.kind != ErrorKind::CommitConflict {
            true => crate::runtime::cancelled(),
            false => error,
        };
    tokio::select! {
        biased;
        ended = &mut operation => return ended.map_err(unless_stopped),
        () = stop.cancelled() => progress.close(),
    }
    tokio::select! {
        biased;
        ended = &mut operation => ended.map_err(unless_stopped),
        () = progress.quiet() => Err(crate::runtime::cancelled()),
    }
}

/// Whether the table's isolation level lets appends that read nothing be taken for later ones.
fn appends_pass(table: &Pinned) -> bool {
    let properties = table.snapshot.metadata().configuration();
    properties
        .get("delta.isolationLevel")
        .is_some_and(|level| level.eq_ignore_ascii_case("WriteSerializable"))
}

fn properties(spec: &CommitSpec) -> CommitProperties {
    let metadata = spec
        .metadata
        .iter()
        .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
        // Others need not read again for it where they may be serialised before it.
        .chain(
            spec.blind
                .then(|| ("isBlindAppend".to_owned(), Value::from(true))),
        );
    // The log is cleaned when asked for, under the retention policy, not by the way.
    let properties = CommitProperties::default()
        .with_metadata(metadata)
        .with_cleanup_expired_logs(Some(false));
    match &spec.transaction {
        Some((app, version)) => {
            properties.with_application_transaction(Transaction::new(app, *version))
        }
        None => properties,
    }
}

/// What an earlier run of the same idempotency key has committed, if one has.
async fn replayed(
    store: &dyn LogStore,
    spec: &CommitSpec,
    newest: &Arc<Pinned>,
) -> Result<Option<Done>> {
    let Some((app, version)) = &spec.transaction else {
        return Ok(None);
    };
    let seen = newest.snapshot.transaction_version(store, app).await?;
    if seen.is_none_or(|seen| seen < *version) {
        return Ok(None);
    }
    let mut done = Done {
        version: newest.version,
        read_version: None,
        committed: true,
        replayed: true,
        commit_id: String::new(),
        effect: Effect::default(),
        attempts: Vec::new(),
        metrics: Value::Null,
    };
    // Back to the commit itself, as far as the log is there.
    for earlier in (0..=newest.version).rev() {
        let Some(found) = entry::read(store, earlier).await? else {
            break;
        };
        let is_it = |(name, number): &(String, i64)| name == app && number == version;
        if found.transactions.iter().any(is_it) {
            done.version = earlier;
            done.read_version = earlier.checked_sub(1);
            done.effect = found.effect;
            done.commit_id = found.commit_id.unwrap_or_default();
            break;
        }
    }
    Ok(Some(done))
}

/// Our commits among those after the version the operation was based on: the last, and the sum of them.
async fn find(
    engine: &Engine,
    store: &dyn LogStore,
    spec: &CommitSpec,
    read_version: Option<u64>,
    account: &Arc<IoAccount>,
) -> Result<Option<(u64, Effect)>> {
    let from = read_version.map_or(0, |v| v + 1);
    log::recover(engine, &spec.url, account).await?;
    let listing = log::list_from(engine, &spec.url, from, account).await?;
    let mut found: Option<(u64, Effect)> = None;
    for version in listing.commits.keys() {
        let Some(entry) = entry::read(store, *version).await? else {
            continue;
        };
        if entry.is_of(&spec.commit_id) {
            let mut sum = found.map(|(_, sum)| sum).unwrap_or_default();
            sum.add(entry.effect);
            found = Some((*version, sum));
        }
    }
    Ok(found)
}

/// Whether commits of a commit id are in the log, and where; for later questions.
pub async fn outcome(
    engine: &Engine,
    url: &Url,
    commit_id: &str,
    account: &Arc<IoAccount>,
) -> Result<Option<u64>> {
    log::recover(engine, url, account).await?;
    let listing = log::list(engine, url, account).await?;
    let store = log::log_store(engine, url, account)?;
    for version in listing.commits.keys().rev() {
        if let Some(found) = entry::read(store.as_ref(), *version).await?
            && found.is_of(commit_id)
        {
            return Ok(Some(*version));
        }
    }
    Ok(None)
}

async fn clean(engine: &Engine, spec: &CommitSpec, account: &Arc<IoAccount>) {
    if let Ok(store) = engine.stores.counted(&spec.url, account) {
        litter::remove(store, account).await;
    }
}

fn is_conflict(error: &NativeError, name: &str) -> bool {
    error
        .details
        .iter()
        .any(|(key, value)| *key == "conflict" && value == name)
}

/// A conflict with what it was with.
async fn explained(
    error: NativeError,
    store: &dyn LogStore,
    progress: &Progress,
    read_version: Option<u64>,
) -> NativeError {
    if error.kind != ErrorKind::CommitConflict {
        return error;
    }
    let lost = match progress.lost() {
        Some(lost) => Some(lost),
        None => winner(store, &error, read_version).await,
    };
    let mut error = error;
    if let Some(read) = read_version {
        error = error.with("read_version", read.to_string());
    }
    let Some(lost) = lost else {
        return error;
    };
    let operation = lost.operation.unwrap_or_else(|| "a commit".to_owned());
    let overlap = match lost.overlap.as_str() {
        "" => String::new(),
        overlap => format!("; both concern {overlap}"),
    };
    error.message = format!(
        "{}; it was based on version {}, and {operation} became version {}{overlap}",
        sentence(&error.message),
        read_version.map_or("none".to_owned(), |v| v.to_string()),
        lost.winner,
    );
    error
        .with("winning_version", lost.winner.to_string())
        .with("winning_operation", operation)
        .with("overlap", lost.overlap)
}

/// The first line without its full stop, and without the advice that follows.
fn sentence(message: &str) -> &str {
    let first = message.lines().next().unwrap_or(message);
    first.trim_end_matches('.')
}

/// The first commit since that has what the conflict is about.
async fn winner(
    store: &dyn LogStore,
    error: &NativeError,
    read_version: Option<u64>,
) -> Option<Lost> {
    let conflict = &error.details.iter().find(|(key, _)| *key == "conflict")?.1;
    let first = read_version.map_or(0, |v| v + 1);
    let mut last = None;
    for version in first.. {
        let found = match entry::read(store, version).await {
            Ok(Some(found)) => found,
            _ => break,
        };
        let is_it = match conflict.as_str() {
            "MetadataChanged" => found.metadata,
            "ProtocolChanged" => found.protocol,
            "ConcurrentAppend" => !found.added.is_empty(),
            "ConcurrentDeleteRead" | "ConcurrentDeleteDelete" => !found.removed.is_empty(),
            "ConcurrentTransaction" => !found.transactions.is_empty(),
            _ => true,
        };
        let lost = Lost {
            winner: version,
            overlap: overlap(conflict, &found),
            operation: found.operation,
        };
        if is_it {
            return Some(lost);
        }
        last = Some(lost);
    }
    last
}

fn overlap(conflict: &str, found: &Entry) -> String {
    match conflict {
        "MetadataChanged" => "the table's metadata".to_owned(),
        "ProtocolChanged" => "the table's protocol".to_owned(),
        "ConcurrentAppend" => format!("what it added: {}", names(found.added.iter())),
        "ConcurrentDeleteRead" | "ConcurrentDeleteDelete" => {
            format!("what it removed: {}", names(found.removed.iter()))
        }
        "ConcurrentTransaction" => {
            let apps: Vec<_> = found
                .transactions
                .iter()
                .map(|(app, _)| app.clone())
                .collect();
            format!("the application {}", names(apps.iter()))
        }
        _ => String::new(),
    }
}
