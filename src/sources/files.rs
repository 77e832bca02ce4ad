//! Parquet, CSV, JSON and Arrow IPC files through the engine's stores and caches.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use futures::TryStreamExt;
use url::Url;

use super::ObservedTable;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Parquet,
    Csv,
    Json,
    Arrow,
}

impl FileKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => ".parquet",
            Self::Csv => ".csv",
            Self::Json => ".json",
            Self::Arrow => ".arrow",
        }
    }
}

/// What a user said about the files.
#[derive(Debug)]
pub struct FileOptions {
    pub kind: FileKind,
    pub urls: Vec<Url>,
    pub schema: Option<SchemaRef>,
    pub partition_columns: Vec<(String, DataType)>,
    pub extension: Option<String>,
    pub compression: Option<CompressionTypeVariant>,
    pub has_header: bool,
    pub delimiter: u8,
    pub quote: u8,
    pub escape: Option<u8>,
    pub comment: Option<u8>,
    pub newlines_in_values: bool,
    pub schema_infer_rows: Option<usize>,
}

/// One file a source was resolved to.
#[derive(Clone, Debug)]
pub struct FilePin {
    pub path: String,
    pub size: u64,
    pub modified_ms: i64,
    pub e_tag: Option<String>,
}

#[derive(Debug)]
pub struct FileTable {
    pub table: Arc<ObservedTable>,
    pub pins: Vec<FilePin>,
}

fn format(options: &FileOptions, compression: FileCompressionType) -> Arc<dyn FileFormat> {
    match options.kind {
        FileKind::Parquet => Arc::new(ParquetFormat::default()),
        FileKind::Arrow => Arc::new(ArrowFormat),
        FileKind::Json => {
            let mut json = JsonFormat::default().with_file_compression_type(compression);
            if let Some(rows) = options.schema_infer_rows {
                json = json.with_schema_infer_max_rec(rows);
            }
            Arc::new(json)
        }
        FileKind::Csv => {
            let mut csv = CsvFormat::default()
                .with_has_header(options.has_header)
                .with_delimiter(options.delimiter)
                .with_quote(options.quote)
                .with_escape(options.escape)
                .with_comment(options.comment)
                .with_newlines_in_values(options.newlines_in_values)
                .with_file_compression_type(compression);
            if let Some(rows) = options.schema_infer_rows {
                csv = csv.with_schema_infer_max_rec(rows);
            }
            Arc::new(csv)
        }
    }
}

/// Lists the files, infers what was not said and gives a table over them.
///
/// # Errors
/// `source` when nothing matches.
pub async fn open(
    engine: &Engine,
    options: FileOptions,
    settings: &HashMap<String, String>,
    account: &Arc<IoAccount>,
) -> Result<FileTable> {
    let (env, _) = engine.query_env(account, None)?;
    let state = engine.session(settings, env)?;
    let compression = options
        .compression
        .map_or(FileCompressionType::UNCOMPRESSED, FileCompressionType::from);
    let extension = options.extension.clone().unwrap_or_else(|| {
        let suffix = match options.compression {
            Some(CompressionTypeVariant::GZIP) => ".gz",
            Some(CompressionTypeVariant::BZIP2) => ".bz2",
            Some(CompressionTypeVariant::XZ) => ".xz",
            Some(CompressionTypeVariant::ZSTD) => ".zst",
            _ => "",
        };
        format!("{}{suffix}", options.kind.extension())
    });
    let urls = options
        .urls
        .iter()
        .map(|url| ListingTableUrl::parse(url.as_str()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pins = Vec::new();
    for url in &urls {
        let store = engine.stores.counted(url.as_ref(), account)?;
        let wanted = if url.is_collection() {
            extension.as_str()
        } else {
            ""
        };
        let files: Vec<_> = url
            .list_all_files(&state, store.as_ref(), wanted)
            .await?
            .try_collect()
            .await
            .map_err(NativeError::from)?;
        pins.extend(files.into_iter().map(|meta| FilePin {
            path: meta.location.to_string(),
            size: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
            e_tag: meta.e_tag,
        }));
    }
    if pins.is_empty() {
        let places: Vec<_> = options.urls.iter().map(Url::to_string).collect();
        return Err(NativeError::new(
            ErrorKind::Source,
            format!("no {extension} files at {}", places.join(", ")),
        ));
    }
    let listing = ListingOptions::new(format(&options, compression))
        .with_file_extension(if urls.iter().all(|u| !u.is_collection()) {
            String::new()
        } else {
            extension
        })
        .with_table_partition_cols(options.partition_columns.clone());
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(listing);
    let config = match options.schema {
        Some(schema) => config.with_schema(schema),
        None => config.infer_schema(&state).await?,
    };
    let empty = config
        .file_schema
        .as_ref()
        .is_none_or(|s: &Arc<Schema>| s.fields().is_empty());
    if empty {
        return Err(NativeError::new(
            ErrorKind::Source,
            format!(
                "no columns could be inferred from {}; give schema=",
                pins[0].path
            ),
        ));
    }
    let table = ListingTable::try_new(config)?
        .with_cache(state.runtime_env().cache_manager.get_file_statistic_cache());
    Ok(FileTable {
        table: Arc::new(ObservedTable(table)),
        pins,
    })
}
