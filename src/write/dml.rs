//! `delete` and `update`: rows of a table for which a condition is true.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use deltalake::kernel::Action;
use deltalake::protocol::DeltaOperation;
use serde_json::{Value, json};

use super::assign::{assigned, lenient_type};
use super::change::Assignments;
use super::commit::transaction::{Finished, Prepared};
use super::expressions::{Bound, Fractions, Text, bare, physical};
use super::finish::{Effects, commit, read_rows, settle};
use super::rows::{Found, KIND, Kind, Shape, Work, new_column, old_column, run};
use super::target::{Target, computed};
use crate::error::{ErrorKind, NativeError, Result};
use crate::scan::positions::{FILE, ROW};

/// Deletes the rows for which the predicate is true, or all.
pub async fn delete(
    target: Target,
    prepared: Prepared,
    predicate: Option<String>,
) -> Result<Finished> {
    let operation = DeltaOperation::Delete {
        predicate: predicate.clone(),
    };
    let as_seen = DeltaOperation::Delete { predicate: None };
    let condition = condition(&target, predicate.as_deref()).await?;
    target.uses_vectors()?;
    let filters: Vec<_> = condition.iter().cloned().collect();
    if let Some((effects, rows)) = whole_files(&target, condition.as_ref())? {
        let mut read = read_rows(&target, filters, false);
        if condition.is_none() {
            // All rows are those that were there: rows that come meanwhile stay.
            read.may_match = Box::new(|_| false);
        }
        prepared.progress.read(read);
        let metrics = json!({
            "num_added_files": 0,
            "num_removed_files": effects.files_removed,
            "num_deleted_rows": rows,
            "num_copied_rows": 0,
            "execution_time_ms": target.elapsed_ms(),
        });
        return commit(prepared, effects.actions, &operation, as_seen, metrics).await;
    }
    let everything = filters.iter().any(reads_more);
    let (found, effects) = change(&target, condition, Vec::new()).await?;
    prepared
        .progress
        .read(read_rows(&target, filters, everything));
    let mut metrics = metrics(&target, &effects);
    metrics["num_deleted_rows"] = found.deleted().into();
    commit(prepared, effects.actions, &operation, as_seen, metrics).await
}

/// Sets columns of the rows for which the predicate is true, or of all.
pub async fn update(
    target: Target,
    prepared: Prepared,
    set: Assignments,
    predicate: Option<String>,
) -> Result<Finished> {
    let operation = DeltaOperation::Update {
        predicate: predicate.clone(),
    };
    let condition = condition(&target, predicate.as_deref()).await?;
    let set = values(&target, &set, &[&target.name]).await?;
    let filters: Vec<_> = condition.iter().cloned().collect();
    let everything = filters
        .iter()
        .chain(set.iter().map(|(_, expr)| expr))
        .any(reads_more);
    let (found, effects) = change(&target, condition, set).await?;
    prepared
        .progress
        .read(read_rows(&target, filters, everything));
    let mut metrics = metrics(&target, &effects);
    metrics["num_updated_rows"] = found.updated().into();
    let as_seen = DeltaOperation::Update { predicate: None };
    commit(prepared, effects.actions, &operation, as_seen, metrics).await
}

/// The predicate of a change, over columns of the table.
async fn condition(target: &Target, predicate: Option<&str>) -> Result<Option<Expr>> {
    let Some(sql) = predicate else {
        return Ok(None);
    };
    let text = Text::new("the predicate", sql);
    Ok(Some(target.binder.condition(&text, &[&target.name]).await?))
}

fn metrics(target: &Target, effects: &Effects) -> Value {
    json!({
        "num_added_files": effects.files_added,
        "num_removed_files": effects.files_removed,
        "num_deletion_vectors_added": effects.vectors_added,
        "num_deletion_vectors_removed": effects.vectors_removed,
        "num_copied_rows": effects.rows_copied,
        "execution_time_ms": target.elapsed_ms(),
    })
}

/// Whether an expression reads more rows than the one it is computed of.
pub fn reads_more(expr: &Expr) -> bool {
    let mut found = false;
    let _ = expr.apply(|part| {
        found |= matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
        );
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Columns of the table and what they are set to, in the types of the table.
///
/// # Errors
/// `sql` for a column that is not there, `schema_mismatch` for values that it does not take.
pub async fn values(
    target: &Target,
    set: &Assignments,
    relations: &[&str],
) -> Result<Vec<(usize, Expr)>> {
    let mut found = Vec::with_capacity(set.len());
    for (column, sql) in set {
        let text = Text::new(format!("the value of {column:?}"), sql);
        let index = column_index(target, column)?;
        let exact = target
            .binder
            .bind(&text, relations, Fractions::Decimal)
            .await;
        // A number with an exponent is a double, and no decimal.
        let bound = match exact {
            Ok(bound) => bound,
            Err(_) => {
                let binder = &target.binder;
                binder
                    .bind(&text, relations, Fractions::AsInQueries)
                    .await?
            }
        };
        found.push((index, stored(target, index, bound)?));
    }
    Ok(found)
}

pub fn column_index(target: &Target, column: &str) -> Result<usize> {
    let schema = &target.layout.schema;
    schema.index_of(column).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        NativeError::new(
            ErrorKind::Sql,
            format!(
                "the table has no column {column:?}; its columns are {}",
                names.join(", ")
            ),
        )
        .with("column_name", column)
    })
}

/// An expression as a column keeps what it gives.
pub fn stored(target: &Target, index: usize, bound: Bound) -> Result<Expr> {
    let field = target.layout.schema.field(index);
    let lenient = Field::new(field.name(), lenient_type(field.data_type()), true);
    // A text that is written out is of any type that is written so.
    if let Expr::Literal(value, _) = &bound.expr
        && let ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)) = value
        && matches!(
            field.data_type(),
            DataType::Date32 | DataType::Timestamp(..)
        )
    {
        let value = value.cast_to(lenient.data_type()).map_err(|_| {
            super::assign::refused(
                field.name(),
                &format!("{value} is no {}", super::assign::named(field.data_type())),
            )
        })?;
        return Ok(lit(value));
    }
    assigned(bound.expr, &bound.data_type, &lenient, false)
}

/// Deletes the rows that a condition is true of, or all; what that does to files.
pub async fn delete_rows(
    target: &Target,
    condition: Option<Expr>,
) -> Result<(Arc<Found>, Effects)> {
    change(target, condition, Vec::new()).await
}

/// Runs a delete, where nothing is set, or an update.
async fn change(
    target: &Target,
    condition: Option<Expr>,
    set: Vec<(usize, Expr)>,
) -> Result<(Arc<Found>, Effects)> {
    let is_update = !set.is_empty();
    let feed = target.has_feed();
    let fields = target.layout.schema.fields().len();
    let shape = Shape {
        new: if is_update { fields } else { 0 },
        old: if feed { fields } else { 0 },
    };
    let plan = plan(target, condition, &set, shape).await?;
    let given: Vec<_> = set
        .iter()
        .map(|(index, _)| target.layout.schema.field(*index).name().as_str())
        .collect();
    let checks = target.checks(&given, Vec::new()).await?;
    let found = Arc::new(Found::new(false));
    let sinks = target.sinks(true)?;
    let physical = target.plan(&plan).await?;
    let work = Work::Changed(shape, Arc::clone(&found), checks);
    run(physical, target.state().task_ctx(), work, &sinks).await?;
    let effects = settle(target, found.take(), sinks).await?;
    Ok((found, effects))
}

async fn plan(
    target: &Target,
    condition: Option<Expr>,
    set: &[(usize, Expr)],
    shape: Shape,
) -> Result<LogicalPlan> {
    let source = provider_as_source(Arc::clone(&target.table) as _);
    let reference = datafusion::common::TableReference::bare(target.name.as_str());
    let mut builder = LogicalPlanBuilder::scan(reference.clone(), source, None)?;
    if let Some(condition) = condition {
        builder = builder.filter(condition)?;
    }
    let own = |name: &str| Expr::Column(Column::new(Some(reference.clone()), name));
    let kind = if shape.new > 0 {
        Kind::Update
    } else {
        Kind::Delete
    };
    let mut columns = vec![own(FILE), own(ROW), lit(kind as i8).alias(KIND)];
    let schema = &target.layout.schema;
    for (i, field) in schema.fields().iter().enumerate().take(shape.new) {
        let value = set
            .iter()
            .find(|(index, _)| *index == i)
            .map(|(_, expr)| expr.clone());
        let value = value.unwrap_or_else(|| own(field.name()));
        columns.push(value.alias(new_column(field.name())));
    }
    for field in schema.fields().iter().take(shape.old) {
        columns.push(own(field.name()).alias(old_column(field.name())));
    }
    builder = builder.project(columns)?;
    let given: HashSet<usize> = set.iter().map(|(index, _)| *index).collect();
    if shape.new > 0 {
        builder = generated(target, builder, |i| given.contains(&i)).await?;
    }
    Ok(builder.build()?)
}

/// Computes the generated columns of new rows that nobody has given, from the other columns of the new row.
pub async fn generated(
    target: &Target,
    builder: LogicalPlanBuilder,
    is_given: impl Fn(usize) -> bool,
) -> Result<LogicalPlanBuilder> {
    let layout = &target.layout;
    let is_given = |name: &str| layout.schema.index_of(name).is_ok_and(&is_given);
    computed(
        &target.binder,
        layout,
        &target.name,
        builder,
        new_column,
        is_given,
    )
    .await
}

type Whole = Option<(Effects, Option<u64>)>;

/// The removal of whole files, where a delete needs no look into them: all, or those of partitions. And how
/// many rows these had, if the log knows.
pub fn whole_files(target: &Target, condition: Option<&Expr>) -> Result<Whole> {
    let layout = &target.layout;
    let chosen: Vec<bool> = match condition {
        None => vec![true; target.files.len()],
        Some(condition) => {
            if !is_of_partitions(target, condition) {
                return Ok(None);
            }
            let fields: Vec<_> = layout
                .partitions
                .iter()
                .map(|i| layout.schema.field(*i).clone().with_nullable(true))
                .collect();
            let schema = Arc::new(Schema::new(fields));
            let columns = (0..layout.partitions.len())
                .map(|place| {
                    let values = target
                        .files
                        .iter()
                        .map(|file| file.partition[place].clone());
                    ScalarValue::iter_to_array(values)
                })
                .collect::<datafusion::common::Result<Vec<_>>>();
            if target.files.is_empty() {
                return Ok(Some((Effects::default(), Some(0))));
            }
            let rows = RecordBatchOptions::new().with_row_count(Some(target.files.len()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns?, &rows)?;
            let bare = bare(condition.clone())?;
            let schema = DFSchema::try_from(schema)?;
            let condition = physical(target.state(), bare, &schema)
                .map_err(|e| NativeError::new(ErrorKind::Sql, NativeError::from(e).message))?;
            let truth = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
            truth.as_boolean().iter().map(|t| t == Some(true)).collect()
        }
    };
    let mut effects = Effects::default();
    let mut rows = Some(0);
    let mut numbers = Vec::new();
    for (number, (file, is_chosen)) in (0_u32..).zip(target.files.iter().zip(chosen)) {
        if !is_chosen {
            continue;
        }
        numbers.push(number);
        effects.files_removed += 1;
        effects
            .actions
            .push(Action::Remove(file.view.remove_action(true)));
        let gone = file.vector.as_ref().map_or(0, |vector| vector.cardinality);
        let live = file
            .rows()
            .map(|n| n.saturating_sub(u64::try_from(gone).unwrap_or_default()));
        rows = rows.zip(live).map(|(all, n)| all + n);
    }
    target.table.note_scanned(&numbers);
    Ok(Some((effects, rows)))
}

/// Whether a condition is decided by partition values alone.
fn is_of_partitions(target: &Target, condition: &Expr) -> bool {
    let layout = &target.layout;
    if reads_more(condition) || condition.is_volatile() {
        return false;
    }
    let columns = condition.column_refs();
    columns.iter().all(|column| {
        layout
            .schema
            .index_of(&column.name)
            .is_ok_and(|i| layout.is_partition(i))
    })
}
