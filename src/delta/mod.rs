//! Delta tables at exact versions: opening, caching, scanning, describing, writing.
//!
//! Reading is delta-rs' own kernel-based scan over our object stores; nothing here parses the log
//! beyond its file names.

pub mod cache;
pub mod describe;
pub mod expired;
pub mod features;
pub mod feed;
pub mod files;
mod flights;
pub mod log;
pub mod node;
pub mod provider;
mod tails;
