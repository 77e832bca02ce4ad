//! Request counters of a query or an engine.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::store::account::IoAccount;

type Line = (&'static str, &'static str, &'static str, u64, u64, u64, u64);

type Request = (
    &'static str,
    &'static str,
    String,
    u64,
    u64,
    u64,
    bool,
    String,
    Option<usize>,
);

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

    /// The first requests one by one, and how many more there were: (operation, purpose, location,
    /// nanoseconds since 1970, nanoseconds until the answer began, bytes, whether it repeats one,
    /// failure, number of its scan).
    fn trace(&self) -> (Vec<Request>, u64) {
        let (requests, dropped) = self.0.trace.requests();
        let shown = requests.into_iter().map(|request| {
            (
                request.operation.name(),
                request.purpose.name(),
                request.location,
                request.started,
                request.nanos,
                request.bytes,
                request.is_retry,
                request.failure.map(|f| f.to_string()).unwrap_or_default(),
                request.scan,
            )
        });
        (shown.collect(), dropped)
    }
}
