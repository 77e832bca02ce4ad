//! SQL as text: what kinds of statements it holds, and where a name stands in it.

use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use pyo3::prelude::*;

use crate::error::{ErrorKind, NativeError};

/// Kinds a statement is sorted into for the read-only gate.
fn kind(statement: &DfStatement) -> &'static str {
    match statement {
        DfStatement::CreateExternalTable(_) => "ddl",
        DfStatement::CopyTo(_) => "copy",
        DfStatement::Explain(inner) => kind(&inner.statement),
        DfStatement::Reset(_) => "set",
        DfStatement::Statement(inner) => sql_kind(inner),
    }
}

fn sql_kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(query) => query_kind(query),
        Statement::Explain { statement, .. } => sql_kind(statement),
        Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowVariables { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ShowCreate { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowCatalogs { .. } => "query",
        Statement::Insert(_)
        | Statement::Update { .. }
        | Statement::Delete(_)
        | Statement::Merge { .. }
        | Statement::Truncate { .. } => "dml",
        Statement::Copy { .. } => "copy",
        Statement::Set(_) | Statement::Reset(_) => "set",
        Statement::Prepare { .. } | Statement::Execute { .. } | Statement::Deallocate { .. } => {
            "prepared"
        }
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. } => "transaction",
        _ => "ddl",
    }
}

/// A query that changes nothing, in its body, its operands and its common table expressions.
fn query_kind(query: &Query) -> &'static str {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    let mut kinds = tables
        .map(|table| query_kind(&table.query))
        .chain([body_kind(&query.body)]);
    kinds.find(|kind| *kind != "query").unwrap_or("query")
}

fn body_kind(body: &SetExpr) -> &'static str {
    match body {
        SetExpr::Query(inner) => query_kind(inner),
        SetExpr::SetOperation { left, right, .. } => match body_kind(left) {
            "query" => body_kind(right),
            other => other,
        },
        SetExpr::Insert(inner)
        | SetExpr::Update(inner)
        | SetExpr::Delete(inner)
        | SetExpr::Merge(inner) => sql_kind(inner),
        _ => "query",
    }
}

/// Kinds of the statements of `sql`, in order.
///
/// # Errors
/// `sql` with `line` and `column` among the details where the parser says where.
#[pyfunction]
pub fn statement_kinds(sql: &str, dialect: &str) -> PyResult<Vec<&'static str>> {
    let dialect = dialect_from_str(dialect).ok_or_else(|| {
        NativeError::new(
            ErrorKind::Configuration,
            format!("there is no SQL dialect {dialect:?}"),
        )
    })?;
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(dialect.as_ref())
        .build()
        .and_then(|mut parser| parser.parse_statements());
    match parsed {
        Ok(statements) => Ok(statements.iter().map(kind).collect()),
        Err(e) => {
            let text = e.strip_backtrace();
            let text = text
                .strip_prefix("SQL error: ")
                .unwrap_or(&text)
                .trim_start_matches("ParserError(\"")
                .trim_start_matches("TokenizerError(\"")
                .trim_end_matches("\")")
                .to_owned();
            let mut error = NativeError::new(ErrorKind::Sql, text.clone());
            if let Some((line, column)) = position(&text) {
                error = error
                    .with("line", line.to_string())
                    .with("column", column.to_string());
            }
            Err(error.into())
        }
    }
}

/// `Line: 1, Column: 8` as the parser writes it.
fn position(text: &str) -> Option<(u64, u64)> {
    let number = |after: &str| -> Option<u64> {
        let at = text.rfind(after)? + after.len();
        let digits: String = text[at..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    Some((number("Line: ")?, number("Column: ")?))
}

/// Line and column (from 1) of the first identifier `name`, unquoted or quoted.
#[pyfunction]
pub fn locate_identifier(sql: &str, name: &str, dialect: &str) -> Option<(u64, u64)> {
    let dialect = dialect_from_str(dialect)?;
    let tokens = Tokenizer::new(dialect.as_ref(), sql)
        .tokenize_with_location()
        .ok()?;
    tokens.into_iter().find_map(|token| match token.token {
        Token::Word(word)
            if word.value == name
                || (word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name)) =>
        {
            Some((token.span.start.line, token.span.start.column))
        }
        _ => None,
    })
}

/// Names of the tables that `sql` refers to, each as the parts of its reference, unquoted ones in lower
/// case. Empty where the text does not parse.
#[pyfunction]
pub fn table_references(sql: &str, dialect: &str) -> Vec<Vec<String>> {
    let Some(dialect) = dialect_from_str(dialect) else {
        return Vec::new();
    };
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(dialect.as_ref())
        .build()
        .and_then(|mut parser| parser.parse_statements());
    let Ok(statements) = parsed else {
        return Vec::new();
    };
    statements
        .iter()
        .filter_map(|statement| resolve_table_references(statement, true).ok())
        .flat_map(|(tables, _ctes)| tables)
        .map(|table| table.to_vec())
        .collect()
}

/// Names of the placeholders of `sql` (`$1` is `1`, `$name` is `name`), in order, each once.
#[pyfunction]
pub fn placeholders(sql: &str, dialect: &str) -> Vec<String> {
    let Some(dialect) = dialect_from_str(dialect) else {
        return Vec::new();
    };
    let Ok(tokens) = Tokenizer::new(dialect.as_ref(), sql).tokenize() else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for token in tokens {
        if let Token::Placeholder(text) = token {
            let name = text.trim_start_matches('$').to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}
