//! Rows to data files, and what the log says of these.
//!
//! A sink has a file open for each partition that its rows are in. What is open is bounded: where more
//! partitions come than there is room for, the file that has waited longest is finished.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{FieldRef, Fields, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use deltalake::kernel::{Action, Add, AddCDCFile};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::schema::types::ColumnPath;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use uuid::Uuid;

use super::encode::{ParquetFile, ParquetOptions, rows_bytes};
use super::layout::Layout;
use super::relabel::relabel;
use super::statistics::{self, Indexed, Seen};
use super::values;
use crate::error::{ErrorKind, NativeError, Result};

/// Bytes of a file that are sent as one request, and at a time where a file is larger.
const PART: usize = 8 * 1024 * 1024;

/// Most parts of a file that are on their way at once.
const PARTS: usize = 4;

/// Most rows that are written at a time, and bytes of these.
const STEP: usize = 8192;
const STEP_BYTES: u64 = 1024 * 1024;

/// How the files of a change are written.
pub struct FileSpec {
    pub layout: Arc<Layout>,
    /// Its root is the table.
    pub store: Arc<dyn ObjectStore>,
    pub parquet: Arc<ParquetOptions>,
    /// Bytes of a file, about.
    pub target_size: u64,
    pub indexed: Indexed,
    /// Files open at once.
    pub most_open: usize,
    /// Whether they are change data files, whose rows say last what was done to them.
    pub is_feed: bool,
}

/// Folder of change data files (protocol section "Change Data Files").
pub const FEED_FOLDER: &str = "_change_data";
pub const CHANGE_TYPE: &str = "_change_type";

impl FileSpec {
    /// What a file holds.
    fn schema(&self) -> SchemaRef {
        let stored = self.layout.written_schema();
        if !self.is_feed {
            return stored;
        }
        let kind = datafusion::arrow::datatypes::Field::new(
            CHANGE_TYPE,
            datafusion::arrow::datatypes::DataType::Utf8,
            true,
        );
        let fields = stored
            .fields()
            .iter()
            .cloned()
            .chain([FieldRef::from(kind)]);
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }

    fn suffix(&self) -> &'static str {
        match self
            .parquet
            .properties
            .compression(&ColumnPath::new(vec![]))
        {
            Compression::SNAPPY => ".snappy",
            Compression::GZIP(_) => ".gz",
            Compression::LZO => ".lzo",
            Compression::BROTLI(_) => ".br",
            Compression::LZ4 | Compression::LZ4_RAW => ".lz4",
            Compression::ZSTD(_) => ".zstd",
            Compression::UNCOMPRESSED => "",
        }
    }
}

/// A file that is there and not yet in the log.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub path: String,
    pub partition_values: HashMap<String, Option<String>>,
    pub size: i64,
    stats: String,
    is_feed: bool,
}

impl DataFile {
    pub fn action(self, data_change: bool) -> Action {
        if self.is_feed {
            return Action::Cdc(AddCDCFile {
                path: self.path,
                size: self.size,
                partition_values: self.partition_values,
                data_change: false,
                tags: None,
            });
        }
        Action::Add(Add {
            path: self.path,
            partition_values: self.partition_values,
            size: self.size,
            modification_time: Utc::now().timestamp_millis(),
            data_change,
            stats: Some(self.stats),
            ..Add::default()
        })
    }
}

/// The texts of a partition's values, in the order of its columns.
type Key = Vec<Option<String>>;

struct Open {
    file: ParquetFile,
    path: String,
    seen: Seen,
    used: u64,
}

/// Writes rows to files.
pub struct FileSink {
    spec: Arc<FileSpec>,
    schema: SchemaRef,
    partition_converter: Option<RowConverter>,
    open: HashMap<Key, Open>,
    clock: u64,
    done: Vec<DataFile>,
}

impl FileSink {
    pub fn new(spec: Arc<FileSpec>) -> Result<Self> {
        let layout = &spec.layout;
        let partition_converter = match layout.partitions.as_slice() {
            [] => None,
            indices => Some(RowConverter::new(
                indices
                    .iter()
                    .map(|i| SortField::new(layout.schema.field(*i).data_type().clone()))
                    .collect(),
            )?),
        };
        let schema = spec.schema();
        Ok(Self {
            schema,
            partition_converter,
            open: HashMap::new(),
            clock: 0,
            done: Vec::new(),
            spec,
        })
    }

    /// Writes rows that have the table's columns in its order, and those of a feed the change type last;
    /// `width` columns of a file are encoded at once.
    pub async fn write(&mut self, batch: &RecordBatch, width: usize) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for (key, part) in self.split(batch)? {
            // The size of a file is looked at between steps.
            let step = self.step(&part);
            for start in (0..part.num_rows()).step_by(step) {
                let rows = step.min(part.num_rows() - start);
                let part = part.slice(start, rows);
                self.write_part(&key, &part, width).await?;
            }
        }
        Ok(())
    }

    /// Rows that are written before the size of a file is looked at: an eighth of it at most.
    fn step(&self, rows: &RecordBatch) -> usize {
        let bytes = rows_bytes(rows) / rows.num_rows().max(1);
        let most = STEP_BYTES.min(self.spec.target_size / 8);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (most / bytes.max(1)).clamp(64, STEP)
    }

    /// The rows by partition.
    fn split(&mut self, batch: &RecordBatch) -> Result<Vec<(Key, RecordBatch)>> {
        let Some(converter) = &self.partition_converter else {
            return Ok(vec![(Vec::new(), batch.clone())]);
        };
        let layout = &self.spec.layout;
        let columns: Vec<_> = layout
            .partitions
            .iter()
            .map(|i| Arc::clone(batch.column(*i)))
            .collect();
        let rows = converter.convert_columns(&columns)?;
        let mut groups: HashMap<&[u8], Vec<u32>> = HashMap::new();
        let mut order = Vec::new();
        for (i, row) in (0_u32..).zip(rows.iter()) {
            groups
                .entry(row.data())
                .or_insert_with(|| {
                    order.push(row.data());
                    Vec::new()
                })
                .push(i);
        }
        let mut parts: Vec<(Key, RecordBatch)> = Vec::with_capacity(order.len());
        for data in order {
            let Some(indices) = groups.remove(data) else {
                continue;
            };
            let first = usize::try_from(indices[0]).unwrap_or_default();
            let key = self.key(&values::row(&columns, first)?)?;
            let part = if indices.len() == batch.num_rows() {
                batch.clone()
            } else {
                take_record_batch(batch, &UInt32Array::from(indices))?
            };
            parts.push((key, part));
        }
        Ok(parts)
    }

    fn key(&self, row: &[datafusion::common::ScalarValue]) -> Result<Key> {
        let layout = &self.spec.layout;
        let mut key = Vec::with_capacity(row.len());
        for (value, i) in row.iter().zip(&layout.partitions) {
            let field = layout.schema.field(*i);
            let refused = |why: &str| {
                NativeError::new(
                    ErrorKind::SchemaMismatch,
                    format!("partition column {:?}: {why}", field.name()),
                )
                .with("columns", field.name().clone())
            };
            let text = values::text(value).map_err(|why| refused(&why))?;
            if text.is_none() && !field.is_nullable() {
                return Err(refused(if value.is_null() {
                    "it is NOT NULL and a row has NULL in it"
                } else {
                    "it is NOT NULL, and an empty value is NULL in the log of a Delta table"
                }));
            }
            key.push(text);
        }
        Ok(key)
    }

    async fn write_part(&mut self, key: &Key, part: &RecordBatch, width: usize) -> Result<()> {
        self.clock += 1;
        if !self.open.contains_key(key) {
            if self.open.len() >= self.spec.most_open.max(1) {
                let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
                if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                    self.finish_one(oldest).await?;
                }
            }
            let open = self.begin(key)?;
            self.open.insert(key.clone(), open);
        }
        let stored = self.stored(part)?;
        let Some(open) = self.open.get_mut(key) else {
            return Ok(());
        };
        open.used = self.clock;
        open.seen.add(&stored);
        open.file.write(stored, width).await?;
        if u64::try_from(open.file.size()).unwrap_or(u64::MAX) >= self.spec.target_size {
            self.finish_one(key.clone()).await?;
        }
        Ok(())
    }

    /// The columns that a file holds, under its names.
    fn stored(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let layout = &self.spec.layout;
        let mut indices = layout.stored();
        if self.spec.is_feed {
            indices.push(layout.schema.fields().len());
        }
        let columns = indices
            .iter()
            .zip(self.schema.fields())
            .map(|(i, field)| relabel(batch.column(*i), field.data_type()))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &rows,
        )?)
    }

    fn begin(&self, key: &Key) -> Result<Open> {
        let spec = &self.spec;
        let layout = &spec.layout;
        let id = Uuid::new_v4();
        let mut path = String::new();
        if spec.is_feed {
            path.push_str(FEED_FOLDER);
            path.push('/');
        }
        if layout.is_mapped {
            // Names of files tell nothing of columns that may be renamed.
            path.push_str(&id.simple().to_string()[..2]);
            path.push('/');
        } else {
            for (value, i) in key.iter().zip(&layout.partitions) {
                let name = layout.schema.field(*i).name();
                path.push_str(&values::folder(name, value.as_deref()));
                path.push('/');
            }
        }
        let kind = if spec.is_feed { "cdc" } else { "part" };
        path.push_str(&format!("{kind}-00000-{id}-c000{}.parquet", spec.suffix()));
        let location = Path::parse(&path).map_err(|e| {
            NativeError::new(ErrorKind::Internal, format!("the name of a data file: {e}"))
        })?;
        let upload = BufWriter::with_capacity(Arc::clone(&spec.store), location, PART)
            .with_max_concurrency(PARTS);
        let (schema, options) = (Arc::clone(&self.schema), Arc::clone(&spec.parquet));
        Ok(Open {
            file: ParquetFile::new(schema, options, upload),
            path,
            seen: Seen::default(),
            used: self.clock,
        })
    }

    async fn finish_one(&mut self, key: Key) -> Result<()> {
        let Some(open) = self.open.remove(&key) else {
            return Ok(());
        };
        let (metadata, size) = open.file.finish().await?;
        let layout = &self.spec.layout;
        let logical: Vec<_> = layout
            .stored()
            .into_iter()
            .map(|i| layout.schema.field(i).name().clone())
            .chain(self.spec.is_feed.then(|| CHANGE_TYPE.to_owned()))
            .collect();
        let stats = statistics::json(
            &metadata,
            &self.schema,
            &logical,
            &self.spec.indexed,
            &open.seen,
        );
        let names = layout
            .partitions
            .iter()
            .map(|i| layout.physical[*i].name().clone());
        self.done.push(DataFile {
            path: open.path,
            partition_values: names.zip(key).collect(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            stats,
            is_feed: self.spec.is_feed,
        });
        Ok(())
    }

    /// Finishes all files.
    pub async fn finish(mut self) -> Result<Vec<DataFile>> {
        let keys: Vec<_> = self.open.keys().cloned().collect();
        for key in keys {
            self.finish_one(key).await?;
        }
        Ok(self.done)
    }
}
