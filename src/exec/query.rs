//! A planned query: logical plan in, physical plan and everything known about it out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::bytes::logical_plan_from_bytes_with_extension_codec;
use datafusion_proto::logical_plan::LogicalExtensionCodec;

use super::engine::Engine;
use super::memory::QueryPool;
use crate::error::Result;
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
    pub plan: Arc<dyn ExecutionPlan>,
    pub state: SessionState,
    pub pool: Arc<QueryPool>,
}

impl Query {
    /// Decodes a plan that came through `codec` and plans it natively.
    pub async fn from_bytes(
        engine: Arc<Engine>,
        bytes: Vec<u8>,
        codec: Arc<dyn LogicalExtensionCodec>,
        context: QueryContext,
    ) -> Result<Self> {
        let (env, pool) = engine.query_env(&context.account, context.memory_limit);
        let state = engine.session(&context.settings, env)?;
        let logical = logical_plan_from_bytes_with_extension_codec(
            &bytes,
            state.task_ctx().as_ref(),
            codec.as_ref(),
        )?;
        Self::plan(engine, logical, state, pool, context).await
    }

    async fn plan(
        engine: Arc<Engine>,
        logical: LogicalPlan,
        state: SessionState,
        pool: Arc<QueryPool>,
        context: QueryContext,
    ) -> Result<Self> {
        let optimized = state.optimize(&logical)?;
        let plan = state
            .query_planner()
            .create_physical_plan(&optimized, &state)
            .await?;
        Ok(Self {
            engine,
            context,
            logical,
            optimized,
            plan,
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

    pub fn physical_text(&self, statistics: bool, metrics: bool) -> String {
        let shown = if metrics {
            DisplayableExecutionPlan::with_metrics(self.plan.as_ref())
        } else {
            DisplayableExecutionPlan::new(self.plan.as_ref())
        };
        shown.set_show_statistics(statistics).indent(true).to_string()
    }

    /// The plan as boxes, or as lines where it has text that the renderer cannot cut (it counts bytes,
    /// and panics within a character).
    pub fn physical_tree(&self) -> String {
        let lines = self.physical_text(false, false);
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
