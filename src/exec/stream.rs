//! Rows on their way out: one driver task per stream, a bounded channel, one reader.
//!
//! The driver takes the execution slot, runs the plan on the runtime (partitions in parallel) and
//! stops at the deadline, on cancel, or when the stream is dropped. The end of the data is a message
//! of its own: a channel that closes without one was cancelled, and is never taken for the end.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan, execute_stream};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::activity::{self, Activity};
use super::engine::Engine;
use super::handover;
use super::query::Execution;
use crate::delta::expired;
use crate::error::{ErrorKind, NativeError, Result};
use crate::runtime::{self, Task};
use crate::store::account::{IoAccount, blamed};

/// Batches that may wait for the reader; more would only cost memory.
const BUFFERED: usize = 2;

/// How long a second attempt waits until what the first one held is given back.
const LETTING_GO: Duration = Duration::from_secs(2);

/// A query's place among those that execute at once: waited for once, held by all streams of the query
/// together.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<OnceCell<OwnedSemaphorePermit>>);

impl Slot {
    /// Waits for the place, at most the profile's `queue_timeout`.
    pub async fn enter(&self, engine: &Engine) -> Result<()> {
        self.0.get_or_try_init(|| async {
            let wait = engine.config.queue_timeout;
            let taken = Arc::clone(&engine.slots).acquire_owned();
            match tokio::time::timeout(wait, taken).await {
                Ok(Ok(permit)) => Ok(permit),
                Ok(Err(_)) => Err(NativeError::new(
                    ErrorKind::EngineClosed,
                    "the engine is closed",
                )),
                Err(_) => Err(NativeError::new(
                    ErrorKind::PoolTimeout,
                    format!(
                        "all {} execution slots stayed busy for {:.1} s (queue_timeout); read or \
                         close the results that are open, or raise pool_size",
                        engine.config.slots,
                        wait.as_secs_f64()
                    ),
                )),
            }
        })
        .await
        .map(drop)
    }
}

pub enum Message {
    Batch(RecordBatch),
    End,
}

enum State {
    Ready(Box<Start>),
    Running(mpsc::Receiver<Result<Message>>),
    /// The receiver is with a caller that waits for a batch.
    Busy,
    Finished,
    Failed,
    Closed,
}

/// All a driver needs.
pub struct Start {
    pub engine: Arc<Engine>,
    pub plan: Arc<dyn ExecutionPlan>,
    pub context: Arc<TaskContext>,
    /// One partition of the plan, or all of them merged.
    pub partition: Option<usize>,
    pub deadline: Option<Instant>,
    pub slot: Slot,
    pub account: Arc<IoAccount>,
    /// Ends with the last stream; after the plan, which it is about.
    pub execution: Option<Arc<Execution>>,
}

/// The reading end.
pub struct Rows {
    pub schema: SchemaRef,
    pub cancel: CancellationToken,
    engine: Arc<Engine>,
    state: Mutex<State>,
}

impl Rows {
    pub fn new(start: Start) -> Self {
        Self {
            schema: start.engine.handed_over(&start.plan.schema()),
            cancel: start.engine.closing.child_token(),
            engine: Arc::clone(&start.engine),
            state: Mutex::new(State::Ready(Box::new(start))),
        }
    }

    pub fn close(&self) {
        self.cancel.cancel();
        let mut state = self.state.lock();
        if !matches!(*state, State::Finished | State::Failed) {
            *state = State::Closed;
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(
            *self.state.lock(),
            State::Finished | State::Failed | State::Closed
        )
    }

    /// The next batch, or `None` after the last. One reader at a time.
    pub async fn next(&self) -> Result<Option<RecordBatch>> {
        // A child of a fork has the channel and none of the threads that fill it.
        self.engine.check_process()?;
        let mut receiver = match self.take()? {
            Some(receiver) => receiver,
            None => return Ok(None),
        };
        // Dropped while it waits (Ctrl-C, a deadline), the guard closes the stream.
        let guard = Guard(self);
        let message = receiver.recv().await;
        std::mem::forget(guard);
        let mut state = self.state.lock();
        match message {
            Some(Ok(Message::Batch(batch))) => {
                // `close` may have come while we waited: then the batch is not wanted any more.
                match std::mem::replace(&mut *state, State::Closed) {
                    State::Busy => {
                        *state = State::Running(receiver);
                        Ok(Some(batch))
                    }
                    _ => Err(runtime::cancelled()),
                }
            }
            Some(Ok(Message::End)) => {
                *state = State::Finished;
                Ok(None)
            }
            Some(Err(e)) => {
                *state = State::Failed;
                Err(e)
            }
            None => {
                *state = State::Closed;
                Err(runtime::cancelled())
            }
        }
    }

    /// Starts the driver at the first call; `None` at the end of the data.
    fn take(&self) -> Result<Option<mpsc::Receiver<Result<Message>>>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Ready(start) => {
                let (sender, receiver) = mpsc::channel(BUFFERED);
                // It ends by itself where it is told to, or nobody reads: it has to see to what it began.
                let driving = drive(*start, self.cancel.clone(), sender);
                drop(runtime::control()?.spawn(driving));
                *state = State::Busy;
                Ok(Some(receiver))
            }
            State::Running(receiver) => {
                *state = State::Busy;
                Ok(Some(receiver))
            }
            State::Busy => {
                *state = State::Busy;
                Err(NativeError::new(
                    ErrorKind::StreamConsumed,
                    "another thread is reading this stream; read from one place, or use partitions()",
                ))
            }
            State::Finished => {
                *state = State::Finished;
                Ok(None)
            }
            State::Failed => {
                *state = State::Failed;
                Err(NativeError::new(
                    ErrorKind::StreamConsumed,
                    "the stream has failed before and gives no more rows",
                ))
            }
            State::Closed => Err(runtime::cancelled()),
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Guard<'a>(&'a Rows);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn drive(start: Start, cancel: CancellationToken, sender: mpsc::Sender<Result<Message>>) {
    let deadline = start.deadline;
    let (engine, tables) = (Arc::clone(&start.engine), expired::tables(&start.plan));
    let account = Arc::clone(&start.account);
    let activity = Arc::new(Activity::default());
    let stalled = stalled(&start, &activity);
    // Lives until the outcome is known, so that who waits for the end of the query is told of it.
    let execution = start.execution.clone();
    if let Some(execution) = &execution {
        execution.query.course.open();
        execution.query.abandon(false);
    }
    let work = async {
        let waiting = activity.busy();
        start.slot.enter(&start.engine).await?;
        let rows = sender.clone();
        let reading = Arc::clone(&activity);
        let pumping = async move {
            match blamed(Arc::clone(&account), pump(start, &rows, &reading)).await {
                Err(error) => Err(expired::explain(&engine, &tables, &account, error).await),
                done => done,
            }
        };
        let pumping = activity.watched(pumping);
        drop(waiting);
        // An operator that computes for long keeps its thread, and nothing but that.
        Task::spawn(pumping)?.outcome().await?
    };
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(runtime::cancelled()),
        () = until(deadline) => Err(runtime::timed_out()),
        error = stalled => Err(error),
        // The reader is gone.
        () = sender.closed() => Err(runtime::cancelled()),
        done = work => done,
    };
    if let Some(execution) = &execution {
        let left = execution.query.course.close(outcome.as_ref().err());
        if left == 0 && outcome.is_err() {
            execution.query.abandon(true);
        }
    }
    drop(execution);
    let last = outcome.map(|()| Message::End);
    // A full channel empties when the reader reads on, or closes with the reader.
    let _ = sender.send(last).await;
}

/// Says that the query waits for itself; never where it cannot be told: with a reader for each partition, or
/// where another library computes.
fn stalled(
    start: &Start,
    activity: &Arc<Activity>,
) -> impl Future<Output = NativeError> + Send + use<> {
    let is_told = start.partition.is_none() && !activity::has_foreign(&start.plan);
    let limit = start.engine.config.stall_timeout.filter(|_| is_told);
    let activity = Arc::clone(activity);
    let (own, all) = (Arc::clone(&start.account), Arc::clone(&start.engine.io));
    let query = start.execution.as_ref().map(|e| Arc::clone(&e.query));
    async move {
        let Some(limit) = limit else {
            return pending().await;
        };
        // A query may wait for what another one loads.
        let has_requests = || own.under_way() > 0 || all.under_way() > 0;
        activity.stalled(limit, has_requests).await;
        let plan = query.and_then(|query| query.running_plan());
        activity::stalled(plan.as_ref(), limit)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

async fn pump(
    start: Start,
    sender: &mpsc::Sender<Result<Message>>,
    activity: &Arc<Activity>,
) -> Result<()> {
    let query = start.execution.as_ref().map(|e| Arc::clone(&e.query));
    let course = query.as_ref().map(|query| &query.course);
    if let Some(course) = course {
        course.start();
    }
    let schema = start.engine.handed_over(&start.plan.schema());
    // Dropped in this order: the stream, then what ends the execution (a field of `start`). The plan is the
    // query's from here on, and goes where another one takes its place.
    let Start {
        plan,
        context,
        partition,
        execution,
        ..
    } = start;
    let begin = |plan: Arc<dyn ExecutionPlan>, context| match partition {
        Some(partition) => plan.execute(partition, context),
        None => execute_stream(plan, context),
    };
    let _execution = execution;
    let mut stream = begin(plan, context)?;
    let mut next = stream.next().await;
    if let (Some(Err(error)), Some(query), None) = (&next, &query, partition)
        && matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
    {
        // No row is out: hash joins that have no room give way to joins that sort and spill, and other operators
        // work on a few rows at a time. What the first attempt holds goes before the second begins.
        stream = Box::pin(EmptyRecordBatchStream::new(stream.schema()));
        // What keeps a second attempt from being made, or ends it, says less than the first.
        if let Ok(Some((plan, context))) = query.with_less_memory().await {
            let until = tokio::time::Instant::now() + LETTING_GO;
            while query.pool.reserved() > 0 && tokio::time::Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let again = begin(plan, context).map(|rows| stream = rows);
            let first = match again {
                Ok(()) => stream.next().await,
                Err(error) => Some(Err(error)),
            };
            if !matches!(&first, Some(Err(error)) if is_of_plan(error)) {
                next = first;
            }
        }
    }
    while let Some(batch) = next {
        let batch = batch?;
        if batch.num_rows() > 0 {
            if let Some(course) = course {
                course.gave(&batch)?;
            }
            let batch = handover::under(batch, &schema)?;
            let _reading = activity.busy();
            if sender.send(Ok(Message::Batch(batch))).await.is_err() {
                return Ok(());
            }
        }
        next = stream.next().await;
    }
    Ok(())
}

/// Whether an error says that a plan cannot be run, whatever its rows.
fn is_of_plan(error: &DataFusionError) -> bool {
    matches!(
        error.find_root(),
        DataFusionError::NotImplemented(_)
            | DataFusionError::Internal(_)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
    ) || matches!(error.find_root(), DataFusionError::ArrowError(error, _)
        if matches!(error.as_ref(), ArrowError::InvalidArgumentError(_) | ArrowError::SchemaError(_)))
}
