//! From a logical plan to rows: the engine's environment, the codec that carries tables across the
//! seam, physical planning and the stream.

mod activity;
pub mod caches;
pub mod chains;
pub mod codec;
pub mod course;
pub mod digest;
pub mod engine;
pub mod handover;
pub mod memory;
mod names;
mod physical;
pub mod proto;
pub mod query;
pub mod replay;
pub mod sql;
pub mod stream;
