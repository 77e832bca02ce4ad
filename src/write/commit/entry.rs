//! What a commit did, read from its log entry (protocol section "Delta Log Entries").

use std::collections::BTreeSet;

use deltalake::kernel::{Action, Add};
use deltalake::logstore::{LogStore, get_actions};
use serde_json::Value;

use crate::error::Result;

/// Key of the commit id in `commitInfo`.
pub const COMMIT_ID: &str = "fusiondelta.commit_id";

/// Sums over the files of one commit or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    /// Rows in the files added, as far as their statistics tell.
    pub rows: u64,
    /// Bytes of the files added.
    pub bytes: u64,
    pub files_added: u64,
    pub files_removed: u64,
}

impl Effect {
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.files_added += other.files_added;
        self.files_removed += other.files_removed;
    }
}

/// One commit.
#[derive(Debug, Default)]
pub struct Entry {
    pub effect: Effect,
    pub commit_id: Option<String>,
    /// `MERGE`, `WRITE` and the like.
    pub operation: Option<String>,
    /// Application transactions: app id and version.
    pub transactions: Vec<(String, i64)>,
    pub added: BTreeSet<String>,
    /// What it adds that changes data.
    pub adds: Vec<Add>,
    pub removed: BTreeSet<String>,
    /// Whether rows were added or removed, not only moved to other files.
    pub changes_data: bool,
    pub metadata: bool,
    pub protocol: bool,
    /// Actions that are none of those above, nor about the commit.
    others: usize,
    /// Whether its writer says that it read nothing.
    pub is_blind: bool,
    /// Whether it only reports, as vacuums do.
    is_report: bool,
}

impl Entry {
    pub fn parse(version: u64, bytes: &bytes::Bytes) -> Result<Self> {
        let mut entry = Self::default();
        for action in get_actions(version, bytes)? {
            entry.take(action);
        }
        entry.settle();
        Ok(entry)
    }

    /// A file that is removed and added has another deletion vector: nothing of it was written, and
    /// whoever has read it learns of it by its removal.
    fn settle(&mut self) {
        let removed = &self.removed;
        for add in self.adds.extract_if(.., |add| removed.contains(&add.path)) {
            self.effect.files_added -= 1;
            self.effect.files_removed -= 1;
            self.effect.bytes -= u64::try_from(add.size).unwrap_or_default();
            self.effect.rows -= rows(&add);
        }
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Add(add) => {
                self.effect.files_added += 1;
                self.effect.bytes += u64::try_from(add.size).unwrap_or_default();
                self.effect.rows += rows(&add);
                self.changes_data |= add.data_change;
                self.added.insert(add.path.clone());
                if add.data_change {
                    self.adds.push(add);
                }
            }
            Action::Remove(remove) => {
                self.effect.files_removed += 1;
                self.changes_data |= remove.data_change;
                self.removed.insert(remove.path);
            }
            Action::Txn(txn) => self.transactions.push((txn.app_id, txn.version)),
            Action::Metadata(_) => self.metadata = true,
            Action::Protocol(_) => self.protocol = true,
            Action::CommitInfo(info) => {
                self.is_blind = info.is_blind_append.unwrap_or_default();
                self.is_report = info
                    .operation
                    .as_deref()
                    .is_some_and(|name| name.starts_with("VACUUM"));
                self.operation = info.operation;
                let id = info.info.get(COMMIT_ID).and_then(Value::as_str);
                self.commit_id = id.map(str::to_owned);
            }
            _ => self.others += 1,
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.transactions.is_empty()
            && self.others == 0
            && !(self.metadata || self.protocol)
            && !self.is_report
    }

    /// Whether it carries this commit id.
    pub fn is_of(&self, commit_id: &str) -> bool {
        self.commit_id.as_deref() == Some(commit_id)
    }
}

/// Rows of a file, deleted ones among them, as far as its statistics tell.
fn rows(add: &Add) -> u64 {
    let stats = add.stats.as_deref();
    let stats = stats.and_then(|text| serde_json::from_str::<Value>(text).ok());
    stats
        .and_then(|stats| stats["numRecords"].as_u64())
        .unwrap_or_default()
}

/// The commit of a version; `None` where there is none (yet, or any more).
pub async fn read(store: &dyn LogStore, version: u64) -> Result<Option<Entry>> {
    match store.read_commit_entry(version).await? {
        Some(bytes) => Ok(Some(Entry::parse(version, &bytes)?)),
        None => Ok(None),
    }
}
