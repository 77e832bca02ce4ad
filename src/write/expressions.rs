//! SQL texts of a change as expressions: parsed to their last character, bound and coerced as in a query.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue, SchemaError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::Expr as SqlExpr;
use datafusion::sql::sqlparser::dialect::{Dialect, dialect_from_str};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::chains;
use crate::planner::parse::{parse, select};
use crate::planner::syntax;

/// Name of the changed table in its own predicates, where the caller gives it none.
pub const TARGET: &str = "target";

/// What the names of columns begin with that only the engine sees.
const INTERNAL: &str = "__fusiondelta_";

/// A SQL text that a change was given, and what it is there.
#[derive(Clone, Debug)]
pub struct Text {
    /// `predicate`, `the value of "price"` and the like, for messages.
    pub role: String,
    pub sql: String,
}

impl Text {
    pub fn new(role: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            sql: sql.into(),
        }
    }

    fn error(&self, message: &str, at: Option<Location>) -> NativeError {
        let place = match at {
            Some(at) if at.line > 0 => format!(" at line {}, column {}", at.line, at.column),
            _ => String::new(),
        };
        let error = NativeError::new(
            ErrorKind::Sql,
            format!("{} ({}){place}: {message}", self.role, self.sql.trim()),
        );
        match at {
            Some(at) if at.line > 0 => error
                .with("line", at.line.to_string())
                .with("column", at.column.to_string()),
            _ => error,
        }
    }
}

/// How number literals with a fraction are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fractions {
    /// As the session says, in doubles unless it says otherwise: predicates mean what they mean in a query.
    AsInQueries,
    /// Exact: an assigned number keeps its value.
    Decimal,
    /// Of a text that is kept with the table, whose names are taken as they are written, too.
    Stored,
}

/// Binds texts to the columns of relations, in a session in which all tables of the change are
/// registered.
pub struct Binder {
    state: SessionState,
    parameters: Option<ParamValues>,
}

impl Binder {
    /// Values of `$1` and `$name` by name; empty for none.
    pub fn new(state: SessionState, parameters: Vec<(String, ScalarValue)>) -> Self {
        let parameters = (!parameters.is_empty()).then(|| {
            let values = parameters
                .into_iter()
                .map(|(name, value)| (name, value.into()));
            ParamValues::Map(values.collect())
        });
        Self { state, parameters }
    }

    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// Registers a table that texts can name.
    pub fn register(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        let reference = datafusion::common::TableReference::bare(name);
        let schema = self.state.schema_for_ref(reference)?;
        schema.deregister_table(name)?;
        schema.register_table(name.to_owned(), table)?;
        Ok(())
    }

    /// A condition over relations, for where rows are kept that it is true of (a filter, a join, a CASE).
    pub async fn condition(&self, text: &Text, relations: &[&str]) -> Result<Expr> {
        let bound = self.bind(text, relations, Fractions::AsInQueries).await?;
        match bound.data_type {
            DataType::Boolean => Ok(bound.expr),
            DataType::Null => Ok(cast(bound.expr, DataType::Boolean)),
            other => Err(text.error(
                &format!("it is of type {other}; a condition is true or false"),
                None,
            )),
        }
    }

    /// An expression over relations, and its type.
    ///
    /// # Errors
    /// `sql` with line and column of what is not understood.
    pub async fn bind(
        &self,
        text: &Text,
        relations: &[&str],
        fractions: Fractions,
    ) -> Result<Bound> {
        let parsed = self.parse(text)?;
        let mut state = self.state.clone();
        let options = &mut state.config_mut().options_mut().sql_parser;
        match fractions {
            Fractions::AsInQueries => {}
            Fractions::Decimal => options.parse_float_as_decimal = true,
            Fractions::Stored => options.enable_ident_normalization = false,
        }
        let statement = select(parsed, relations, self.dialect()?.as_ref())?;
        let planned = state.statement_to_plan(statement).await;
        let plan = planned.map_err(|e| self.explain(text, &e))?;
        let plan = match &self.parameters {
            Some(values) => plan
                .with_param_values(values.clone())
                .map_err(|e| self.explain(text, &e))?,
            None => plan,
        };
        let LogicalPlan::Projection(projection) = plan else {
            return Err(text.error("it is no expression over the rows of a table", None));
        };
        // Aggregates and windows leave a node of their own beneath the projection.
        let is_rows_alone = matches!(
            projection.input.as_ref(),
            LogicalPlan::TableScan(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::EmptyRelation(_)
        );
        let expr = match projection.expr.as_slice() {
            [one] if is_rows_alone => one.clone().unalias(),
            _ => {
                return Err(text.error(
                    "aggregates, window functions and wildcards have no place here: it is computed \
                     row by row; put an aggregate into a subquery",
                    None,
                ));
            }
        };
        let unbound = first_placeholder(&expr)?;
        if let Some(name) = unbound {
            return Err(text.error(&format!("the parameter {name} has no value"), None));
        }
        let data_type = self
            .coerced_type(&projection.input, &expr)
            .map_err(|e| self.explain(text, &e))?;
        Ok(Bound { expr, data_type })
    }

    /// A text that is kept with the table, over its rows. Other writers do not fold names to lower case.
    pub async fn stored(&self, text: &Text, relation: &str) -> Result<Bound> {
        match self.bind(text, &[relation], Fractions::Stored).await {
            Ok(bound) => Ok(bound),
            Err(_) => self.bind(text, &[relation], Fractions::AsInQueries).await,
        }
    }

    /// The type that the expression has once its operands are made to agree.
    fn coerced_type(
        &self,
        input: &Arc<LogicalPlan>,
        expr: &Expr,
    ) -> datafusion::common::Result<DataType> {
        let plan = datafusion::logical_expr::LogicalPlanBuilder::from(input.as_ref().clone())
            .project([expr.clone().alias("value")])?
            .build()?;
        let analyzed = self.state.analyzer().execute_and_check(
            plan,
            self.state.config_options(),
            |_, _| {},
        )?;
        Ok(analyzed.schema().field(0).data_type().clone())
    }

    fn dialect(&self) -> Result<Box<dyn Dialect>> {
        let name = &self.state.config_options().sql_parser.dialect;
        dialect_from_str(name.as_ref()).ok_or_else(|| {
            NativeError::new(
                ErrorKind::Configuration,
                format!("there is no SQL dialect {:?}", name.as_ref()),
            )
        })
    }

    fn parse(&self, text: &Text) -> Result<SqlExpr> {
        let dialect = self.dialect()?;
        chains::check(&text.sql, dialect.as_ref())?;
        let limit = self.state.config_options().sql_parser.recursion_limit;
        let (parsed, rest) =
            parse(&text.sql, dialect.as_ref(), limit.get()).map_err(|e| text.parser_error(e))?;
        if let Some((token, at)) = rest {
            return Err(text.error(
                &format!(
                    "{token:?} is not understood; nothing may follow the expression before it"
                ),
                Some(at),
            ));
        }
        let mut parsed = parsed;
        let zone = self.state.config_options().execution.time_zone.as_deref();
        syntax::corrected(&mut parsed, dialect.as_ref(), zone)?;
        Ok(parsed)
    }

    /// A planner's error with the text, the place in it, and the nearest name.
    fn explain(&self, text: &Text, error: &DataFusionError) -> NativeError {
        if let DataFusionError::SchemaError(inner, _) = error.find_root() {
            match inner.as_ref() {
                SchemaError::FieldNotFound {
                    field,
                    valid_fields,
                } => return self.unknown_column(text, field, valid_fields),
                SchemaError::AmbiguousReference { field } => {
                    let message = format!("{} stands for several columns; qualify it", field.name);
                    return text.error(&message, self.locate(text, &field.name));
                }
                _ => {}
            }
        }
        let said = NativeError::new(ErrorKind::Sql, error.find_root().strip_backtrace()).message;
        let said = said
            .trim_start_matches("Error during planning: ")
            .trim_start_matches("SQL error: ")
            .trim_start_matches("This feature is not implemented: ");
        // A function called with types it does not take is reported as a bug, with the reason last.
        let said = said
            .rsplit_once("in DataFusion's issue tracker")
            .map_or(said, |(_, reason)| reason.trim());
        let name = said.split('\'').nth(1).unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or(name);
        let at = (!name.is_empty())
            .then(|| self.locate(text, name))
            .flatten();
        text.error(said, at)
    }

    fn unknown_column(&self, text: &Text, field: &Column, valid: &[Column]) -> NativeError {
        let valid: Vec<_> = valid
            .iter()
            .filter(|column| !column.name.starts_with(INTERNAL))
            .collect();
        let nearest = valid
            .iter()
            .map(|column| (distance(&column.name, &field.name), column))
            .filter(|(distance, column)| *distance <= column.name.len().max(2) / 2)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, column)| column.name.clone());
        let hint = match &nearest {
            Some(name) if *name == field.name => {
                format!("; {name:?} is a column of another table, which cannot be seen here")
            }
            Some(name) => format!("; did you mean {name:?}?"),
            None => String::new(),
        };
        let names: Vec<_> = valid
            .iter()
            .take(20)
            .map(|column| column.quoted_flat_name())
            .collect();
        let more = if valid.len() > 20 { ", …" } else { "" };
        let message = format!(
            "there is no column {:?}{hint} (there are {}{more})",
            field.flat_name(),
            names.join(", ")
        );
        let error = text
            .error(&message, self.locate_column(text, field))
            .with("column_name", field.name.clone());
        match nearest {
            Some(name) => error.with("nearest", name),
            None => error,
        }
    }

    /// Where a column first stands in the text, with its relation where it has one.
    fn locate_column(&self, text: &Text, column: &Column) -> Option<Location> {
        let Some(relation) = &column.relation else {
            return self.locate(text, &column.name);
        };
        let dialect = self.dialect().ok()?;
        let tokens = Tokenizer::new(dialect.as_ref(), &text.sql)
            .tokenize_with_location()
            .ok()?;
        let is = |token: &Token, name: &str| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
        let found = tokens.windows(3).find(|part| {
            is(&part[0].token, relation.table())
                && part[1].token == Token::Period
                && is(&part[2].token, &column.name)
        });
        found
            .map(|part| part[0].span.start)
            .or_else(|| self.locate(text, &column.name))
    }

    /// Where a name first stands in the text.
    fn locate(&self, text: &Text, name: &str) -> Option<Location> {
        let dialect = self.dialect().ok()?;
        let tokens = Tokenizer::new(dialect.as_ref(), &text.sql)
            .tokenize_with_location()
            .ok()?;
        tokens.into_iter().find_map(|token| match &token.token {
            Token::Word(word)
                if word.value == name
                    || (word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name)) =>
            {
                Some(token.span.start)
            }
            _ => None,
        })
    }
}

/// An expression that a text stands for.
#[derive(Clone, Debug)]
pub struct Bound {
    pub expr: Expr,
    pub data_type: DataType,
}

impl Text {
    fn parser_error(&self, error: ParserError) -> NativeError {
        let said = match error {
            ParserError::TokenizerError(said) | ParserError::ParserError(said) => said,
            ParserError::RecursionLimitExceeded => {
                return self.error("it is nested too deeply", None);
            }
        };
        let number = |after: &str| -> Option<u64> {
            let at = said.rfind(after)? + after.len();
            let digits: String = said[at..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().ok()
        };
        let at = number("Line: ")
            .zip(number("Column: "))
            .map(|(line, column)| Location { line, column });
        let message = said.split(" at Line: ").next().unwrap_or(&said);
        self.error(message, at)
    }
}

fn first_placeholder(expr: &Expr) -> Result<Option<String>> {
    let mut found = None;
    expr.apply(|part| {
        if let Expr::Placeholder(placeholder) = part {
            found.get_or_insert_with(|| placeholder.id.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The expression with its columns named as `rename` says.
pub fn with_columns(expr: Expr, rename: impl Fn(&Column) -> Column) -> Result<Expr> {
    let renamed = expr.transform(|part| {
        Ok(match part {
            Expr::Column(column) => Transformed::yes(Expr::Column(rename(&column))),
            other => Transformed::no(other),
        })
    })?;
    Ok(renamed.data)
}

/// An expression over columns without their relations.
pub fn bare(expr: Expr) -> Result<Expr> {
    with_columns(expr, |column| Column::from_name(&column.name))
}

/// An expression that is computed by itself, over rows of a schema.
pub fn physical(
    state: &SessionState,
    expr: Expr,
    schema: &DFSchema,
) -> datafusion::common::Result<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr, schema)?;
    // Some functions are only there to be simplified: now, coalesce.
    state.create_physical_expr(simplifier.simplify(expr)?, schema)
}

/// How many letters two names differ by (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}
