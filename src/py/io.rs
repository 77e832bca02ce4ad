//! Request counters of a query or an engine.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::store::account::IoAccount;

type Line = (&'static str, &'static str, &'static str, u64, u64, u64, u64);

#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeIo(pub Arc<IoAccount>);

#[pymethods]
impl NativeIo {
    /// One tuple a kind of request and purpose: (operation, family, purpose, requests, retries, bytes,
    /// nanoseconds until the answers began).
    fn lines(&self) -> Vec<Line> {
        self.0
            .lines()
            .into_iter()
            .map(|line| {
                (
                    line.operation_name,
                    line.operation.family(),
                    line.purpose,
                    line.requests,
                    line.retries,
                    line.bytes,
                    line.nanos,
                )
            })
            .collect()
    }
}
