//! The operators of a plan: place in the tree, name, text, partitions, and what they measured.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int32Type};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::observe::SCAN;
use super::walk;

/// An operator as the plan has it.
#[derive(Debug)]
pub struct Node {
    /// Path from the root, `0.1.0`.
    pub id: String,
    pub operator: String,
    /// Its line in the plan text.
    pub detail: String,
    pub partitions: usize,
}

/// A metric of an operator.
#[derive(Debug)]
pub struct Measure<'a> {
    pub name: &'a str,
    pub unit: &'a str,
    /// Of all partitions together.
    pub total: Option<f64>,
    /// Of each partition that has it.
    pub partitions: Vec<(i32, f64)>,
}

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

/// The operators, each before those below it.
pub fn nodes(plan: &dyn ExecutionPlan) -> Vec<Node> {
    let mut found = Vec::new();
    each(plan, "0", &mut |node, id| {
        let line = DisplayableExecutionPlan::new(node).one_line().to_string();
        found.push(Node {
            id: id.to_owned(),
            operator: node.name().to_owned(),
            detail: line.trim().to_owned(),
            partitions: node.output_partitioning().partition_count(),
        });
    });
    found
}

/// What metrics tables say, by operator and in the order of their rows.
pub fn measures(tables: &[RecordBatch]) -> HashMap<&str, Vec<Measure<'_>>> {
    let mut found: HashMap<&str, Vec<Measure<'_>>> = HashMap::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for metrics in tables {
        let text = |column: &str| metrics[column].as_string::<i32>();
        let (ids, names, units) = (
            text(walk::NODE_ID),
            text(walk::METRIC_NAME),
            text(walk::UNIT),
        );
        let partitions = metrics[walk::PARTITION].as_primitive::<Int32Type>();
        let values = metrics[walk::METRIC_VALUE].as_primitive::<Float64Type>();
        for row in 0..metrics.num_rows() {
            let (id, name, value) = (ids.value(row), names.value(row), values.value(row));
            let of_node = found.entry(id).or_default();
            let place = *places.entry((id, name)).or_insert_with(|| {
                of_node.push(Measure {
                    name,
                    unit: units.value(row),
                    total: None,
                    partitions: Vec::new(),
                });
                of_node.len() - 1
            });
            let measure = &mut of_node[place];
            if partitions.is_null(row) {
                measure.total = Some(value);
                continue;
            }
            // A partition may measure something several times: files apart, each of its parts.
            let partition = partitions.value(row);
            match measure.partitions.iter_mut().find(|p| p.0 == partition) {
                Some((_, known)) => *known = joined(name, *known, value),
                None => measure.partitions.push((partition, value)),
            }
        }
    }
    found
}

/// Two values that one partition has of a metric, as one.
fn joined(name: &str, one: f64, other: f64) -> f64 {
    match name {
        "start_timestamp" => one.min(other),
        "end_timestamp" => one.max(other),
        _ => one + other,
    }
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
