//! What object-store requests a query (or an engine) made: counts, bytes, time and retries, by kind of
//! request and purpose.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use object_store::path::Path;
use parking_lot::Mutex;

use super::trace::Trace;
use crate::error::{ErrorKind, NativeError, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    List,
    Head,
    Get,
    /// A part of an object.
    GetRange,
    Put,
    /// One request of a multipart upload: its start, a part, its end.
    Multipart,
    Delete,
    Copy,
}

impl Operation {
    pub const ALL: [(Operation, &'static str); 8] = [
        (Self::List, "list"),
        (Self::Head, "head"),
        (Self::Get, "get"),
        (Self::GetRange, "get_range"),
        (Self::Put, "put"),
        (Self::Multipart, "multipart"),
        (Self::Delete, "delete"),
        (Self::Copy, "copy"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The operation as short accounts name it: parts count with wholes.
    pub fn family(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Head => "head",
            Self::Get | Self::GetRange => "get",
            Self::Put | Self::Multipart => "put",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }

    /// Whether one call of the store is one request, so that a second one repeats the first.
    pub fn is_single(self) -> bool {
        !matches!(self, Self::List | Self::Delete)
    }
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

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

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
        } else if matches!(
            operation,
            Operation::Put | Operation::Multipart | Operation::Copy
        ) {
            Self::Commit
        } else {
            Self::Log
        }
    }
}

#[derive(Debug, Default)]
struct Cell {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
}

/// Failures of requests that are remembered, the newest of a query.
const FAILURES: usize = 16;

/// Counters of one query; every addition is also made in `parent`.
#[derive(Debug, Default)]
pub struct IoAccount {
    cells: [[Cell; Purpose::ALL.len()]; Operation::ALL.len()],
    failures: Mutex<VecDeque<(ErrorKind, String)>>,
    /// Data files put, of an account that is asked to remember them.
    written: Mutex<Option<Vec<Path>>>,
    /// The requests one by one.
    pub trace: Trace,
    /// Whose the query is, where caches are kept apart by that; empty where they are shared.
    tenant: String,
    /// Calls that are not done.
    under_way: AtomicUsize,
    parent: Option<Arc<IoAccount>>,
}

/// A line of an account: requests of one kind for one purpose.
#[derive(Clone, Copy, Debug)]
pub struct IoLine {
    pub operation: Operation,
    pub operation_name: &'static str,
    pub purpose: &'static str,
    /// Requests sent, repeated ones included.
    pub requests: u64,
    /// Those of them that repeated a failed one.
    pub retries: u64,
    /// Bytes read or written.
    pub bytes: u64,
    /// Time until each answer began, added up, in nanoseconds.
    pub nanos: u64,
}

impl IoAccount {
    pub fn child_of(parent: &Arc<IoAccount>) -> Arc<Self> {
        Self::of_tenant(parent, String::new())
    }

    pub fn of_tenant(parent: &Arc<IoAccount>, tenant: String) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            parent: Some(Arc::clone(parent)),
            ..Self::default()
        })
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Notes that a call of the store begins.
    pub fn begun(&self) {
        self.and_parents(|account| {
            account.under_way.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Notes that a call is done, with all that was read of its answer.
    pub fn done(&self) {
        self.and_parents(|account| {
            account.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// How many calls are not done.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn and_parents(&self, change: impl Fn(&Self)) {
        let mut account = Some(self);
        while let Some(current) = account {
            change(current);
            account = current.parent.as_deref();
        }
    }

    fn each(&self, operation: Operation, purpose: Purpose, add: impl Fn(&Cell)) {
        self.and_parents(|account| add(&account.cells[operation as usize][purpose as usize]));
    }

    /// Counts requests, some of them retries, that took `time` in all.
    pub fn count(
        &self,
        operation: Operation,
        purpose: Purpose,
        requests: u64,
        retries: u64,
        time: Duration,
    ) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.each(operation, purpose, |cell| {
            cell.requests.fetch_add(requests, Ordering::Relaxed);
            cell.retries.fetch_add(retries, Ordering::Relaxed);
            cell.nanos.fetch_add(nanos, Ordering::Relaxed);
        });
    }

    /// Counts bytes that came or went.
    pub fn moved(&self, operation: Operation, purpose: Purpose, bytes: u64) {
        self.each(operation, purpose, |cell| {
            cell.bytes.fetch_add(bytes, Ordering::Relaxed);
        });
    }

    /// Every line with a request in it.
    pub fn lines(&self) -> Vec<IoLine> {
        let mut lines = Vec::new();
        for (operation, operation_name) in Operation::ALL {
            for (purpose, purpose_name) in Purpose::ALL {
                let cell = &self.cells[operation as usize][purpose as usize];
                let requests = cell.requests.load(Ordering::Relaxed);
                if requests > 0 {
                    lines.push(IoLine {
                        operation,
                        operation_name,
                        purpose: purpose_name,
                        requests,
                        retries: cell.retries.load(Ordering::Relaxed),
                        bytes: cell.bytes.load(Ordering::Relaxed),
                        nanos: cell.nanos.load(Ordering::Relaxed),
                    });
                }
            }
        }
        lines
    }

    /// Remembers the data files that are put from here on.
    pub fn keep_written(&self) {
        *self.written.lock() = Some(Vec::new());
    }

    /// Notes an object that was put, or is about to be.
    pub fn wrote(&self, location: &Path) {
        if let Some(written) = self.written.lock().as_mut()
            && Purpose::of(location.as_ref(), Operation::Put) == Purpose::Data
        {
            written.push(location.clone());
        }
    }

    /// The data files that were put, which are forgotten.
    pub fn take_written(&self) -> Vec<Path> {
        let mut written = self.written.lock();
        written.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Remembers how a request failed, with the text its error shows.
    pub fn failed(&self, kind: ErrorKind, text: String) {
        let mut failures = self.failures.lock();
        if failures.len() == FAILURES {
            failures.pop_front();
        }
        failures.push_back((kind, text));
    }

    /// The error with the kind of the request that it came of. The Parquet reader and the kernel pass a
    /// store's error on as text alone; that text is how it is known again.
    pub fn blame(&self, error: NativeError) -> NativeError {
        let vague = matches!(
            error.kind,
            ErrorKind::Execution | ErrorKind::Source | ErrorKind::Internal | ErrorKind::Query
        );
        if !vague || error.python.is_some() {
            return error;
        }
        let failures = self.failures.lock();
        match failures
            .iter()
            .rev()
            .find(|(_, text)| error.message.contains(text.as_str()))
        {
            Some((kind, _)) => NativeError {
                kind: *kind,
                ..error
            },
            None => error,
        }
    }
}

/// `work`, whose errors are blamed on the requests they came of.
pub async fn blamed<T>(
    account: Arc<IoAccount>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    work.await.map_err(|e| account.blame(e))
}
