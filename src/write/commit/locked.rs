//! The log of a table whose commits go through a table of locks (`lock`).

use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use super::forward::in_front;
use super::gate::Progress;
use crate::error::{ErrorKind, NativeError, Result};
use crate::store::dynamodb::{Item, LockTable, exists, in_log};

/// The log of a table whose commits go through a table of locks.
pub struct LockedLog {
    inner: LogStoreRef,
    lock: Arc<LockTable>,
    table_path: String,
    progress: Option<Arc<Progress>>,
}

impl LockedLog {
    pub fn new(
        inner: LogStoreRef,
        lock: Arc<LockTable>,
        table_path: String,
        progress: Option<Arc<Progress>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            lock,
            table_path,
            progress,
        })
    }

    async fn step(&self, name: &'static str, version: u64) {
        if let Some(progress) = &self.progress {
            progress.step(name, Some(version)).await;
        }
    }

    /// Makes a commit; `false` where another is there.
    async fn commit(&self, version: u64, bytes: Bytes) -> Result<bool> {
        self.lock.check().await?;
        let store = self.inner.object_store(None);
        let file = format!("{version:020}.json");
        if exists(store.as_ref(), &in_log(&file)).await? {
            return Ok(false);
        }
        self.look_back(version, &file, store.as_ref()).await?;
        let item = Item {
            temp: format!(".tmp/{file}.{}", Uuid::new_v4()),
            file,
            complete: false,
        };
        store.put(&in_log(&item.temp), bytes.into()).await?;
        self.step("temporary", version).await;
        match self.lock.create_item(&self.table_path, &item).await {
            Ok(true) => {}
            // Refused, or without an answer: what is there now says whose it is. The SDK sends again
            // what had no answer, and is then refused by its own first item.
            refused => match self.lock.get(&self.table_path, &item.file).await? {
                Some(found) if found.temp == item.temp => {}
                Some(_) => {
                    // Another's: ours is litter.
                    let _ = store.delete(&in_log(&item.temp)).await;
                    return Ok(false);
                }
                None => {
                    let unanswered = |e: &NativeError| e.kind == ErrorKind::StorageTimeout;
                    return match refused {
                        Err(e) if unanswered(&e) => {
                            Err(e.with(crate::store::failure::UNANSWERED, "true"))
                        }
                        Err(e) => Err(e),
                        Ok(_) => Err(NativeError::new(
                            ErrorKind::Storage,
                            format!("the item of {} vanished from the table of locks", item.file),
                        )),
                    };
                }
            },
        }
        self.step("locked", version).await;
        // It is committed: whoever comes next finishes what fails from here on.
        if store
            .copy(&in_log(&item.temp), &in_log(&item.file))
            .await
            .is_ok()
        {
            self.step("copied", version).await;
            let _ = self.lock.complete_item(&self.table_path, &item).await;
        } else {
            let _ = self
                .lock
                .finish(store.as_ref(), &self.table_path, &item)
                .await;
        }
        Ok(true)
    }

    /// The version before has to be there, finished if need be; items of a table that was there before
    /// must not be taken for this one's.
    async fn look_back(&self, version: u64, file: &str, store: &dyn ObjectStore) -> Result<()> {
        let Some(before) = version.checked_sub(1) else {
            let old = self.lock.get(&self.table_path, file).await?;
            if old.is_some_and(|item| item.complete) {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    format!(
                        "the table of locks has items of an earlier table at {}; delete them first, \
                         or their versions could not be committed",
                        self.table_path
                    ),
                ));
            }
            return Ok(());
        };
        let name = format!("{before:020}.json");
        match self.lock.get(&self.table_path, &name).await? {
            Some(item) if !item.complete => self.lock.finish(store, &self.table_path, &item).await,
            _ if exists(store, &in_log(&name)).await? => Ok(()),
            _ => Err(NativeError::new(
                ErrorKind::Source,
                format!("the log of {} has no version {before}", self.table_path),
            )),
        }
    }
}

in_front!(LockedLog {
    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: u64,
        commit: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        let CommitOrBytes::LogBytes(bytes) = commit else {
            return self
                .inner
                .write_commit_entry(version, commit, operation)
                .await;
        };
        match self.commit(version, bytes).await? {
            true => Ok(()),
            false => Err(TransactionError::VersionAlreadyExists(version)),
        }
    }

    async fn get_latest_version(&self, start: u64) -> DeltaResult<u64> {
        let store = self.inner.object_store(None);
        self.lock
            .recover(store.as_ref(), &self.table_path)
            .await
            .map_err(|e| deltalake::DeltaTableError::GenericError {
                source: Box::new(e),
            })?;
        self.inner.get_latest_version(start).await
    }
});
