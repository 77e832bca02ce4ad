//! What an operation of delta-rs would commit.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use parking_lot::Mutex;
use uuid::Uuid;

use super::forward::in_front;
use crate::error::{ErrorKind, NativeError, Result};

/// The log store of an operation that commits nothing.
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

    /// What the operation would have committed.
    pub fn actions(&self) -> Result<Vec<Action>> {
        match self.kept.lock().take() {
            Some(commit) => Ok(get_actions(0, &commit)?),
            None => Ok(Vec::new()),
        }
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
