//! What is read of tables: files by what the log says of them, and rows by their place in these.

pub mod files;
pub mod passes_on;
mod position_node;
pub mod positions;
pub mod prune;
pub mod raw_paths;
