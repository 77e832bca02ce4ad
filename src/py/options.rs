//! Mirrors of what sources and writes are told, and what the engine makes of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_pyarrow::FromPyArrow;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::parsers::CompressionTypeVariant;
use deltalake::operations::write::SchemaMode;
use deltalake::parquet::basic::{Compression, Encoding};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use url::Url;

use super::config::choice;
use crate::error::{ErrorKind, NativeError, Result};
use crate::sources::files::{FileKind, FileOptions};
use crate::store::native_url;
use crate::write::encode::ParquetOptions;
use crate::write::insert::{Mode, WriteSpec};

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
    mode: String,
    schema_mode: Option<String>,
    partition_by: Option<Vec<String>>,
    replace_where: Option<String>,
    replace_partitions: bool,
    target_file_size: Option<u64>,
    truncate_timestamps: bool,
    properties: HashMap<String, String>,
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
    #[pyo3(from_py_with = mapping)]
    column_compression: HashMap<String, String>,
    #[pyo3(from_py_with = mapping)]
    column_dictionary: HashMap<String, bool>,
    #[pyo3(from_py_with = mapping)]
    column_encoding: HashMap<String, String>,
    #[pyo3(from_py_with = mapping)]
    column_statistics: HashMap<String, String>,
}

/// Any mapping, of which the extension's own conversion takes a dict alone.
fn mapping<T>(given: &Bound<'_, PyAny>) -> PyResult<HashMap<String, T>>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
{
    given
        .cast::<PyMapping>()?
        .items()?
        .iter()
        .map(|item| item.extract())
        .collect()
}

/// A row group, unless it is said otherwise, ends with so many rows or so many encoded bytes. A reader and
/// a writer hold one for each partition they work on, so a million rows (the crate's default) cost hundreds
/// of megabytes where tables are wide; and a file with one row group is one core's work. Fewer rows than
/// these cost a writer a third of its speed: each group has dictionaries and statistics of its own.
const DEFAULT_ROW_GROUP_ROWS: usize = 256 * 1024;
const DEFAULT_ROW_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// A location that Python has made canonical.
pub fn url(uri: &str) -> Result<Url> {
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

pub fn file_options(py: Python<'_>, options: PyFileOptions) -> PyResult<FileOptions> {
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
            let data_type = DataType::from_pyarrow_bound(data_type.bind(py))?;
            Ok((name, data_type))
        })
        .collect::<PyResult<_>>()?;
    let optional = |name, text: Option<String>| text.map(|t| byte(name, &t)).transpose();
    Ok(FileOptions {
        kind: choice("kind", &kind, &kinds)?,
        urls: urls
            .iter()
            .map(|u| Ok(native_url(&url(u)?)))
            .collect::<Result<_>>()?,
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

pub fn parquet_options(properties: PyWriterProperties) -> Result<ParquetOptions> {
    let PyWriterProperties {
        compression,
        compression_level,
        max_row_group_rows,
        data_page_bytes,
        dictionary,
        statistics,
        bloom_filter_columns,
        column_compression,
        column_dictionary,
        column_encoding,
        column_statistics,
    } = properties;
    let mut builder = WriterProperties::builder();
    let compression = codec(
        compression.as_deref().unwrap_or("snappy"),
        compression_level,
    )?;
    builder = builder.set_compression(compression);
    builder = builder
        .set_max_row_group_row_count(Some(max_row_group_rows.unwrap_or(DEFAULT_ROW_GROUP_ROWS)))
        .set_max_row_group_bytes(
            max_row_group_rows
                .is_none()
                .then_some(DEFAULT_ROW_GROUP_BYTES),
        );
    if let Some(bytes) = data_page_bytes {
        builder = builder.set_data_page_size_limit(bytes);
    }
    if let Some(enabled) = dictionary {
        builder = builder.set_dictionary_enabled(enabled);
    }
    if let Some(level) = statistics {
        builder = builder.set_statistics_enabled(statistics_of(&level)?);
    }
    for column in bloom_filter_columns {
        builder = builder.set_column_bloom_filter_enabled(path(&column), true);
    }
    for (column, name) in column_compression {
        builder = builder.set_column_compression(path(&column), codec(&name, None)?);
    }
    let mut dictionary_given = HashSet::new();
    for (column, enabled) in column_dictionary {
        dictionary_given.insert(path(&column));
        builder = builder.set_column_dictionary_enabled(path(&column), enabled);
    }
    let encodings = [
        ("plain", Encoding::PLAIN),
        ("delta_binary_packed", Encoding::DELTA_BINARY_PACKED),
        ("delta_length_byte_array", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("delta_byte_array", Encoding::DELTA_BYTE_ARRAY),
        ("byte_stream_split", Encoding::BYTE_STREAM_SPLIT),
    ];
    for (column, name) in column_encoding {
        // An encoding of one's own takes the place of the dictionary.
        builder = builder
            .set_column_dictionary_enabled(path(&column), false)
            .set_column_encoding(path(&column), choice("encoding", &name, &encodings)?);
    }
    for (column, level) in column_statistics {
        builder = builder.set_column_statistics_enabled(path(&column), statistics_of(&level)?);
    }
    Ok(ParquetOptions {
        properties: builder.build(),
        is_dictionary_given: dictionary.is_some(),
        dictionary_given,
    })
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(column.split('.').map(str::to_owned).collect())
}

fn statistics_of(level: &str) -> Result<EnabledStatistics> {
    let levels = [
        ("none", EnabledStatistics::None),
        ("chunk", EnabledStatistics::Chunk),
        ("page", EnabledStatistics::Page),
    ];
    choice("statistics", level, &levels)
}

fn codec(name: &str, level: Option<i32>) -> Result<Compression> {
    let text = match (name, level) {
        (name, Some(level)) => format!("{}({level})", name.to_uppercase()),
        ("zstd", None) => "ZSTD(3)".to_owned(),
        ("gzip", None) => "GZIP(6)".to_owned(),
        ("brotli", None) => "BROTLI(1)".to_owned(),
        (name, None) => name.to_uppercase(),
    };
    text.parse()
        .map_err(|e| NativeError::new(ErrorKind::Configuration, format!("compression {text}: {e}")))
}

pub fn write_spec(spec: PyWriteSpec) -> Result<WriteSpec> {
    let PyWriteSpec {
        mode,
        schema_mode,
        partition_by,
        replace_where,
        replace_partitions,
        target_file_size,
        truncate_timestamps,
        properties,
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
        mode: choice("mode", &mode, &modes)?,
        schema_mode: schema_mode
            .map(|m| choice("schema_mode", &m, &schema_modes))
            .transpose()?,
        partition_by,
        replace_where,
        replace_partitions,
        target_file_size,
        truncate_timestamps,
        properties,
    })
}
