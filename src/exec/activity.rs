//! Whether a query still does something.
//!
//! Operators hand work to tasks of their own, and wait for each other. Every task of a query is watched: a query
//! none of whose tasks has run for long, while no request is under way and nobody is slow to read, waits for
//! itself (as in apache/datafusion#24883), and would do so for ever.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion_ffi::execution_plan::ForeignExecutionPlan;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::error::{ErrorKind, NativeError};

/// What the tasks of one query do.
#[derive(Debug, Default)]
pub struct Activity {
    /// What runs at present, or keeps the query waiting.
    busy: AtomicUsize,
    /// What has ended.
    steps: AtomicU64,
}

/// Something that goes on.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.steps.fetch_add(1, Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

impl Activity {
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Acquire);
        Busy(Arc::clone(self))
    }

    /// Work, with all tasks that it begins.
    pub fn watched<F: Future>(self: &Arc<Self>, work: F) -> Watched<F> {
        trace();
        Watched {
            work: Box::pin(work),
            activity: Arc::clone(self),
        }
    }

    /// Ends once nothing has gone on for `limit`, and nothing else `keeps_waiting`.
    pub async fn stalled(&self, limit: Duration, keeps_waiting: impl Fn() -> bool) {
        let mut seen = self.steps.load(Ordering::Relaxed);
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(limit / 4).await;
            let steps = self.steps.load(Ordering::Relaxed);
            if self.busy.load(Ordering::Acquire) > 0 || steps != seen || keeps_waiting() {
                seen = steps;
                since = Instant::now();
            } else if since.elapsed() >= limit {
                return;
            }
        }
    }
}

thread_local! {
    /// Whose task runs on this thread.
    static CURRENT: RefCell<Option<Arc<Activity>>> = const { RefCell::new(None) };
}

/// Makes a query the one whose task runs on this thread, until it is dropped.
struct Running {
    before: Option<Arc<Activity>>,
    _busy: Busy,
}

impl Running {
    fn of(activity: &Arc<Activity>) -> Self {
        let busy = activity.busy();
        let before = CURRENT.replace(Some(Arc::clone(activity)));
        Self {
            before,
            _busy: busy,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// A future that tells of each time it runs.
pub struct Watched<F> {
    work: Pin<Box<F>>,
    activity: Arc<Activity>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _running = Running::of(&self.activity);
        self.work.as_mut().poll(context)
    }
}

/// Has DataFusion's tasks watched for the query whose task begins them.
struct Tracer;

type Boxed = Box<dyn Any + Send>;

impl JoinSetTracer for Tracer {
    fn trace_future(&self, work: BoxFuture<'static, Boxed>) -> BoxFuture<'static, Boxed> {
        match current() {
            Some(activity) => Box::pin(activity.watched(work)),
            None => work,
        }
    }

    fn trace_block(
        &self,
        work: Box<dyn FnOnce() -> Boxed + Send>,
    ) -> Box<dyn FnOnce() -> Boxed + Send> {
        match current() {
            Some(activity) => Box::new(move || {
                let _running = Running::of(&activity);
                work()
            }),
            None => work,
        }
    }
}

fn current() -> Option<Arc<Activity>> {
    CURRENT.with_borrow(Clone::clone)
}

fn trace() {
    static ONCE: Once = Once::new();
    // Of an engine; nothing else in the process traces tasks of this copy of DataFusion.
    ONCE.call_once(|| drop(set_join_set_tracer(&Tracer)));
}

/// Whether tasks that are not watched compute for a plan: those of another library.
pub fn has_foreign(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ForeignExecutionPlan>().is_some()
        || plan.children().into_iter().any(has_foreign)
}

/// That a query waits for itself, with the operators that have not ended.
pub fn stalled(plan: Option<&Arc<dyn ExecutionPlan>>, limit: Duration) -> NativeError {
    let mut names = Vec::new();
    if let Some(plan) = plan {
        unfinished(plan, &mut names);
    }
    let names = match names.is_empty() {
        true => "its operators".to_owned(),
        false => names.join(", "),
    };
    let message = format!(
        "the query has made no progress for {} s, and nothing keeps it waiting: {names} wait for each other; \
         target_partitions=1, or a larger memory_limit, may help (EngineProfile.stall_timeout)",
        limit.as_secs_f64()
    );
    NativeError::new(ErrorKind::Execution, message)
}

fn unfinished(plan: &Arc<dyn ExecutionPlan>, names: &mut Vec<String>) {
    let metrics = plan.metrics();
    let is_open = metrics.is_some_and(|metrics| {
        metrics.iter().any(|metric| {
            matches!(metric.value(), MetricValue::EndTimestamp(end) if end.value().is_none())
        })
    });
    let name = plan.name().to_owned();
    if is_open && !names.contains(&name) {
        names.push(name);
    }
    for child in plan.children() {
        unfinished(child, names);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use datafusion::arrow::datatypes::{Schema, SchemaRef};
    use datafusion::common::runtime::SpawnedTask;
    use datafusion::execution::{SendableRecordBatchStream, TaskContext};
    use datafusion::physical_plan::ExecutionPlan;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::Activity;
    use crate::error::ErrorKind;
    use crate::exec::engine::{Engine, EngineConfig, PoolKind};
    use crate::exec::stream::{Rows, Slot, Start};

    const LIMIT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn tasks_that_wait_for_each_other_are_stalled() {
        let activity = Arc::new(Activity::default());
        let work = activity.watched(async {
            let task = SpawnedTask::spawn(pending::<()>());
            let _ = task.join().await;
        });
        let work = tokio::spawn(work);
        activity.stalled(LIMIT, || false).await;
        assert!(!work.is_finished());
        work.abort();
    }

    #[tokio::test]
    async fn a_task_of_a_task_that_computes_is_not_stalled() {
        let activity = Arc::new(Activity::default());
        let (ended, end) = oneshot::channel::<()>();
        let work = activity.watched(async {
            let inner = async {
                let closure = SpawnedTask::spawn_blocking(move || end.blocking_recv());
                let _ = closure.join().await;
            };
            let _ = SpawnedTask::spawn(inner).join().await;
            pending::<()>().await;
        });
        let work = tokio::spawn(work);
        assert!(
            timeout(LONG, activity.stalled(LIMIT, || false))
                .await
                .is_err()
        );
        let _ = ended.send(());
        activity.stalled(LIMIT, || false).await;
        work.abort();
    }

    #[tokio::test]
    async fn a_task_that_runs_now_and_then_is_not_stalled() {
        let activity = Arc::new(Activity::default());
        let work = tokio::spawn(activity.watched(async {
            loop {
                tokio::time::sleep(LIMIT / 4).await;
            }
        }));
        assert!(
            timeout(LONG, activity.stalled(LIMIT, || false))
                .await
                .is_err()
        );
        work.abort();
    }

    #[tokio::test]
    async fn what_keeps_waiting_is_no_stall() {
        let activity = Arc::new(Activity::default());
        let request = AtomicBool::new(true);
        let stalled = activity.stalled(LIMIT, || request.load(Ordering::Relaxed));
        assert!(timeout(LONG, stalled).await.is_err());
        let reader = activity.busy();
        assert!(
            timeout(LONG, activity.stalled(LIMIT, || false))
                .await
                .is_err()
        );
        drop(reader);
        activity.stalled(LIMIT, || false).await;
    }

    #[derive(Debug)]
    struct Never(SchemaRef);

    impl PartitionStream for Never {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let rows = futures::stream::pending();
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), rows))
        }
    }

    fn never(stall_timeout: Option<Duration>) -> Rows {
        let config = EngineConfig {
            memory_limit: None,
            memory_pool: PoolKind::Unbounded,
            spill_dir: None,
            max_spill: Some(0),
            slots: 1,
            queue_timeout: LONG,
            stall_timeout,
            metadata_cache: 0,
            list_files_cache: 0,
            list_files_ttl: None,
            file_statistics_cache: 0,
            snapshot_cache: 0,
            string_views: false,
        };
        let engine = Engine::new(config, vec![]).expect("an engine");
        let schema = Arc::new(Schema::empty());
        let parts: Vec<Arc<dyn PartitionStream>> = vec![
            Arc::new(Never(Arc::clone(&schema))),
            Arc::new(Never(Arc::clone(&schema))),
        ];
        let scan = StreamingTableExec::try_new(schema, parts, None, [], false, None);
        let scan = Arc::new(scan.expect("a scan")) as Arc<dyn ExecutionPlan>;
        Rows::new(Start {
            plan: Arc::new(CoalescePartitionsExec::new(scan)),
            context: Arc::new(TaskContext::default()),
            partition: None,
            deadline: None,
            slot: Slot::default(),
            account: Arc::clone(&engine.io),
            execution: None,
            engine,
        })
    }

    #[tokio::test]
    async fn a_query_that_waits_for_itself_ends() {
        let error = never(Some(LIMIT)).next().await.expect_err("no rows");
        assert_eq!(error.kind, ErrorKind::Execution);
        assert!(error.message.contains("no progress"), "{}", error.message);
        assert!(timeout(LONG, never(None).next()).await.is_err());
    }
}
