//! `add_constraint`: a condition that every row keeps from now on, once all rows that are there do.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use deltalake::kernel::{Action, MetadataExt};
use deltalake::protocol::DeltaOperation;
use deltalake::table::Constraint;
use serde_json::Value;

use super::commit::transaction::{Finished, Prepared};
use super::dml::reads_more;
use super::expressions::Text;
use super::finish::commit;
use super::schema::with_check_constraints;
use super::target::Target;
use crate::error::{ErrorKind, NativeError, Result};

pub async fn add(
    target: Target,
    prepared: Prepared,
    name: String,
    expression: String,
) -> Result<Finished> {
    let key = format!("delta.constraints.{name}");
    if target.properties().contains_key(&key) {
        return Err(NativeError::new(
            ErrorKind::Configuration,
            format!(
                "{} has a constraint {name:?} already; drop it first",
                target.url()
            ),
        ));
    }
    let text = Text::new(format!("the constraint {name:?}"), &expression);
    let condition = target.binder.condition(&text, &[&target.name]).await?;
    if reads_more(&condition) || condition.is_volatile() {
        return Err(NativeError::new(
            ErrorKind::Sql,
            format!(
                "the constraint {name:?} ({expression}): it is decided by each row alone, and takes no \
                 subquery and no function whose values differ from time to time"
            ),
        ));
    }
    let broken = broken_rows(&target, condition).await?;
    if broken > 0 {
        return Err(NativeError::new(
            ErrorKind::Execution,
            format!(
                "{broken} rows of {} break the constraint {name:?} ({expression}); a row keeps it \
                 where it is true, and NULL is not",
                target.url()
            ),
        ));
    }
    let metadata = target.snapshot.metadata().clone();
    let metadata = metadata
        .add_config_key(key, expression.trim().to_owned())
        .map_err(deltalake::DeltaTableError::from)?;
    let mut actions = Vec::new();
    if let Some(protocol) = with_check_constraints(target.snapshot.protocol())? {
        actions.push(Action::Protocol(protocol));
    }
    actions.push(Action::Metadata(metadata));
    let operation = || DeltaOperation::AddConstraint {
        constraints: vec![Constraint::new(&name, expression.trim())],
    };
    commit(prepared, actions, &operation(), operation(), Value::Null).await
}

async fn broken_rows(target: &Target, condition: Expr) -> Result<i64> {
    let table = provider_as_source(Arc::clone(&target.table) as _);
    let plan = LogicalPlanBuilder::scan(target.name.as_str(), table, None)?
        .filter(condition.is_not_true())?
        .aggregate(Vec::<Expr>::new(), [count(lit(1_i64)).alias("broken")])?
        .build()?;
    let physical = target.state().create_physical_plan(&plan).await?;
    let found = datafusion::physical_plan::collect(physical, target.state().task_ctx()).await?;
    Ok(found
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0))
        .sum())
}
