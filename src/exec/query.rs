//! A planned query: logical plan in, physical plan and everything known about it out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::bytes::logical_plan_from_bytes_with_extension_codec;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use parking_lot::Mutex;

use super::engine::Engine;
use super::memory::QueryPool;
use crate::error::Result;
use crate::metrics::metrics_batch;
use crate::store::account::IoAccount;

/// What a query runs under.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub settings: HashMap<String, String>,
    pub memory_limit: Option<usize>,
    pub deadline: Option<Instant>,
    pub account: Arc<IoAccount>,
}

#[derive(Debug)]
pub struct Query {
    pub engine: Arc<Engine>,
    pub context: QueryContext,
    pub logical: LogicalPlan,
    pub optimized: LogicalPlan,
    /// The plan as it was made, which never runs: what there is to show of it.
    pub plan: Arc<dyn ExecutionPlan>,
    running: Mutex<Running>,
    run_id: String,
    query_id: String,
    pub state: SessionState,
    pub pool: Arc<QueryPool>,
}

/// The plan that runs. It holds what operators have built (hash tables, for one), so it goes when the
/// rows end, and leaves its metrics.
#[derive(Debug)]
enum Running {
    Plan(Arc<dyn ExecutionPlan>),
    Ended { metrics: RecordBatch, text: String },
}

/// Held by all streams of one execution; the last one ends it.
pub struct Execution(pub Arc<Query>);

impl Drop for Execution {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Query {
    /// The plan to run; `None` after it has run.
    pub fn running_plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        match &*self.running.lock() {
            Running::Plan(plan) => Some(Arc::clone(plan)),
            Running::Ended { .. } => None,
        }
    }

    fn end(&self) {
        let mut running = self.running.lock();
        let Running::Plan(plan) = &*running else {
            return;
        };
        let text = DisplayableExecutionPlan::with_metrics(plan.as_ref())
            .indent(true)
            .to_string();
        if let Ok(metrics) = metrics_batch(plan.as_ref(), &self.run_id, &self.query_id) {
            *running = Running::Ended { metrics, text };
        }
    }

    /// The metrics table, so far or for good.
    pub fn metrics(&self) -> Result<RecordBatch> {
        match &*self.running.lock() {
            Running::Plan(plan) => metrics_batch(plan.as_ref(), &self.run_id, &self.query_id),
            Running::Ended { metrics, .. } => Ok(metrics.clone()),
        }
    }

    /// The plan with its metrics as `EXPLAIN ANALYZE` shows them.
    pub fn analyzed_text(&self) -> String {
        match &*self.running.lock() {
            Running::Plan(plan) => DisplayableExecutionPlan::with_metrics(plan.as_ref())
                .indent(true)
                .to_string(),
            Running::Ended { text, .. } => text.clone(),
        }
    }

    /// Decodes a plan that came through `codec` and plans it natively.
    pub async fn from_bytes(
        engine: Arc<Engine>,
        bytes: Vec<u8>,
        codec: Arc<dyn LogicalExtensionCodec>,
        context: QueryContext,
        (run_id, query_id): (String, String),
    ) -> Result<Self> {
        let (env, pool) = engine.query_env(&context.account, context.memory_limit);
        let state = engine.session(&context.settings, env)?;
        let logical = logical_plan_from_bytes_with_extension_codec(
            &bytes,
            state.task_ctx().as_ref(),
            codec.as_ref(),
        )?;
        let optimized = state.optimize(&logical)?;
        let plan = state
            .query_planner()
            .create_physical_plan(&optimized, &state)
            .await?;
        let shown = reset_plan_states(Arc::clone(&plan))?;
        Ok(Self {
            engine,
            context,
            logical,
            optimized,
            plan: shown,
            running: Mutex::new(Running::Plan(plan)),
            run_id,
            query_id,
            state,
            pool,
        })
    }

    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    pub fn partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    pub fn task_context(&self) -> Arc<TaskContext> {
        self.state.task_ctx()
    }

    pub fn physical_text(&self, statistics: bool) -> String {
        DisplayableExecutionPlan::new(self.plan.as_ref())
            .set_show_statistics(statistics)
            .indent(true)
            .to_string()
    }

    /// The plan as boxes, or as lines where it has text that the renderer cannot cut (it counts bytes,
    /// and panics within a character).
    pub fn physical_tree(&self) -> String {
        let lines = self.physical_text(false);
        if !lines.is_ascii() {
            return lines;
        }
        DisplayableExecutionPlan::new(self.plan.as_ref())
            .tree_render()
            .to_string()
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
