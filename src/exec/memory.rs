//! Memory that operators reserve: divided among those who ask, with a limit for a query besides the engine's.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
    TrackConsumersPool, human_readable_size,
};
use datafusion::prelude::SessionConfig;
use parking_lot::Mutex;

use super::engine::PoolKind;

/// The part of a limit that is left to what cannot spill, as one over this number: merging what was sorted,
/// for one, needs memory while those who sorted hold theirs.
const KEPT: usize = 4;

/// Whether a consumer is one that passes rows on between partitions. It says that it can spill, and may wait
/// forever for what it has spilled itself (apache/datafusion#24883), and counts parts of one batch as the whole:
/// what passes is counted apart, up to the limit once more, and bounded by those who read from it.
fn passes_rows_on(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with("RepartitionExec")
}

/// Whether a consumer gives memory back when it is refused more.
fn spills(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && !passes_rows_on(consumer)
}

/// How many reservations that can spill share the rest.
#[derive(Debug, Default)]
struct Shares {
    spilling: usize,
    spillable: usize,
    unspillable: usize,
    passing: usize,
}

impl Shares {
    fn of(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if passes_rows_on(consumer) {
            &mut self.passing
        } else if spills(consumer) {
            &mut self.spillable
        } else {
            &mut self.unspillable
        }
    }
}

/// A limit that those who can spill share evenly, but for a part that is kept for those who cannot.
///
/// DataFusion's own pools give all of it to who asks first, or to those who can spill: what fits a limit may
/// not fit a larger one then, where more is taken before something is spilled.
#[derive(Debug)]
pub struct FairPool {
    limit: usize,
    /// Whose limit it is, for messages.
    whose: &'static str,
    shares: Mutex<Shares>,
}

impl FairPool {
    pub fn new(limit: usize, whose: &'static str) -> Self {
        Self {
            limit,
            whose,
            shares: Mutex::default(),
        }
    }
}

impl fmt::Display for FairPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.whose, human_readable_size(self.limit))
    }
}

impl MemoryPool for FairPool {
    fn name(&self) -> &'static str {
        "fair"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if spills(consumer) {
            self.shares.lock().spilling += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if spills(consumer) {
            let mut shares = self.shares.lock();
            shares.spilling = shares.spilling.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.shares.lock().of(reservation.consumer()) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut shares = self.shares.lock();
        let share = shares.of(reservation.consumer());
        *share = share.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut shares = self.shares.lock();
        let used = shares.spillable + shares.unspillable;
        let needed = used.saturating_add(additional);
        let fits = if passes_rows_on(reservation.consumer()) {
            shares.passing.saturating_add(additional) <= self.limit
        } else if spills(reservation.consumer()) {
            let left = self.limit - self.limit / KEPT;
            let share = left.saturating_sub(shares.unspillable) / shares.spilling.max(1);
            reservation.size().saturating_add(additional) <= share && needed <= self.limit
        } else {
            needed <= self.limit
        };
        if !fits {
            return Err(resources_datafusion_err!(
                "{} needs more memory: {} are in use of the {} of {}, and it asked for another {}; \
                 raise it to {} at least, or lower target_partitions",
                reservation.consumer().name(),
                human_readable_size(used),
                self.whose,
                human_readable_size(self.limit),
                human_readable_size(additional),
                human_readable_size(needed.max(self.limit.saturating_add(additional)))
            ));
        }
        *shares.of(reservation.consumer()) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let shares = self.shares.lock();
        shares.spillable + shares.unspillable
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

/// A limit, and the reservations that are largest when it is reached.
pub fn pool(kind: PoolKind, limit: usize, whose: &'static str) -> Arc<dyn MemoryPool> {
    /// Consumers named in a message.
    const NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");
    match kind {
        PoolKind::Greedy => Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(limit), NAMED)),
        _ => Arc::new(TrackConsumersPool::new(FairPool::new(limit, whose), NAMED)),
    }
}

/// The memory of one query: within the engine's pool, under a limit of its own where it has one.
#[derive(Debug)]
pub struct QueryPool {
    engine: Arc<dyn MemoryPool>,
    own: Option<Arc<dyn MemoryPool>>,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl QueryPool {
    /// `own` is its limit.
    pub fn new(engine: Arc<dyn MemoryPool>, own: Option<Arc<dyn MemoryPool>>) -> Self {
        Self {
            engine,
            own,
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
        let own = self.own.as_ref().and_then(|own| finite(own.as_ref()));
        own.into_iter().chain(finite(self.engine.as_ref())).min()
    }

    fn add(&self, reservation: &MemoryReservation, bytes: usize) {
        if passes_rows_on(reservation.consumer()) {
            return;
        }
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }
}

/// The limit of a pool, where it has one.
fn finite(pool: &dyn MemoryPool) -> Option<usize> {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => Some(bytes),
        MemoryLimit::Infinite | MemoryLimit::Unknown => None,
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query over {}", self.engine)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.engine.register(consumer);
        if let Some(own) = &self.own {
            own.register(consumer);
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.engine.unregister(consumer);
        if let Some(own) = &self.own {
            own.unregister(consumer);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.engine.grow(reservation, additional);
        if let Some(own) = &self.own {
            own.grow(reservation, additional);
        }
        self.add(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.engine.shrink(reservation, shrink);
        if let Some(own) = &self.own {
            own.shrink(reservation, shrink);
        }
        if !passes_rows_on(reservation.consumer()) {
            self.used.fetch_sub(shrink, Ordering::Relaxed);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if let Some(own) = &self.own {
            own.try_grow(reservation, additional)?;
        }
        if let Err(error) = self.engine.try_grow(reservation, additional) {
            if let Some(own) = &self.own {
                own.shrink(reservation, additional);
            }
            return Err(error);
        }
        self.add(reservation, additional);
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

/// The fewest rows that are worked on at once.
pub const LEAST_ROWS: usize = 256;

/// Has what is planned under a small limit work in small steps: fewer rows at once, and less that each sort
/// keeps for merging, unless `options` say how much.
pub fn fit(config: &mut SessionConfig, pool: &dyn MemoryPool, options: &HashMap<String, String>) {
    /// Bytes of a partition's memory for a row that is worked on.
    const ROW: usize = 16 * 1024;
    const KEPT_FOR_MERGING: &str = "datafusion.execution.sort_spill_reservation_bytes";
    let Some(limit) = finite(pool) else {
        return;
    };
    let part = limit / config.target_partitions().max(1);
    let rows = (part / ROW).max(LEAST_ROWS).min(config.batch_size());
    *config = std::mem::take(config).with_batch_size(rows);
    let execution = &mut config.options_mut().execution;
    if !options.contains_key(KEPT_FOR_MERGING) {
        let bytes = (part / 16).max(64 * 1024);
        execution.sort_spill_reservation_bytes = execution.sort_spill_reservation_bytes.min(bytes);
    }
}
