//! Arrow data as tables: batches in memory, and a stream that can be read once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use parking_lot::Mutex;

use super::encodings;
use super::nulls::masked;
use crate::error::{ErrorKind, NativeError};
use crate::exit;
use crate::planner::floats::canonical;

/// Batches that a stream may be ahead of the plan that reads it.
const AHEAD: usize = 2;

/// Batches in memory, spread over partitions so that scans run in parallel.
pub fn memory_table(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    partitions: usize,
) -> Result<MemTable> {
    let partitions = partitions.clamp(1, batches.len().max(1));
    let schema = of_table(&schema);
    let mut spread = vec![Vec::new(); partitions];
    for (i, batch) in batches.into_iter().enumerate() {
        spread[i % partitions].push(under(batch, &schema)?);
    }
    MemTable::try_new(schema, spread)
}

/// The schema of a table: its columns are encoded as operators know, and what other libraries note on it as a whole
/// (pandas its index) means nothing, while writers compare schemas with all that is on them.
pub fn of_table(schema: &SchemaRef) -> SchemaRef {
    let schema = encodings::schema(schema);
    Arc::new(Schema::new(schema.fields().clone()))
}

/// A batch under another schema of as many columns, with the fields of NULL structs NULL, each NaN in the
/// same form, and encodings that operators know.
pub fn under(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().iter();
    let columns = columns.map(|column| {
        let column = encodings::column(column)?;
        masked(&canonical::column(&column)?)
    });
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns.collect::<Result<_, _>>()?,
        &rows,
    )
}

pub type Reader = Box<dyn RecordBatchReader + Send>;

/// Gives the rows, once more where they can be read again.
type Open = Arc<dyn Fn() -> Result<Option<Reader>> + Send + Sync>;

/// A table whose rows come as a stream.
#[derive(Debug)]
pub struct StreamTable {
    rows: Arc<dyn PartitionStream>,
}

struct Streamed {
    name: String,
    schema: SchemaRef,
    open: Open,
}

impl StreamTable {
    /// One that can be read once.
    pub fn new(name: String, reader: Reader) -> Self {
        let schema = reader.schema();
        let reader = Mutex::new(Some(reader));
        Self::opened(name, &schema, Arc::new(move || Ok(reader.lock().take())))
    }

    /// One that is read from the beginning each time: of `first`, then of what `again` gives.
    pub fn repeatable(
        name: String,
        first: Reader,
        again: impl Fn() -> Result<Reader> + Send + Sync + 'static,
    ) -> Self {
        let schema = first.schema();
        let first = Mutex::new(Some(first));
        let open = move || match first.lock().take() {
            Some(reader) => Ok(Some(reader)),
            None => again().map(Some),
        };
        Self::opened(name, &schema, Arc::new(open))
    }

    /// One that is read from the beginning each time, of what `open` gives.
    pub fn anew(
        name: String,
        schema: &SchemaRef,
        open: impl Fn() -> Result<Reader> + Send + Sync + 'static,
    ) -> Self {
        Self::opened(name, schema, Arc::new(move || open().map(Some)))
    }

    fn opened(name: String, schema: &SchemaRef, open: Open) -> Self {
        Self::of(Arc::new(Streamed {
            name,
            schema: of_table(schema),
            open,
        }))
    }

    pub fn of(rows: Arc<dyn PartitionStream>) -> Self {
        Self { rows }
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.rows.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = StreamingTableExec::try_new(
            self.schema(),
            vec![Arc::clone(&self.rows)],
            projection,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(plan))
    }
}

impl PartitionStream for Streamed {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        // A frame may come as one batch of all its rows: what is computed of it would be as large again.
        let step = context.session_config().batch_size().max(1);
        let open = Arc::clone(&self.open);
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), AHEAD);
        let sender = builder.tx();
        let name = self.name.clone();
        let schema = Arc::clone(&self.schema);
        // A reader may wait on anything, Python included, so it gets a thread that may block.
        builder.spawn_blocking(move || {
            let Some(mut reader) = exit::guarded(|| open())?? else {
                return Err(NativeError::new(
                    ErrorKind::StreamConsumed,
                    format!(
                        "the stream {name} can be read once and the query reads it twice; \
                         read it into a pyarrow.Table first"
                    ),
                )
                .into());
            };
            while let Some(batch) = exit::guarded(|| reader.next())? {
                let batch = match batch.and_then(|b| under(b, &schema)) {
                    Ok(batch) => batch,
                    Err(error) => return Err(error.into()),
                };
                for start in (0..batch.num_rows()).step_by(step) {
                    let part = batch.slice(start, step.min(batch.num_rows() - start));
                    if sender.blocking_send(Ok(part)).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        builder.build()
    }
}
