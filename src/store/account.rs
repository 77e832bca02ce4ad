//! What object-store requests a query (or an engine) made: counts by operation and purpose, bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    List,
    Head,
    Get,
    Put,
    Delete,
    Copy,
}

impl Operation {
    pub const ALL: [(Operation, &'static str); 6] = [
        (Self::List, "list"),
        (Self::Head, "head"),
        (Self::Get, "get"),
        (Self::Put, "put"),
        (Self::Delete, "delete"),
        (Self::Copy, "copy"),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Log,
    Checkpoint,
    Footer,
    Data,
    Commit,
}

impl Purpose {
    pub const ALL: [(Purpose, &'static str); 5] = [
        (Self::Log, "log"),
        (Self::Checkpoint, "checkpoint"),
        (Self::Footer, "footer"),
        (Self::Data, "data"),
        (Self::Commit, "commit"),
    ];

    /// Purpose of a request for `path`, by the names the Delta protocol gives to files.
    pub fn of(path: &str, operation: Operation) -> Self {
        let Some(at) = path.find("_delta_log") else {
            return Self::Data;
        };
        let name = &path[at..];
        if name.ends_with(".parquet")
            || name.ends_with("_last_checkpoint")
            || name.contains(".checkpoint.")
            || name.contains("_sidecars")
        {
            Self::Checkpoint
        } else if matches!(operation, Operation::Put | Operation::Copy) {
            Self::Commit
        } else {
            Self::Log
        }
    }
}

/// Counters of one query; every addition is also made in `parent`.
#[derive(Debug, Default)]
pub struct IoAccount {
    counts: [[AtomicU64; Purpose::ALL.len()]; Operation::ALL.len()],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    retries: AtomicU64,
    parent: Option<Arc<IoAccount>>,
}

/// A reading of an account.
#[derive(Clone, Debug)]
pub struct IoReading {
    pub requests: Vec<(&'static str, u64)>,
    pub by_purpose: Vec<(&'static str, u64)>,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub retries: u64,
}

impl IoAccount {
    pub fn child_of(parent: &Arc<IoAccount>) -> Arc<Self> {
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            ..Self::default()
        })
    }

    pub fn count(&self, operation: Operation, path: &Path) {
        self.count_as(operation, Purpose::of(path.as_ref(), operation));
    }

    pub fn count_as(&self, operation: Operation, purpose: Purpose) {
        self.counts[operation as usize][purpose as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.count_as(operation, purpose);
        }
    }

    pub fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.read(bytes);
        }
    }

    pub fn wrote(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.wrote(bytes);
        }
    }

    pub fn reading(&self) -> IoReading {
        let cell =
            |o: Operation, p: Purpose| self.counts[o as usize][p as usize].load(Ordering::Relaxed);
        IoReading {
            requests: Operation::ALL
                .iter()
                .map(|(o, name)| (*name, Purpose::ALL.iter().map(|(p, _)| cell(*o, *p)).sum()))
                .collect(),
            by_purpose: Purpose::ALL
                .iter()
                .map(|(p, name)| {
                    (
                        *name,
                        Operation::ALL.iter().map(|(o, _)| cell(*o, *p)).sum(),
                    )
                })
                .collect(),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}
