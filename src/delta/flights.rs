//! Looking for a table's newest version: one look serves everybody who asked before it began.
//!
//! Whoever asks must get an answer no older than the question, so a look that is under way serves only
//! those who waited for it. Later ones share the next look, which begins when that one is done and finds
//! its result in the cache: many callers at once cost one load and one listing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};

use super::cache::{Pinned, Place};
use crate::error::{ErrorKind, NativeError, Result};

type Flight = OnceCell<Arc<Pinned>>;

#[derive(Debug)]
struct Queue {
    /// One look at a time.
    gate: Arc<Semaphore>,
    /// The look that has not begun.
    next: Weak<Flight>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(1)),
            next: Weak::new(),
        }
    }
}

#[derive(Debug, Default)]
pub struct Flights {
    queues: Mutex<HashMap<Place, Queue>>,
}

impl Flights {
    /// What `look` gives, or what somebody else's gave that began after this call.
    pub async fn share(
        &self,
        place: Place,
        look: impl Future<Output = Result<Arc<Pinned>>>,
    ) -> Result<Arc<Pinned>> {
        let (flight, gate) = self.join(&place);
        let found = flight
            .get_or_try_init(|| async {
                let permit = gate.acquire().await.map_err(|_| {
                    NativeError::new(ErrorKind::EngineClosed, "the engine is closed")
                })?;
                self.begin(&place, &flight);
                let found = look.await;
                drop(permit);
                found
            })
            .await?;
        Ok(Arc::clone(found))
    }

    fn join(&self, place: &Place) -> (Arc<Flight>, Arc<Semaphore>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(place.clone()).or_default();
        let flight = queue.next.upgrade().unwrap_or_default();
        queue.next = Arc::downgrade(&flight);
        (flight, Arc::clone(&queue.gate))
    }

    /// From here on whoever asks waits for the next look.
    fn begin(&self, place: &Place, flight: &Arc<Flight>) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(place)
            && Weak::as_ptr(&queue.next) == Arc::as_ptr(flight)
        {
            queue.next = Weak::new();
        }
    }
}
