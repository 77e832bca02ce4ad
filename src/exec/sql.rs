//! SQL text to a planned query, in a catalog that has the query's own tables and nothing else.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, ParamValues, ScalarValue, TableReference, plan_err};
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion_proto::bytes::logical_plan_from_bytes_with_extension_codec;
use datafusion_proto::logical_plan::LogicalExtensionCodec;

use super::engine::Engine;
use super::query::{Phases, Query, QueryContext};
use crate::error::{ErrorKind, NativeError, Result};
use crate::error_text;
use crate::planner::{calls, cast_names, equal_names, replaced};

/// A table as it is given.
pub enum Given {
    Own(Arc<dyn TableProvider>),
    /// The plan that reads a table of another library, encoded by the context that it is registered with.
    Foreign(Vec<u8>, Arc<dyn LogicalExtensionCodec>),
}

/// A query as it is asked.
pub struct Asked {
    /// One statement, corrected.
    pub statement: Statement,
    /// Whether it only reads.
    pub readonly: bool,
    /// Tables by name.
    pub tables: Vec<(String, Given)>,
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
            _ => Self::Planner(error_text::plain(&error.strip_backtrace())),
        }
    }
}

impl Query {
    /// Plans a statement.
    ///
    /// # Errors
    /// What the planner says of it, or what its tables fail with.
    pub async fn from_sql(
        engine: Arc<Engine>,
        asked: Asked,
        context: QueryContext,
        ids: (String, String),
    ) -> std::result::Result<Self, Refusal> {
        let (env, pool) = engine.query_env(&context.account, context.memory_limit)?;
        let state = engine.session_until(&context.abandoned, &context.settings, env);
        let state = state.map_err(setting)?;
        let mut phases = Phases::default();
        register(&state, asked.tables)?;
        let logical = bound(&state, asked.statement, asked.readonly, asked.parameters).await?;
        phases.ended("bind");
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

fn register(state: &SessionState, tables: Vec<(String, Given)>) -> Result<()> {
    for (name, given) in tables {
        let schema = state.schema_for_ref(TableReference::bare(name.as_str()))?;
        let table = match given {
            Given::Own(table) => table,
            Given::Foreign(bytes, codec) => foreign(&bytes, codec.as_ref(), &state.task_ctx())?,
        };
        schema.register_table(name, table)?;
    }
    Ok(())
}

/// A table of another library, of the plan that reads it.
pub fn foreign(
    bytes: &[u8],
    codec: &dyn LogicalExtensionCodec,
    tasks: &TaskContext,
) -> std::result::Result<Arc<dyn TableProvider>, DataFusionError> {
    let plan = logical_plan_from_bytes_with_extension_codec(bytes, tasks, codec)?;
    match &plan {
        LogicalPlan::TableScan(scan) if scan.projection.is_none() && scan.filters.is_empty() => {
            source_as_provider(&scan.source)
        }
        _ => Ok(Arc::new(ViewTable::new(plan, None))),
    }
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

/// The plan, if it does no more than it may.
pub fn verified(
    plan: LogicalPlan,
    readonly: bool,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    SQLOptions::new()
        .with_allow_ddl(!readonly)
        .with_allow_dml(!readonly)
        .with_allow_statements(!readonly)
        .verify_plan(&plan)?;
    Ok(plan)
}

/// The plan of a statement as it is said.
async fn named(
    state: &SessionState,
    statement: Statement,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    // Planning takes the statement, and nothing but casts can be told apart.
    let anew = match &statement {
        Statement::Statement(parsed) if cast_names::are_in(parsed) => Some(parsed.clone()),
        _ => None,
    };
    match (state.statement_to_plan(statement).await, anew) {
        (Err(error), Some(mut anew)) if cast_names::is_by_name(&error) => {
            cast_names::tell_apart(&mut anew);
            let anew = Statement::Statement(anew);
            state.statement_to_plan(anew).await.map_err(|_| error)
        }
        (outcome, _) => outcome,
    }
}

/// The same for a statement that may give several columns under one name.
async fn named_apart(
    state: &SessionState,
    statement: Statement,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    let mut next = statement.clone();
    let mut apart = equal_names::Apart::default();
    let mut names = Vec::new();
    loop {
        let error = match named(state, next).await {
            Ok(plan) => return apart.called(plan),
            Err(error) => error,
        };
        match equal_names::refused(&error) {
            Some(name) if !names.contains(&name) => names.push(name),
            _ => return Err(error),
        }
        next = statement.clone();
        apart = equal_names::tell_apart(&mut next, &names);
        if apart.is_empty() {
            return Err(error);
        }
    }
}

/// The plan of a statement. What it creates, sets or drops is done, in the catalog of the query.
async fn bound(
    state: &SessionState,
    mut statement: Statement,
    readonly: bool,
    parameters: Vec<(String, ScalarValue)>,
) -> std::result::Result<LogicalPlan, DataFusionError> {
    if let Some(said) = calls::refused(&statement, state) {
        return plan_err!("{said}");
    }
    let replaced = replaced::mark(&mut statement);
    let plan = named_apart(state, statement).await?;
    let plan = replaced.checked(verified(plan, readonly)?)?;
    let plan = match parameters.is_empty() {
        true => plan,
        false => {
            let values = parameters.into_iter();
            let values = values.map(|(name, value)| (name, value.into()));
            plan.with_param_values(ParamValues::Map(values.collect()))?
        }
    };
    if readonly {
        return Ok(plan);
    }
    let context = SessionContext::new_with_state(state.clone());
    let done = context.execute_logical_plan(plan).await?;
    Ok(done.into_parts().1)
}
