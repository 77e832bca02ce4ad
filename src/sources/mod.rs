//! Tables other than Delta: files through our stores, and Arrow data that is already in memory.

pub mod arrow;
pub mod dataset;
mod encodings;
pub mod files;
pub mod guard;
mod headers;
mod located;
mod nulls;
mod observed;
pub mod parquet;
pub use observed::ObservedTable;
