//! Whether anybody waits for a query any longer, for what computes it to look at, or to be stopped by.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::{Result, config_err};
use parking_lot::Mutex;

/// Stops something that does not look at the flag. It must not wait.
type Stop = Box<dyn Fn() + Send>;

/// Whether a query is abandoned, and what is to be stopped once it is.
#[derive(Default)]
pub struct Abandoned {
    flag: AtomicBool,
    next: AtomicU64,
    stops: Mutex<Vec<(u64, Stop)>>,
}

impl fmt::Debug for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Abandoned").field(&self.flag).finish()
    }
}

impl Abandoned {
    pub fn set(&self, is_abandoned: bool) {
        self.flag.store(is_abandoned, Ordering::SeqCst);
        if is_abandoned {
            for (_, stop) in self.stops.lock().iter() {
                stop();
            }
        }
    }

    pub fn get(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Has `stop` called once the query is abandoned, until the guard is dropped.
    pub fn stopping(self: &Arc<Self>, stop: impl Fn() + Send + 'static) -> Stopping {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut stops = self.stops.lock();
        if self.get() {
            stop();
        }
        stops.push((number, Box::new(stop)));
        drop(stops);
        Stopping {
            abandoned: Arc::clone(self),
            number,
        }
    }
}

/// While it is there, something is stopped where the query is abandoned.
pub struct Stopping {
    abandoned: Arc<Abandoned>,
    number: u64,
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let mut stops = self.abandoned.stops.lock();
        stops.retain(|(number, _)| *number != self.number);
    }
}

/// The flag where functions find it, which are given the settings of their session and nothing else of it.
#[derive(Clone, Debug)]
pub struct Watching(pub Arc<Abandoned>);

impl ConfigExtension for Watching {
    const PREFIX: &'static str = "fusiondelta";
}

impl ExtensionOptions for Watching {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        config_err!("there is no setting fusiondelta.{key}")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![]
    }
}
