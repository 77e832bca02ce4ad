//! How many files each Delta scan had to choose from, and what partition values and statistics left of
//! them: rows of the metrics table, made when it is asked for.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::ExecutionPlan;

use super::nodes::each;
use super::walk::{Node, Rows};
use crate::delta::describe;
use crate::delta::node::{DeltaNode, ScanSpec};
use crate::error::Result;

type Metric = (&'static str, f64, &'static str);

/// What one scan reads of what there is.
#[derive(Clone, Debug)]
pub struct Funnel {
    /// Path of the operator.
    pub node: String,
    /// The table and the filters of its scan; `None` of files.
    pub table: Option<Arc<ScanSpec>>,
    /// Files in the plan, and their bytes.
    pub files: usize,
    pub bytes: u64,
    /// Files, or parts of files, as they are read.
    pub parts: usize,
    /// Files whose partition values pass, once that was asked for: progress asks again and again.
    passed: OnceLock<Option<usize>>,
}

/// The scans of a plan.
pub fn funnels(plan: &dyn ExecutionPlan) -> Vec<Funnel> {
    let mut found: Vec<Funnel> = Vec::new();
    each(plan, "0", &mut |node, id| {
        if let Some(delta) = node.downcast_ref::<DeltaNode>() {
            found.push(Funnel {
                node: id.to_owned(),
                table: Some(Arc::clone(&delta.spec)),
                files: 0,
                bytes: 0,
                parts: 0,
                passed: OnceLock::new(),
            });
        }
        let Some(config) = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>())
        else {
            return;
        };
        let mut files = HashSet::new();
        let (mut bytes, mut parts) = (0, 0);
        for file in config.file_groups.iter().flat_map(|group| group.iter()) {
            parts += 1;
            // A file that is read in parts is one file.
            if files.insert(&file.object_meta.location) {
                bytes += file.object_meta.size;
            }
        }
        // The table that the scan is beneath, which may read through several.
        let above = found
            .iter_mut()
            .find(|scan| scan.table.is_some() && id.starts_with(&format!("{}.", scan.node)));
        match above {
            Some(scan) => {
                scan.files += files.len();
                scan.bytes += bytes;
                scan.parts += parts;
            }
            None => found.push(Funnel {
                node: id.to_owned(),
                table: None,
                files: files.len(),
                bytes,
                parts,
                passed: OnceLock::new(),
            }),
        }
    });
    found
}

impl Funnel {
    /// Files and bytes of the table; `None` of files.
    pub fn total(&self) -> Option<(usize, u64)> {
        Some(self.table.as_ref()?.pinned.totals())
    }

    /// Files whose partition values pass the filters.
    fn after_partition(&self) -> Result<Option<usize>> {
        let Some(spec) = &self.table else {
            return Ok(None);
        };
        let (pinned, filters) = (&spec.pinned, &spec.filters);
        let columns = pinned.snapshot.metadata().partition_columns();
        let filters: Vec<_> = filters
            .iter()
            .flat_map(datafusion::logical_expr::utils::split_conjunction)
            .filter(|filter| only_of(filter, columns))
            .cloned()
            .collect();
        let Some(filter) = conjunction(filters) else {
            return Ok(Some(pinned.snapshot.log_data().num_files()));
        };
        let values = partition_values(&describe::files(pinned)?, columns, &spec.schema)?;
        let schema = DFSchema::try_from(Schema::clone(&values.schema()))?;
        let filter = filter
            .transform(|expr| {
                Ok(match expr {
                    // The scan's filters may name the table.
                    Expr::Column(column) => datafusion::common::tree_node::Transformed::yes(
                        Expr::Column(datafusion::common::Column::from_name(column.name)),
                    ),
                    other => datafusion::common::tree_node::Transformed::no(other),
                })
            })?
            .data;
        let props = ExecutionProps::new();
        let filter = create_physical_expr(
            &filter,
            &schema,
            &props,
            &PhysicalPlanningContext::default(),
        )?;
        let passed = filter.evaluate(&values)?.into_array(values.num_rows())?;
        let passed = passed.as_boolean();
        Ok(Some(passed.iter().filter(|one| *one == Some(true)).count()))
    }

    /// Files and bytes there are, and those in the plan.
    fn totals(&self) -> Vec<Metric> {
        let Some((files, bytes)) = self.total() else {
            return vec![
                ("files_total", self.files as f64, "count"),
                ("bytes_total", self.bytes as f64, "bytes"),
                ("file_parts", self.parts as f64, "count"),
            ];
        };
        vec![
            ("files_total", files as f64, "count"),
            ("bytes_total", bytes as f64, "bytes"),
            ("files_after_statistics", self.files as f64, "count"),
            ("bytes_after_statistics", self.bytes as f64, "bytes"),
            ("file_parts", self.parts as f64, "count"),
        ]
    }

    /// What partition values alone left. Values that cannot be compared here leave it out.
    fn partitions(&self) -> Vec<Metric> {
        let passed = self
            .passed
            .get_or_init(|| self.after_partition().ok().flatten());
        match passed {
            Some(files) => vec![("files_after_partition", *files as f64, "count")],
            None => vec![],
        }
    }
}

fn only_of(filter: &Expr, columns: &[String]) -> bool {
    let used = filter.column_refs();
    !used.is_empty() && !filter.is_volatile() && used.iter().all(|c| columns.contains(&c.name))
}

/// The columns `partition.<name>` of a table of files, by the names and types that filters know.
fn partition_values(
    files: &RecordBatch,
    columns: &[String],
    schema: &Schema,
) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut values: Vec<ArrayRef> = Vec::new();
    for name in columns {
        if let Some(column) = files.column_by_name(&format!("partition.{name}")) {
            let field = schema.field_with_name(name)?;
            values.push(cast(column, field.data_type())?);
            fields.push(field.clone().with_nullable(true));
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), values)?)
}

/// Rows on what there was to choose from.
pub fn add_totals(rows: &mut Rows<'_>, scans: &[Funnel]) {
    add(rows, scans, Funnel::totals);
}

/// A metrics table of what partition values left, which takes a look at every file.
pub fn partitions(scans: &[Funnel], run: &str, query: &str) -> Result<RecordBatch> {
    let mut rows = Rows::new(run, query);
    add(&mut rows, scans, Funnel::partitions);
    rows.finish()
}

fn add(rows: &mut Rows<'_>, scans: &[Funnel], say: fn(&Funnel) -> Vec<Metric>) {
    for scan in scans {
        let parent = scan.node.rsplit_once('.').map(|(parent, _)| parent);
        let operator = match scan.table {
            Some(_) => "DeltaSnapshotExec",
            None => "DataSourceExec",
        };
        let node = Node {
            id: &scan.node,
            parent,
            operator,
        };
        for (name, value, unit) in say(scan) {
            rows.add(&node, None, name, value, unit, &[]);
        }
    }
}
