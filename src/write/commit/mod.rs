//! Commits: each is made once, found again after any doubt, and never taken for another's.
//!
//! `transaction` runs an operation of delta-rs to a committed version or to a certain failure; `gate` is
//! the log store it commits through; `draft` takes what an operation would commit; `locked` is the log store
//! that commits through DynamoDB; `entry` reads what the log says; `litter` removes the files of writes that
//! came to nothing.

pub mod draft;
pub mod entry;
mod forward;
pub mod gate;
pub mod litter;
pub mod locked;
pub mod transaction;
