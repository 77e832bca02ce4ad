//! Which scan a request is made for.
//!
//! The reader of a file (`metrics::observe`) enters its scan while the store works for it; a call finds
//! it there and adds what it sends to the scan's own metrics, beside the query's account.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::metrics::{Count, Time};

tokio::task_local! {
    static CURRENT: Arc<ScanIo>;
}

/// What one reader of a scan asks of storage.
#[derive(Debug)]
pub struct ScanIo {
    /// Number of the scan, by which its operator is found again.
    pub scan: usize,
    pub requests: Count,
    pub retries: Count,
    pub bytes: Count,
    pub time: Time,
}

impl ScanIo {
    /// The reader that the running task works for.
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Runs `work` for this reader.
    pub fn run<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), work)
    }

    pub fn sent(&self, is_retry: bool, time: Duration) {
        self.requests.add(1);
        self.retries.add(usize::from(is_retry));
        self.time.add_duration(time);
    }

    pub fn moved(&self, bytes: u64) {
        self.bytes.add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}
