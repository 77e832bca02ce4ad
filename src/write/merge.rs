//! `merge`: rows of a source update, delete and join those of a table.
//!
//! One join of both sides decides what becomes of each row. Clauses are tried in their order, for matched
//! rows, for rows of the source alone and for rows of the table alone; the first whose condition is true is
//! carried out.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{Column, JoinType, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, lit};
use deltalake::protocol::{DeltaOperation, MergePredicate};
use serde_json::json;

use super::assign::{lenient_type, obstacle, refused};
use super::change::{Assignments, Clause, ClauseKind, Merge};
use super::commit::transaction::{Finished, Prepared};
use super::dml::{column_index, generated, reads_more, stored, values};
use super::expressions::{Bound, Text};
use super::finish::{commit, read_rows, settle};
use super::rows::{Found, KIND, Kind, Shape, Work, new_column, old_column, run};
use super::schema::Evolved;
use super::source::{Source, reach};
use super::target::{Target, default};
use crate::error::{ErrorKind, NativeError, Result};
use crate::scan::positions::{FILE, ROW};

/// Column of the source that is true in all of its rows: NULL after a join where there is none.
const IN_SOURCE: &str = "__fusiondelta_in_source";
/// Column with the number of the clause that is carried out.
const CLAUSE: &str = "__fusiondelta_clause";

/// Which rows a clause is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Both,
    Source,
    Target,
}

/// A clause with its expressions bound.
struct Ready {
    of: Of,
    kind: Kind,
    condition: Option<Expr>,
    /// Columns of the table by index.
    set: Vec<(usize, Expr)>,
}

pub async fn merge(target: Target, prepared: Prepared, merge: Merge) -> Result<Finished> {
    target.uses_vectors()?;
    let source = Source::open(&merge.source_alias, &merge.source, &target).await?;
    let name = source.name.as_str();
    target.binder.register(name, Arc::clone(&source.table))?;
    let on = Text::new("on", &merge.on);
    let on = target.binder.condition(&on, &[name, &target.name]).await?;
    let mut clauses = Vec::with_capacity(merge.clauses.len());
    for clause in &merge.clauses {
        clauses.push(ready(&target, &merge, clause).await?);
    }
    let everything = reads_more(&on)
        || clauses.iter().any(|clause| {
            clause.condition.iter().any(reads_more) || clause.set.iter().any(|(_, e)| reads_more(e))
        });
    let has = |of: Of| clauses.iter().any(|clause| clause.of == of);
    let join = match (has(Of::Source), has(Of::Target)) {
        (false, false) => JoinType::Inner,
        (true, false) => JoinType::Left,
        (false, true) => JoinType::Right,
        (true, true) => JoinType::Full,
    };
    // Rows of the table that nothing matches matter where a clause is about them.
    let reached = match has(Of::Target) {
        true => Vec::new(),
        false => reach(&source, &on, &target).await?,
    };
    let matched: Vec<_> = clauses
        .iter()
        .filter(|clause| clause.of == Of::Both)
        .collect();
    // To be deleted twice is to be deleted.
    let repeats = matches!(
        matched.as_slice(),
        [Ready {
            kind: Kind::Delete,
            condition: None,
            ..
        }]
    );
    let fields = target.layout.schema.fields().len();
    let shape = Shape {
        new: if clauses.iter().all(|c| c.kind == Kind::Delete) {
            0
        } else {
            fields
        },
        old: if target.has_feed() { fields } else { 0 },
    };
    let plan = plan(
        &target,
        &source,
        on.clone(),
        &reached,
        join,
        &clauses,
        shape,
    )
    .await?;
    let given = given(&target, &clauses);
    let checks = target.checks(&given, Vec::new()).await?;
    let found = Arc::new(Found::new(repeats));
    let sinks = target.sinks(true)?;
    let physical = target.plan(&plan).await?;
    let work = Work::Changed(shape, Arc::clone(&found), checks);
    run(physical, target.state().task_ctx(), work, &sinks).await?;
    let effects = settle(&target, found.take(), sinks).await?;
    // Of the table's rows that others add, those matter that could have matched.
    let mut read = reached;
    if !has(Of::Target) {
        read.extend(
            split_conjunction(&on)
                .into_iter()
                .filter(|part| is_of(part, &target))
                .cloned(),
        );
    }
    let scanned = target.table.scanned().len();
    prepared.progress.read(read_rows(&target, read, everything));
    let operation = operation(&merge);
    let as_seen = operation_without_predicates();
    let metrics = json!({
        "num_source_rows": source.rows(),
        "num_target_rows_inserted": found.inserted(),
        "num_target_rows_updated": found.updated(),
        "num_target_rows_deleted": found.deleted(),
        "num_target_rows_copied": effects.rows_copied,
        "num_output_rows": found.inserted() + found.updated() + effects.rows_copied,
        "num_target_files_scanned": scanned,
        "num_target_files_skipped_during_scan": target.files.len().saturating_sub(scanned),
        "num_target_files_added": effects.files_added,
        "num_target_files_removed": effects.files_removed,
        "num_target_deletion_vectors_added": effects.vectors_added,
        "num_target_deletion_vectors_removed": effects.vectors_removed,
        "execution_time_ms": target.elapsed_ms(),
    });
    let mut actions: Vec<_> = target.evolved.iter().flat_map(Evolved::actions).collect();
    actions.extend(effects.actions);
    commit(prepared, actions, &operation, as_seen, metrics).await
}

/// Whether a condition is about rows of the table alone.
fn is_of(condition: &Expr, target: &Target) -> bool {
    let own = Some(TableReference::bare(target.name.as_str()));
    let columns = condition.column_refs();
    !reads_more(condition) && columns.iter().all(|column| column.relation == own)
}

/// Generated columns that a clause sets: they are checked, and not made.
fn given<'a>(target: &'a Target, clauses: &[Ready]) -> Vec<&'a str> {
    let names = target.layout.generated.keys();
    names
        .map(String::as_str)
        .filter(|name| {
            let index = target.layout.schema.index_of(name).ok();
            clauses
                .iter()
                .any(|clause| clause.set.iter().any(|(i, _)| Some(*i) == index))
        })
        .collect()
}

async fn ready(target: &Target, merge: &Merge, clause: &Clause) -> Result<Ready> {
    let (source, table) = (merge.source_alias.as_str(), target.name.as_str());
    let (of, kind, name) = match &clause.kind {
        ClauseKind::MatchedUpdate(_) | ClauseKind::MatchedUpdateAll => {
            (Of::Both, Kind::Update, "when_matched_update")
        }
        ClauseKind::MatchedDelete => (Of::Both, Kind::Delete, "when_matched_delete"),
        ClauseKind::NotMatchedInsert(_) | ClauseKind::NotMatchedInsertAll => {
            (Of::Source, Kind::Insert, "when_not_matched_insert")
        }
        ClauseKind::NotMatchedBySourceUpdate(_) => (
            Of::Target,
            Kind::Update,
            "when_not_matched_by_source_update",
        ),
        ClauseKind::NotMatchedBySourceDelete => (
            Of::Target,
            Kind::Delete,
            "when_not_matched_by_source_delete",
        ),
    };
    let seen: &[&str] = match of {
        Of::Both => &[source, table],
        Of::Source => &[source],
        Of::Target => &[table],
    };
    let condition = match &clause.predicate {
        Some(sql) => {
            let text = Text::new(format!("the predicate of {name}"), sql);
            Some(target.binder.condition(&text, seen).await?)
        }
        None => None,
    };
    let set = match &clause.kind {
        ClauseKind::MatchedUpdate(set)
        | ClauseKind::NotMatchedInsert(set)
        | ClauseKind::NotMatchedBySourceUpdate(set) => assigned(target, set, seen, name).await?,
        ClauseKind::MatchedUpdateAll | ClauseKind::NotMatchedInsertAll => all(target, merge)?,
        ClauseKind::MatchedDelete | ClauseKind::NotMatchedBySourceDelete => Vec::new(),
    };
    Ok(Ready {
        of,
        kind,
        condition,
        set,
    })
}

async fn assigned(
    target: &Target,
    set: &Assignments,
    seen: &[&str],
    clause: &str,
) -> Result<Vec<(usize, Expr)>> {
    values(target, set, seen)
        .await
        .map_err(|error| NativeError {
            message: format!("{clause}: {}", error.message),
            ..error
        })
}

/// Every column that both sides have, by name.
fn all(target: &Target, merge: &Merge) -> Result<Vec<(usize, Expr)>> {
    let reference = TableReference::bare(merge.source_alias.as_str());
    let mut set = Vec::new();
    let mut problems = Vec::new();
    for field in merge.source.schema().fields() {
        let Ok(index) = column_index(target, field.name()) else {
            continue;
        };
        let own = target.layout.schema.field(index);
        if let Some(why) = obstacle(field.data_type(), &lenient_type(own.data_type())) {
            problems.push((own.name().clone(), why));
            continue;
        }
        let bound = Bound {
            expr: Expr::Column(Column::new(Some(reference.clone()), field.name())),
            data_type: field.data_type().clone(),
        };
        set.push((index, stored(target, index, bound)?));
    }
    match problems.as_slice() {
        [] if set.is_empty() => Err(NativeError::new(
            ErrorKind::SchemaMismatch,
            "the source has none of the columns of the table",
        )),
        [] => Ok(set),
        [(column, why)] => Err(refused(column, why)),
        several => {
            let texts: Vec<_> = several
                .iter()
                .map(|(column, why)| format!("column {column:?}: {why}"))
                .collect();
            let names: Vec<_> = several.iter().map(|(column, _)| column.as_str()).collect();
            Err(
                NativeError::new(ErrorKind::SchemaMismatch, texts.join("; "))
                    .with("columns", names.join(", ")),
            )
        }
    }
}

async fn plan(
    target: &Target,
    source: &Source,
    on: Expr,
    reached: &[Expr],
    join: JoinType,
    clauses: &[Ready],
    shape: Shape,
) -> Result<LogicalPlan> {
    let source_ref = TableReference::bare(source.name.as_str());
    let target_ref = TableReference::bare(target.name.as_str());
    let scan = provider_as_source(Arc::clone(&source.table));
    let left = LogicalPlanBuilder::scan(source_ref.clone(), scan, None)?;
    let mut columns: Vec<Expr> = left
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(lit(true).alias(IN_SOURCE));
    let left = left.project(columns)?;
    let scan = provider_as_source(Arc::clone(&target.table) as _);
    let mut right = LogicalPlanBuilder::scan(target_ref.clone(), scan, None)?;
    for limit in reached {
        right = right.filter(limit.clone())?;
    }
    let builder = left.join_on(right.build()?, join, [on])?;
    let in_source = || Expr::Column(Column::from_name(IN_SOURCE)).is_not_null();
    let own = |name: &str| Expr::Column(Column::new(Some(target_ref.clone()), name));
    let in_target = || own(FILE).is_not_null();
    let mut choices = Vec::new();
    for (number, clause) in (0_i32..).zip(clauses) {
        let rows = match clause.of {
            Of::Both => in_source().and(in_target()),
            Of::Source => own(FILE).is_null(),
            Of::Target => Expr::Column(Column::from_name(IN_SOURCE)).is_null(),
        };
        let when = match &clause.condition {
            Some(condition) => rows.and(condition.clone()),
            None => rows,
        };
        choices.push((Box::new(when), Box::new(lit(number))));
    }
    let clause = Expr::Case(Case {
        expr: None,
        when_then_expr: choices,
        else_expr: None,
    });
    let mut columns: Vec<Expr> = builder
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(clause.alias(CLAUSE));
    let number = || Expr::Column(Column::from_name(CLAUSE));
    let builder = builder.project(columns)?.filter(number().is_not_null())?;
    let by_clause = |value: &dyn Fn(&Ready) -> Expr| {
        let choices = (0_i32..)
            .zip(clauses)
            .map(|(i, clause)| (lit(i), value(clause)));
        case(number(), choices.collect())
    };
    let defaults = defaults(target).await?;
    let kind = by_clause(&|clause| lit(clause.kind as i8));
    let mut columns = vec![own(FILE), own(ROW), kind.alias(KIND)];
    let schema = &target.layout.schema;
    for (i, field) in schema.fields().iter().enumerate().take(shape.new) {
        let null = datafusion::common::ScalarValue::try_from(&lenient_type(field.data_type()))?;
        let value = by_clause(&|clause| {
            let set = clause.set.iter().find(|(index, _)| *index == i);
            match set {
                Some((_, expr)) => expr.clone(),
                None if clause.kind == Kind::Insert => defaults
                    .get(&i)
                    .cloned()
                    .unwrap_or_else(|| lit(null.clone())),
                None => own(field.name()),
            }
        });
        columns.push(value.alias(new_column(field.name())));
    }
    for field in schema.fields().iter().take(shape.old) {
        columns.push(own(field.name()).alias(old_column(field.name())));
    }
    let mut builder = builder.project(columns)?;
    if shape.new > 0 {
        let is_given = |i: usize| {
            clauses
                .iter()
                .any(|clause| clause.set.iter().any(|(index, _)| *index == i))
        };
        builder = generated(target, builder, is_given).await?;
    }
    Ok(builder.build()?)
}

/// What columns are in rows that do not say, by their indices.
async fn defaults(target: &Target) -> Result<HashMap<usize, Expr>> {
    let layout = &target.layout;
    let mut found = HashMap::new();
    for (name, sql) in &layout.defaults {
        let index = layout.schema.index_of(name)?;
        let value = default(&target.binder, layout, &target.name, name, sql).await?;
        found.insert(index, value);
    }
    Ok(found)
}

/// What a row is by its clause; the one thing where all clauses say the same.
fn case(number: Expr, choices: Vec<(Expr, Expr)>) -> Expr {
    let Some((_, first)) = choices.first() else {
        return lit(datafusion::common::ScalarValue::Null);
    };
    if choices.iter().all(|(_, value)| value == first) {
        return first.clone();
    }
    let choices = choices
        .into_iter()
        .map(|(i, value)| (Box::new(number.clone().eq(i)), Box::new(value)));
    Expr::Case(Case {
        expr: None,
        when_then_expr: choices.collect(),
        else_expr: None,
    })
}

/// What the log says of a merge.
fn operation(merge: &Merge) -> DeltaOperation {
    let of = |wanted: &[&str]| -> Vec<MergePredicate> {
        let clauses = merge.clauses.iter().filter_map(|clause| {
            let (group, action) = match &clause.kind {
                ClauseKind::MatchedUpdate(_) | ClauseKind::MatchedUpdateAll => {
                    ("matched", "update")
                }
                ClauseKind::MatchedDelete => ("matched", "delete"),
                ClauseKind::NotMatchedInsert(_) | ClauseKind::NotMatchedInsertAll => {
                    ("source", "insert")
                }
                ClauseKind::NotMatchedBySourceUpdate(_) => ("target", "update"),
                ClauseKind::NotMatchedBySourceDelete => ("target", "delete"),
            };
            wanted.contains(&group).then(|| MergePredicate {
                action_type: action.to_owned(),
                predicate: clause.predicate.clone(),
            })
        });
        clauses.collect()
    };
    DeltaOperation::Merge {
        predicate: Some(merge.on.clone()),
        merge_predicate: Some(merge.on.clone()),
        matched_predicates: of(&["matched"]),
        not_matched_predicates: of(&["source"]),
        not_matched_by_source_predicates: of(&["target"]),
    }
}

fn operation_without_predicates() -> DeltaOperation {
    DeltaOperation::Update { predicate: None }
}
