//! Whether a plan gives the same rows when it is executed again.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use crate::error::Result;
use crate::sources::arrow::StreamTable;

/// The first stream that the plan reads, and the first volatile function that it calls.
pub fn obstacles(plan: &LogicalPlan) -> Result<(Option<String>, Option<String>)> {
    let mut stream = None;
    let mut function = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && provider.downcast_ref::<StreamTable>().is_some()
        {
            stream.get_or_insert_with(|| scan.table_name.table().to_owned());
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                let found = match part {
                    Expr::ScalarFunction(call) => Some((
                        call.func.name().to_owned(),
                        call.func.signature().volatility,
                    )),
                    Expr::AggregateFunction(call) => Some((
                        call.func.name().to_owned(),
                        call.func.signature().volatility,
                    )),
                    _ => None,
                };
                if let Some((name, Volatility::Volatile)) = found {
                    function.get_or_insert(name);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok((stream, function))
}
