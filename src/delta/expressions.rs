//! The SQL that changes are described with, looked at before anything is done.

use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::session_state::SessionState;
use deltalake::delta_datafusion::DataFusionMixins;
use deltalake::delta_datafusion::expr::parse_predicate_expression;
use deltalake::kernel::EagerSnapshot;

use super::change::{Assignments, Change, ClauseKind, Merge};
use crate::error::{ErrorKind, NativeError, Result};

/// # Errors
/// `sql` for an expression that cannot be parsed, or names what is not there; it names the expression.
pub fn check(change: &Change, snapshot: &EagerSnapshot, state: &SessionState) -> Result<()> {
    let arrow = snapshot.read_schema();
    let checker = Checker {
        state,
        schema: DFSchema::try_from(arrow.as_ref().clone())?,
        columns: arrow.fields().iter().map(|f| f.name().clone()).collect(),
    };
    match change {
        Change::Write(spec, _) => checker.optional("replace_where", spec.replace_where.as_ref()),
        Change::Delete { predicate } => checker.optional("the predicate", predicate.as_ref()),
        Change::Update { set, predicate } => {
            checker.optional("the predicate", predicate.as_ref())?;
            checker.assignments(set)
        }
        Change::AddConstraint { name, expression } => {
            checker.expression(&format!("the constraint {name:?}"), expression)
        }
        Change::Merge(merge) => {
            let joined = joined(merge, &checker.schema)?;
            Checker {
                schema: joined,
                ..checker
            }
            .merge(merge)
        }
        _ => Ok(()),
    }
}

/// The columns of both sides of a merge, by their aliases.
fn joined(merge: &Merge, table: &DFSchema) -> Result<DFSchema> {
    let of = |alias: &str, schema: &DFSchema| {
        DFSchema::try_from_qualified_schema(TableReference::bare(alias), schema.as_arrow())
    };
    let source = of(&merge.source_alias, merge.source.schema())?;
    Ok(source.join(&of(&merge.target_alias, table)?)?)
}

struct Checker<'a> {
    state: &'a SessionState,
    schema: DFSchema,
    columns: Vec<String>,
}

impl Checker<'_> {
    fn expression(&self, what: &str, sql: &str) -> Result<()> {
        let parsed = parse_predicate_expression(&self.schema, sql, self.state);
        parsed.map(|_| ()).map_err(|e| {
            let said = NativeError::from(e).message;
            let said = said
                .trim_start_matches("Generic DeltaTable error: ")
                .trim_start_matches("Generic error: ")
                .trim_start_matches("External error: ");
            NativeError::new(ErrorKind::Sql, format!("{what}, {sql:?}: {said}"))
        })
    }

    fn optional(&self, what: &str, sql: Option<&String>) -> Result<()> {
        sql.map_or(Ok(()), |sql| self.expression(what, sql))
    }

    fn assignments(&self, set: &Assignments) -> Result<()> {
        for (column, sql) in set {
            if !self.columns.contains(column) {
                return Err(NativeError::new(
                    ErrorKind::Sql,
                    format!(
                        "the table has no column {column:?}; its columns are {}",
                        self.columns.join(", ")
                    ),
                ));
            }
            self.expression(&format!("the value of {column:?}"), sql)?;
        }
        Ok(())
    }

    fn merge(&self, merge: &Merge) -> Result<()> {
        self.expression("on", &merge.on)?;
        for clause in &merge.clauses {
            self.optional("a clause's predicate", clause.predicate.as_ref())?;
            match &clause.kind {
                ClauseKind::MatchedUpdate(set)
                | ClauseKind::NotMatchedInsert(set)
                | ClauseKind::NotMatchedBySourceUpdate(set)
                    if !merge.merge_schema =>
                {
                    self.assignments(set)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
