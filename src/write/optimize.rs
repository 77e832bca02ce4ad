//! Compaction: files of a partition that are small, or have deleted rows, become fewer without these; or all
//! of its rows come into a Z-order.

use std::cmp::Ordering as Order;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use deltalake::kernel::Action;
use deltalake::protocol::DeltaOperation;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use super::assign::lenient_field;
use super::change::PartitionFilter;
use super::commit::transaction::{Finished, Prepared};
use super::dml::{column_index, reads_more};
use super::expressions::{Text, bare, physical};
use super::files::{DataFile, FileSpec};
use super::finish::Base;
use super::rows::{Sinks, Work, run};
use super::target::{Target, aside, file_spec};
use super::values;
use super::vectors::Rows;
use super::z_order;
use crate::error::{ErrorKind, NativeError, Result};
use crate::scan::files::TableFile;
use crate::scan::positions::{self, Chosen, Deleted, PositionTable};

/// What is compacted, and how.
pub struct Compaction {
    pub filters: Vec<PartitionFilter>,
    /// SQL over the partition columns: files of partitions that it is true of.
    pub predicate: Option<String>,
    pub target_size: Option<u64>,
    /// Columns of a Z-order; none compacts.
    pub z_order: Vec<String>,
    pub tasks: Option<usize>,
    /// What is done is committed so often; all at once where it is not said.
    pub interval: Option<Duration>,
}

/// Column with a row's place on the curve of a Z-order.
const PLACE: &str = "__fusiondelta_place";

/// Numbers of files that become one.
type Bin = Vec<u32>;

pub async fn compact(target: Target, prepared: Prepared, how: Compaction) -> Result<Finished> {
    for column in &how.z_order {
        let index = column_index(&target, column).map_err(|e| NativeError {
            kind: ErrorKind::Configuration,
            ..e
        })?;
        if target.layout.is_partition(index) {
            return Err(NativeError::new(
                ErrorKind::Configuration,
                format!("z_order names {column:?}, which the table is partitioned by"),
            ));
        }
    }
    let asked = spec(&target, how.target_size);
    let size = asked.target_size;
    // Files that fit together become one file.
    let spec = match how.z_order.is_empty() {
        true => spec(&target, Some(u64::MAX)),
        false => asked,
    };
    let chosen = match &how.predicate {
        Some(sql) => Some(chosen(&target, sql).await?),
        None => None,
    };
    let passes = |number: u32, file: &TableFile| {
        let is_chosen = chosen.as_ref().is_none_or(|all| all.contains(&number));
        Ok(is_chosen && passes(&target, file, &how.filters)?)
    };
    let (bins, considered) = bins(&target, passes, size, !how.z_order.is_empty())?;
    let tasks = how
        .tasks
        .unwrap_or_else(|| target.state().config().target_partitions())
        .max(1);
    let mut rewrites = Vec::with_capacity(bins.len());
    for bin in &bins {
        rewrites.push(rewrite(&target, bin, &spec, &how.z_order).boxed());
    }
    let of = |predicate: Option<String>| DeltaOperation::Optimize {
        predicate,
        target_size: i64::try_from(size).unwrap_or(i64::MAX),
    };
    let operation = of(how.text());
    let mut all = Done::default();
    let mut part = Done::default();
    let mut on = Base::of(&prepared);
    let mut last = Instant::now();
    let mut rewrites = stream::iter(rewrites)
        .buffered(tasks)
        .zip(stream::iter(&bins));
    while let Some((written, bin)) = rewrites.next().await {
        part.add(bin, written?);
        // The last of them with the final commit.
        if let Some(interval) = how.interval
            && all.bins + part.bins < bins.len()
            && last.elapsed() >= interval
        {
            let metrics = part.metrics(&target, how.z_order.is_empty(), considered);
            let actions = part.actions(&target);
            on = on.commit(actions, &operation, of(None), &metrics).await?;
            all.append(std::mem::take(&mut part));
            last = Instant::now();
        }
    }
    let metrics = part.metrics(&target, how.z_order.is_empty(), considered);
    let actions = part.actions(&target);
    all.append(part);
    let total = all.metrics(&target, how.z_order.is_empty(), considered);
    prepared.progress.measure(total.clone());
    let on = on.commit(actions, &operation, of(None), &metrics).await?;
    Ok(on.finished(prepared.table, total))
}

/// Files that were put into others.
#[derive(Default)]
struct Done {
    bins: usize,
    removed: Vec<u32>,
    added: Vec<DataFile>,
}

impl Done {
    fn add(&mut self, bin: &Bin, written: Vec<DataFile>) {
        self.bins += 1;
        self.removed.extend(bin);
        self.added.extend(written);
    }

    fn append(&mut self, mut other: Self) {
        self.bins += other.bins;
        self.removed.append(&mut other.removed);
        self.added.append(&mut other.added);
    }

    fn files<'a>(&self, target: &'a Target) -> Vec<&'a TableFile> {
        self.removed
            .iter()
            .filter_map(|n| target.file(*n))
            .collect()
    }

    fn actions(&self, target: &Target) -> Vec<Action> {
        let removed = self.files(target).into_iter();
        let removed = removed.map(|file| Action::Remove(file.view.remove_action(false)));
        let added = self.added.iter().cloned().map(|file| file.action(false));
        removed.chain(added).collect()
    }

    fn metrics(&self, target: &Target, is_in_order: bool, considered: usize) -> Value {
        let (added, removed) = (&self.added, self.files(target));
        let partitions: HashSet<_> = removed.iter().map(|file| file.partition.clone()).collect();
        let sizes = |all: Vec<u64>| {
            let total: u64 = all.iter().sum();
            #[allow(clippy::cast_precision_loss)] // an average for people
            let average = if all.is_empty() {
                0.0
            } else {
                total as f64 / all.len() as f64
            };
            json!({
                "avg": average,
                "max": all.iter().max().copied().unwrap_or_default(),
                "min": all.iter().min().copied().unwrap_or_default(),
                "total_files": all.len(),
                "total_size": total,
            })
        };
        json!({
            "num_files_added": added.len(),
            "num_files_removed": removed.len(),
            "num_deletion_vectors_removed": removed.iter().filter(|f| f.vector.is_some()).count(),
            "files_added": sizes(added.iter().map(|f| f.size.unsigned_abs()).collect()),
            "files_removed": sizes(removed.iter().map(|f| f.size).collect()),
            "partitions_optimized": partitions.len(),
            "num_batches": self.bins,
            "total_considered_files": considered,
            "total_files_skipped": considered.saturating_sub(removed.len()),
            "preserve_insertion_order": is_in_order,
        })
    }
}

impl Compaction {
    /// Where, as the log says it.
    fn text(&self) -> Option<String> {
        let filters = self.filters.iter();
        let texts: Vec<_> = filters
            .map(|(column, operator, values)| format!("{column} {operator} {values:?}"))
            .chain(self.predicate.clone())
            .collect();
        (!texts.is_empty()).then(|| texts.join(" AND "))
    }
}

/// Files of the partitions that a condition over partition columns is true of.
async fn chosen(target: &Target, sql: &str) -> Result<HashSet<u32>> {
    let text = Text::new("predicate", sql);
    let condition = target.binder.condition(&text, &[&target.name]).await?;
    let layout = &target.layout;
    let names = layout.partition_names();
    let columns = condition.column_refs();
    let other = columns.iter().find(|column| !names.contains(&column.name));
    if let Some(column) = other {
        return Err(NativeError::new(
            ErrorKind::Sql,
            format!(
                "optimize chooses whole partitions, and predicate ({sql}) names {:?}, which is no \
                 partition column (there are: {})",
                column.name,
                names.join(", ")
            ),
        ));
    }
    if reads_more(&condition) {
        return Err(NativeError::new(
            ErrorKind::Sql,
            format!("predicate ({sql}) is decided by partition values and takes no subquery"),
        ));
    }
    let fields = layout.partitions.iter();
    let fields = fields.map(|i| lenient_field(layout.schema.field(*i)));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut arrays = Vec::with_capacity(names.len());
    for (place, field) in schema.fields().iter().enumerate() {
        let values = target
            .files
            .iter()
            .map(|file| file.partition[place].clone());
        arrays.push(match target.files.is_empty() {
            true => new_empty_array(field.data_type()),
            false => cast(&ScalarValue::iter_to_array(values)?, field.data_type())?,
        });
    }
    let count = RecordBatchOptions::new().with_row_count(Some(target.files.len()));
    let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &count)?;
    let expr = physical(
        target.state(),
        bare(condition)?,
        &DFSchema::try_from(schema)?,
    )?;
    let found = expr.evaluate(&rows)?.into_array(rows.num_rows())?;
    let found = found.as_boolean_opt().into_iter().flatten();
    let numbered = (0_u32..).zip(found);
    Ok(numbered
        .filter(|(_, is)| *is == Some(true))
        .map(|(n, _)| n)
        .collect())
}

fn spec(target: &Target, size: Option<u64>) -> Arc<FileSpec> {
    file_spec(
        &target.layout,
        &target.place,
        target.properties(),
        &target.writer,
        size,
        target.state(),
        false,
    )
}

/// Files that become one, or those of a partition where they are put into an order; and how many were looked
/// at.
fn bins(
    target: &Target,
    passes: impl Fn(u32, &TableFile) -> Result<bool>,
    size: u64,
    is_whole: bool,
) -> Result<(Vec<Bin>, usize)> {
    let mut partitions: BTreeMap<Vec<String>, Vec<u32>> = BTreeMap::new();
    let mut considered = 0;
    for (number, file) in (0_u32..).zip(target.files.iter()) {
        if !passes(number, file)? {
            continue;
        }
        considered += 1;
        let key = file
            .partition
            .iter()
            .map(|value| format!("{value:?}"))
            .collect();
        partitions.entry(key).or_default().push(number);
    }
    let mut all = Vec::new();
    for numbers in partitions.into_values() {
        if is_whole {
            all.push(numbers);
            continue;
        }
        // Neighbours, so that rows stay in their order.
        let (mut bytes, mut bin) = (0, Bin::new());
        for number in numbers {
            let Some(file) = target.file(number) else {
                continue;
            };
            let is_full = file.size > size && file.vector.is_none();
            if is_full || bytes + file.size > size {
                all.push(std::mem::take(&mut bin));
                bytes = 0;
            }
            if is_full {
                continue;
            }
            bytes += file.size;
            bin.push(number);
        }
        all.push(bin);
    }
    let has_vector = |n: &u32| target.file(*n).is_some_and(|f| f.vector.is_some());
    all.retain(|bin| bin.len() > 1 || is_whole || bin.iter().any(has_vector));
    Ok((all, considered))
}

/// Writes the live rows of files to one file, or more where they are too many for one.
async fn rewrite(
    target: &Target,
    bin: &Bin,
    spec: &Arc<FileSpec>,
    z_order: &[String],
) -> Result<Vec<DataFile>> {
    let found = positions::deleted(&target.files, bin, &target.place).await?;
    let none = Arc::new(Rows::new());
    let rows: Deleted = bin
        .iter()
        .map(|n| {
            (
                *n,
                found.get(n).map_or_else(|| Arc::clone(&none), Arc::clone),
            )
        })
        .collect();
    let table = PositionTable::new(
        Arc::clone(&target.layout),
        Arc::clone(&target.files),
        target.place.clone(),
        Chosen::Rest(Arc::new(rows)),
    );
    let fields = target.layout.schema.fields().iter();
    let columns = || {
        fields
            .clone()
            .map(|field| Expr::Column(Column::from_name(field.name())))
    };
    let mut plan = LogicalPlanBuilder::scan("files", provider_as_source(Arc::new(table)), None)?;
    if !z_order.is_empty() {
        let by = z_order
            .iter()
            .map(|name| Expr::Column(Column::from_name(name)));
        let place = z_order::place(by.collect()).alias(PLACE);
        plan = plan
            .project(columns().chain([place]))?
            .sort([Expr::Column(Column::from_name(PLACE)).sort(true, false)])?;
    }
    let plan = plan.project(columns())?.build()?;
    // One stream, so that rows stay in their order.
    let config = target.state().config().clone().with_target_partitions(1);
    let state = SessionStateBuilder::new_from_existing(aside(target.state()))
        .with_config(config)
        .build();
    let plan = state.create_physical_plan(&plan).await?;
    let sinks = Arc::new(Sinks::new(1, spec, None)?);
    let work = Work::Copied(Arc::new(AtomicU64::new(0)));
    run(plan, state.task_ctx(), work, &sinks).await?;
    Ok(sinks.finish().await?.0)
}

/// Whether the partition of a file passes all filters.
fn passes(target: &Target, file: &TableFile, filters: &[PartitionFilter]) -> Result<bool> {
    let layout = &target.layout;
    let places: HashMap<&str, usize> = layout
        .partitions
        .iter()
        .enumerate()
        .map(|(place, i)| (layout.schema.field(*i).name().as_str(), place))
        .collect();
    for (column, operator, given) in filters {
        let Some(place) = places.get(column.as_str()) else {
            let mut known = layout.partition_names();
            known.sort_unstable();
            return Err(no_partition(column, &known));
        };
        let own = &file.partition[*place];
        let values = given
            .iter()
            .map(|text| {
                values::parse(Some(text), &own.data_type(), column).map_err(|e| NativeError {
                    kind: ErrorKind::Configuration,
                    ..e
                })
            })
            .collect::<Result<Vec<ScalarValue>>>()?;
        let compare = |order: &[Order]| {
            values
                .first()
                .and_then(|value| own.partial_cmp(value))
                .is_some_and(|found| order.contains(&found))
        };
        let passes = match operator.to_lowercase().as_str() {
            "=" | "==" => values.first() == Some(own),
            "!=" | "<>" => values.first() != Some(own),
            "in" => values.contains(own),
            "not in" => !values.contains(own),
            "<" => !own.is_null() && compare(&[Order::Less]),
            "<=" => !own.is_null() && compare(&[Order::Less, Order::Equal]),
            ">" => !own.is_null() && compare(&[Order::Greater]),
            ">=" => !own.is_null() && compare(&[Order::Greater, Order::Equal]),
            other => {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    format!(
                        "partition_filters has the operator {other:?}, which is none of =, !=, <, <=, >, >=, in, not in"
                    ),
                ));
            }
        };
        if !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The error for a partition filter on a column that is no partition column.
fn no_partition(column: &str, known: &[String]) -> NativeError {
    let known = match known {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    };
    NativeError::new(
        ErrorKind::Configuration,
        format!("partition_filters names {column:?}, and the table is partitioned by: {known}"),
    )
}
