//! Tables that Python hands to pooled contexts: pinned Delta, files, Arrow data.

use std::sync::Arc;

use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use datafusion::arrow::array::{Array, RecordBatch, RecordBatchReader};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ffi_stream::ArrowArrayStreamReader;
use datafusion::catalog::TableProvider;
use datafusion::common::exec_err;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::arrow::{NativeBatch, NativeSchema};
use super::capsules;
use super::io::NativeIo;
use crate::delta::cache::Pinned;
use crate::delta::describe;
use crate::delta::provider::DeltaProvider;
use crate::error::NativeError;
use crate::exec::engine::Engine;
use crate::runtime;
use crate::sources::arrow::{Reader, StreamTable, memory_table};
use crate::sources::dataset::{Condition, Dataset};
use crate::sources::files::FileTable;
use crate::store::account::blamed;

/// A Delta table at one version.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeDelta {
    pub engine: Arc<Engine>,
    pub pinned: Arc<Pinned>,
    pub provider: Arc<DeltaProvider>,
}

#[pymethods]
impl NativeDelta {
    #[getter]
    fn uri(&self) -> String {
        self.pinned.url.to_string()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.pinned.version
    }

    #[getter]
    fn schema(&self) -> NativeSchema {
        NativeSchema(self.provider.schema())
    }

    /// Metadata, protocol and totals as JSON.
    fn detail_json(&self) -> PyResult<String> {
        Ok(describe::detail(&self.pinned)?.to_string())
    }

    /// One row per active file.
    fn files(&self) -> PyResult<NativeBatch> {
        Ok(NativeBatch(describe::files(&self.pinned)?))
    }

    /// Path of an active file beneath the table, or `None` where there is none.
    fn first_file(&self) -> Option<String> {
        let log_data = self.pinned.snapshot.log_data();
        log_data.iter().next().map(|file| file.path().to_string())
    }

    /// Commit information as a JSON array, newest first.
    #[pyo3(signature = (io, limit=None))]
    fn history_json(
        &self,
        py: Python<'_>,
        io: &NativeIo,
        limit: Option<usize>,
    ) -> PyResult<String> {
        let (engine, pinned) = (Arc::clone(&self.engine), Arc::clone(&self.pinned));
        let account = Arc::clone(&io.0);
        let blame = Arc::clone(&account);
        let reading = async move { describe::history(&engine, &pinned, limit, &account).await };
        let history = runtime::run(py, None, blamed(blame, reading))?;
        Ok(serde_json::Value::Array(history).to_string())
    }

    fn __datafusion_table_provider__<'py>(
        &self,
        py: Python<'py>,
        session: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::provider_capsule(py, Arc::clone(&self.provider) as _, &session)
    }
}

/// A table of ours as the planner takes it; `None` for any other object.
pub fn own(table: &Bound<'_, PyAny>) -> Option<Arc<dyn TableProvider>> {
    if let Ok(table) = table.cast::<NativeDelta>() {
        return Some(Arc::clone(&table.get().provider) as _);
    }
    if let Ok(table) = table.cast::<NativeFiles>() {
        return Some(Arc::clone(&table.get().0.table) as _);
    }
    let table = table.cast::<NativeTable>().ok()?;
    Some(Arc::clone(&table.get().provider))
}

/// Files of one format as a table.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeFiles(pub FileTable);

#[pymethods]
impl NativeFiles {
    /// The files found when the source was opened: (path, bytes, modified in ms, etag).
    #[getter]
    fn pins(&self) -> Vec<(String, u64, i64, Option<String>)> {
        self.0
            .pins
            .iter()
            .map(|p| (p.path.clone(), p.size, p.modified_ms, p.e_tag.clone()))
            .collect()
    }

    #[getter]
    fn schema(&self) -> NativeSchema {
        NativeSchema(self.0.table.schema())
    }

    fn __datafusion_table_provider__<'py>(
        &self,
        py: Python<'py>,
        session: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::provider_capsule(py, Arc::clone(&self.0.table) as _, &session)
    }
}

/// Any other table of ours.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeTable {
    pub provider: Arc<dyn TableProvider>,
}

#[pymethods]
impl NativeTable {
    /// Batches of an Arrow stream, kept in memory (without a copy) and readable any number of times.
    #[staticmethod]
    fn from_batches(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        partitions: usize,
    ) -> PyResult<NativeTable> {
        let reader = ArrowArrayStreamReader::from_pyarrow_bound(data)?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> = py
            .detach(|| reader.collect::<Result<_, _>>())
            .map_err(NativeError::from)?;
        let table = memory_table(schema, batches, partitions).map_err(NativeError::from)?;
        Ok(Self {
            provider: Arc::new(table),
        })
    }

    /// An Arrow stream, readable once.
    #[staticmethod]
    fn from_stream(name: String, data: &Bound<'_, PyAny>) -> PyResult<NativeTable> {
        let reader = ArrowArrayStreamReader::from_pyarrow_bound(data)?;
        Ok(Self {
            provider: Arc::new(StreamTable::new(name, Box::new(reader))),
        })
    }

    /// An Arrow stream, and what gives it once more.
    #[staticmethod]
    fn from_repeatable(
        name: String,
        data: &Bound<'_, PyAny>,
        again: Py<PyAny>,
    ) -> PyResult<NativeTable> {
        let first = ArrowArrayStreamReader::from_pyarrow_bound(data)?;
        let again = move || {
            let opened = Python::try_attach(|py| {
                let data = again.bind(py).call0()?;
                ArrowArrayStreamReader::from_pyarrow_bound(&data)
            });
            match opened {
                Some(Ok(reader)) => Ok(Box::new(reader) as Reader),
                Some(Err(error)) => exec_err!("a source could not be read again: {error}"),
                None => exec_err!("the interpreter ends"),
            }
        };
        Ok(Self {
            provider: Arc::new(StreamTable::repeatable(name, Box::new(first), again)),
        })
    }

    /// What `open(columns, conditions)` reads, a condition being a column, an operator and an array of values.
    #[staticmethod]
    fn from_dataset(
        name: String,
        schema: &Bound<'_, PyAny>,
        open: Py<PyAny>,
    ) -> PyResult<NativeTable> {
        let schema = Arc::new(Schema::from_pyarrow_bound(schema)?);
        let opened = move |columns: &[String], conditions: &[Condition]| {
            let opened = Python::try_attach(|py| {
                let conditions = conditions.iter().map(|one| {
                    let values = one.values.to_data().to_pyarrow(py)?;
                    Ok((one.column.clone(), one.operator, values))
                });
                let conditions = conditions.collect::<PyResult<Vec<_>>>()?;
                let data = open.bind(py).call1((columns.to_vec(), conditions))?;
                ArrowArrayStreamReader::from_pyarrow_bound(&data)
            });
            match opened {
                Some(Ok(reader)) => Ok(Box::new(reader) as Reader),
                Some(Err(error)) => exec_err!("the dataset could not be read: {error}"),
                None => exec_err!("the interpreter ends"),
            }
        };
        Ok(Self {
            provider: Arc::new(Dataset::new(name, &schema, Arc::new(opened))),
        })
    }

    #[getter]
    fn schema(&self) -> NativeSchema {
        NativeSchema(self.provider.schema())
    }

    fn __datafusion_table_provider__<'py>(
        &self,
        py: Python<'py>,
        session: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::provider_capsule(py, Arc::clone(&self.provider), &session)
    }
}
