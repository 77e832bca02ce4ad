//! `fusiondelta._native`: planning, execution, stores, caches and commits under the Python façade.
//!
//! | module | what |
//! |---|---|
//! | `py` | what Python sees, and every crossing of the border |
//! | `exec` | engine environment, codec, planning, streams |
//! | `planner` | SQL text as syntax, and rules of ours in planning |
//! | `delta` | snapshots and scans of Delta tables |
//! | `scan` | files by what the log says of them, and rows by their place in these |
//! | `write` | changes of tables, and from an operation to a committed version or to a failure that says what became of it |
//! | `sources` | files and Arrow data as tables |
//! | `store` | object stores and the count of their requests |
//! | `metrics` | executed plan → metrics table |
//! | `runtime`, `exit`, `error` | the door between Python threads and the runtime; the end of the process; errors on their way out |
#![deny(unsafe_code)]

mod delta;
mod error;
mod error_text;
mod exec;
mod exit;
mod metrics;
mod planner;
mod py;
mod runtime;
mod scan;
mod sources;
mod store;
mod write;

use pyo3::prelude::*;

// Batches are allocated on one thread and freed on another, all the time.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::py::arrow::{NativeBatch, NativeSchema};
    #[pymodule_export]
    use crate::py::engine::NativeEngine;
    #[pymodule_export]
    use crate::py::interruptible::end_calls;
    #[pymodule_export]
    use crate::py::io::NativeIo;
    #[pymodule_export]
    use crate::py::objects::NativeObjects;
    #[pymodule_export]
    use crate::py::query::{NativeCodec, NativeQuery, NativeRows};
    #[pymodule_export]
    use crate::py::sql::{NativeSql, locate_identifier, placeholders, table_references};
    #[pymodule_export]
    use crate::py::statements::{NativeStatement, change_statement};
    #[pymodule_export]
    use crate::py::tables::{NativeDelta, NativeFiles, NativeTable};

    /// Versions this extension was built with, by component.
    #[pyfunction]
    fn versions() -> Vec<(&'static str, &'static str)> {
        vec![
            ("fusiondelta", env!("CARGO_PKG_VERSION")),
            ("datafusion", datafusion::DATAFUSION_VERSION),
            ("deltalake", deltalake::crate_version()),
        ]
    }

    /// Error kinds the extension can raise.
    #[pyfunction]
    fn error_kinds() -> Vec<&'static str> {
        crate::error::ErrorKind::ALL
            .iter()
            .map(|k| k.code())
            .collect()
    }

    /// Names (aliases included) of the functions of a native session, by family.
    #[pyfunction]
    fn function_names() -> std::collections::HashMap<&'static str, Vec<String>> {
        crate::py::functions::function_names()
    }
}
