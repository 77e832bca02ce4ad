//! Parquet, CSV, JSON and Arrow IPC files through the engine's stores and caches.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
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
use datafusion::execution::session_state::SessionState;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use url::Url;

use super::ObservedTable;
use super::encodings;
use super::headers::{self, ByName};

use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// Headers of CSV files that are read at once.
const HEADERS_AT_ONCE: usize = 16;

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
    pub table: Arc<dyn TableProvider>,
    pub pins: Vec<FilePin>,
}

fn format(options: &FileOptions, compression: FileCompressionType) -> Arc<dyn FileFormat> {
    match options.kind {
        FileKind::Parquet => Arc::new(ParquetFormat::default()),
        FileKind::Arrow => Arc::new(ArrowFormat),
        FileKind::Json => {
            let mut json = JsonFormat::default().with_file_compression_type(compression);
            // A key that is not looked at vanishes without a word.
            json = json.with_schema_infer_max_rec(options.schema_infer_rows.unwrap_or(usize::MAX));
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
    let mut files = Vec::new();
    for url in &urls {
        let store = engine.stores.counted(url.as_ref(), account)?;
        let wanted = if url.is_collection() {
            extension.as_str()
        } else {
            ""
        };
        let found: Vec<_> = url
            .list_all_files(&state, store.as_ref(), wanted)
            .await?
            .try_collect()
            .await
            .map_err(NativeError::from)?;
        files.extend(found.into_iter().map(|meta| (url.clone(), meta)));
    }
    if files.is_empty() {
        let places: Vec<_> = options.urls.iter().map(Url::to_string).collect();
        return Err(NativeError::new(
            ErrorKind::Source,
            format!("no {extension} files at {}", places.join(", ")),
        ));
    }
    let pins = files.iter().map(|(_, meta)| FilePin {
        path: meta.location.to_string(),
        size: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
        e_tag: meta.e_tag.clone(),
    });
    let pins = pins.collect();
    let listing = ListingOptions::new(format(&options, compression))
        .with_file_extension(if urls.iter().all(|u| !u.is_collection()) {
            String::new()
        } else {
            extension
        })
        .with_table_partition_cols(options.partition_columns.clone());
    let config =
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(listing.clone());
    let config = match (options.schema, options.kind) {
        (Some(schema), _) => config.with_schema(schema),
        (None, FileKind::Csv) if options.has_header => {
            let table = by_header(engine, &state, files, config, &listing, account).await?;
            return Ok(FileTable { table, pins });
        }
        // Their rows come in the encodings that they are in.
        (None, FileKind::Arrow) => config.infer_schema(&state).await?,
        (None, _) => {
            let config = config.infer_schema(&state).await?;
            match config.file_schema.as_ref().map(encodings::schema) {
                Some(schema) => config.with_schema(schema),
                None => config,
            }
        }
    };
    let empty = config
        .file_schema
        .as_ref()
        .is_none_or(|s: &Arc<Schema>| s.fields().is_empty());
    if empty {
        return Err(without_columns(&files));
    }
    let table = ListingTable::try_new(config)?
        .with_cache(state.runtime_env().cache_manager.get_file_statistic_cache());
    Ok(FileTable {
        table: Arc::new(ObservedTable(table)),
        pins,
    })
}

fn without_columns(files: &[(ListingTableUrl, ObjectMeta)]) -> NativeError {
    let place = files.first().map(|(_, meta)| meta.location.to_string());
    NativeError::new(
        ErrorKind::Source,
        format!(
            "no columns could be inferred from {}; give schema=",
            place.unwrap_or_default()
        ),
    )
}

/// CSV files as one table, by the names in their headers.
async fn by_header(
    engine: &Engine,
    state: &SessionState,
    files: Vec<(ListingTableUrl, ObjectMeta)>,
    config: ListingTableConfig,
    listing: &ListingOptions,
    account: &Arc<IoAccount>,
) -> Result<Arc<dyn TableProvider>> {
    let reads: Vec<_> = files
        .iter()
        .map(|(url, meta)| {
            let format = Arc::clone(&listing.format);
            let store = engine.stores.counted(url.as_ref(), account);
            async move {
                let (store, files) = (store?, std::slice::from_ref(meta));
                let found = format.infer_schema(state, &store, files).await;
                found.map_err(|error| {
                    let error = NativeError::from(error);
                    NativeError {
                        message: format!("{}: {}", meta.location, error.message),
                        ..error
                    }
                })
            }
        })
        .collect();
    let schemas: Vec<SchemaRef> = stream::iter(reads)
        .buffered(HEADERS_AT_ONCE)
        .try_collect()
        .await?;
    let all = headers::merged(schemas.iter());
    if all.fields().is_empty() {
        return Err(without_columns(&files));
    }
    let mut parts: Vec<(SchemaRef, Vec<ListingTableUrl>)> = Vec::new();
    for ((url, meta), schema) in files.iter().zip(&schemas) {
        let header = headers::typed(schema, &all);
        // Where the file is in its store.
        let mut place = AsRef::<Url>::as_ref(url).clone();
        if let Ok(mut segments) = place.path_segments_mut() {
            segments.clear();
            for part in meta.location.parts() {
                let part: &str = part.as_ref();
                segments.push(part);
            }
        }
        let place = ListingTableUrl::parse(place.as_str())?;
        match parts.iter_mut().find(|(known, _)| *known == header) {
            Some((_, places)) => places.push(place),
            None => parts.push((header, vec![place])),
        }
    }
    let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
    let made = |config: ListingTableConfig| {
        let table = ListingTable::try_new(config)?.with_cache(cache.clone());
        Ok::<_, NativeError>(ObservedTable(table))
    };
    if let [(header, _)] = parts.as_slice() {
        return Ok(Arc::new(made(config.with_schema(Arc::clone(header)))?));
    }
    if !listing.table_partition_cols.is_empty() {
        return Err(NativeError::new(
            ErrorKind::Source,
            format!(
                "CSV files in partition folders need one header: those of {} differ",
                parts
                    .iter()
                    .flat_map(|(_, p)| p.first())
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
        ));
    }
    let parts = parts.into_iter().map(|(header, places)| {
        let config = ListingTableConfig::new_with_multi_paths(places)
            .with_listing_options(listing.clone().with_file_extension(""))
            .with_schema(header);
        made(config)
    });
    let parts = parts.collect::<Result<_>>()?;
    Ok(Arc::new(ByName { schema: all, parts }))
}
