//! Plan tree → rows. Partition rows carry the partition's own value; the row without a partition is
//! the operator's total as `EXPLAIN ANALYZE` shows it.

use std::sync::Arc;

use datafusion::arrow::array::{Float64Builder, Int32Builder, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Label, MetricValue};

use crate::error::Result;

pub const NODE_ID: &str = "node_id";
pub const PARTITION: &str = "partition";
pub const METRIC_NAME: &str = "metric_name";
pub const METRIC_VALUE: &str = "metric_value";
pub const UNIT: &str = "unit";

pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("run_id"),
        text("query_id"),
        text(NODE_ID),
        Field::new("parent_id", DataType::Utf8, true),
        text("operator"),
        Field::new(PARTITION, DataType::Int32, true),
        text(METRIC_NAME),
        Field::new(METRIC_VALUE, DataType::Float64, false),
        text(UNIT),
        text("labels_json"),
    ]))
}

/// Rows of the metrics table in the making.
pub struct Rows<'a> {
    run: &'a str,
    query: &'a str,
    run_id: StringBuilder,
    query_id: StringBuilder,
    node_id: StringBuilder,
    parent_id: StringBuilder,
    operator: StringBuilder,
    partition: Int32Builder,
    name: StringBuilder,
    value: Float64Builder,
    unit: StringBuilder,
    labels: StringBuilder,
}

/// The place of a row in the tree.
pub struct Node<'a> {
    pub id: &'a str,
    pub parent: Option<&'a str>,
    pub operator: &'a str,
}

impl<'a> Rows<'a> {
    pub fn new(run: &'a str, query: &'a str) -> Self {
        Self {
            run,
            query,
            run_id: StringBuilder::new(),
            query_id: StringBuilder::new(),
            node_id: StringBuilder::new(),
            parent_id: StringBuilder::new(),
            operator: StringBuilder::new(),
            partition: Int32Builder::new(),
            name: StringBuilder::new(),
            value: Float64Builder::new(),
            unit: StringBuilder::new(),
            labels: StringBuilder::new(),
        }
    }

    pub fn finish(mut self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(self.run_id.finish()),
                Arc::new(self.query_id.finish()),
                Arc::new(self.node_id.finish()),
                Arc::new(self.parent_id.finish()),
                Arc::new(self.operator.finish()),
                Arc::new(self.partition.finish()),
                Arc::new(self.name.finish()),
                Arc::new(self.value.finish()),
                Arc::new(self.unit.finish()),
                Arc::new(self.labels.finish()),
            ],
        )?)
    }

    pub fn add(
        &mut self,
        node: &Node<'_>,
        partition: Option<usize>,
        name: &str,
        value: f64,
        unit: &str,
        labels: &[Label],
    ) {
        self.run_id.append_value(self.run);
        self.query_id.append_value(self.query);
        self.node_id.append_value(node.id);
        self.parent_id.append_option(node.parent);
        self.operator.append_value(node.operator);
        self.partition
            .append_option(partition.and_then(|p| i32::try_from(p).ok()));
        self.name.append_value(name);
        self.value.append_value(value);
        self.unit.append_value(unit);
        if labels.is_empty() {
            // Of most rows, and rows are many.
            self.labels.append_value("{}");
            return;
        }
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|l| (l.name().to_owned(), l.value().into()))
            .collect();
        self.labels
            .append_value(serde_json::Value::Object(labels).to_string());
    }

    /// One metric, as one row or as several where its kind holds several numbers.
    fn add_metric(
        &mut self,
        node: &Node<'_>,
        partition: Option<usize>,
        value: &MetricValue,
        labels: &[Label],
    ) {
        let name = value.name();
        match value {
            MetricValue::PruningMetrics {
                pruning_metrics, ..
            } => {
                let parts = [
                    ("pruned", pruning_metrics.pruned()),
                    ("matched", pruning_metrics.matched()),
                    ("fully_matched", pruning_metrics.fully_matched()),
                ];
                for (part, count) in parts {
                    let name = format!("{name}_{part}");
                    self.add(node, partition, &name, count as f64, unit(value), labels);
                }
            }
            MetricValue::Ratio { ratio_metrics, .. } => {
                let (part, total) = (ratio_metrics.part() as f64, ratio_metrics.total() as f64);
                let ratio = if total == 0.0 { 0.0 } else { part / total };
                self.add(node, partition, name, ratio, "ratio", labels);
                let unit = if name.contains("bytes") {
                    "bytes"
                } else {
                    "rows"
                };
                self.add(node, partition, &format!("{name}_part"), part, unit, labels);
                self.add(
                    node,
                    partition,
                    &format!("{name}_total"),
                    total,
                    unit,
                    labels,
                );
            }
            MetricValue::StartTimestamp(at) | MetricValue::EndTimestamp(at) => {
                if let Some(at) = at.value() {
                    let ns = at.timestamp_nanos_opt().unwrap_or_default();
                    self.add(node, partition, name, ns as f64, "ns", labels);
                }
            }
            other => {
                let number = other.as_usize() as f64;
                self.add(node, partition, name, number, unit(other), labels);
            }
        }
    }

    /// All metrics of `plan`, which must be the plan that ran.
    pub fn add_plan(&mut self, plan: &dyn ExecutionPlan) {
        self.visit(plan, "0", None);
    }

    fn visit(&mut self, plan: &dyn ExecutionPlan, id: &str, parent: Option<&str>) {
        let node = Node {
            id,
            parent,
            operator: plan.name(),
        };
        if let Some(metrics) = plan.metrics() {
            for metric in metrics.iter().filter(|m| m.partition().is_some()) {
                self.add_metric(&node, metric.partition(), metric.value(), metric.labels());
            }
            for metric in metrics.aggregate_by_name().iter() {
                self.add_metric(&node, None, metric.value(), &[]);
            }
        }
        for (i, child) in plan.children().into_iter().enumerate() {
            self.visit(child.as_ref(), &format!("{id}.{i}"), Some(id));
        }
    }
}

fn unit(value: &MetricValue) -> &'static str {
    match value {
        MetricValue::OutputRows(_) | MetricValue::SpilledRows(_) => "rows",
        MetricValue::ElapsedCompute(_) | MetricValue::Time { .. } => "ns",
        MetricValue::SpilledBytes(_)
        | MetricValue::OutputBytes(_)
        | MetricValue::CurrentMemoryUsage(_)
        | MetricValue::PeakMemoryUsage { .. } => "bytes",
        other => {
            let name = other.name();
            if name.contains("bytes") || name.contains("mem_") || name.contains("memory") {
                "bytes"
            } else if name.contains("rows") {
                "rows"
            } else {
                "count"
            }
        }
    }
}
