//! SQL as text: parsed once for a query, with what it holds and where a name stands in it.

use std::collections::VecDeque;

use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, dialect_from_str};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use pyo3::prelude::*;

use crate::error::{ErrorKind, NativeError};
use crate::exec::chains;
use crate::planner::inner::inner;
use crate::planner::syntax;

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

/// The text of a query, parsed once: what it is, what it names, and how it is planned.
#[pyclass(frozen, module = "fusiondelta._native")]
pub struct NativeSql {
    /// The first of its statements, corrected where the planner would take it wrongly.
    pub statement: Option<DfStatement>,
    /// Kinds of the statements, in order.
    #[pyo3(get)]
    kinds: Vec<&'static str>,
    /// Names of the placeholders (`$1` is `1`, `$name` is `name`), in order, each once.
    #[pyo3(get)]
    placeholders: Vec<String>,
    /// Tables that are to be read at versions of their own.
    #[pyo3(get)]
    pins: Vec<Pin>,
}

#[pymethods]
impl NativeSql {
    /// # Errors
    /// `sql` with `line` and `column` among the details where the parser says where; for chains of operators
    /// that are too long, for a version that is none, and for clauses that would be passed over.
    #[new]
    #[pyo3(signature = (sql, dialect, *, time_zone=None, recursion_limit=None))]
    fn new(
        sql: &str,
        dialect: &str,
        time_zone: Option<&str>,
        recursion_limit: Option<usize>,
    ) -> PyResult<Self> {
        let dialect = dialect_from_str(dialect).ok_or_else(|| {
            let message = format!("there is no SQL dialect {dialect:?}");
            NativeError::new(ErrorKind::Configuration, message)
        })?;
        chains::check(sql, dialect.as_ref())?;
        let (text, pins) = pinned(sql, dialect.as_ref())?;
        let limit = recursion_limit.unwrap_or(RECURSION_LIMIT);
        let parsed = parsed(&text, dialect.as_ref(), limit)?;
        let kinds = parsed.iter().map(kind).collect();
        let count = parsed.len();
        let mut statement = parsed.into_iter().next();
        if count == 1
            && let Some(mut inner) = statement.as_mut().and_then(inner)
        {
            syntax::corrected(&mut inner, dialect.as_ref(), time_zone)?;
        }
        Ok(Self {
            statement,
            kinds,
            placeholders: named(sql, dialect.as_ref()),
            pins,
        })
    }

    /// The statement as `datafusion` is to parse it.
    #[getter]
    fn text(&self) -> String {
        self.statement
            .as_ref()
            .map_or_else(String::new, DfStatement::to_string)
    }

    /// Names of the tables that it refers to, each as the parts of its reference, unquoted ones in lower case.
    fn tables(&self) -> Vec<Vec<String>> {
        let statement = self.statement.iter();
        statement.flat_map(references).collect()
    }
}

/// How deep parentheses go where a session does not say (`datafusion.sql_parser.recursion_limit`).
const RECURSION_LIMIT: usize = 50;

fn parsed(
    sql: &str,
    dialect: &dyn Dialect,
    recursion_limit: usize,
) -> Result<VecDeque<DfStatement>, NativeError> {
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(dialect)
        .with_recursion_limit(recursion_limit)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    parsed.map_err(|error| {
        let text = error.strip_backtrace();
        let text = text
            .strip_prefix("SQL error: ")
            .unwrap_or(&text)
            .trim_start_matches("ParserError(\"")
            .trim_start_matches("TokenizerError(\"")
            .trim_end_matches("\")");
        let error = NativeError::new(ErrorKind::Sql, text);
        match position(text) {
            Some((line, column)) => error
                .with("line", line.to_string())
                .with("column", column.to_string()),
            None => error,
        }
    })
}

fn references(statement: &DfStatement) -> Vec<Vec<String>> {
    let found = resolve_table_references(statement, true);
    let (tables, _ctes) = found.unwrap_or_default();
    tables.into_iter().map(|table| table.to_vec()).collect()
}

/// Names of the placeholders of a text, in order, each once.
fn named(sql: &str, dialect: &dyn Dialect) -> Vec<String> {
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize() else {
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
    let statements = parsed(sql, dialect.as_ref(), RECURSION_LIMIT).unwrap_or_default();
    statements.iter().flat_map(references).collect()
}

/// Names of the placeholders of `sql`, as `NativeSql.placeholders`, whether it parses or not.
#[pyfunction]
pub fn placeholders(sql: &str, dialect: &str) -> Vec<String> {
    dialect_from_str(dialect).map_or_else(Vec::new, |dialect| named(sql, dialect.as_ref()))
}

/// Where in a text its lines and columns are.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn at(&self, place: Location) -> usize {
        let number = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
        let start = self.lines.get(number(place.line));
        let start = start.copied().unwrap_or(self.text.len());
        let mut characters = self.text[start..].char_indices();
        match characters.nth(number(place.column)) {
            Some((within, _)) => start + within,
            None => self.text.len(),
        }
    }

    fn from(&self, place: Location) -> &'a str {
        &self.text[self.at(place)..]
    }

    fn between(&self, from: Location, to: Location) -> &'a str {
        self.text
            .get(self.at(from)..self.at(to))
            .unwrap_or_default()
    }
}

/// A table of a query that is to be read at a version of its own: the alias it goes by, its name, and the
/// version or the time.
type Pin = (String, String, Option<u64>, Option<String>);

/// Replaces tables at versions of their own.
fn pinned(sql: &str, dialect: &dyn Dialect) -> Result<(String, Vec<Pin>), NativeError> {
    let unchanged = || Ok((sql.to_owned(), Vec::new()));
    if !sql.to_ascii_lowercase().contains("of") {
        return unchanged();
    }
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize_with_location() else {
        return unchanged();
    };
    let solid: Vec<usize> = (0..tokens.len())
        .filter(|i| !matches!(tokens[*i].token, Token::Whitespace(_)))
        .collect();
    let word = |at: usize, wanted: &str| {
        solid.get(at).is_some_and(|i| match &tokens[*i].token {
            Token::Word(word) => {
                word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted)
            }
            _ => false,
        })
    };
    let mut pins: Vec<Pin> = Vec::new();
    let mut out = String::new();
    let places = Places::of(sql);
    let mut from = Location::new(1, 1);
    for at in 0..solid.len() {
        let is_version = word(at + 1, "VERSION");
        if !(is_version || word(at + 1, "TIMESTAMP")) || !word(at + 2, "AS") || !word(at + 3, "OF")
        {
            continue;
        }
        let (Token::Word(name), Some(value)) = (&tokens[solid[at]].token, solid.get(at + 4)) else {
            continue;
        };
        let (version, time) = match (&tokens[*value].token, is_version) {
            (Token::Number(digits, _), true) => (digits.to_string().parse::<u64>().ok(), None),
            (Token::SingleQuotedString(time), false) => (None, Some(time.clone())),
            _ => (None, None),
        };
        if version.is_none() && time.is_none() {
            let place = tokens[*value].span.start;
            let wanted = if is_version {
                "a whole number"
            } else {
                "a text like '2024-05-01'"
            };
            let message = format!(
                "AS OF is followed by {wanted}, not {}",
                tokens[*value].token
            );
            return Err(NativeError::new(ErrorKind::Sql, message)
                .with("line", place.line.to_string())
                .with("column", place.column.to_string()));
        }
        let base = match name.quote_style {
            Some(_) => name.value.clone(),
            None => name.value.to_lowercase(),
        };
        let label = version.map_or_else(|| time.clone().unwrap_or_default(), |v| v.to_string());
        let alias = format!("{base}@{label}");
        out.push_str(places.between(from, tokens[solid[at]].span.start));
        out.push_str(&format!("\"{}\"", alias.replace('"', "\"\"")));
        // Columns are still called by the table's own name, unless it is given another.
        let has_alias = solid.get(at + 5).is_some_and(|i| match &tokens[*i].token {
            Token::Word(word) => {
                word.quote_style.is_some()
                    || word.keyword == Keyword::AS
                    || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
            }
            _ => false,
        });
        if !has_alias {
            out.push_str(&format!(" AS \"{}\"", base.replace('"', "\"\"")));
        }
        from = tokens[*value].span.end;
        if !pins.iter().any(|(known, ..)| *known == alias) {
            pins.push((alias, base, version, time));
        }
    }
    if pins.is_empty() {
        return unchanged();
    }
    out.push_str(places.from(from));
    Ok((out, pins))
}
