//! A planned query: logical plan in, physical plan and everything known about it out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use parking_lot::Mutex;

use super::codec::HandleCodec;
use super::course::{Course, Phase};
use super::digest::Digest;
use super::engine::Engine;
use super::memory::QueryPool;
use super::physical;
use super::proto;
use super::replay;
use super::sql::{self, Refusal, optimized, verified};
use super::stream::Slot;
use crate::error::{ErrorKind, NativeError, Result};
use crate::metrics::funnel::{self, Funnel, funnels};
use crate::metrics::{Measured, measured};
use crate::planner::abandoned::Abandoned;
use crate::store::account::IoAccount;
use crate::store::trace::{nanos, now};

/// What a query runs under.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub settings: HashMap<String, String>,
    pub memory_limit: Option<usize>,
    pub deadline: Option<Instant>,
    pub account: Arc<IoAccount>,
    /// Whether plan texts are kept once the query has run.
    pub capture: bool,
    /// Whether the rows are digested on their way out.
    pub digest: bool,
    /// Whether anybody waits for it.
    pub abandoned: Arc<Abandoned>,
}

#[derive(Debug)]
pub struct Query {
    pub engine: Arc<Engine>,
    pub context: QueryContext,
    pub logical: LogicalPlan,
    pub optimized: LogicalPlan,
    schema: SchemaRef,
    partitions: usize,
    running: Mutex<Running>,
    pub course: Course,
    pub phases: Vec<Phase>,
    scans: Mutex<Arc<[Funnel]>>,
    run_id: String,
    query_id: String,
    pub state: SessionState,
    pub pool: Arc<QueryPool>,
    on_end: OnEnd,
}

/// Who waits for the end of a query.
#[derive(Default)]
struct OnEnd(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEnd")
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The plan, until it has run. It holds what operators have built (hash tables, for one), so it goes when
/// the rows end, and leaves what there is to show of it.
#[derive(Clone, Debug)]
enum Running {
    Plan(Arc<dyn ExecutionPlan>),
    Ended(Arc<Ended>),
}

#[derive(Debug)]
struct Ended {
    measured: Measured,
    shown: Option<Shown>,
}

impl Ended {
    fn shown(&self) -> Result<&Shown> {
        self.shown.as_ref().ok_or_else(|| {
            NativeError::new(
                ErrorKind::Query,
                "the plan was not kept: the query has capture_plan=False and has run",
            )
        })
    }
}

#[derive(Debug)]
struct Shown {
    analyzed: String,
    physical: String,
    tree: String,
    proto: std::result::Result<Vec<u8>, String>,
}

/// The steps of planning as they come.
pub(super) struct Phases {
    found: Vec<Phase>,
    since: Instant,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            found: vec![],
            since: Instant::now(),
        }
    }
}

impl Phases {
    pub(super) fn ended(&mut self, name: &'static str) {
        let took = nanos(self.since.elapsed());
        self.found.push((name, now().saturating_sub(took), took));
        self.since = Instant::now();
    }
}

/// Held by all streams of one execution, which share its place; the last one ends it.
pub struct Execution {
    pub slot: Slot,
    pub query: Arc<Query>,
}

impl Execution {
    pub fn new(query: Arc<Query>) -> Self {
        Self {
            slot: Slot::default(),
            query,
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.query.end();
    }
}

impl Query {
    /// The plan to run; `None` after it has run.
    pub fn running_plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        match &*self.running.lock() {
            Running::Plan(plan) => Some(Arc::clone(plan)),
            Running::Ended(_) => None,
        }
    }

    fn end(&self) {
        // Nothing is computed, and no plan dropped, under the lock: either may wait for Python.
        let Some(plan) = self.running_plan() else {
            return;
        };
        self.course.end();
        let Ok(measured) = measured(plan.as_ref(), &self.scans(), &self.run_id, &self.query_id)
        else {
            return;
        };
        self.engine.recent.add(&self.run_id, &measured.metrics);
        let shown = self.context.capture.then(|| Shown {
            analyzed: self.analyzed(&plan),
            physical: lines(&plan),
            tree: tree(&plan),
            proto: proto::encode(Arc::clone(&plan)).map_err(|e| e.message),
        });
        let ended = Arc::new(Ended { measured, shown });
        let before = std::mem::replace(&mut *self.running.lock(), Running::Ended(ended));
        drop(before);
        self.tell();
    }

    /// Calls who waits for the end of the query, once.
    fn tell(&self) {
        let waiting = self.on_end.0.lock().take();
        if let Some(call) = waiting {
            call();
        }
    }

    /// Has `call` called when the query has ended, or is dropped before it ran; instead of what was to be
    /// called before. It must not wait.
    pub fn on_end(&self, call: Box<dyn FnOnce() + Send>) {
        let before = self.on_end.0.lock().replace(call);
        drop(before);
    }

    /// The plan, or what it has left.
    fn now(&self) -> Running {
        self.running.lock().clone()
    }

    /// A text of the plan: made of it while it is there, else the one that was kept.
    fn text(
        &self,
        make: impl FnOnce(&Arc<dyn ExecutionPlan>) -> String,
        kept: fn(&Shown) -> &String,
    ) -> Result<String> {
        match self.now() {
            Running::Plan(plan) => Ok(make(&plan)),
            Running::Ended(ended) => ended.shown().map(|shown| kept(shown).clone()),
        }
    }

    /// The metrics table, so far or for good.
    pub fn metrics(&self) -> Result<RecordBatch> {
        let metrics = self.measured()?.metrics;
        Ok(concat_batches(
            &metrics.schema(),
            [&metrics, &self.partition_metrics()?],
        )?)
    }

    /// What belongs to the metrics table and is only looked up for who asks.
    pub fn partition_metrics(&self) -> Result<RecordBatch> {
        funnel::partitions(&self.scans(), &self.run_id, &self.query_id)
    }

    /// What the operators are, and what they measured, so far or for good.
    pub fn measured(&self) -> Result<Measured> {
        match self.now() {
            Running::Plan(plan) => {
                measured(plan.as_ref(), &self.scans(), &self.run_id, &self.query_id)
            }
            Running::Ended(ended) => Ok(ended.measured.clone()),
        }
    }

    /// What each scan reads of what there is.
    pub fn scans(&self) -> Arc<[Funnel]> {
        Arc::clone(&self.scans.lock())
    }

    /// The plan with its metrics as `EXPLAIN ANALYZE` shows them.
    pub fn analyzed_text(&self) -> Result<String> {
        self.text(|plan| self.analyzed(plan), |shown| &shown.analyzed)
    }

    fn analyzed(&self, plan: &Arc<dyn ExecutionPlan>) -> String {
        let level = self.state.config_options().explain.analyze_level;
        DisplayableExecutionPlan::with_metrics(plan.as_ref())
            .set_metric_types(level.included_types())
            .indent(true)
            .to_string()
    }

    /// The plan with statistics, an operator a line.
    pub fn physical_text(&self) -> Result<String> {
        self.text(lines, |shown| &shown.physical)
    }

    /// The plan as boxes.
    pub fn physical_tree(&self) -> Result<String> {
        self.text(tree, |shown| &shown.tree)
    }

    /// The physical plan as protobuf.
    pub fn physical_proto(&self) -> Result<Vec<u8>> {
        match self.now() {
            Running::Plan(plan) => proto::encode(plan),
            Running::Ended(ended) => ended
                .shown()?
                .proto
                .clone()
                .map_err(|message| NativeError::new(ErrorKind::Query, message)),
        }
    }

    /// The logical plan as protobuf; its tables as numbers.
    pub fn logical_proto(&self) -> Result<Vec<u8>> {
        let codec = HandleCodec::default();
        let bytes = logical_plan_to_bytes_with_extension_codec(&self.optimized, &codec)?;
        Ok(bytes.to_vec())
    }

    /// Decodes a plan that came through `codec` and plans it natively.
    ///
    /// # Errors
    /// What the codec says of a plan that cannot be decoded, and what planning fails with.
    pub async fn from_bytes(
        engine: Arc<Engine>,
        bytes: Vec<u8>,
        codec: Arc<dyn LogicalExtensionCodec>,
        context: QueryContext,
        ids: (String, String),
    ) -> std::result::Result<Self, Refusal> {
        let (env, pool) = engine.query_env(&context.account, context.memory_limit)?;
        let state = engine.session_until(&context.abandoned, &context.settings, env)?;
        let mut phases = Phases::default();
        let logical = logical_plan_from_bytes_with_extension_codec(
            &bytes,
            state.task_ctx().as_ref(),
            codec.as_ref(),
        )
        .and_then(|plan| verified(plan, true))
        .map_err(|error| Refusal::Planner(error.strip_backtrace()))?;
        phases.ended("decode");
        let optimized = optimized(&state, &logical).map_err(NativeError::from)?;
        phases.ended("optimize");
        let planned = Self::planned(
            engine,
            context,
            ids,
            state,
            pool,
            (logical, optimized),
            phases,
        );
        Ok(planned.await?)
    }

    /// Plans what is optimized.
    pub(super) async fn planned(
        engine: Arc<Engine>,
        context: QueryContext,
        (run_id, query_id): (String, String),
        state: SessionState,
        pool: Arc<QueryPool>,
        (logical, optimized): (LogicalPlan, LogicalPlan),
        mut phases: Phases,
    ) -> Result<Self> {
        let state = physical::session(state, &optimized)?;
        let (optimized, plan) = match physical::plan(&state, &optimized).await {
            Ok(plan) => (optimized, plan),
            Err(error) => {
                let state = physical::without_extraction(&state);
                let again = sql::optimized(&state, &logical).map_err(NativeError::from);
                match again {
                    Ok(again) if again != optimized => {
                        let plan = physical::plan(&state, &again).await.map_err(|_| error)?;
                        (again, plan)
                    }
                    _ => return Err(error),
                }
            }
        };
        phases.ended("physical_plan");
        let digest = match context.digest {
            true => Some(Digest::new(&plan.schema())?),
            false => None,
        };
        Ok(Self {
            schema: engine.handed_over(&plan.schema()),
            engine,
            context,
            logical,
            optimized,
            partitions: plan.output_partitioning().partition_count(),
            course: Course::new(digest),
            phases: phases.found,
            scans: Mutex::new(funnels(plan.as_ref()).into()),
            running: Mutex::new(Running::Plan(plan)),
            run_id,
            query_id,
            state,
            pool,
            on_end: OnEnd::default(),
        })
    }

    /// The plan anew in the place of the one that runs, and the context to run it in: with joins that can spill
    /// where it has hash joins, else for a few rows at a time. Nothing where it reads what can be read once, calls
    /// a volatile function, or writes.
    pub async fn with_less_memory(
        &self,
    ) -> Result<Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>> {
        let (stream, function) = replay::obstacles(&self.logical)?;
        if stream.is_some() || function.is_some() || does_something(&self.logical)? {
            return Ok(None);
        }
        let is_hashing = |plan: Arc<dyn ExecutionPlan>| physical::has_hash_join(&plan);
        let joined = match self.running_plan().is_some_and(is_hashing) {
            true => physical::spilling(&self.state, &self.optimized).await?,
            false => None,
        };
        let (plan, context) = match joined {
            Some(plan) => (plan, self.task_context()),
            None => {
                let state = physical::frugal(&self.state);
                let plan = physical::plan(&state, &self.optimized).await?;
                (plan, state.task_ctx())
            }
        };
        let scans = funnels(plan.as_ref()).into();
        let before = std::mem::replace(&mut *self.scans.lock(), scans);
        drop(before);
        let running = Running::Plan(Arc::clone(&plan));
        let before = std::mem::replace(&mut *self.running.lock(), running);
        drop(before);
        Ok(Some((plan, context)))
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Says whether somebody still waits for rows: what computes them ends where nobody does.
    pub fn abandon(&self, is_abandoned: bool) {
        self.context.abandoned.set(is_abandoned);
    }

    pub fn task_context(&self) -> Arc<TaskContext> {
        self.state.task_ctx()
    }

    /// Every setting of the session, by name.
    pub fn settings(&self) -> Vec<(String, Option<String>)> {
        let mut all: Vec<_> = self
            .state
            .config_options()
            .entries()
            .into_iter()
            .chain(self.engine.env().config_entries())
            .map(|entry| (entry.key, entry.value))
            .collect();
        all.sort();
        all
    }
}

/// Whether a plan does more than give rows.
fn does_something(plan: &LogicalPlan) -> Result<bool> {
    let is_deed = |node: &LogicalPlan| {
        Ok(matches!(
            node,
            LogicalPlan::Copy(_)
                | LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Statement(_)
        ))
    };
    Ok(plan.exists(is_deed)?)
}

fn lines(plan: &Arc<dyn ExecutionPlan>) -> String {
    DisplayableExecutionPlan::new(plan.as_ref())
        .set_show_statistics(true)
        .indent(true)
        .to_string()
}

/// Boxes, or lines where the plan has text that the renderer cannot cut (it counts bytes, and panics
/// within a character).
fn tree(plan: &Arc<dyn ExecutionPlan>) -> String {
    let shown = DisplayableExecutionPlan::new(plan.as_ref());
    let lines = shown.indent(false).to_string();
    if lines.is_ascii() {
        shown.tree_render().to_string()
    } else {
        lines
    }
}
