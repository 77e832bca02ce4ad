//! One commit made by several operations of delta-rs.
//!
//! A `Draft` lets an operation write its files and keeps the commit it would have made; `Together` commits
//! one operation with the files of drafts.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::entry::{Effect, Entry};
use super::forward::in_front;
use crate::error::{ErrorKind, NativeError, Result};

/// The log store of an operation that writes files and commits nothing.
pub struct Draft {
    inner: LogStoreRef,
    kept: Mutex<Option<Bytes>>,
}

impl Draft {
    pub fn new(inner: LogStoreRef) -> Arc<Self> {
        Arc::new(Self {
            inner,
            kept: Mutex::default(),
        })
    }

    /// The files the operation has added, once it has tried to commit them.
    pub fn take(&self) -> Option<Result<Added>> {
        let commit = self.kept.lock().take()?;
        Some(Added::of(&commit))
    }
}

in_front!(Draft {
    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    /// Conflicts are looked for where the commit is made.
    async fn get_latest_version(&self, start: u64) -> DeltaResult<u64> {
        Ok(start)
    }

    async fn write_commit_entry(
        &self,
        _: u64,
        commit: CommitOrBytes,
        _: Uuid,
    ) -> Result<(), TransactionError> {
        if let CommitOrBytes::LogBytes(bytes) = commit {
            *self.kept.lock() = Some(bytes);
        }
        Err(NativeError::new(ErrorKind::Internal, "a draft of a commit is not committed").into())
    }
});

/// Files that drafts have added.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// Their `add` actions.
    lines: Vec<Bytes>,
    effect: Effect,
}

impl Added {
    fn of(commit: &Bytes) -> Result<Self> {
        let lines: Vec<_> = lines(commit)
            .filter(|line| line.starts_with(b"{\"add\""))
            .map(|line| commit.slice_ref(line))
            .collect();
        // Nothing but the files counts: what else the draft would do is done once, by the commit.
        let effect = Entry::parse(0, &lines.join(&b'\n').into())?.effect;
        Ok(Self { lines, effect })
    }

    pub fn join(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.effect.add(other.effect);
    }

    /// A commit with these files too.
    fn put_into(&self, commit: &Bytes) -> Result<Bytes, TransactionError> {
        let broken = |json_err| TransactionError::SerializeLogJson { json_err };
        let mut all = Vec::new();
        for line in lines(commit) {
            if !line.starts_with(b"{\"commitInfo\"") {
                all.push(commit.slice_ref(line));
                continue;
            }
            let mut info: Value = serde_json::from_slice(line).map_err(broken)?;
            let metrics = &mut info["commitInfo"]["operationMetrics"];
            // By the names that delta-rs gives them.
            let more = [
                ("num_added_files", self.effect.files_added),
                ("num_added_rows", self.effect.rows),
            ];
            for (name, more) in more {
                if let Some(count) = metrics[name].as_u64() {
                    metrics[name] = Value::from(count + more);
                }
            }
            all.push(serde_json::to_vec(&info).map_err(broken)?.into());
        }
        all.extend_from_slice(&self.lines);
        Ok(all.join(&b'\n').into())
    }
}

fn lines(commit: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = commit.split(|byte| *byte == b'\n');
    all.filter(|line| !line.is_empty())
}

/// What `Together` waits for: the files of all drafts.
pub type Drafts = watch::Sender<Option<Added>>;

/// The log store of an operation that commits the files of drafts with its own.
pub struct Together {
    inner: LogStoreRef,
    drafts: watch::Receiver<Option<Added>>,
}

impl Together {
    pub fn new(inner: LogStoreRef) -> (Arc<Self>, Drafts) {
        let (sender, drafts) = watch::channel(None);
        (Arc::new(Self { inner, drafts }), sender)
    }

    async fn added(&self) -> Result<Added, NativeError> {
        let mut drafts = self.drafts.clone();
        let ready = drafts.wait_for(Option::is_some).await;
        // The sender goes first where the drafts have failed.
        let added = ready.ok().and_then(|added| added.clone());
        added.ok_or_else(crate::runtime::cancelled)
    }
}

in_front!(Together {
    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    async fn get_latest_version(&self, start: u64) -> DeltaResult<u64> {
        self.inner.get_latest_version(start).await
    }

    async fn write_commit_entry(
        &self,
        version: u64,
        commit: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        let added = self.added().await?;
        let commit = match commit {
            CommitOrBytes::LogBytes(bytes) if !added.lines.is_empty() => {
                CommitOrBytes::LogBytes(added.put_into(&bytes)?)
            }
            as_it_is => as_it_is,
        };
        self.inner
            .write_commit_entry(version, commit, operation)
            .await
    }
});
