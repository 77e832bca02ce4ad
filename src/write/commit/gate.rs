//! The log store that an operation commits through.
//!
//! delta-rs' commit loop asks it to put a version. It looks at what others have committed meanwhile for
//! what delta-rs does not look at, remembers what became of each attempt, and knows the operation's own
//! commits again. Once closed it lets no further commit begin.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::Add;
use deltalake::kernel::transaction::{CommitConflictError, TransactionError};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::entry::{self, Effect, Entry};
use super::forward::in_front;
use super::transaction::CommitSpec;
use crate::error::NativeError;

/// Called between the steps of a commit, with the step's name and the version; for tests.
pub type Hook = Arc<dyn Fn(&'static str, Option<u64>) + Send + Sync>;

/// Where an operation stands with its commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is on its way.
    Quiet,
    /// A commit was sent and not answered.
    Sent,
}

/// What an operation builds on, of the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// None: it goes together with whatever others do to rows (appends, properties).
    Nothing,
    /// Those of the files it removes, and puts into other files as they are (compaction).
    ItsFiles,
    /// Those that it says it has read, once it has (`ReadRows`).
    Rows,
    /// Those that delta-rs finds by the operation's predicate.
    ByPredicate,
    /// All: what others add matters too (a constraint that every row has to keep).
    Everything,
}

/// Whether any of the files that a commit adds may have rows that an operation would have read.
pub type MayMatch = Box<dyn Fn(&[Add]) -> bool + Send + Sync>;

/// What an operation has read.
pub struct ReadRows {
    /// Files, by their paths in the log.
    pub files: HashSet<String>,
    pub may_match: MayMatch,
}

/// What lost, and against what.
#[derive(Clone, Debug)]
pub struct Lost {
    pub winner: u64,
    pub operation: Option<String>,
    /// What both touched, for people.
    pub overlap: String,
}

/// An attempt at a version, and how it ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub version: u64,
    pub outcome: &'static str,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// A put had no answer, and the log does not show it yet.
    doubtful: bool,
    /// The commit would have changed nothing, and was not made.
    nothing: bool,
    committed: Vec<(u64, Effect)>,
    attempts: Vec<Attempt>,
    lost: Option<Lost>,
}

/// What an operation and its gate share.
pub struct Progress {
    commit_id: String,
    /// Version the operation reads; `None` where there is no table yet.
    base: Option<u64>,
    transaction: Option<(String, i64)>,
    /// Version that the rows to be written were read at.
    source: Option<u64>,
    reads: Reads,
    /// Whether appends that read nothing may be taken for later ones (isolation level
    /// `WriteSerializable`).
    appends_pass: bool,
    hook: Option<Hook>,
    phase: watch::Sender<Phase>,
    state: Mutex<State>,
    read: OnceLock<ReadRows>,
    /// What the operation measured of itself.
    metrics: OnceLock<Value>,
    /// Paths as the log spells them, by what delta-rs makes of them.
    paths: HashMap<String, String>,
}

impl Progress {
    pub fn new(
        spec: &CommitSpec,
        base: Option<u64>,
        appends_pass: bool,
        paths: HashMap<String, String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            commit_id: spec.commit_id.clone(),
            base,
            transaction: spec.transaction.clone(),
            source: spec.source_version,
            reads: spec.reads,
            appends_pass,
            hook: spec.hook.clone(),
            phase: watch::channel(Phase::Quiet).0,
            state: Mutex::default(),
            read: OnceLock::new(),
            metrics: OnceLock::new(),
            paths,
        })
    }

    /// Says what the operation has measured of itself, before it commits.
    pub fn measure(&self, metrics: Value) {
        let _ = self.metrics.set(metrics);
    }

    pub fn metrics(&self) -> Value {
        self.metrics.get().cloned().unwrap_or_default()
    }

    /// Says what the operation has read, before it commits.
    pub fn read(&self, rows: ReadRows) {
        let _ = self.read.set(rows);
    }

    /// Lets no further commit begin.
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Waits until no commit is on its way.
    pub async fn quiet(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as `self`.
        let _ = phase.wait_for(|phase| *phase == Phase::Quiet).await;
    }

    /// Versions committed so far, and what they did together.
    pub fn committed(&self) -> Option<(u64, Effect)> {
        let state = self.state.lock();
        let (last, _) = state.committed.last()?;
        let mut sum = Effect::default();
        for (_, effect) in &state.committed {
            sum.add(*effect);
        }
        Some((*last, sum))
    }

    /// Whether the commit would have changed nothing, and was not made.
    pub fn is_nothing(&self) -> bool {
        self.state.lock().nothing
    }

    /// Whether a put may take effect yet.
    pub fn is_doubtful(&self) -> bool {
        self.state.lock().doubtful
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.lock().attempts.clone()
    }

    pub fn lost(&self) -> Option<Lost> {
        self.state.lock().lost.clone()
    }

    pub fn lose(&self, lost: Lost) {
        self.state.lock().lost = Some(lost);
    }

    /// Calls the hook where it may block.
    pub async fn step(&self, name: &'static str, version: Option<u64>) {
        if let Some(hook) = self.hook.clone() {
            // A hook that panics is a failing test, not a failing commit.
            let _ = tokio::task::spawn_blocking(move || hook(name, version)).await;
        }
    }

    fn attempted(&self, version: u64, outcome: &'static str) {
        self.state
            .lock()
            .attempts
            .push(Attempt { version, outcome });
    }

    fn done(&self, version: u64, ours: &Entry) {
        let mut state = self.state.lock();
        state.committed.push((version, ours.effect));
        state.attempts.push(Attempt {
            version,
            outcome: "committed",
        });
    }
}

/// A log store for one operation.
pub struct Gate {
    inner: LogStoreRef,
    progress: Arc<Progress>,
}

impl Gate {
    pub fn new(inner: LogStoreRef, progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self { inner, progress })
    }

    /// Whether a commit since the operation's base takes from it what it builds on.
    ///
    /// delta-rs lets pass what others removed without changing data (`dataChange` false): of two
    /// compactions of the same files, or of a compaction and an overwrite, both would take effect, and
    /// rows would be there twice. A file that is gone cannot be removed again, whatever it was
    /// removed for. Nor does it know where the rows of a write come from: those that a query has read
    /// from the table itself are out of date once the table's rows are others.
    async fn check(&self, version: u64, ours: &Entry) -> Result<(), TransactionError> {
        let progress = &self.progress;
        if ours.removed.is_empty()
            && progress.transaction.is_none()
            && progress.source.is_none()
            && progress.reads != Reads::Everything
            && progress.reads != Reads::Rows
        {
            return Ok(());
        }
        let base = progress.base.map_or(0, |base| base + 1);
        let first = progress.source.map_or(base, |source| base.min(source + 1));
        let own: BTreeSet<u64> = {
            let state = progress.state.lock();
            state
                .committed
                .iter()
                .map(|(version, _)| *version)
                .collect()
        };
        for earlier in (first..version).filter(|v| !own.contains(v)) {
            let Some(winner) = self.entry(earlier).await? else {
                continue;
            };
            if let Some((error, overlap)) = self.conflict(earlier >= base, ours, &winner) {
                progress.lose(Lost {
                    winner: earlier,
                    operation: winner.operation,
                    overlap,
                });
                return Err(TransactionError::CommitConflict(error));
            }
        }
        Ok(())
    }

    /// The conflict with one commit, made since the table was read or only since the rows were.
    fn conflict(
        &self,
        since_base: bool,
        ours: &Entry,
        winner: &Entry,
    ) -> Option<(CommitConflictError, String)> {
        let app = self.progress.transaction.as_ref().map(|(app, _)| app);
        if since_base
            && winner
                .transactions
                .iter()
                .any(|(name, _)| Some(name) == app)
        {
            let about = format!("the application {:?}", app.map_or("", String::as_str));
            return Some((CommitConflictError::ConcurrentTransaction, about));
        }
        if since_base
            && let Some(read) = self.progress.read.get()
            && let Some(lost) = self.taken(read, winner)
        {
            return Some(lost);
        }
        if since_base {
            let both: Vec<_> = ours.removed.intersection(&winner.removed).collect();
            if !both.is_empty() {
                let about = format!("the files {}", names(both.into_iter()));
                return Some((CommitConflictError::ConcurrentDeleteDelete, about));
            }
        }
        let everything = since_base && self.progress.reads == Reads::Everything;
        if (everything || self.progress.source.is_some()) && winner.changes_data {
            let error = if winner.removed.is_empty() {
                CommitConflictError::ConcurrentAppend
            } else {
                CommitConflictError::ConcurrentDeleteRead
            };
            return Some((error, "the rows that were read".to_owned()));
        }
        None
    }

    /// What a commit takes from an operation that has read these rows. Files that are only put into others
    /// as they are take nothing, unless they were to be removed.
    fn taken(&self, read: &ReadRows, winner: &Entry) -> Option<(CommitConflictError, String)> {
        if !winner.changes_data {
            return None;
        }
        let passes = self.progress.appends_pass && winner.is_blind;
        if !passes && !winner.adds.is_empty() && (read.may_match)(&winner.adds) {
            return Some((
                CommitConflictError::ConcurrentAppend,
                "the rows that were read".to_owned(),
            ));
        }
        let gone: Vec<_> = winner
            .removed
            .iter()
            .filter(|path| read.files.contains(*path))
            .collect();
        if !gone.is_empty() {
            let about = format!("the files {}", names(gone.into_iter()));
            return Some((CommitConflictError::ConcurrentDeleteRead, about));
        }
        None
    }

    async fn entry(&self, version: u64) -> Result<Option<Entry>, TransactionError> {
        Ok(entry::read(self.inner.as_ref(), version).await?)
    }
}

/// The first few of them, for a message.
pub fn names<'a>(paths: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 3;
    let all = paths.len();
    let shown: Vec<_> = paths.take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    match all.saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

in_front!(Gate {
    /// What delta-rs compares with, of others' commits.
    ///
    /// It takes an operation without a predicate for one that has read every file, so that an append
    /// would conflict with every removal: such operations are shown nothing that was done to files; that
    /// no file is removed twice is seen to by `check`. And it knows `WriteSerializable` only by a
    /// spelling that no other writer has.
    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        let Some(bytes) = self.inner.read_commit_entry(version).await? else {
            return Ok(None);
        };
        let progress = &self.progress;
        let hidden: &[&[u8]] = match progress.reads {
            Reads::Nothing | Reads::ItsFiles | Reads::Rows => &[b"{\"add\"", b"{\"remove\"", b"{\"cdc\""],
            _ if progress.appends_pass
                && Entry::parse(version, &bytes).is_ok_and(|entry| entry.is_blind) =>
            {
                &[b"{\"add\""]
            }
            _ => return Ok(Some(bytes)),
        };
        Ok(Some(without(&bytes, hidden)))
    }

    async fn write_commit_entry(
        &self,
        version: u64,
        commit: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        let progress = &self.progress;
        let commit = match commit {
            CommitOrBytes::LogBytes(bytes) if !progress.paths.is_empty() => {
                CommitOrBytes::LogBytes(respell(&bytes, &progress.paths)?)
            }
            other => other,
        };
        let ours = match &commit {
            CommitOrBytes::LogBytes(bytes) => Entry::parse(version, bytes)?,
            CommitOrBytes::TmpCommit(_) => Entry::default(),
        };
        if ours.is_empty() {
            progress.state.lock().nothing = true;
            return Err(crate::runtime::cancelled().into());
        }
        self.check(version, &ours).await?;
        progress.step("commit", Some(version)).await;
        {
            // Together, so that whoever closes the gate either stops this put or waits for it.
            let state = progress.state.lock();
            if state.closed {
                return Err(crate::runtime::cancelled().into());
            }
            progress.phase.send_replace(Phase::Sent);
        }
        let sent = self
            .inner
            .write_commit_entry(version, commit, operation)
            .await;
        let answered = match sent {
            Ok(()) => {
                progress.done(version, &ours);
                Ok(())
            }
            Err(TransactionError::VersionAlreadyExists(taken)) => match self.entry(taken).await {
                // An earlier put of ours, whose answer was lost.
                Ok(Some(found)) if found.is_of(&progress.commit_id) => {
                    progress.done(version, &found);
                    Ok(())
                }
                Ok(_) => {
                    // Nothing of ours can become this version any more.
                    progress.state.lock().doubtful = false;
                    progress.attempted(version, "taken");
                    Err(TransactionError::VersionAlreadyExists(taken))
                }
                Err(e) => {
                    progress.state.lock().doubtful = true;
                    progress.attempted(version, "unknown");
                    Err(e)
                }
            },
            Err(e) => {
                let unanswered = is_unanswered(&e);
                progress.state.lock().doubtful |= unanswered;
                progress.attempted(version, if unanswered { "unknown" } else { "failed" });
                Err(e)
            }
        };
        progress.phase.send_replace(Phase::Quiet);
        progress.step("answered", Some(version)).await;
        answered
    }

    async fn get_latest_version(&self, start: u64) -> DeltaResult<u64> {
        self.inner.get_latest_version(start).await
    }
});

/// A commit whose files are called as the log calls them.
fn respell(commit: &Bytes, paths: &HashMap<String, String>) -> Result<Bytes, TransactionError> {
    let mut lines = Vec::new();
    for line in commit.split(|byte| *byte == b'\n') {
        let kind = ["add", "remove"]
            .into_iter()
            .find(|kind| line.starts_with(format!("{{\"{kind}\"").as_bytes()));
        let Some(kind) = kind else {
            lines.push(line.to_vec());
            continue;
        };
        let broken = |json_err| TransactionError::SerializeLogJson { json_err };
        let action: Value = serde_json::from_slice(line).map_err(broken)?;
        let path = action[kind]["path"].as_str().unwrap_or_default();
        lines.push(match paths.get(path) {
            // Only the path: numbers keep their digits.
            Some(raw) => replaced(line, path, raw),
            None => line.to_vec(),
        });
    }
    Ok(lines.join(&b'\n').into())
}

/// A line with another path.
fn replaced(line: &[u8], path: &str, raw: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let member = |path: &str| format!("\"path\":{}", Value::from(path));
    text.replacen(&member(path), &member(raw), 1).into_bytes()
}

/// A commit without the actions that begin so.
fn without(commit: &Bytes, hidden: &[&[u8]]) -> Bytes {
    let is_shown = |line: &&[u8]| {
        let start = line.trim_ascii_start();
        !hidden.iter().any(|name| start.starts_with(name))
    };
    let shown: Vec<_> = commit
        .split(|byte| *byte == b'\n')
        .filter(is_shown)
        .collect();
    shown.join(&b'\n').into()
}

/// Whether a request ended without an answer, so that it may take effect yet.
fn is_unanswered(error: &TransactionError) -> bool {
    let details = match error {
        TransactionError::ObjectStore { source } => NativeError::from_store(source).details,
        TransactionError::LogStoreError { source, .. } => source
            .downcast_ref::<NativeError>()
            .map(|e| e.details.clone())
            .unwrap_or_default(),
        _ => return false,
    };
    details
        .iter()
        .any(|(key, _)| *key == crate::store::failure::UNANSWERED)
}
