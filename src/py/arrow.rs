//! Arrow values for Python: a schema and a batch, each with its PyCapsule method.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::capsules;

/// An Arrow schema; any Arrow library imports it by `__arrow_c_schema__`.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeSchema(pub SchemaRef);

#[pymethods]
impl NativeSchema {
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::schema_capsule(py, &self.0)
    }
}

/// An Arrow record batch; any Arrow library imports it by `__arrow_c_array__`.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeBatch(pub RecordBatch);

#[pymethods]
impl NativeBatch {
    #[getter]
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::schema_capsule(py, self.0.schema_ref())
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        capsules::batch_capsules(py, &self.0)
    }
}
