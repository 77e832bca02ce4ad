//! What makes of a text the plan that SQL says: clauses that the planner would pass over are refused, and
//! what it gets wrong is put right.

pub mod abandoned;
pub mod around;
pub mod as_inner;
pub mod bounded;
pub mod calls;
pub mod cast_names;
pub mod compact;
mod defaults;
mod dependencies;
mod each_node;
pub mod equal_names;
mod expressions;
pub mod floats;
pub mod inner;
pub mod interrupt;
mod intervals;
mod keys;
mod merge_filters;
pub mod merge_keys;
pub mod nested;
mod nested_extremes;
mod nested_keys;
mod of_first;
pub mod one_input;
mod order_names;
mod ordinals;
pub mod overflow;
pub mod parse;
pub mod properties;
mod pushdown;
mod range_frames;
pub mod replaced;
mod row_values;
mod selects;
mod set_operations;
mod sliding_frames;
mod string_agg;
pub mod subqueries;
pub mod sums;
pub mod syntax;
mod unions;
mod using;
mod wildcards;
mod window_functions;
mod windows;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;

use abandoned::Abandoned;
use expressions::SoundExpressions;
use floats::{canonical, zeros};
use intervals::Intervals;
use keys::ComputedKeys;
use nested_keys::NestedKeys;
use range_frames::RangeFrames;
use set_operations::CountedSetOperations;
use subqueries::{SettledReferences, Subqueries};
use window_functions::SoundWindows;

/// The rules for a physical plan that is to need less memory, as of the session that the plan was made in.
pub fn frugal_rules(state: &SessionState) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let abandoned = state.config().get_extension::<Abandoned>();
    let pool = &state.runtime_env().memory_pool;
    pushdown::physical_rules(&abandoned.unwrap_or_default(), pool, true)
}

/// A session that plans by these rules, and knows their functions.
///
/// The rules come after DataFusion's own, which settle types. What runs ends once it is `abandoned`.
pub fn state(
    builder: SessionStateBuilder,
    env: Arc<RuntimeEnv>,
    abandoned: &Arc<Abandoned>,
) -> Result<SessionState> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = Vec::new();
    for rule in Analyzer::new().rules {
        if rule.name() == TypeCoercion::new().name() {
            rules.push(Arc::new(RangeFrames));
            rules.push(Arc::new(SettledReferences));
        }
        rules.push(rule);
    }
    let own: [Arc<dyn AnalyzerRule + Send + Sync>; 6] = [
        Arc::new(CountedSetOperations),
        Arc::new(Subqueries::default()),
        Arc::new(SoundExpressions),
        Arc::new(NestedKeys),
        Arc::new(ComputedKeys),
        Arc::new(SoundWindows {
            abandoned: Arc::clone(abandoned),
            pool: Arc::clone(&env.memory_pool),
        }),
    ];
    let builder = builder
        .with_optimizer_rules(pushdown::logical_rules())
        .with_physical_optimizer_rules(pushdown::physical_rules(
            abandoned,
            &env.memory_pool,
            false,
        ));
    rules.extend(own);
    let builder = builder.with_analyzer_rules(rules);
    let mut state = builder.with_runtime_env(env).build();
    for function in [sums::checked_sum(), string_agg::string_agg()]
        .into_iter()
        .chain(floats::aggregates())
    {
        state.register_udaf(Arc::new(function))?;
    }
    let own = [
        subqueries::single(),
        subqueries::nullable(),
        canonical::function(),
        zeros::function(),
        merge_keys::function(),
        nested_keys::function(),
        cast_names::function(),
        intervals::function(),
        replaced::function(),
    ];
    canonical::aggregates(&mut state)?;
    for function in overflow::functions().chain(own) {
        state.register_udf(function)?;
    }
    state.register_expr_planner(Arc::new(Intervals))?;
    bounded::bound(&mut state)?;
    Ok(state)
}
