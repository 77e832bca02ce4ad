//! The operators of a plan: place in the tree, name, text, partitions.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Builder, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::observe::SCAN;
use crate::error::Result;

/// Calls `visit` with each operator and its path from the root, each before those below it.
pub fn each<'a>(
    plan: &'a dyn ExecutionPlan,
    id: &str,
    visit: &mut dyn FnMut(&'a dyn ExecutionPlan, &str),
) {
    visit(plan, id);
    for (i, child) in plan.children().into_iter().enumerate() {
        each(child.as_ref(), &format!("{id}.{i}"), visit);
    }
}

/// One row an operator, in the columns `node_id`, `parent_id`, `operator`, `detail`, `partitions`.
pub fn nodes_batch(plan: &dyn ExecutionPlan) -> Result<RecordBatch> {
    let mut ids = StringBuilder::new();
    let mut parents = StringBuilder::new();
    let mut operators = StringBuilder::new();
    let mut details = StringBuilder::new();
    let mut partitions = Int64Builder::new();
    each(plan, "0", &mut |node, id| {
        ids.append_value(id);
        parents.append_option(id.rsplit_once('.').map(|(parent, _)| parent));
        operators.append_value(node.name());
        let line = DisplayableExecutionPlan::new(node).one_line().to_string();
        details.append_value(line.trim());
        let count = node.output_partitioning().partition_count();
        partitions.append_value(i64::try_from(count).unwrap_or(i64::MAX));
    });
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    let schema = Schema::new(vec![
        text("node_id", false),
        text("parent_id", true),
        text("operator", false),
        text("detail", false),
        Field::new("partitions", DataType::Int64, false),
    ]);
    Ok(RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(ids.finish()),
            Arc::new(parents.finish()),
            Arc::new(operators.finish()),
            Arc::new(details.finish()),
            Arc::new(partitions.finish()),
        ],
    )?)
}

/// Paths of the operators that the request trace knows by the numbers of their scans.
pub fn scan_nodes(plan: &dyn ExecutionPlan) -> HashMap<usize, String> {
    let mut found = HashMap::new();
    each(plan, "0", &mut |node, id| {
        for metric in node.metrics().iter().flat_map(|set| set.iter()) {
            let label = metric.labels().iter().find(|label| label.name() == SCAN);
            if let Some(scan) = label.and_then(|label| label.value().parse().ok()) {
                found.insert(scan, id.to_owned());
            }
        }
    });
    found
}
