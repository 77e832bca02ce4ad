//! The memory of one query: a limit of its own on top of the engine's pool, and its peak.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

#[derive(Debug)]
pub struct QueryPool {
    engine: Arc<dyn MemoryPool>,
    limit: Option<usize>,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl QueryPool {
    pub fn new(engine: Arc<dyn MemoryPool>, limit: Option<usize>) -> Self {
        Self {
            engine,
            limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Most bytes the query had reserved at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Most bytes it may reserve: its own limit or the engine's, whichever is less.
    pub fn limit(&self) -> Option<usize> {
        let engine = match self.engine.memory_limit() {
            MemoryLimit::Finite(bytes) => Some(bytes),
            MemoryLimit::Infinite | MemoryLimit::Unknown => None,
        };
        self.limit.into_iter().chain(engine).min()
    }

    fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query over {}", self.engine)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.engine.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.engine.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.engine.grow(reservation, additional);
        self.add(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.engine.shrink(reservation, shrink);
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if let Some(limit) = self.limit {
            let used = self.used.load(Ordering::Relaxed);
            if used.saturating_add(additional) > limit {
                return Err(resources_datafusion_err!(
                    "the query's memory_limit of {} would be exceeded: {} are in use and {} asked for another {}",
                    human_readable_size(limit),
                    human_readable_size(used),
                    reservation.consumer().name(),
                    human_readable_size(additional)
                ));
            }
        }
        self.engine.try_grow(reservation, additional)?;
        self.add(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        match self.limit() {
            Some(limit) => MemoryLimit::Finite(limit),
            None => self.engine.memory_limit(),
        }
    }
}
