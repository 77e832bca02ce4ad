//! The engine as Python holds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_pyarrow::FromPyArrow;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ffi_stream::ArrowArrayStreamReader;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::prelude::SessionContext;
use deltalake::operations::write::SchemaMode;
use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use url::Url;

use super::arrow::NativeBatch;
use super::capsules;
use super::config::{PyEngineConfig, deadline, seconds};
use super::io::NativeIo;
use super::query::{NativeCodec, NativeQuery, NativeRows};
use super::tables::{NativeDelta, NativeFiles};
use crate::delta::provider::DeltaProvider;
use crate::delta::write::{Mode, WriteSpec, Written};
use crate::delta::{cache, log, write};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::codec::HandleCodec;
use crate::exec::engine::Engine;
use crate::exec::proto;
use crate::exec::query::{Query, QueryContext};
use crate::exec::stream::{Rows, Slot, Start};
use crate::runtime;
use crate::sources::arrow::StreamTable;
use crate::sources::files::{self, FileKind, FileOptions};
use crate::store::account::IoAccount;

#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeEngine(Arc<Engine>);

/// Options of a file source; `fusiondelta.sources` fills it.
#[derive(FromPyObject)]
pub struct PyFileOptions {
    kind: String,
    urls: Vec<String>,
    schema: Option<Py<PyAny>>,
    partition_columns: Vec<(String, Py<PyAny>)>,
    extension: Option<String>,
    compression: Option<String>,
    has_header: bool,
    delimiter: String,
    quote: String,
    escape: Option<String>,
    comment: Option<String>,
    newlines_in_values: bool,
    schema_infer_rows: Option<usize>,
}

/// What a write is to do; `fusiondelta.writes` fills it.
#[derive(FromPyObject)]
pub struct PyWriteSpec {
    uri: String,
    mode: String,
    schema_mode: Option<String>,
    partition_by: Option<Vec<String>>,
    replace_where: Option<String>,
    target_file_size: Option<u64>,
    writer_properties: Option<PyWriterProperties>,
    properties: HashMap<String, String>,
    metadata: HashMap<String, String>,
    commit_id: String,
    run_id: String,
    query_id: String,
}

#[derive(Default, FromPyObject)]
pub struct PyWriterProperties {
    compression: Option<String>,
    compression_level: Option<i32>,
    max_row_group_rows: Option<usize>,
    data_page_bytes: Option<usize>,
    dictionary: Option<bool>,
    statistics: Option<String>,
    bloom_filter_columns: Vec<String>,
}

/// Rows of a row group. A reader and a writer hold one for each partition they work on, so a million
/// (the crate's default) costs hundreds of megabytes where tables are wide; and a file with one row
/// group is one core's work.
const DEFAULT_ROW_GROUP_ROWS: usize = 128 * 1024;

fn url(uri: &str) -> Result<Url> {
    Url::parse(uri).map_err(|e| {
        NativeError::new(
            ErrorKind::Configuration,
            format!("{uri:?} is not a location: {e}"),
        )
    })
}

fn byte(name: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [one] => Ok(*one),
        _ => Err(NativeError::new(
            ErrorKind::Configuration,
            format!("{name} is one character of one byte, not {text:?}"),
        )),
    }
}

fn choice<T: Copy>(name: &str, text: &str, choices: &[(&str, T)]) -> Result<T> {
    choices
        .iter()
        .find(|(known, _)| *known == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<_> = choices.iter().map(|(k, _)| *k).collect();
            NativeError::new(
                ErrorKind::Configuration,
                format!("{name} is one of {}, not {text:?}", known.join(", ")),
            )
        })
}

fn file_options(py: Python<'_>, options: PyFileOptions) -> PyResult<FileOptions> {
    let PyFileOptions {
        kind,
        urls,
        schema,
        partition_columns,
        extension,
        compression,
        has_header,
        delimiter,
        quote,
        escape,
        comment,
        newlines_in_values,
        schema_infer_rows,
    } = options;
    let kinds = [
        ("parquet", FileKind::Parquet),
        ("csv", FileKind::Csv),
        ("json", FileKind::Json),
        ("arrow", FileKind::Arrow),
    ];
    let compressions = [
        ("gzip", CompressionTypeVariant::GZIP),
        ("bzip2", CompressionTypeVariant::BZIP2),
        ("xz", CompressionTypeVariant::XZ),
        ("zstd", CompressionTypeVariant::ZSTD),
    ];
    let schema = schema
        .map(|s| Schema::from_pyarrow_bound(s.bind(py)))
        .transpose()?;
    let partition_columns = partition_columns
        .into_iter()
        .map(|(name, data_type)| {
            let data_type =
                datafusion::arrow::datatypes::DataType::from_pyarrow_bound(data_type.bind(py))?;
            Ok((name, data_type))
        })
        .collect::<PyResult<_>>()?;
    let optional = |name, text: Option<String>| text.map(|t| byte(name, &t)).transpose();
    Ok(FileOptions {
        kind: choice("kind", &kind, &kinds)?,
        urls: urls.iter().map(|u| url(u)).collect::<Result<_>>()?,
        schema: schema.map(Arc::new),
        partition_columns,
        extension,
        compression: compression
            .map(|c| choice("compression", &c, &compressions))
            .transpose()?,
        has_header,
        delimiter: byte("delimiter", &delimiter)?,
        quote: byte("quote", &quote)?,
        escape: optional("escape", escape)?,
        comment: optional("comment", comment)?,
        newlines_in_values,
        schema_infer_rows,
    })
}

fn writer_properties(properties: PyWriterProperties) -> Result<WriterProperties> {
    let PyWriterProperties {
        compression,
        compression_level,
        max_row_group_rows,
        data_page_bytes,
        dictionary,
        statistics,
        bloom_filter_columns,
    } = properties;
    let mut builder = WriterProperties::builder();
    let text = match (
        compression.as_deref().unwrap_or("snappy"),
        compression_level,
    ) {
        (name, Some(level)) => format!("{}({level})", name.to_uppercase()),
        ("zstd", None) => "ZSTD(3)".to_owned(),
        ("gzip", None) => "GZIP(6)".to_owned(),
        ("brotli", None) => "BROTLI(1)".to_owned(),
        (name, None) => name.to_uppercase(),
    };
    let compression: Compression = text.parse().map_err(|e| {
        NativeError::new(ErrorKind::Configuration, format!("compression {text}: {e}"))
    })?;
    builder = builder.set_compression(compression);
    builder = builder
        .set_max_row_group_row_count(Some(max_row_group_rows.unwrap_or(DEFAULT_ROW_GROUP_ROWS)));
    if let Some(bytes) = data_page_bytes {
        builder = builder.set_data_page_size_limit(bytes);
    }
    if let Some(enabled) = dictionary {
        builder = builder.set_dictionary_enabled(enabled);
    }
    if let Some(level) = statistics {
        let levels = [
            ("none", EnabledStatistics::None),
            ("chunk", EnabledStatistics::Chunk),
            ("page", EnabledStatistics::Page),
        ];
        builder = builder.set_statistics_enabled(choice("statistics", &level, &levels)?);
    }
    for column in bloom_filter_columns {
        let path = ColumnPath::new(column.split('.').map(str::to_owned).collect());
        builder = builder.set_column_bloom_filter_enabled(path, true);
    }
    Ok(builder.build())
}

fn write_spec(spec: PyWriteSpec) -> Result<WriteSpec> {
    let PyWriteSpec {
        uri,
        mode,
        schema_mode,
        partition_by,
        replace_where,
        target_file_size,
        writer_properties: writer,
        properties,
        metadata,
        commit_id,
        run_id,
        query_id,
    } = spec;
    let modes = [
        ("append", Mode::Append),
        ("overwrite", Mode::Overwrite),
        ("error", Mode::Error),
        ("ignore", Mode::Ignore),
    ];
    let schema_modes = [
        ("merge", SchemaMode::Merge),
        ("overwrite", SchemaMode::Overwrite),
    ];
    Ok(WriteSpec {
        url: url(&uri)?,
        mode: choice("mode", &mode, &modes)?,
        schema_mode: schema_mode
            .map(|m| choice("schema_mode", &m, &schema_modes))
            .transpose()?,
        partition_by,
        replace_where,
        target_file_size,
        writer_properties: writer_properties(writer.unwrap_or_default())?,
        properties: properties.into_iter().map(|(k, v)| (k, Some(v))).collect(),
        metadata,
        commit_id,
        run_id,
        query_id,
    })
}

#[pymethods]
impl NativeEngine {
    #[new]
    fn new(config: PyEngineConfig) -> PyResult<Self> {
        runtime::handle()?;
        Ok(Self(Engine::new(config.try_into()?)?))
    }

    /// Raises where the engine is closed, or was made in a parent process.
    fn check(&self) -> PyResult<()> {
        Ok(self.0.check()?)
    }

    /// Requests of the whole engine.
    #[getter]
    fn io(&self) -> NativeIo {
        NativeIo(Arc::clone(&self.0.io))
    }

    /// Counters for one query, whose counts are also the engine's.
    fn new_io(&self) -> NativeIo {
        NativeIo(IoAccount::child_of(&self.0.io))
    }

    /// A codec for one pooled context.
    fn codec(&self) -> NativeCodec {
        NativeCodec {
            codec: HandleCodec::default(),
            tasks: Arc::new(SessionContext::new_with_config_rt(
                Default::default(),
                Arc::clone(self.0.env()),
            )),
        }
    }

    /// Opens a Delta table: at `version`, at the last version committed by `timestamp_ms`, or newest.
    #[pyo3(signature = (uri, io, *, version=None, timestamp_ms=None, staleness=0.0, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn open_delta(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
        version: Option<u64>,
        timestamp_ms: Option<i64>,
        staleness: f64,
        timeout: Option<f64>,
    ) -> PyResult<NativeDelta> {
        self.0.check()?;
        let url = url(uri)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let pinned = runtime::run(py, deadline(timeout), async move {
            let version = match (version, timestamp_ms) {
                (Some(version), _) => version,
                (None, Some(at)) => {
                    let newest =
                        cache::open_latest(&engine, &url, Duration::ZERO, &account).await?;
                    let in_commit = newest
                        .snapshot
                        .metadata()
                        .configuration()
                        .get("delta.enableInCommitTimestamps")
                        .is_some_and(|v| v == "true");
                    log::version_at(&engine, &url, at, in_commit, &account).await?
                }
                (None, None) => {
                    return cache::open_latest(&engine, &url, seconds(staleness), &account).await;
                }
            };
            cache::open_version(&engine, &url, version, &account).await
        })?;
        let provider = DeltaProvider::new(Arc::clone(&self.0), Arc::clone(&pinned))?;
        Ok(NativeDelta {
            engine: Arc::clone(&self.0),
            pinned,
            provider: Arc::new(provider),
        })
    }

    /// Oldest and newest readable version by the log's file names, or `None` where there is no log.
    fn log_range(&self, py: Python<'_>, uri: &str, io: &NativeIo) -> PyResult<Option<(u64, u64)>> {
        self.0.check()?;
        let url = url(uri)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let listing = runtime::run(
            py,
            None,
            async move { log::list(&engine, &url, &account).await },
        )?;
        Ok(listing.readable())
    }

    #[pyo3(signature = (options, settings, io, timeout=None))]
    fn open_files(
        &self,
        py: Python<'_>,
        options: PyFileOptions,
        settings: HashMap<String, String>,
        io: &NativeIo,
        timeout: Option<f64>,
    ) -> PyResult<NativeFiles> {
        self.0.check()?;
        let options = file_options(py, options)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let table = runtime::run(py, deadline(timeout), async move {
            files::open(&engine, options, &settings, &account).await
        })?;
        Ok(NativeFiles(table))
    }

    /// Plans what `plan.to_bytes(session)` gave, under `settings`; `ids` are those of run and query.
    #[pyo3(signature = (session, codec, plan, settings, io, ids, *, memory_limit=None, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn plan(
        &self,
        py: Python<'_>,
        session: &Bound<'_, PyAny>,
        codec: &NativeCodec,
        plan: Vec<u8>,
        settings: HashMap<String, String>,
        io: &NativeIo,
        ids: (String, String),
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<NativeQuery> {
        self.0.check()?;
        let decoding = capsules::decoding_codec(session)?;
        let context = QueryContext {
            settings,
            memory_limit,
            deadline: deadline(timeout),
            account: Arc::clone(&io.0),
        };
        let engine = Arc::clone(&self.0);
        let planned = runtime::run(
            py,
            context.deadline,
            Query::from_bytes(engine, plan, decoding, context, ids),
        );
        codec.codec.clear();
        Ok(NativeQuery::new(planned?))
    }

    /// Rows of a physical plan in protobuf, as `NativeQuery.physical_proto` gives it.
    #[pyo3(signature = (plan, settings, io, *, memory_limit=None, timeout=None))]
    fn run_physical_proto(
        &self,
        py: Python<'_>,
        plan: Vec<u8>,
        settings: HashMap<String, String>,
        io: &NativeIo,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<NativeRows> {
        self.0.check()?;
        let account = Arc::clone(&io.0);
        let (env, _) = self.0.query_env(&account, memory_limit);
        let state = self.0.session(&settings, env)?;
        let context = state.task_ctx();
        let engine = Arc::clone(&self.0);
        let deadline = deadline(timeout);
        let plan = runtime::run(py, deadline, proto::decode(engine, plan, state, account))?;
        Ok(NativeRows(Arc::new(Rows::new(Start {
            engine: Arc::clone(&self.0),
            plan,
            context,
            partition: None,
            deadline,
            slot: Slot::default(),
            execution: None,
        }))))
    }

    /// Writes the rows of a planned query, or of an Arrow stream, and gives what was committed.
    #[pyo3(signature = (spec, io, settings, *, query=None, stream=None, memory_limit=None, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn write<'py>(
        &self,
        py: Python<'py>,
        spec: PyWriteSpec,
        io: &NativeIo,
        settings: HashMap<String, String>,
        query: Option<&NativeQuery>,
        stream: Option<&Bound<'py, PyAny>>,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.0.check()?;
        let spec = write_spec(spec)?;
        let input = match (query, stream) {
            (Some(query), _) => query.logical().clone(),
            (None, Some(stream)) => {
                let reader = ArrowArrayStreamReader::from_pyarrow_bound(stream)?;
                let table = StreamTable::new("data".to_owned(), Box::new(reader));
                LogicalPlanBuilder::scan("data", provider_as_source(Arc::new(table)), None)
                    .and_then(LogicalPlanBuilder::build)
                    .map_err(NativeError::from)?
            }
            (None, None) => {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    "there is nothing to write: give a query or a stream",
                )
                .into());
            }
        };
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let written = runtime::run(py, deadline(timeout), async move {
            let slot = Slot::default();
            slot.enter(&engine).await?;
            let (env, _) = engine.query_env(&account, memory_limit);
            let (state, planner) = engine.write_session(&settings, env)?;
            write::write(&engine, spec, input, state, planner, &account).await
        })?;
        let Written {
            version,
            read_version,
            rows,
            bytes,
            files_added,
            files_removed,
            metrics,
        } = written;
        let out = PyDict::new(py);
        out.set_item("version", version)?;
        out.set_item("read_version", read_version)?;
        out.set_item("rows", rows)?;
        out.set_item("bytes", bytes)?;
        out.set_item("files_added", files_added)?;
        out.set_item("files_removed", files_removed)?;
        out.set_item("metrics", metrics.map(NativeBatch))?;
        Ok(out)
    }

    /// State of the snapshot cache: entries (uri, version, bytes) and counters.
    fn snapshot_cache<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reading = self.0.snapshots.reading();
        let out = PyDict::new(py);
        out.set_item("entries", reading.entries)?;
        out.set_item("limit", reading.limit)?;
        out.set_item("hits", reading.hits)?;
        out.set_item("misses", reading.misses)?;
        out.set_item("evictions", reading.evictions)?;
        Ok(out)
    }

    fn clear_snapshots(&self) {
        self.0.snapshots.clear();
    }

    /// Execution slots in all, and those free now.
    #[getter]
    fn slots(&self) -> (usize, usize) {
        (self.0.config.slots, self.0.slots.available_permits())
    }

    /// Bytes reserved in the memory pool now.
    #[getter]
    fn reserved_memory(&self) -> usize {
        self.0.env().memory_pool.reserved()
    }

    /// Cancels what runs and refuses what comes.
    fn close(&self) {
        self.0.closing.cancel();
        self.0.slots.close();
        self.0.snapshots.clear();
    }
}

/// Names of the functions of a native session, aliases included.
pub fn function_names() -> HashMap<&'static str, Vec<String>> {
    let state = SessionContext::new().state();
    let sorted = |names: Vec<String>| {
        let mut names = names;
        names.sort();
        names
    };
    HashMap::from([
        (
            "scalar",
            sorted(state.scalar_functions().keys().cloned().collect()),
        ),
        (
            "aggregate",
            sorted(state.aggregate_functions().keys().cloned().collect()),
        ),
        (
            "window",
            sorted(state.window_functions().keys().cloned().collect()),
        ),
    ])
}
