//! Planned queries and their rows.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, RecordBatchReader};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::logical_plan::display_schema;
use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyList};

use super::arrow::{NativeBatch, NativeSchema};
use super::capsules;
use super::io::NativeIo;
use super::operators::operators;
use super::tables::NativeTable;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::codec::HandleCodec;
use crate::exec::digest::{ALGORITHM, Digest};
use crate::exec::query::{Execution, Query};
use crate::exec::replay;
use crate::exec::sql::Refusal;
use crate::exec::stream::{Rows, Start};
use crate::metrics::funnel::Funnel;
use crate::planner::abandoned::Abandoned;
use crate::runtime;
use crate::store::account::blamed;

/// Operators, and the paths of those that requests in the trace name by numbers.
type Operators<'py> = (Bound<'py, PyList>, HashMap<usize, String>);
type Scan = (String, Option<(String, u64)>, usize, u64, usize, u64);

/// The codec of one pooled context.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeCodec {
    pub codec: HandleCodec,
    pub tasks: Arc<datafusion::prelude::SessionContext>,
}

#[pymethods]
impl NativeCodec {
    #[getter]
    fn __datafusion_codec_id__(&self) -> &'static str {
        "fusiondelta"
    }

    #[pyo3(signature = (session=None))]
    fn __datafusion_logical_extension_codec__<'py>(
        &self,
        py: Python<'py>,
        session: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = session;
        let tasks = Arc::clone(&self.tasks) as Arc<dyn datafusion::execution::TaskContextProvider>;
        let exported = FFI_LogicalExtensionCodec::new(
            Arc::new(self.codec.clone()),
            Some(runtime::handle()?),
            &tasks,
        );
        capsules::codec_capsule(py, exported)
    }

    /// Carries functions of these names, which the context has in the place of shared ones.
    fn replace(&self, names: Vec<String>) {
        for name in names {
            self.codec.replace(name);
        }
    }

    /// Forgets the tables of a crossing that did not come to an end.
    fn clear(&self) {
        self.codec.clear();
    }
}

/// A query that is planned and has not run, or has.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeQuery {
    query: Arc<Query>,
    /// Held by the streams alone: the last of them ends it, and frees its place.
    execution: Mutex<Weak<Execution>>,
}

impl NativeQuery {
    pub fn new(query: Query) -> Self {
        Self {
            query: Arc::new(query),
            execution: Mutex::default(),
        }
    }

    /// The query, once it is planned; functions that planning calls end where it is no longer waited for.
    ///
    /// # Errors
    /// `ValueError` with what is said of a text or a plan that is refused.
    pub fn planned(
        py: Python<'_>,
        deadline: Option<Instant>,
        io: &NativeIo,
        abandoned: &Abandoned,
        planning: impl Future<Output = std::result::Result<Query, Refusal>> + Send + 'static,
    ) -> PyResult<Self> {
        let planning = async move {
            match planning.await {
                Ok(query) => Ok(Ok(query)),
                Err(Refusal::Planner(text)) => Ok(Err(text)),
                Err(Refusal::Error(error)) => Err(error),
            }
        };
        let planned = runtime::run(py, deadline, blamed(Arc::clone(&io.0), planning));
        let planned = planned.inspect_err(|_| abandoned.set(true));
        match planned? {
            Ok(query) => Ok(Self::new(query)),
            Err(text) => Err(PyValueError::new_err(text)),
        }
    }

    pub fn logical(&self) -> &LogicalPlan {
        &self.query.logical
    }
}

#[pymethods]
impl NativeQuery {
    #[getter]
    fn schema(&self) -> NativeSchema {
        NativeSchema(self.query.schema())
    }

    #[getter]
    fn partitions(&self) -> usize {
        self.query.partitions()
    }

    /// What keeps the query from giving the same rows again: the name of a stream, which is read once,
    /// and that of a function whose values differ from time to time.
    #[getter]
    fn once(&self) -> Result<(Option<String>, Option<String>)> {
        replay::obstacles(&self.query.logical)
    }

    #[getter]
    fn io(&self) -> NativeIo {
        NativeIo(Arc::clone(&self.query.context.account))
    }

    /// Most bytes reserved at once, and most that may be.
    #[getter]
    fn memory(&self) -> (usize, Option<usize>) {
        (self.query.pool.peak(), self.query.pool.limit())
    }

    /// Rows of all partitions, or of one. The query starts at the first pull.
    #[pyo3(signature = (partition=None))]
    fn rows(&self, partition: Option<usize>) -> PyResult<NativeRows> {
        let mut held = self.execution.lock();
        let plan = self.query.running_plan().ok_or_else(|| {
            NativeError::new(
                ErrorKind::StreamConsumed,
                "the query has run to its end and gives no more rows",
            )
        })?;
        let execution = held
            .upgrade()
            .unwrap_or_else(|| Arc::new(Execution::new(Arc::clone(&self.query))));
        *held = Arc::downgrade(&execution);
        Ok(NativeRows(Arc::new(Rows::new(Start {
            engine: Arc::clone(&self.query.engine),
            plan,
            context: self.query.task_context(),
            partition,
            deadline: self.query.context.deadline,
            slot: execution.slot.clone(),
            account: Arc::clone(&self.query.context.account),
            execution: Some(execution),
        }))))
    }

    /// The query as a table of another one, planned together with it.
    fn as_table(&self) -> NativeTable {
        NativeTable {
            provider: Arc::new(ViewTable::new(self.query.logical.clone(), None)),
        }
    }

    /// Names and types of the columns of the plan as it arrived, as plan texts show them.
    fn arrived_columns(&self) -> String {
        display_schema(self.query.logical.schema().as_arrow()).to_string()
    }

    /// Plan texts: logical, optimized, physical, tree.
    fn texts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let query = &self.query;
        out.set_item("logical", query.logical.display_indent().to_string())?;
        out.set_item("optimized", query.optimized.display_indent().to_string())?;
        // Foreign parts of a plan may want Python from another thread.
        let (physical, tree) = py.detach(|| (query.physical_text(), query.physical_tree()));
        out.set_item("physical", physical?)?;
        out.set_item("tree", tree?)?;
        Ok(out)
    }

    /// The physical plan with the metrics gathered so far.
    fn analyzed_text(&self, py: Python<'_>) -> PyResult<String> {
        Ok(py.detach(|| self.query.analyzed_text())?)
    }

    /// How far it has come: times in nanoseconds since 1970 (0 for not yet), counts, phases of planning,
    /// and the digest where one was asked for.
    fn course<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let course = &self.query.course;
        for (name, value) in [
            ("started", &course.started),
            ("first_row", &course.first_row),
            ("ended", &course.ended),
            ("rows", &course.rows),
            ("batches", &course.batches),
            ("bytes", &course.bytes),
        ] {
            out.set_item(name, value.load(Ordering::Relaxed))?;
        }
        let failure = course.failure();
        let failure = failure.map(|(kind, message)| (kind.code(), message));
        out.set_item("failure", failure)?;
        out.set_item("phases", self.query.phases.clone())?;
        let digest = course.digest.as_ref().map(Digest::now);
        out.set_item(
            "digest",
            digest.map(|d| (ALGORITHM, d.rows, d.value, d.exact)),
        )?;
        Ok(out)
    }

    /// The operators with what they measured, and their paths by the number that requests in the trace
    /// have.
    fn operators<'py>(&self, py: Python<'py>) -> PyResult<Operators<'py>> {
        let (measured, more) = py.detach(|| {
            Ok::<_, NativeError>((self.query.measured()?, self.query.partition_metrics()?))
        })?;
        let found = operators(py, &measured.nodes, &[measured.metrics, more])?;
        Ok((found, measured.scan_nodes))
    }

    /// Calls `call()` once, from another thread, when the query has ended, or is dropped before it ran;
    /// instead of what was to be called before.
    fn on_end(&self, call: Py<PyAny>) {
        self.query.on_end(Box::new(move || {
            // Who ends a query, a thread of the runtime or one that drops it, does not wait for Python.
            let Ok(runtime) = runtime::handle() else {
                return;
            };
            runtime.spawn_blocking(move || {
                Python::try_attach(|py| {
                    if let Err(error) = call.call0(py) {
                        error.write_unraisable(py, Some(call.bind(py)));
                    }
                });
            });
        }));
    }

    /// What each scan reads: path of its operator, table and version where it is a Delta table's, files
    /// and bytes there are, files and bytes it may read.
    fn scans(&self, py: Python<'_>) -> Vec<Scan> {
        let scans = self.query.scans();
        py.detach(|| {
            let read = |scan: &Funnel| {
                let (files, bytes) = scan.total().unwrap_or((scan.files, scan.bytes));
                let table = scan.table.as_ref();
                let table = table.map(|spec| (spec.uri.clone(), spec.version));
                (
                    scan.node.clone(),
                    table,
                    files,
                    bytes,
                    scan.files,
                    scan.bytes,
                )
            };
            scans.iter().map(read).collect()
        })
    }

    fn metrics(&self, py: Python<'_>) -> PyResult<NativeBatch> {
        Ok(NativeBatch(py.detach(|| self.query.metrics())?))
    }

    fn settings(&self) -> Vec<(String, Option<String>)> {
        self.query.settings()
    }

    /// The optimized logical plan as protobuf.
    fn logical_proto<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.query.logical_proto())?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The physical plan as protobuf.
    fn physical_proto<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.query.physical_proto())?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// Rows on their way; read once, by one reader.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeRows(pub Arc<Rows>);

#[pymethods]
impl NativeRows {
    #[getter]
    fn schema(&self) -> NativeSchema {
        NativeSchema(Arc::clone(&self.0.schema))
    }

    #[getter]
    fn closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The next batch, or `None` after the last. Ctrl-C is honoured while it waits.
    fn next(&self, py: Python<'_>) -> PyResult<Option<NativeBatch>> {
        Ok(pull(py, &self.0)?.map(NativeBatch))
    }

    /// Calls `done(batch_or_none, error_or_none)` from a thread of the runtime.
    fn next_async(&self, done: Py<PyAny>) -> PyResult<()> {
        let rows = Arc::clone(&self.0);
        runtime::handle()?.spawn(async move {
            let next = rows.next().await;
            Python::try_attach(|py| {
                let called = match next {
                    Ok(batch) => done.call1(py, (batch.map(NativeBatch), py.None())),
                    Err(e) => done.call1(py, (py.None(), PyErr::from(e).into_value(py))),
                };
                if let Err(e) = called {
                    // The event loop is gone: nobody is left to be told.
                    e.write_unraisable(py, None);
                }
            });
        });
        Ok(())
    }

    fn close(&self) {
        self.0.close();
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let reader = CStream(Arc::clone(&self.0));
        capsules::stream_capsule(py, Box::new(reader))
    }
}

fn pull(py: Python<'_>, rows: &Arc<Rows>) -> Result<Option<RecordBatch>> {
    let next = runtime::wait(py, None, rows.next());
    if next.is_err() {
        rows.close();
    }
    next?
}

/// The stream for consumers that speak the C interface.
struct CStream(Arc<Rows>);

impl Iterator for CStream {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The consumer may hold the GIL or not: taking it is a no-op in the first case, and either way
        // it is released while we wait.
        let next = Python::try_attach(|py| match pull(py, &self.0) {
            Err(NativeError {
                python: Some(error),
                ..
            }) if error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py) => {
                // Nothing here may run Python code once the interrupt is pending: it would go there.
                interrupt_again();
                Err(runtime::cancelled())
            }
            next => next,
        });
        match next {
            Some(next) => next
                .map_err(|e| ArrowError::ExternalError(Box::new(e)))
                .transpose(),
            None => Some(Err(ArrowError::ExternalError(Box::new(
                runtime::cancelled(),
            )))),
        }
    }
}

impl RecordBatchReader for CStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }
}

impl Drop for CStream {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An error of the C interface is text, so a Ctrl-C that ended the wait is raised anew for the
/// interpreter to see once the consumer returns to it.
fn interrupt_again() {
    #[allow(unsafe_code)]
    // SAFETY: may be called at any time, with or without the GIL.
    unsafe {
        pyo3::ffi::PyErr_SetInterrupt();
    }
}
