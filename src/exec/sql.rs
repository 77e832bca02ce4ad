//! SQL text to a planned query, in a catalog that has the query's own tables and nothing else.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, ParamValues, ScalarValue, TableReference, plan_err};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;

use super::engine::Engine;
use super::query::{Phases, Query, QueryContext};
use crate::error::{ErrorKind, NativeError, Result};
use crate::planner::calls;

/// A query as it is asked.
pub struct Asked {
    /// One statement that only reads.
    pub sql: String,
    /// Tables by name.
    pub tables: Vec<(String, Arc<dyn TableProvider>)>,
    /// Values of `$1` and `$name`, without the dollar sign.
    pub parameters: Vec<(String, ScalarValue)>,
}

/// What keeps a query from being planned.
pub enum Refusal {
    /// The planner's own words, for what is wrong with the text.
    Planner(String),
    Error(NativeError),
}

impl From<NativeError> for Refusal {
    fn from(error: NativeError) -> Self {
        Self::Error(error)
    }
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            // Of our tables, or of the storage beneath them.
            DataFusionError::External(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::ParquetError(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ResourcesExhausted(_) => Self::Error(error.into()),
            _ => Self::Planner(error.strip_backtrace()),
        }
    }
}

impl Query {
    /// Parses and plans a query.
    ///
    /// # Errors
    /// What the planner says of the text, or what its tables fail with.
    pub async fn from_sql(
        engine: Arc<Engine>,
        asked: Asked,
        context: QueryContext,
        ids: (String, String),
    ) -> std::result::Result<Self, Refusal> {
        let (env, pool) = engine.query_env(&context.account, context.memory_limit)?;
        let state = engine.session(&context.settings, env).map_err(setting)?;
        let mut phases = Phases::default();
        register(&state, asked.tables)?;
        let logical = parse(&state, &asked.sql, asked.parameters).await?;
        phases.ended("parse");
        let optimized = optimized(&state, &logical)?;
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
}

/// A setting that has no such value.
fn setting(error: NativeError) -> NativeError {
    NativeError {
        kind: ErrorKind::Configuration,
        message: format!(
            "EngineProfile.options: {}",
            error.message.replace("\ncaused by\n", ": ")
        ),
        ..error
    }
}

fn register(state: &SessionState, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Result<()> {
    for (name, table) in tables {
        let schema = state.schema_for_ref(TableReference::bare(name.as_str()))?;
        schema.register_table(name, table)?;
    }
    Ok(())
}

/// The plan optimized, without the rules that fail on it.
pub fn optimized(
    state: &SessionState,
    logical: &LogicalPlan,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    match state.optimize(logical) {
        Err(DataFusionError::Context(said, _)) if said.starts_with("Optimizer rule") => {
            cautious(state.clone()).optimize(logical)
        }
        outcome => outcome,
    }
}

/// A session that plans by fewer rules: none of those that fail, and none that keep orders that are there
/// already, which a plan may be wrong about.
pub fn cautious(state: SessionState) -> SessionState {
    let mut config = state.config().clone();
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.skip_failed_rules = true;
    optimizer.repartition_sorts = false;
    optimizer.enable_sort_pushdown = false;
    config.options_mut().execution.target_partitions = 1;
    SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .build()
}

async fn parse(
    state: &SessionState,
    sql: &str,
    parameters: Vec<(String, ScalarValue)>,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect)?;
    if let Some(said) = calls::refused(&statement, state) {
        return plan_err!("{said}");
    }
    let plan = state.statement_to_plan(statement).await?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)?;
    if parameters.is_empty() {
        return Ok(plan);
    }
    let values = parameters.into_iter();
    let values = values.map(|(name, value)| (name, value.into()));
    plan.with_param_values(ParamValues::Map(values.collect()))
}
