//! Delta tables at exact versions: opening, caching, scanning, describing, writing.
//!
//! Reading is delta-rs' own kernel-based scan over our object stores; nothing here parses the log
//! beyond its file names.

pub mod cache;
pub mod change;
pub mod describe;
pub mod expired;
mod expressions;
pub mod features;
pub mod feed;
mod files;
mod flights;
pub mod log;
pub mod node;
mod partitions;
pub mod provider;
mod tails;
pub mod types;
pub mod upkeep;
pub mod write;
