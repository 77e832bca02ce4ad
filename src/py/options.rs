//! Mirrors of what sources and writes are told, and what the engine makes of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_pyarrow::FromPyArrow;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::parsers::CompressionTypeVariant;
use deltalake::operations::write::SchemaMode;
use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use pyo3::prelude::*;
use url::Url;

use super::config::choice;
use crate::delta::write::{Mode, WriteSpec};
use crate::error::{ErrorKind, NativeError, Result};
use crate::sources::files::{FileKind, FileOptions};
use crate::store::native_url;

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
    target_file_size: Option<u64>,
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
}

/// Rows of a row group. A reader and a writer hold one for each partition they work on, so a million
/// (the crate's default) costs hundreds of megabytes where tables are wide; and a file with one row
/// group is one core's work.
const DEFAULT_ROW_GROUP_ROWS: usize = 128 * 1024;

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

pub fn writer_properties(properties: PyWriterProperties) -> Result<WriterProperties> {
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

pub fn write_spec(spec: PyWriteSpec) -> Result<WriteSpec> {
    let PyWriteSpec {
        mode,
        schema_mode,
        partition_by,
        replace_where,
        target_file_size,
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
        target_file_size,
        properties: properties.into_iter().map(|(k, v)| (k, Some(v))).collect(),
    })
}
