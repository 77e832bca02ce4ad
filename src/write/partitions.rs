//! Rows by partition, in bounded memory.
//!
//! A writer of Parquet holds what it has encoded of a row group, so that writing to many partitions at once
//! takes memory for each. Rows of the first few partitions pass as they come; those of all others are sorted
//! by partition, on disk where memory is short, and come a few partitions at a time.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::{SortOptions, filter_record_batch, not};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{HashSet, Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, execute_stream_partitioned,
};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::error::{ErrorKind, NativeError};

/// Batches that wait between two tasks.
const AHEAD: usize = 2;

/// How much is written at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Partitions with an open file, in all groups on their way.
    pub partitions: usize,
    /// Bytes of rows after which the partitions that are complete are written out.
    pub bytes: usize,
    /// Bytes of the limit that open files take, which sorting must leave.
    files: usize,
}

impl Budget {
    /// What fits into a query's memory: an open file takes tens of MiB at most.
    pub fn of(context: &TaskContext) -> Self {
        const MIB: usize = 1024 * 1024;
        match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(limit) => Self {
                partitions: (limit / (64 * MIB)).clamp(4, 256),
                bytes: (limit / 16).max(MIB),
                files: limit / 2,
            },
            MemoryLimit::Infinite | MemoryLimit::Unknown => Self {
                partitions: 256,
                bytes: 256 * MIB,
                files: 0,
            },
        }
    }
}

/// Groups whose files are on their way at once.
pub const GROUPS: usize = 2;

/// Rows in two parts.
pub struct Split {
    /// Those of few partitions, in the streams of the plan.
    pub few: Arc<dyn ExecutionPlan>,
    /// All others, by partition.
    pub others: Groups,
}

/// Whether rows of a schema can be told apart by these columns.
pub fn can_split(schema: &Schema, columns: &[String]) -> bool {
    let fields: Option<Vec<_>> = columns
        .iter()
        .map(|name| schema.field_with_name(name).ok())
        .map(|field| Some(SortField::new(field?.data_type().clone())))
        .collect();
    fields.is_some_and(|fields| !fields.is_empty() && RowConverter::supports_fields(&fields))
}

/// Runs a plan and splits its rows by columns that can tell them apart.
pub fn split(
    plan: Arc<dyn ExecutionPlan>,
    columns: &[String],
    budget: Budget,
    context: Arc<TaskContext>,
) -> Result<Split> {
    let schema = plan.schema();
    let indices = columns
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<Result<Vec<_>, _>>()?;
    let order = LexOrdering::new(indices.iter().map(|&i| {
        let column = Column::new(schema.field(i).name(), i);
        PhysicalSortExpr::new(Arc::new(column), SortOptions::default())
    }))
    .ok_or_else(|| internal_datafusion_err!("rows are split by no column"))?;
    let has_others = watch::Sender::new(false);
    let groups_have = has_others.subscribe();
    let shared = Arc::new(Shared {
        open: Mutex::default(),
        has_others,
    });
    let parts = plan.output_partitioning().partition_count();
    let (mut few, mut others) = (Vec::with_capacity(parts), Vec::with_capacity(parts));
    for input in execute_stream_partitioned(plan, Arc::clone(&context))? {
        let mut passing = RecordBatchReceiverStream::builder(Arc::clone(&schema), AHEAD);
        let sorted = RecordBatchReceiverStream::builder(Arc::clone(&schema), AHEAD);
        let route = Route {
            keys: Keys::new(&schema, &indices)?,
            open: Open {
                shared: Arc::clone(&shared),
                known: HashSet::new(),
                most: budget.partitions,
                is_full: false,
            },
            passing: passing.tx(),
            sorted: sorted.tx(),
        };
        passing.spawn(route.run(input));
        few.push(Given::once(passing.build()));
        others.push(Given::once(sorted.build()));
    }
    let few = StreamingTableExec::try_new(Arc::clone(&schema), few, None, [], false, None)?;
    let others = StreamingTableExec::try_new(Arc::clone(&schema), others, None, [], false, None)?;
    let sort = SortExec::new(order.clone(), Arc::new(others)).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(order, Arc::new(sort));
    Ok(Split {
        few: Arc::new(few),
        others: Groups {
            keys: Keys::new(&schema, &indices)?,
            schema,
            has_others: groups_have,
            merge: Arc::new(merge),
            context,
            sorting: None,
            budget,
            rest: None,
        },
    })
}

/// The values of partition columns, comparable.
struct Keys {
    converter: RowConverter,
    indices: Vec<usize>,
}

impl Keys {
    fn new(schema: &SchemaRef, indices: &[usize]) -> Result<Self> {
        let fields = indices
            .iter()
            .map(|&i| SortField::new(schema.field(i).data_type().clone()))
            .collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            indices: indices.to_vec(),
        })
    }

    fn of(&self, batch: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self
            .indices
            .iter()
            .map(|&i| Arc::clone(batch.column(i)))
            .collect();
        Ok(self.converter.convert_columns(&columns)?)
    }
}

type Key = Box<[u8]>;

/// What the streams of a plan have in common.
struct Shared {
    /// The partitions whose rows pass.
    open: Mutex<HashSet<Key>>,
    /// Whether there are rows of others.
    has_others: watch::Sender<bool>,
}

/// The partitions whose rows pass, as one stream knows them.
struct Open {
    shared: Arc<Shared>,
    /// Those that this stream has heard of; all of them once `is_full`.
    known: HashSet<Key>,
    most: usize,
    is_full: bool,
}

impl Open {
    fn has(&mut self, key: &[u8]) -> bool {
        if self.known.contains(key) {
            return true;
        }
        if self.is_full {
            return false;
        }
        let mut shared = self.shared.open.lock();
        if shared.len() < self.most {
            shared.insert(key.into());
        }
        self.is_full = shared.len() >= self.most;
        if self.is_full {
            self.known.clone_from(&shared);
        } else {
            self.known.insert(key.into());
        }
        self.known.contains(key)
    }
}

/// Sends the rows of one stream the one way or the other.
struct Route {
    keys: Keys,
    open: Open,
    passing: mpsc::Sender<Result<RecordBatch>>,
    sorted: mpsc::Sender<Result<RecordBatch>>,
}

impl Route {
    async fn run(mut self, mut input: SendableRecordBatchStream) -> Result<()> {
        while let Some(batch) = input.next().await {
            let batch = batch?;
            let mask = self.passes(&batch)?;
            let (passing, sorted) = match mask.true_count() {
                all if all == batch.num_rows() => (Some(batch), None),
                0 => (None, Some(batch)),
                _ => (
                    Some(filter_record_batch(&batch, &mask)?),
                    Some(filter_record_batch(&batch, &not(&mask)?)?),
                ),
            };
            if sorted.is_some() {
                self.open
                    .shared
                    .has_others
                    .send_if_modified(|has| !std::mem::replace(has, true));
            }
            for (part, to) in [(passing, &self.passing), (sorted, &self.sorted)] {
                if let Some(part) = part
                    && to.send(Ok(part)).await.is_err()
                {
                    // Nobody reads any more: the write has failed elsewhere.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn passes(&mut self, batch: &RecordBatch) -> Result<BooleanArray> {
        let keys = self.keys.of(batch)?;
        let mut before: Option<(Row<'_>, bool)> = None;
        let mask = keys.iter().map(|key| {
            // Rows of a partition often stand together.
            let passes = match before {
                Some((same, passes)) if same == key => passes,
                _ => self.open.has(key.as_ref()),
            };
            before = Some((key, passes));
            passes
        });
        Ok(mask.collect::<Vec<_>>().into())
    }
}

/// A stream as the only partition of a table, for one scan.
struct Given {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl Given {
    fn once(stream: SendableRecordBatchStream) -> Arc<dyn PartitionStream> {
        Arc::new(Self {
            schema: stream.schema(),
            stream: Mutex::new(Some(stream)),
        })
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").finish_non_exhaustive()
    }
}

impl PartitionStream for Given {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.stream.lock().take().unwrap_or_else(|| {
            let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 1);
            let message = "rows split by partition are read twice";
            let error = NativeError::new(ErrorKind::Internal, message);
            builder.spawn(async move { Err(error.into()) });
            builder.build()
        })
    }
}

/// Rows sorted by partition, a few whole partitions at a time.
pub struct Groups {
    schema: SchemaRef,
    keys: Keys,
    /// Its sender goes with the last stream of the plan.
    has_others: watch::Receiver<bool>,
    merge: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    sorting: Option<Sorting>,
    budget: Budget,
    /// What was read of the next group.
    rest: Option<RecordBatch>,
}

/// Rows that are being sorted, and the memory that is kept for the files they go to.
struct Sorting {
    rows: SendableRecordBatchStream,
    _files: MemoryReservation,
}

/// Where the rows of a group go.
pub type Feed = mpsc::Sender<Result<RecordBatch>>;

impl Groups {
    /// Whether there is another group.
    pub async fn has_more(&mut self) -> Result<bool> {
        // A sort that waits for rows would take its share of the memory from others already.
        if self.sorting.is_none() && self.has_others.wait_for(|has| *has).await.is_err() {
            return Ok(false);
        }
        while self.rest.is_none() {
            let sorting = match &mut self.sorting {
                Some(sorting) => sorting,
                none => none.insert(Sorting::start(
                    self.merge.as_ref(),
                    self.budget,
                    &self.context,
                )?),
            };
            match sorting.rows.next().await {
                Some(batch) => self.rest = Some(batch?).filter(|batch| batch.num_rows() > 0),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A plan of rows to be fed to it, and where to.
    pub fn plan(&self) -> Result<(Arc<dyn ExecutionPlan>, Feed)> {
        let schema = &self.schema;
        let builder = RecordBatchReceiverStream::builder(Arc::clone(schema), AHEAD);
        let feed = builder.tx();
        let rows = vec![Given::once(builder.build())];
        let plan = StreamingTableExec::try_new(Arc::clone(schema), rows, None, [], false, None)?;
        Ok((Arc::new(plan), feed))
    }

    /// Feeds the next group.
    pub async fn feed(&mut self, feed: Feed) -> Result<()> {
        let mut last: Option<Key> = None;
        let (mut partitions, mut bytes) = (0, 0);
        while self.has_more().await? {
            let Some(batch) = self.rest.take() else {
                break;
            };
            let keys = self.keys.of(&batch)?;
            let size = batch.get_array_memory_size() / batch.num_rows().max(1);
            let mut end = batch.num_rows();
            let mut from = 0;
            for (i, key) in keys.iter().enumerate() {
                if last.as_deref() == Some(key.as_ref()) {
                    continue;
                }
                bytes += (i - from) * size;
                from = i;
                if partitions >= self.budget.partitions / GROUPS || bytes >= self.budget.bytes {
                    end = i;
                    break;
                }
                partitions += 1;
                last = Some(key.as_ref().into());
            }
            let all = batch.num_rows();
            if end == all {
                bytes += (end - from) * size;
            } else {
                self.rest = Some(batch.slice(end, all - end));
            }
            // Whoever reads says itself why it has stopped.
            if (end > 0 && feed.send(Ok(batch.slice(0, end))).await.is_err()) || end < all {
                break;
            }
        }
        Ok(())
    }
}

impl Sorting {
    fn start(
        merge: &dyn ExecutionPlan,
        budget: Budget,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let files = MemoryConsumer::new("open files").register(context.memory_pool());
        // Where others have taken the memory, sorting makes do with what there is.
        let _ = files.try_grow(budget.files);
        Ok(Self {
            rows: merge.execute(0, Arc::clone(context))?,
            _files: files,
        })
    }
}
