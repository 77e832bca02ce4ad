//! `NativeError`: what went wrong, as a stable kind code, a message for people and details for code.
//!
//! Every upstream error is classified here, from its value and never from its text where a value is
//! to be had. The conversion to a Python exception is the one at the bottom: the classes live in
//! `fusiondelta.errors`, so that they pickle and derive from the built-ins they resemble.

use std::error::Error as StdError;
use std::fmt;

use crate::error_text;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitConflictError, TransactionError};
use deltalake::parquet::errors::ParquetError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Kind codes shared with `fusiondelta.errors.ErrorKind`; append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    Configuration,
    Storage,
    Authentication,
    Throttled,
    StorageTimeout,
    ObjectNotFound,
    Source,
    UnsupportedTableFeature,
    SnapshotNotFound,
    SnapshotExpired,
    Query,
    Sql,
    Execution,
    ResourcesExhausted,
    QueryTimeout,
    QueryCancelled,
    StreamConsumed,
    SchemaMismatch,
    CommitConflict,
    PoolTimeout,
    EngineClosed,
    EngineForked,
    Internal,
}

impl ErrorKind {
    /// Every kind, for the test that keeps both languages in step.
    pub const ALL: [ErrorKind; 23] = [
        Self::Configuration,
        Self::Storage,
        Self::Authentication,
        Self::Throttled,
        Self::StorageTimeout,
        Self::ObjectNotFound,
        Self::Source,
        Self::UnsupportedTableFeature,
        Self::SnapshotNotFound,
        Self::SnapshotExpired,
        Self::Query,
        Self::Sql,
        Self::Execution,
        Self::ResourcesExhausted,
        Self::QueryTimeout,
        Self::QueryCancelled,
        Self::StreamConsumed,
        Self::SchemaMismatch,
        Self::CommitConflict,
        Self::PoolTimeout,
        Self::EngineClosed,
        Self::EngineForked,
        Self::Internal,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Storage => "storage",
            Self::Authentication => "authentication",
            Self::Throttled => "throttled",
            Self::StorageTimeout => "storage_timeout",
            Self::ObjectNotFound => "object_not_found",
            Self::Source => "source",
            Self::UnsupportedTableFeature => "unsupported_table_feature",
            Self::SnapshotNotFound => "snapshot_not_found",
            Self::SnapshotExpired => "snapshot_expired",
            Self::Query => "query",
            Self::Sql => "sql",
            Self::Execution => "execution",
            Self::ResourcesExhausted => "resources_exhausted",
            Self::QueryTimeout => "query_timeout",
            Self::QueryCancelled => "query_cancelled",
            Self::StreamConsumed => "stream_consumed",
            Self::SchemaMismatch => "schema_mismatch",
            Self::CommitConflict => "commit_conflict",
            Self::PoolTimeout => "pool_timeout",
            Self::EngineClosed => "engine_closed",
            Self::EngineForked => "engine_forked",
            Self::Internal => "internal",
        }
    }
}

/// An error on its way to Python.
#[derive(Debug)]
pub struct NativeError {
    pub kind: ErrorKind,
    pub message: String,
    pub details: Vec<(&'static str, String)>,
    /// A Python exception that was raised while we waited (Ctrl-C, a failing UDF): passed on as it is.
    pub python: Option<Box<PyErr>>,
}

pub type Result<T, E = NativeError> = std::result::Result<T, E>;

impl NativeError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: error_text::plain(&message.into()),
            details: Vec::new(),
            python: None,
        }
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.details.push((key, value.into()));
        self
    }

    pub fn with_all(mut self, details: Vec<(&'static str, String)>) -> Self {
        self.details.extend(details);
        self
    }

    /// What a store's error means.
    pub fn from_store(error: &object_store::Error) -> Self {
        classify_store(error).unwrap_or_else(|| Self::new(ErrorKind::Storage, error.to_string()))
    }

    pub fn python(error: PyErr) -> Self {
        Self {
            python: Some(Box::new(error)),
            ..Self::new(ErrorKind::Internal, "a Python exception was raised")
        }
    }
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.python {
            Some(error) => write!(f, "{error}"),
            None => f.write_str(&self.message),
        }
    }
}

impl StdError for NativeError {}

/// The most specific classification found along the chain of causes, if any link says more than
/// "something failed".
fn classify(error: &(dyn StdError + 'static)) -> Option<NativeError> {
    let mut link: Option<&(dyn StdError + 'static)> = Some(error);
    let mut depth = 0;
    while let Some(current) = link {
        depth += 1;
        if depth > 64 {
            return None;
        }
        if let Some(found) = classify_link(current) {
            return Some(found);
        }
        // A `Box<dyn Error>` behind `Shared`, `External` or `Context` is reached through `source`.
        link = current.source();
    }
    None
}

fn classify_link(error: &(dyn StdError + 'static)) -> Option<NativeError> {
    if let Some(found) = error.downcast_ref::<NativeError>() {
        let python = found
            .python
            .as_ref()
            .map(|e| Box::new(Python::attach(|py| e.clone_ref(py))));
        return Some(NativeError {
            kind: found.kind,
            message: found.message.clone(),
            details: found.details.clone(),
            python,
        });
    }
    if let Some(found) = error.downcast_ref::<object_store::Error>() {
        return classify_store(found);
    }
    if let Some(found) = error.downcast_ref::<DataFusionError>() {
        return classify_datafusion(found);
    }
    if let Some(found) = error.downcast_ref::<DeltaTableError>() {
        return classify_delta(found);
    }
    if let Some(found) = error.downcast_ref::<TransactionError>() {
        return classify_transaction(found);
    }
    if let Some(ArrowError::ExternalError(inner)) = error.downcast_ref::<ArrowError>() {
        return classify(inner.as_ref());
    }
    if let Some(ParquetError::External(inner)) = error.downcast_ref::<ParquetError>() {
        return classify(inner.as_ref());
    }
    if let Some(io) = error.downcast_ref::<std::io::Error>()
        && io.kind() == std::io::ErrorKind::StorageFull
    {
        return Some(NativeError::new(
            ErrorKind::ResourcesExhausted,
            format!("no space left on the disk: {io}"),
        ));
    }
    None
}

fn classify_store(error: &object_store::Error) -> Option<NativeError> {
    use object_store::Error as E;
    let kind = match error {
        E::NotFound { .. } => ErrorKind::ObjectNotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::Authentication,
        E::UnknownConfigurationKey { .. } => ErrorKind::Configuration,
        other => {
            if let Some(io) = other.source().and_then(classify) {
                return Some(io);
            }
            ErrorKind::Storage
        }
    };
    Some(NativeError::new(kind, error.to_string()))
}

fn classify_datafusion(error: &DataFusionError) -> Option<NativeError> {
    use DataFusionError as E;
    match error {
        E::ResourcesExhausted(message) => Some(NativeError::new(
            ErrorKind::ResourcesExhausted,
            message.clone(),
        )),
        E::ObjectStore(inner) => classify_store(inner),
        E::External(inner) => classify(inner.as_ref()),
        E::Shared(inner) => classify(inner.as_ref()),
        E::Context(_, inner) | E::Diagnostic(_, inner) => classify(inner.as_ref()),
        E::ArrowError(inner, _) => classify(inner.as_ref()),
        E::ParquetError(inner) => classify(inner.as_ref()),
        E::ExecutionJoin(inner) if inner.is_panic() => Some(NativeError::new(
            ErrorKind::Internal,
            "the query engine failed unexpectedly while it executed the query",
        )),
        E::Configuration(message) => {
            Some(NativeError::new(ErrorKind::Configuration, message.clone()))
        }
        E::Ffi(message) => Some(NativeError::new(ErrorKind::Execution, message.clone())),
        E::Collection(inner) => inner.first().and_then(|e| classify(e)),
        _ => None,
    }
}

fn classify_delta(error: &DeltaTableError) -> Option<NativeError> {
    use DeltaTableError as E;
    let kind = match error {
        E::ObjectStore { source } => return classify_store(source),
        E::Transaction { source } => return classify_transaction(source),
        E::NotATable(_) => ErrorKind::Source,
        E::InvalidVersion(_) => ErrorKind::SnapshotNotFound,
        E::SchemaMismatch { .. } => ErrorKind::SchemaMismatch,
        E::UnsupportedColumnMapping { .. } => ErrorKind::UnsupportedTableFeature,
        E::InvalidJsonLog { .. } | E::InvalidStatsJson { .. } | E::MetadataError(_) => {
            ErrorKind::Source
        }
        E::VersionAlreadyExists(_) => ErrorKind::CommitConflict,
        E::KernelError(inner) => return classify_kernel(inner),
        E::GenericError { source } => return classify(source.as_ref()),
        _ => return None,
    };
    Some(NativeError::new(kind, error.to_string()))
}

fn classify_kernel(error: &(dyn StdError + 'static)) -> Option<NativeError> {
    if let Some(found) = error.source().and_then(classify) {
        return Some(found);
    }
    let mut text = error.to_string();
    // The kernel's unsupported-feature errors carry no value that crosses its API boundary.
    let by_catalog = text.contains("catalog-managed");
    if by_catalog {
        text = format!("the table has the feature catalogManaged, which is not supported: {text}");
    }
    let kind = if by_catalog || text.contains("nsupported") || text.contains("not supported") {
        ErrorKind::UnsupportedTableFeature
    } else {
        ErrorKind::Source
    };
    Some(NativeError::new(kind, text))
}

fn classify_transaction(error: &TransactionError) -> Option<NativeError> {
    use TransactionError as E;
    let conflict = |family: &str| {
        Some(
            NativeError::new(ErrorKind::CommitConflict, error.to_string())
                .with("conflict", family.to_owned()),
        )
    };
    match error {
        E::CommitConflict(inner) => match inner {
            CommitConflictError::ConcurrentAppend => conflict("ConcurrentAppend"),
            CommitConflictError::ConcurrentDeleteRead => conflict("ConcurrentDeleteRead"),
            CommitConflictError::ConcurrentDeleteDelete => conflict("ConcurrentDeleteDelete"),
            CommitConflictError::MetadataChanged => conflict("MetadataChanged"),
            CommitConflictError::ConcurrentTransaction => conflict("ConcurrentTransaction"),
            CommitConflictError::ProtocolChanged(_) => conflict("ProtocolChanged"),
            _ => Some(NativeError::new(ErrorKind::Source, error.to_string())),
        },
        E::VersionAlreadyExists(_) | E::MaxCommitAttempts(_) => conflict("ConcurrentWrite"),
        E::ObjectStore { source } => classify_store(source),
        E::UnsupportedTableFeatures(features) => {
            let names: Vec<String> = features.iter().map(|f| f.to_string()).collect();
            Some(
                NativeError::new(
                    ErrorKind::UnsupportedTableFeature,
                    format!(
                        "the table needs the features {}, which this version cannot handle",
                        names.join(", ")
                    ),
                )
                .with("features", names.join(",")),
            )
        }
        E::TableFeaturesRequired(_) => Some(NativeError::new(
            ErrorKind::UnsupportedTableFeature,
            error.to_string(),
        )),
        E::DeltaTableAppendOnly => Some(NativeError::new(
            ErrorKind::UnsupportedTableFeature,
            "the table is append-only (delta.appendOnly = true): no rows can be removed",
        )),
        _ => None,
    }
}

/// How delta-rs begins to tell of rows that break a constraint or an invariant.
const INVALID_ROWS: &str = "Invalid data found:";

/// What upstream wraps in text alone.
fn classify_text(text: &str) -> Option<ErrorKind> {
    if text.contains("The used disk space during the spilling process") {
        Some(ErrorKind::ResourcesExhausted)
    } else if text.contains("Object Store error: Object at location") && text.contains("not found")
    {
        Some(ErrorKind::ObjectNotFound)
    } else if text.contains("is declared as non-nullable but contains null values") {
        Some(ErrorKind::SchemaMismatch)
    } else {
        None
    }
}

impl From<DataFusionError> for NativeError {
    fn from(error: DataFusionError) -> Self {
        if let Some(found) = classify(&error) {
            return found;
        }
        let text = error.strip_backtrace();
        if let Some(kind) = classify_text(&text) {
            return Self::new(kind, text);
        }
        let kind = match error.find_root() {
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_) => ErrorKind::Query,
            DataFusionError::SQL(..) => ErrorKind::Sql,
            DataFusionError::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::Execution,
        };
        Self::new(kind, text)
    }
}

impl From<DeltaTableError> for NativeError {
    fn from(error: DeltaTableError) -> Self {
        classify(&error).unwrap_or_else(|| {
            let text = error.to_string();
            if let Some((_, rows)) = text.split_once(INVALID_ROWS) {
                let message = format!("rows break a constraint of the table:{rows}");
                return Self::new(ErrorKind::Execution, message);
            }
            Self::new(ErrorKind::Source, text)
        })
    }
}

impl From<ArrowError> for NativeError {
    fn from(error: ArrowError) -> Self {
        classify(&error).unwrap_or_else(|| {
            let text = error.to_string();
            let kind = classify_text(&text).unwrap_or(ErrorKind::Execution);
            Self::new(kind, text)
        })
    }
}

impl From<object_store::Error> for NativeError {
    fn from(error: object_store::Error) -> Self {
        classify(&error).unwrap_or_else(|| Self::new(ErrorKind::Storage, error.to_string()))
    }
}

impl From<NativeError> for DataFusionError {
    fn from(error: NativeError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<NativeError> for PyErr {
    fn from(error: NativeError) -> PyErr {
        let NativeError {
            kind,
            message,
            details,
            python,
        } = error;
        if let Some(python) = python {
            return *python;
        }
        Python::attach(|py| {
            let build = || -> PyResult<PyErr> {
                let extra = PyDict::new(py);
                for (key, value) in &details {
                    extra.set_item(key, value)?;
                }
                let made = py
                    .import("fusiondelta.errors")?
                    .call_method1("from_native", (kind.code(), &message, extra))?;
                Ok(PyErr::from_value(made))
            };
            build().unwrap_or_else(|e| e)
        })
    }
}
