//! What computes for long, made to notice that nobody waits for the query any longer.

mod functions;
mod joins;

pub use functions::{Begin, Watch};
pub use joins::{Interruptible, bare};
