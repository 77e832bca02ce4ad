//! Physical plans of a query, and which joins they have.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;

use super::memory;
use super::names;
use super::sql::cautious;
use crate::error::Result;
use crate::planner::{self, merge_keys};

/// The session that a plan is planned and run in: without dynamic filters of joins where these would find their
/// columns by names that are not unique.
pub fn session(state: SessionState, optimized: &LogicalPlan) -> Result<SessionState> {
    Ok(match names::are_ambiguous(optimized)? {
        true => with(state, |options| {
            options.optimizer.enable_join_dynamic_filter_pushdown = false;
        }),
        false => state,
    })
}

/// The plan that the session asks for.
pub async fn plan(state: &SessionState, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    if state.config().options().optimizer.prefer_hash_join {
        return created(state, optimized).await;
    }
    match merge_keys::merged(optimized)? {
        Some(merged) => created(state, &merged).await,
        None => {
            let hashing = with(state.clone(), |options| {
                options.optimizer.prefer_hash_join = true;
            });
            created(&hashing, optimized).await
        }
    }
}

/// The plan with sort-merge joins, which can spill, in the place of hash joins, as far as DataFusion has them;
/// nothing where a key cannot be compared so.
pub async fn spilling(
    state: &SessionState,
    optimized: &LogicalPlan,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(merged) = merge_keys::merged(optimized)? else {
        return Ok(None);
    };
    // They are planned for several partitions only.
    let partitions = state.config().target_partitions().max(2);
    let frugal = SessionStateBuilder::new_from_existing(state.clone())
        .with_physical_optimizer_rules(planner::frugal_rules(state));
    let spilling = with(frugal.build(), |options| {
        options.execution.target_partitions = partitions;
        options.optimizer.prefer_hash_join = false;
        options.optimizer.repartition_joins = true;
    });
    Ok(Some(created(&spilling, &merged).await?))
}

/// The session for what has no other way of needing less memory: one partition, a few rows at a time. What fits a
/// limit so fits a larger one, as the rows at a time do not depend on it.
pub fn frugal(state: &SessionState) -> SessionState {
    let config = state.config();
    let config = config
        .clone()
        .with_target_partitions(1)
        .with_batch_size(config.batch_size().min(memory::LEAST_ROWS));
    let frugal = SessionStateBuilder::new_from_existing(state.clone())
        .with_physical_optimizer_rules(planner::frugal_rules(state))
        .with_config(config);
    frugal.build()
}

/// The session without the rule that takes fields out of structs ahead of time, which loses some beneath joins.
pub fn without_extraction(state: &SessionState) -> SessionState {
    with(state.clone(), |options| {
        options.optimizer.enable_leaf_expression_pushdown = false;
    })
}

async fn created(state: &SessionState, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planner = Arc::clone(state.query_planner());
    match planner.create_physical_plan(optimized, state).await {
        // DataFusion finds fault with its own plan.
        Err(error) if error.to_string().contains("SanityCheckPlan") => {
            let cautious = cautious(state.clone());
            Ok(planner.create_physical_plan(optimized, &cautious).await?)
        }
        // One says of an expression that it may be NULL, and the other does not know it.
        Err(error)
            if error
                .to_string()
                .contains("Physical input schema should be the same") =>
        {
            let lenient = with(state.clone(), |options| {
                options.execution.skip_physical_aggregate_schema_check = true;
            });
            Ok(planner.create_physical_plan(optimized, &lenient).await?)
        }
        outcome => Ok(outcome?),
    }
}

/// Whether there is a hash join in a plan.
pub fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<HashJoinExec>().is_some() || plan.children().into_iter().any(has_hash_join)
}

fn with(state: SessionState, change: impl FnOnce(&mut ConfigOptions)) -> SessionState {
    let mut config = state.config().clone();
    change(config.options_mut());
    SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .build()
}
