//! Changes of tables: what is asked, which rows that is, the files that come of it, and their commit.

pub mod assign;
pub mod change;
pub mod commit;
mod constraints;
mod dml;
pub mod encode;
pub mod expressions;
mod files;
mod finish;
pub mod insert;
pub mod layout;
pub mod maintenance;
mod merge;
mod optimize;
mod partitions;
pub mod relabel;
mod rows;
mod schema;
mod source;
mod statistics;
pub mod target;
pub mod values;
pub mod vectors;
mod z_order;
