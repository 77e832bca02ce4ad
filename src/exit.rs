//! The end of the process, for threads that are in Python or in what feeds rows from there.
//!
//! A thread that asks for the interpreter once that is being torn down is ended there, in the midst of C++ or Rust,
//! and takes the process with it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::runtime;

static EXITING: AtomicBool = AtomicBool::new(false);
static READING: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the process waits for what is being read. What waits for its next row goes on waiting.
pub const READS: Duration = Duration::from_millis(200);

/// The same for functions that it has interrupted.
pub const CALLS: Duration = Duration::from_secs(1);

/// Reads unless the process ends.
///
/// # Errors
/// `query_cancelled` where it does.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Result<T> {
    READING.fetch_add(1, Ordering::SeqCst);
    let outcome = match has_begun() {
        true => Err(runtime::cancelled()),
        false => Ok(read()),
    };
    READING.fetch_sub(1, Ordering::SeqCst);
    outcome
}

/// Lets nothing further begin.
pub fn begin() {
    EXITING.store(true, Ordering::SeqCst);
}

pub fn has_begun() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Whether something is being read.
pub fn is_reading() -> bool {
    READING.load(Ordering::SeqCst) > 0
}

/// Waits while something lasts, but not for longer than that.
pub fn wait_while(lasts: impl Fn() -> bool, patience: Duration) {
    let until = Instant::now() + patience;
    while lasts() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}
