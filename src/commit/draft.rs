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

use super::forward::in_front;
use crate::error::{ErrorKind, NativeError};

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
    pub fn take(&self) -> Option<Added> {
        self.kept.lock().take().map(|commit| Added::of(&commit))
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
    /// `add` actions, a line each.
    lines: Vec<u8>,
    files: u64,
    rows: u64,
}

impl Added {
    fn of(commit: &[u8]) -> Self {
        let mut added = Self::default();
        for line in commit.split(|byte| *byte == b'\n') {
            if line.starts_with(b"{\"add\"") {
                added.lines.extend_from_slice(line);
                added.lines.push(b'\n');
                added.files += 1;
            } else if line.starts_with(b"{\"commitInfo\"") {
                let info: Value = serde_json::from_slice(line).unwrap_or_default();
                let rows = &info["commitInfo"]["operationMetrics"][ROWS];
                added.rows += rows.as_u64().unwrap_or_default();
            }
        }
        added
    }

    pub fn join(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.files += other.files;
        self.rows += other.rows;
    }

    /// A commit with these files too.
    fn put_into(&self, commit: &[u8]) -> Result<Bytes, TransactionError> {
        let broken = |json_err| TransactionError::SerializeLogJson { json_err };
        let mut out = Vec::with_capacity(commit.len() + self.lines.len() + 64);
        for line in commit.split(|byte| *byte == b'\n') {
            if line.starts_with(b"{\"commitInfo\"") {
                let mut info: Value = serde_json::from_slice(line).map_err(broken)?;
                let metrics = &mut info["commitInfo"]["operationMetrics"];
                for (name, more) in [(FILES, self.files), (ROWS, self.rows)] {
                    if let Some(count) = metrics[name].as_u64() {
                        metrics[name] = Value::from(count + more);
                    }
                }
                out.extend(serde_json::to_vec(&info).map_err(broken)?);
            } else {
                out.extend_from_slice(line);
            }
            out.push(b'\n');
        }
        if commit.last() == Some(&b'\n') {
            out.pop();
        }
        out.extend_from_slice(&self.lines);
        out.pop_if(|byte| *byte == b'\n');
        Ok(out.into())
    }
}

/// Metrics of a write, by the names that delta-rs gives them.
const FILES: &str = "num_added_files";
const ROWS: &str = "num_added_rows";

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
            CommitOrBytes::LogBytes(bytes) if added.files > 0 => {
                CommitOrBytes::LogBytes(added.put_into(&bytes)?)
            }
            CommitOrBytes::TmpCommit(_) if added.files > 0 => {
                let message = "the log store of the table takes no commits as bytes";
                return Err(NativeError::new(ErrorKind::Internal, message).into());
            }
            as_it_is => as_it_is,
        };
        self.inner
            .write_commit_entry(version, commit, operation)
            .await
    }
});
