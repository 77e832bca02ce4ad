//! Rows to the bytes of one Parquet file.
//!
//! Columns are encoded side by side where fewer streams of rows come than there are processors. A column
//! whose values hardly repeat is written without a dictionary: the writer of Parquet would fill one for each
//! row group, only to give it up.

use std::collections::HashSet as Set;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::HashSet;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, compute_leaves,
};
use deltalake::parquet::arrow::async_writer::AsyncFileWriter;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::file::writer::SerializedFileWriter;
use deltalake::parquet::schema::types::ColumnPath;
use object_store::buffered::BufWriter;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::statistics;
use crate::error::{ErrorKind, NativeError, Result};

/// Rows and bytes that a file's columns are judged by.
const SAMPLE_ROWS: usize = 32 * 1024;
const SAMPLE_BYTES: usize = 4 * 1024 * 1024;

/// How Parquet files are written.
#[derive(Clone, Debug, Default)]
pub struct ParquetOptions {
    pub properties: WriterProperties,
    /// Whether the caller says of all columns whether they have a dictionary.
    pub is_dictionary_given: bool,
    /// Columns that the caller says it of.
    pub dictionary_given: Set<ColumnPath>,
}

impl ParquetOptions {
    /// Properties of a file that begins with these rows.
    fn properties(&self, schema: &SchemaRef, first: &[RecordBatch]) -> Result<WriterProperties> {
        let mut properties = self.properties.clone().into_builder();
        for leaf in statistics::float_leaves(schema) {
            properties = properties.set_column_statistics_enabled(leaf, EnabledStatistics::None);
        }
        if self.is_dictionary_given {
            return Ok(properties.build());
        }
        for (i, field) in schema.fields().iter().enumerate() {
            let path = ColumnPath::new(vec![field.name().clone()]);
            if self.dictionary_given.contains(&path) || !self.properties.dictionary_enabled(&path) {
                continue;
            }
            let limit = self.properties.column_dictionary_page_size_limit(&path);
            let columns: Vec<_> = first
                .iter()
                .map(|rows| Arc::clone(rows.column(i)))
                .collect();
            if hardly_repeats(&columns, limit)? {
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        Ok(properties.build())
    }
}

/// Whether a dictionary of values like these would outgrow `limit` bytes, or hold each of them once.
///
/// Of `n` values drawn from `d`, about `n * n / 2d` repeat one that came before.
fn hardly_repeats(columns: &[ArrayRef], limit: usize) -> Result<bool> {
    const STEP: usize = 1024;
    let Some(kind) = columns.first().map(|column| column.data_type()) else {
        return Ok(false);
    };
    let rows: usize = columns
        .iter()
        .map(|column| column.len() - column.null_count())
        .sum();
    let bytes: usize = match kind {
        DataType::Utf8 | DataType::Binary => columns
            .iter()
            .map(slice_bytes)
            .sum::<usize>()
            .checked_div(rows)
            .unwrap_or_default(),
        kind => match kind.primitive_width() {
            Some(width) => width,
            None => return Ok(false),
        },
    };
    // Half of what would be expected: it is rather kept where it is in doubt.
    let allowed = u128::try_from(rows * rows).unwrap_or_default()
        * u128::try_from(bytes).unwrap_or_default()
        / u128::try_from(4 * limit.max(1)).unwrap_or(u128::MAX);
    let state = RandomState::default();
    let mut seen: HashSet<u64> = HashSet::new();
    let (mut hashes, mut repeated) = (Vec::new(), 0_u128);
    for column in columns {
        for start in (0..column.len()).step_by(STEP) {
            let part = column.slice(start, STEP.min(column.len() - start));
            hashes.clear();
            hashes.resize(part.len(), 0);
            create_hashes([&part], &state, &mut hashes)?;
            for (i, hash) in hashes.iter().enumerate() {
                if part.is_valid(i) && !seen.insert(*hash) {
                    repeated += 1;
                }
            }
            if repeated > allowed {
                return Ok(false);
            }
        }
    }
    Ok(rows > 0)
}

/// Bytes of the values of an array, which may be a part of larger buffers.
pub fn slice_bytes(column: &ArrayRef) -> usize {
    let found = column.to_data().get_slice_memory_size();
    found.unwrap_or_else(|_| column.get_array_memory_size())
}

/// Bytes of the values of rows, which may be a part of larger buffers.
pub fn rows_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(slice_bytes).sum()
}

/// One file on its way.
pub struct ParquetFile {
    schema: SchemaRef,
    options: Arc<ParquetOptions>,
    upload: BufWriter,
    /// Rows that wait for the file to be begun.
    first: Vec<RecordBatch>,
    first_rows: usize,
    first_bytes: usize,
    encoder: Option<Encoder>,
}

impl ParquetFile {
    pub fn new(schema: SchemaRef, options: Arc<ParquetOptions>, upload: BufWriter) -> Self {
        Self {
            schema,
            options,
            upload,
            first: Vec::new(),
            first_rows: 0,
            first_bytes: 0,
            encoder: None,
        }
    }

    /// Writes rows of the file's schema, `width` columns at a time.
    pub async fn write(&mut self, rows: RecordBatch, width: usize) -> Result<()> {
        if let Some(encoder) = &mut self.encoder {
            encoder.write(&rows, width, &mut self.upload).await?;
            return Ok(());
        }
        self.first_rows += rows.num_rows();
        self.first_bytes += rows_bytes(&rows);
        self.first.push(rows);
        if self.first_rows >= SAMPLE_ROWS || self.first_bytes >= SAMPLE_BYTES {
            self.begin(width).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, width: usize) -> Result<()> {
        let first = std::mem::take(&mut self.first);
        let properties = self.options.properties(&self.schema, &first)?;
        let encoder = self.encoder.insert(Encoder::new(&self.schema, properties)?);
        for rows in first {
            encoder.write(&rows, width, &mut self.upload).await?;
        }
        Ok(())
    }

    /// Bytes of the file as far as it is there.
    pub fn size(&self) -> usize {
        match &self.encoder {
            Some(encoder) => encoder.written + encoder.in_progress(),
            None => self.first_bytes,
        }
    }

    /// Ends the file; what its footer says, and its bytes.
    pub async fn finish(mut self) -> Result<(ParquetMetaData, usize)> {
        if self.encoder.is_none() {
            self.begin(1).await?;
        }
        let Some(encoder) = &mut self.encoder else {
            return Err(NativeError::new(
                ErrorKind::Internal,
                "a file was not begun",
            ));
        };
        let metadata = encoder.finish(&mut self.upload).await?;
        self.upload.complete().await.map_err(parquet)?;
        Ok((metadata, encoder.written))
    }
}

/// A leaf of the row group that is being filled.
struct Column {
    writer: ArrowColumnWriter,
    /// How long its values took so far.
    took: Duration,
}

struct Encoder {
    schema: SchemaRef,
    writer: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    columns: Vec<Column>,
    /// Of the row group.
    rows: usize,
    /// Bytes of the file that are no longer here.
    written: usize,
}

impl Encoder {
    fn new(schema: &SchemaRef, properties: WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties));
        let made = writer.and_then(ArrowWriter::into_serialized_writer);
        let (writer, factory) = made.map_err(parquet)?;
        Ok(Self {
            schema: Arc::clone(schema),
            writer,
            factory,
            columns: Vec::new(),
            rows: 0,
            written: 0,
        })
    }

    fn in_progress(&self) -> usize {
        let columns = self.columns.iter();
        columns
            .map(|column| column.writer.get_estimated_total_bytes())
            .sum()
    }

    async fn write(&mut self, rows: &RecordBatch, width: usize, to: &mut BufWriter) -> Result<()> {
        let properties = self.writer.properties();
        let most_rows = properties
            .max_row_group_row_count()
            .unwrap_or(usize::MAX)
            .max(1);
        let most_bytes = properties.max_row_group_bytes().unwrap_or(usize::MAX);
        let mut start = 0;
        while start < rows.num_rows() {
            let count = (rows.num_rows() - start).min(most_rows - self.rows);
            self.encode(&rows.slice(start, count), width).await?;
            start += count;
            if self.rows >= most_rows || self.in_progress() >= most_bytes {
                self.end_row_group()?;
                self.send(to).await?;
            }
        }
        Ok(())
    }

    async fn encode(&mut self, rows: &RecordBatch, width: usize) -> Result<()> {
        if self.columns.is_empty() {
            let group = self.writer.flushed_row_groups().len();
            let writers = self.factory.create_column_writers(group).map_err(parquet)?;
            self.columns
                .extend(writers.into_iter().map(|writer| Column {
                    writer,
                    took: Duration::ZERO,
                }));
        }
        self.rows += rows.num_rows();
        let mut leaves = Vec::with_capacity(self.columns.len());
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            leaves.extend(compute_leaves(field, column).map_err(parquet)?);
        }
        if leaves.len() != self.columns.len() {
            return Err(NativeError::new(
                ErrorKind::Internal,
                format!(
                    "rows have {} leaves and a file {}",
                    leaves.len(),
                    self.columns.len()
                ),
            ));
        }
        if width < 2 || leaves.len() < 2 {
            for (column, leaf) in self.columns.iter_mut().zip(&leaves) {
                column.writer.write(leaf).map_err(parquet)?;
            }
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        self.columns = side_by_side(columns, leaves, width).await?;
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        self.rows = 0;
        let columns = std::mem::take(&mut self.columns);
        let mut group = self.writer.next_row_group().map_err(parquet)?;
        for column in columns {
            let chunk = column.writer.close().map_err(parquet)?;
            chunk.append_to_row_group(&mut group).map_err(parquet)?;
        }
        group.close().map_err(parquet)?;
        Ok(())
    }

    /// Hands over what is complete.
    async fn send(&mut self, to: &mut BufWriter) -> Result<()> {
        let flushed = self.writer.flush();
        flushed.map_err(|e| parquet(ParquetError::External(Box::new(e))))?;
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        self.written += bytes.len();
        to.put(bytes)
            .await
            .map_err(|e| parquet(ParquetError::External(Box::new(e))))
    }

    async fn finish(&mut self, to: &mut BufWriter) -> Result<ParquetMetaData> {
        self.end_row_group()?;
        let metadata = self.writer.finish().map_err(parquet)?;
        self.send(to).await?;
        Ok(metadata)
    }
}

/// Encodes leaves, so many at a time; those that take longest first.
async fn side_by_side(
    columns: Vec<Column>,
    leaves: Vec<ArrowLeafColumn>,
    width: usize,
) -> Result<Vec<Column>> {
    let mut jobs: Vec<_> = columns.into_iter().zip(leaves).enumerate().collect();
    jobs.sort_by_key(|(_, (column, _))| column.took);
    let count = jobs.len();
    let jobs = Arc::new(Mutex::new(jobs));
    let work = move || -> Result<Vec<(usize, Column)>> {
        let mut done = Vec::new();
        loop {
            let Some((i, (mut column, leaf))) = jobs.lock().pop() else {
                return Ok(done);
            };
            let started = Instant::now();
            column.writer.write(&leaf).map_err(parquet)?;
            column.took += started.elapsed();
            done.push((i, column));
        }
    };
    let mut tasks = JoinSet::new();
    // All of them: a worker that goes on itself keeps the task that it has spawned last from the others.
    for _ in 0..width {
        let work = work.clone();
        tasks.spawn(async move { work() });
    }
    let mut done = Vec::with_capacity(count);
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(|e| {
            NativeError::new(
                ErrorKind::Internal,
                format!("a task that encodes ended: {e}"),
            )
        })?;
        done.extend(ended?);
    }
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, column)| column).collect())
}

fn parquet(error: ParquetError) -> NativeError {
    NativeError::from(datafusion::common::DataFusionError::from(error))
}
