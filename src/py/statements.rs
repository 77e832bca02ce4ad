//! Statements that change tables, taken apart: each part as SQL of its own, for the operation that makes it.

use std::fmt::Display;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, ColumnOption, CreateTable, CreateTableOptions, Delete, FromTable,
    HiveDistributionStyle, Ident, Insert, Merge, MergeAction, MergeClauseKind, MergeInsertKind,
    ObjectName, ObjectNamePart, Query, SqlOption, Statement, TableFactor, TableObject,
    TableWithJoins, Update,
};
use datafusion::sql::sqlparser::dialect::{Dialect, dialect_from_str};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use pyo3::prelude::*;

use super::words::Words;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::chains;
use crate::planner::parse::{self, folded};

type Assignments = Vec<(String, String)>;
/// Kind, assignments, predicate.
type ClauseParts = (String, Assignments, Option<String>);
/// Name, type, whether it takes NULL.
type ColumnParts = (String, String, bool);

/// The parts of a statement; which are there depends on its kind.
#[pyclass(frozen, get_all, module = "fusiondelta._native")]
#[derive(Default)]
pub struct NativeStatement {
    /// `insert`, `update`, `delete`, `merge`, `create`, `optimize` or `vacuum`.
    kind: String,
    table: String,
    alias: Option<String>,
    predicate: Option<String>,
    set: Assignments,
    /// Named columns of an insert.
    columns: Vec<String>,
    query: Option<String>,
    overwrite: bool,
    source: Option<String>,
    source_alias: String,
    on: String,
    clauses: Vec<ClauseParts>,
    definitions: Vec<ColumnParts>,
    partition_by: Vec<String>,
    properties: Vec<(String, String)>,
    if_not_exists: bool,
    z_order: Vec<String>,
    retain_hours: Option<f64>,
    dry_run: bool,
    full: bool,
}

/// Stands for all columns in `UPDATE SET *`, which the parser has no form for.
const ALL: &str = "__fusiondelta_all";

/// Takes one statement apart.
///
/// # Errors
/// `sql` with line and column for what is not understood or has no place in a change.
#[pyfunction]
pub fn change_statement(sql: &str, dialect: &str) -> Result<NativeStatement> {
    let dialect = dialect_from_str(dialect).ok_or_else(|| {
        NativeError::new(
            ErrorKind::Configuration,
            format!("there is no SQL dialect {dialect:?}"),
        )
    })?;
    chains::check(sql, dialect.as_ref())?;
    let tokens = Tokenizer::new(dialect.as_ref(), sql)
        .tokenize_with_location()
        .map_err(|e| refused(&e.message, e.location))?;
    let tokens: Vec<_> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    let mut words = Words { tokens, at: 0 };
    match words.peek_word().as_deref() {
        Some("OPTIMIZE") => return optimize(words, dialect.as_ref()),
        Some("VACUUM") => return vacuum(words),
        _ => {}
    }
    // The format is the only one there is.
    words.remove(&["USING", "DELTA"]);
    words.spell_out_all(ALL);
    let mut parser = Parser::new(dialect.as_ref()).with_tokens_with_locations(words.tokens);
    let statement = parser.parse_statement().map_err(parser_error)?;
    while parser.consume_token(&Token::SemiColon) {}
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!(
            "{:?} is not understood after the statement",
            next.token.to_string()
        );
        return Err(refused(&message, next.span.start));
    }
    match statement {
        Statement::Insert(insert) => self::insert(insert),
        Statement::Update(update) => self::update(update),
        Statement::Delete(delete) => self::delete(delete),
        Statement::Merge(merge) => self::merge(merge),
        Statement::CreateTable(create) => self::create(create),
        Statement::Query(_) | Statement::Explain { .. } => Err(refused(
            "it changes nothing: engine.query is for queries",
            Location::empty(),
        )),
        _ => Err(refused(
            "execute takes INSERT, UPDATE, DELETE, MERGE INTO, CREATE TABLE, OPTIMIZE and VACUUM",
            Location::empty(),
        )),
    }
}

pub fn refused(message: &str, at: Location) -> NativeError {
    if at.line == 0 {
        return NativeError::new(ErrorKind::Sql, message);
    }
    NativeError::new(
        ErrorKind::Sql,
        format!("{message} (line {}, column {})", at.line, at.column),
    )
    .with("line", at.line.to_string())
    .with("column", at.column.to_string())
}

fn parser_error(error: ParserError) -> NativeError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
    };
    let number = |after: &str| -> Option<u64> {
        let rest = text.rsplit_once(after)?.1;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let at = match (number("Line: "), number("Column: ")) {
        (Some(line), Some(column)) => Location { line, column },
        _ => Location::empty(),
    };
    refused(text.split(" at Line: ").next().unwrap_or(&text), at)
}

fn unsupported(what: &str) -> NativeError {
    refused(
        &format!("{what} is not supported in a change"),
        Location::empty(),
    )
}

fn none<T>(what: &str, given: &Option<T>) -> Result<()> {
    match given {
        Some(_) => Err(unsupported(what)),
        None => Ok(()),
    }
}

fn empty<T>(what: &str, given: &[T]) -> Result<()> {
    if given.is_empty() {
        Ok(())
    } else {
        Err(unsupported(what))
    }
}

fn text(part: &impl Display) -> String {
    part.to_string()
}

fn idents(name: &ObjectName) -> Vec<&Ident> {
    name.0
        .iter()
        .filter_map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(ident),
            ObjectNamePart::Function(_) => None,
        })
        .collect()
}

fn table_name(name: &ObjectName) -> Result<String> {
    match idents(name).as_slice() {
        [one] => Ok(folded(one)),
        _ => Err(unsupported(&format!(
            "the table {name}: tables are named by one word, as in tables={{…}}; a qualified name"
        ))),
    }
}

/// A table and what it is called.
fn table(factor: &TableFactor) -> Result<(String, Option<String>)> {
    let TableFactor::Table {
        name,
        alias,
        args,
        version,
        ..
    } = factor
    else {
        return Err(unsupported(&format!("{factor} as the changed table")));
    };
    none("a table function", args)?;
    none("a version of the changed table", version)?;
    let alias = alias.as_ref().map(|alias| folded(&alias.name));
    Ok((table_name(name)?, alias))
}

fn joined(table_with_joins: &TableWithJoins) -> Result<(String, Option<String>)> {
    empty("a join", &table_with_joins.joins)?;
    table(&table_with_joins.relation)
}

fn assignments(given: &[Assignment]) -> Result<Assignments> {
    given
        .iter()
        .map(|one| match &one.target {
            AssignmentTarget::ColumnName(name) => match idents(name).last() {
                Some(column) => Ok((folded(column), text(&one.value))),
                None => Err(unsupported(&format!("setting {name}"))),
            },
            AssignmentTarget::Tuple(_) => Err(unsupported("setting several columns at once")),
        })
        .collect()
}

fn insert(mut insert: Insert) -> Result<NativeStatement> {
    if let Some(query) = insert.source.as_deref_mut() {
        parse::exact_fractions(query);
    }
    none("OR …", &insert.or)?;
    none("ON CONFLICT", &insert.on)?;
    none("RETURNING", &insert.returning)?;
    none("PARTITION (…)", &insert.partitioned)?;
    empty("SET", &insert.assignments)?;
    if insert.replace_into || insert.ignore {
        return Err(unsupported("REPLACE INTO"));
    }
    let TableObject::TableName(name) = &insert.table else {
        return Err(unsupported("a table function"));
    };
    let query: &Query = insert
        .source
        .as_deref()
        .ok_or_else(|| unsupported("DEFAULT VALUES"))?;
    let columns = insert
        .columns
        .iter()
        .filter_map(|name| idents(name).last().map(|i| folded(i)));
    Ok(NativeStatement {
        kind: "insert".to_owned(),
        table: table_name(name)?,
        columns: columns.collect(),
        query: Some(text(query)),
        overwrite: insert.overwrite,
        ..NativeStatement::default()
    })
}

fn update(update: Update) -> Result<NativeStatement> {
    none("FROM (use MERGE INTO, or a subquery)", &update.from)?;
    none("RETURNING", &update.returning)?;
    none("OR …", &update.or)?;
    none("LIMIT", &update.limit)?;
    empty("ORDER BY", &update.order_by)?;
    let (table, alias) = joined(&update.table)?;
    Ok(NativeStatement {
        kind: "update".to_owned(),
        table,
        alias,
        set: assignments(&update.assignments)?,
        predicate: update.selection.as_ref().map(text),
        ..NativeStatement::default()
    })
}

fn delete(delete: Delete) -> Result<NativeStatement> {
    none("USING (use MERGE INTO, or a subquery)", &delete.using)?;
    none("RETURNING", &delete.returning)?;
    none("LIMIT", &delete.limit)?;
    empty("ORDER BY", &delete.order_by)?;
    empty("several tables", &delete.tables)?;
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = from.as_slice() else {
        return Err(unsupported("several tables"));
    };
    let (table, alias) = joined(from)?;
    Ok(NativeStatement {
        kind: "delete".to_owned(),
        table,
        alias,
        predicate: delete.selection.as_ref().map(text),
        ..NativeStatement::default()
    })
}

fn merge(mut merge: Merge) -> Result<NativeStatement> {
    if let TableFactor::Derived { subquery, .. } = &mut merge.source {
        parse::exact_fractions(subquery.as_mut());
    }
    let (table, alias) = table(&merge.table)?;
    let (source, source_alias) = match &merge.source {
        TableFactor::Derived {
            subquery, alias, ..
        } => {
            let alias = alias
                .as_ref()
                .ok_or_else(|| unsupported("a source without a name"))?;
            (text(subquery.as_ref()), folded(&alias.name))
        }
        named @ TableFactor::Table { name, alias, .. } => {
            let own = idents(name)
                .last()
                .map_or_else(String::new, |ident| folded(ident));
            let called = alias.as_ref().map_or(own, |alias| folded(&alias.name));
            (format!("SELECT * FROM {named}"), called)
        }
        other => return Err(unsupported(&format!("{other} as the source"))),
    };
    let mut clauses = Vec::new();
    for clause in &merge.clauses {
        let by_source = clause.clause_kind == MergeClauseKind::NotMatchedBySource;
        let matched = clause.clause_kind == MergeClauseKind::Matched;
        let predicate = clause.predicate.as_ref().map(text);
        let (kind, set) = match &clause.action {
            MergeAction::Update(update) if matched || by_source => {
                none("WHERE within a clause", &update.update_predicate)?;
                none("DELETE WHERE within a clause", &update.delete_predicate)?;
                let set = assignments(&update.assignments)?;
                let is_all = set.iter().any(|(column, _)| column == ALL);
                match (matched, is_all) {
                    (true, true) => ("matched_update_all", Vec::new()),
                    (true, false) => ("matched_update", set),
                    (false, true) => {
                        return Err(unsupported("SET * without a row of the source"));
                    }
                    (false, false) => ("not_matched_by_source_update", set),
                }
            }
            MergeAction::Delete { .. } if matched => ("matched_delete", Vec::new()),
            MergeAction::Delete { .. } if by_source => ("not_matched_by_source_delete", Vec::new()),
            MergeAction::Insert(insert) if !matched && !by_source => {
                none("WHERE within a clause", &insert.insert_predicate)?;
                match &insert.kind {
                    MergeInsertKind::Row => ("not_matched_insert_all", Vec::new()),
                    MergeInsertKind::Values(values) => {
                        let [row] = values.rows.as_slice() else {
                            return Err(unsupported("several rows in one clause"));
                        };
                        let columns: Vec<_> = insert
                            .columns
                            .iter()
                            .filter_map(|name| idents(name).last().map(|i| folded(i)))
                            .collect();
                        if columns.len() != row.len() {
                            return Err(refused(
                                "INSERT names as many columns as it has values",
                                Location::empty(),
                            ));
                        }
                        let values = row.iter().map(text);
                        (
                            "not_matched_insert",
                            columns.into_iter().zip(values).collect(),
                        )
                    }
                }
            }
            action => {
                return Err(unsupported(&format!(
                    "{action} WHEN {}",
                    clause.clause_kind
                )));
            }
        };
        clauses.push((kind.to_owned(), set, predicate));
    }
    Ok(NativeStatement {
        kind: "merge".to_owned(),
        table,
        alias,
        source: Some(source),
        source_alias,
        on: text(merge.on.as_ref()),
        clauses,
        ..NativeStatement::default()
    })
}

fn create(create: CreateTable) -> Result<NativeStatement> {
    none("LIKE", &create.like)?;
    none("CLONE", &create.clone)?;
    none("LOCATION (tables={…} says where it is)", &create.location)?;
    empty("a constraint (use add_constraint)", &create.constraints)?;
    let mut definitions = Vec::new();
    for column in &create.columns {
        let mut nullable = true;
        for option in &column.options {
            match &option.option {
                ColumnOption::NotNull => nullable = false,
                ColumnOption::Null => nullable = true,
                other => return Err(unsupported(&format!("{other} of column {}", column.name))),
            }
        }
        definitions.push((folded(&column.name), text(&column.data_type), nullable));
    }
    let partition_by = match &create.hive_distribution {
        HiveDistributionStyle::PARTITIONED { columns } => {
            columns.iter().map(|column| folded(&column.name)).collect()
        }
        _ => Vec::new(),
    };
    let properties = match &create.table_options {
        CreateTableOptions::None => Vec::new(),
        CreateTableOptions::TableProperties(options)
        | CreateTableOptions::With(options)
        | CreateTableOptions::Options(options)
        | CreateTableOptions::Plain(options) => options
            .iter()
            .map(|option| match option {
                SqlOption::KeyValue { key, value } => {
                    let value = text(value);
                    Ok((key.value.clone(), value.trim_matches('\'').to_owned()))
                }
                other => Err(unsupported(&text(other))),
            })
            .collect::<Result<_>>()?,
    };
    Ok(NativeStatement {
        kind: "create".to_owned(),
        table: table_name(&create.name)?,
        query: create.query.as_deref().map(text),
        overwrite: create.or_replace,
        definitions,
        partition_by,
        properties,
        if_not_exists: create.if_not_exists,
        ..NativeStatement::default()
    })
}

fn optimize(mut words: Words, dialect: &dyn Dialect) -> Result<NativeStatement> {
    words.take("OPTIMIZE");
    words.take("TABLE");
    let mut statement = NativeStatement {
        kind: "optimize".to_owned(),
        table: words.name()?,
        ..NativeStatement::default()
    };
    if words.take("WHERE") {
        let rest = words.tokens.split_off(words.at);
        let mut parser = Parser::new(dialect).with_tokens_with_locations(rest);
        statement.predicate = Some(text(&parser.parse_expr().map_err(parser_error)?));
        let mut rest = Vec::new();
        loop {
            let token = parser.next_token();
            if token.token == Token::EOF {
                break;
            }
            rest.push(token);
        }
        words.tokens.append(&mut rest);
    }
    if words.take("ZORDER") {
        words.take("BY");
        let parenthesis = words
            .peek()
            .is_some_and(|token| token.token == Token::LParen);
        words.at += usize::from(parenthesis);
        loop {
            statement.z_order.push(words.name()?);
            match words.peek().map(|token| &token.token) {
                Some(Token::Comma) => words.at += 1,
                Some(Token::RParen) if parenthesis => {
                    words.at += 1;
                    break;
                }
                None if !parenthesis => break,
                _ => return Err(words.unexpected("a comma or the end of the columns")),
            }
        }
    }
    words.end()?;
    Ok(statement)
}

fn vacuum(mut words: Words) -> Result<NativeStatement> {
    words.take("VACUUM");
    words.take("TABLE");
    let mut statement = NativeStatement {
        kind: "vacuum".to_owned(),
        table: words.name()?,
        ..NativeStatement::default()
    };
    loop {
        if words.take("RETAIN") {
            match words.peek().map(|token| token.token.clone()) {
                Some(Token::Number(number, _)) => {
                    words.at += 1;
                    let number = number.to_string();
                    statement.retain_hours = number.parse().ok();
                }
                _ => return Err(words.unexpected("a number of hours")),
            }
            if !words.take("HOURS") && !words.take("HOUR") {
                return Err(words.unexpected("HOURS"));
            }
        } else if words.take("DRY") {
            if !words.take("RUN") {
                return Err(words.unexpected("RUN"));
            }
            statement.dry_run = true;
        } else if words.take("FULL") {
            statement.full = true;
        } else if words.take("LITE") {
            statement.full = false;
        } else {
            break;
        }
    }
    words.end()?;
    Ok(statement)
}
