//! The requests of one query, one by one: the first of them, and how many more there were.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::account::{Operation, Purpose};
use super::request::Failure;

/// Requests that are kept of a query; a scan of ten thousand files shows its kind in the first of them.
const KEPT: usize = 1000;

/// One request.
#[derive(Clone, Debug)]
pub struct Traced {
    pub operation: Operation,
    pub purpose: Purpose,
    /// Path of the object within its store.
    pub location: String,
    /// Nanoseconds since 1970.
    pub started: u64,
    /// Nanoseconds until the answer began.
    pub nanos: u64,
    pub bytes: u64,
    pub is_retry: bool,
    pub failure: Option<Failure>,
    /// Number of the scan that it was sent for.
    pub scan: Option<usize>,
}

#[derive(Debug, Default)]
pub struct Trace {
    kept: Mutex<Vec<Traced>>,
    dropped: std::sync::atomic::AtomicU64,
}

impl Trace {
    /// Keeps a request while there is room; gives its place.
    pub fn add(&self, request: Traced) -> Option<usize> {
        let mut kept = self.kept.lock();
        if kept.len() < KEPT {
            kept.push(request);
            return Some(kept.len() - 1);
        }
        self.dropped
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        None
    }

    /// Changes a request that was kept.
    pub fn amend(&self, place: usize, change: impl FnOnce(&mut Traced)) {
        if let Some(request) = self.kept.lock().get_mut(place) {
            change(request);
        }
    }

    /// What was kept, and how many were not.
    pub fn requests(&self) -> (Vec<Traced>, u64) {
        let dropped = self.dropped.load(std::sync::atomic::Ordering::Relaxed);
        (self.kept.lock().clone(), dropped)
    }
}

/// Now, in nanoseconds since 1970.
pub fn now() -> u64 {
    nanos(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
