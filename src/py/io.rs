//! Request counters of a query or an engine.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::store::account::IoAccount;

#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeIo(pub Arc<IoAccount>);

#[pymethods]
impl NativeIo {
    /// `{"requests": {...}, "by_purpose": {...}, "bytes_read": …, "bytes_written": …, "retries": …}`
    fn reading<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reading = self.0.reading();
        let out = PyDict::new(py);
        let requests = PyDict::new(py);
        for (name, count) in reading.requests {
            requests.set_item(name, count)?;
        }
        let by_purpose = PyDict::new(py);
        for (name, count) in reading.by_purpose {
            by_purpose.set_item(name, count)?;
        }
        out.set_item("requests", requests)?;
        out.set_item("by_purpose", by_purpose)?;
        out.set_item("bytes_read", reading.bytes_read)?;
        out.set_item("bytes_written", reading.bytes_written)?;
        out.set_item("retries", reading.retries)?;
        Ok(out)
    }
}
