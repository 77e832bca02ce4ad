//! How far a query has come, and when: marks that its streams leave as they go.

use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::digest::Digest;
use crate::error::{ErrorKind, NativeError, Result};
use crate::runtime;
use crate::store::trace::now;

/// A step of planning: name, when it began (nanoseconds since 1970), how long it took (nanoseconds).
pub type Phase = (&'static str, u64, u64);

/// Times in nanoseconds since 1970, 0 where it has not come to that.
#[derive(Debug, Default)]
pub struct Course {
    pub started: AtomicU64,
    pub first_row: AtomicU64,
    pub ended: AtomicU64,
    pub rows: AtomicU64,
    pub batches: AtomicU64,
    pub bytes: AtomicU64,
    pub digest: Option<Digest>,
    outcome: Mutex<Outcome>,
}

/// How the streams of a query ended.
#[derive(Debug, Default)]
struct Outcome {
    open: usize,
    failure: Option<(ErrorKind, String)>,
}

impl Course {
    pub fn new(digest: Option<Digest>) -> Self {
        Self {
            digest,
            ..Self::default()
        }
    }

    pub fn start(&self) {
        mark(&self.started);
    }

    /// Notes that a stream is there; each is closed once.
    pub fn open(&self) {
        self.outcome.lock().open += 1;
    }

    /// Notes how a stream ended; the first failure counts. Gives how many are left.
    pub fn close(&self, failure: Option<&NativeError>) -> usize {
        let mut outcome = self.outcome.lock();
        outcome.open = outcome.open.saturating_sub(1);
        if let (None, Some(error)) = (&outcome.failure, failure) {
            outcome.failure = Some((error.kind, error.message.clone()));
        }
        outcome.open
    }

    /// How it went wrong, once it has ended: with kind and text of the failure. A stream that was dropped
    /// says nothing of itself.
    pub fn failure(&self) -> Option<(ErrorKind, String)> {
        let outcome = self.outcome.lock();
        match &outcome.failure {
            None if outcome.open > 0 => {
                let error = runtime::cancelled();
                Some((error.kind, error.message))
            }
            failure => failure.clone(),
        }
    }

    pub fn end(&self) {
        mark(&self.ended);
    }

    /// Notes a batch that is handed out.
    pub fn gave(&self, batch: &RecordBatch) -> Result<()> {
        mark(&self.first_row);
        self.rows
            .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.bytes
            .fetch_add(batch.get_array_memory_size() as u64, Ordering::Relaxed);
        match &self.digest {
            Some(digest) => digest.add(batch),
            None => Ok(()),
        }
    }
}

/// The first time counts.
fn mark(time: &AtomicU64) {
    let _ = time.compare_exchange(0, now(), Ordering::Relaxed, Ordering::Relaxed);
}
