//! Capsules in and out: Arrow C structures, DataFusion's FFI structures. The only `unsafe` of the
//! Python layer.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, RecordBatchReader, StructArray};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use datafusion::arrow::ffi_stream::FFI_ArrowArrayStream;
use datafusion::catalog::TableProvider;
use datafusion::execution::TaskContext;
use datafusion_ffi::execution::FFI_TaskContextProvider;
use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
use datafusion_ffi::table_provider::FFI_TableProvider;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::{ErrorKind, NativeError};

const LOGICAL_CODEC: &CStr = c"datafusion_logical_extension_codec";
const TABLE_PROVIDER: &CStr = c"datafusion_table_provider";
const TASK_CONTEXT: &CStr = c"datafusion_task_context_provider";

/// The DataFusion major version this extension is built with.
pub fn native_datafusion_major() -> u64 {
    datafusion::DATAFUSION_VERSION
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or_default()
}

/// The codec chain of a Python `SessionContext`.
///
/// # Errors
/// `configuration` when the context's DataFusion has another major version: their structures differ.
pub fn session_codec(session: &Bound<'_, PyAny>) -> PyResult<FFI_LogicalExtensionCodec> {
    let capsule = session.call_method0("__datafusion_logical_extension_codec__")?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(LOGICAL_CODEC))?;
    // SAFETY: the capsule's name says what it holds, and it outlives the borrow.
    let codec = unsafe { pointer.cast::<FFI_LogicalExtensionCodec>().as_ref() };
    // SAFETY: the version function is part of every version of the structure.
    let theirs = unsafe { (codec.version)() };
    let ours = native_datafusion_major();
    if theirs != ours {
        return Err(NativeError::new(
            ErrorKind::Configuration,
            format!(
                "the installed package datafusion has major version {theirs}, and this build of \
                 fusiondelta works with {ours}; install datafusion>={ours},<{}",
                ours + 1
            ),
        )
        .into());
    }
    Ok(codec.clone())
}

/// A usable codec from the chain of a Python context.
pub fn decoding_codec(session: &Bound<'_, PyAny>) -> PyResult<Arc<dyn LogicalExtensionCodec>> {
    Ok((&session_codec(session)?).into())
}

/// What a Python context runs plans with: its functions among it.
///
/// # Errors
/// `configuration` when the context's DataFusion has another major version.
pub fn task_context(session: &Bound<'_, PyAny>) -> PyResult<Arc<TaskContext>> {
    session_codec(session)?; // checks the version, which this structure does not tell
    let capsule = session.call_method0("__datafusion_task_context_provider__")?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(TASK_CONTEXT))?;
    // SAFETY: the capsule's name says what it holds, and it outlives the borrow.
    let provider = unsafe { pointer.cast::<FFI_TaskContextProvider>().as_ref() };
    let context = Arc::<TaskContext>::try_from(provider).map_err(NativeError::from)?;
    Ok(context)
}

pub fn codec_capsule<'py>(
    py: Python<'py>,
    codec: FFI_LogicalExtensionCodec,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, codec, LOGICAL_CODEC)
}

/// One of our tables for a Python context.
pub fn provider_capsule<'py>(
    py: Python<'py>,
    provider: Arc<dyn TableProvider>,
    session: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let codec = session_codec(session)?;
    let handle = crate::runtime::handle()?;
    let exported = FFI_TableProvider::new_with_ffi_codec(provider, true, Some(handle), codec);
    PyCapsule::new_with_value(py, exported, TABLE_PROVIDER)
}

pub fn stream_capsule<'py>(
    py: Python<'py>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

pub fn schema_capsule<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let exported = FFI_ArrowSchema::try_from(schema).map_err(NativeError::from)?;
    PyCapsule::new_with_value(py, exported, c"arrow_schema")
}

pub fn batch_capsules<'py>(
    py: Python<'py>,
    batch: &RecordBatch,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let schema = schema_capsule(py, batch.schema_ref())?;
    let data = StructArray::from(batch.clone()).into_data();
    let array = PyCapsule::new_with_value(py, FFI_ArrowArray::new(&data), c"arrow_array")?;
    Ok((schema, array))
}
