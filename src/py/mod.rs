//! What Python sees. Nothing below this folder names PyO3, but for `error` and `runtime`.

pub mod arrow;
pub mod capsules;
mod commits;
pub mod config;
pub mod engine;
pub mod functions;
pub mod interruptible;
pub mod io;
pub mod objects;
mod operators;
pub mod options;
pub mod query;
pub mod sql;
pub mod statements;
pub mod storage;
pub mod tables;
mod words;
