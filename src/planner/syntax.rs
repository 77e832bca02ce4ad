//! Statements as syntax: what the planner would pass over without a word is refused, what it or the parser
//! gets wrong is put right.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    GroupByWithModifier, ObjectNamePart, OrderBy, Query, Select, SelectItem, SetExpr, TableAlias,
    TableFactor, TableFunctionArgs, Visit, VisitMut, Visitor, VisitorMut,
};

use datafusion::sql::sqlparser::dialect::Dialect;

use super::parse;
use super::{defaults, order_names, ordinals, row_values, using, wildcards, windows};
use crate::error::{ErrorKind, NativeError, Result};

/// Puts right what the planner or the parser gets wrong in a statement or an expression.
///
/// `zone` is the session's time zone (`datafusion.execution.time_zone`).
///
/// # Errors
/// `sql` for clauses that would be passed over, for windows that cannot be refined as they are, and for joins
/// whose merged columns cannot be told.
pub fn corrected<T: Visit + VisitMut>(
    parsed: &mut T,
    dialect: &dyn Dialect,
    zone: Option<&str>,
) -> Result<()> {
    wildcards::of_from(parsed);
    check(parsed)?;
    unnested(parsed);
    windows::inline(parsed)?;
    ordinals::resolve(parsed)?;
    row_values::compared(parsed)?;
    using::resolve(parsed)?;
    order_names::qualify(parsed);
    parse::repaired(parsed, dialect)?;
    defaults::beside(parsed);
    if zone.is_none() {
        parse::zoned(parsed);
    }
    Ok(())
}

/// `LATERAL unnest(x)` as `unnest(x)`, which may be of the tables before it anyway: the planner takes the one for a
/// table function.
fn unnested(parsed: &mut impl VisitMut) {
    let _ = parsed.visit(&mut Unnested);
}

struct Unnested;

impl VisitorMut for Unnested {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Function {
            lateral: true,
            name,
            args,
            with_ordinality: false,
            alias,
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let is_unnest = match name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => parse::folded(name) == "unnest",
            _ => false,
        };
        let lists = args.iter().map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(list)) => Some(list.clone()),
            _ => None,
        });
        if let (true, Some(array_exprs)) = (is_unnest, lists.collect()) {
            *factor = TableFactor::UNNEST {
                alias: alias.take(),
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            };
        }
        ControlFlow::Continue(())
    }
}

/// # Errors
/// `sql` for clauses that the planner would pass over.
fn check(parsed: &impl Visit) -> Result<()> {
    match parsed.visit(&mut Clauses) {
        ControlFlow::Break(clause) => Err(NativeError::new(
            ErrorKind::Sql,
            format!("{clause} is not supported"),
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Looks for clauses that the planner passes over; DataFusion refuses the others that it does not know.
struct Clauses;

/// The name of the first clause that is there.
fn first(clauses: &[(bool, &'static str)]) -> ControlFlow<&'static str> {
    match clauses.iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => ControlFlow::Break(clause),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for Clauses {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let interpolates = |order: &OrderBy| order.interpolate.is_some();
        first(&[
            (!query.locks.is_empty(), "FOR UPDATE or FOR SHARE"),
            (query.for_clause.is_some(), "FOR XML, JSON or BROWSE"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
            (
                query.order_by.as_ref().is_some_and(interpolates),
                "INTERPOLATE",
            ),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        first(&[
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (
                select.value_table_mode.is_some(),
                "SELECT AS STRUCT or AS VALUE",
            ),
            (
                select
                    .select_modifiers
                    .as_ref()
                    .is_some_and(|m| m.is_any_set()),
                "a modifier of SELECT such as SQL_CALC_FOUND_ROWS or STRAIGHT_JOIN",
            ),
            (
                select.exclude.is_some(),
                "EXCLUDE after the columns (SELECT * EXCLUDE (…) is)",
            ),
            (
                select.projection.iter().any(has_pattern),
                "ILIKE after * (name the columns)",
            ),
        ])?;
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) =
            &select.group_by;
        match modifiers.first() {
            Some(GroupByWithModifier::Rollup) => {
                ControlFlow::Break("WITH ROLLUP (GROUP BY ROLLUP (…) is)")
            }
            Some(GroupByWithModifier::Cube) => {
                ControlFlow::Break("WITH CUBE (GROUP BY CUBE (…) is)")
            }
            Some(GroupByWithModifier::Totals) => ControlFlow::Break("WITH TOTALS"),
            Some(GroupByWithModifier::GroupingSets(_)) => ControlFlow::Break(
                "GROUPING SETS after the columns (GROUP BY GROUPING SETS (…) is)",
            ),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        let alias = match factor {
            TableFactor::Table {
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
                name: _,
            } => {
                let has_settings = |args: &TableFunctionArgs| args.settings.is_some();
                first(&[
                    (sample.is_some(), "TABLESAMPLE"),
                    (!with_hints.is_empty(), "WITH (…) after a table"),
                    (version.is_some(), "FOR … AS OF (t VERSION AS OF n is)"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (!partitions.is_empty(), "PARTITION (…) after a table"),
                    (json_path.is_some(), "a path within a table"),
                    (!index_hints.is_empty(), "an index hint"),
                    (args.as_ref().is_some_and(has_settings), "SETTINGS"),
                ])?;
                alias
            }
            TableFactor::Derived { alias, sample, .. } => {
                first(&[(sample.is_some(), "TABLESAMPLE")])?;
                alias
            }
            TableFactor::Function {
                alias,
                with_ordinality,
                ..
            } => {
                first(&[(*with_ordinality, "WITH ORDINALITY")])?;
                alias
            }
            TableFactor::UNNEST { alias, .. } | TableFactor::NestedJoin { alias, .. } => alias,
            _ => return ControlFlow::Continue(()),
        };
        let has_place = |alias: &TableAlias| alias.at.is_some();
        first(&[(alias.as_ref().is_some_and(has_place), "AT after an alias")])
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(Function { parameters, .. }) => first(&[(
                *parameters != FunctionArguments::None,
                "a function with two lists of arguments",
            )]),
            // The planner panics.
            Expr::Subquery(subquery) | Expr::InSubquery { subquery, .. } => first(&[(
                has_no_columns(&subquery.body),
                "a subquery without columns where values are wanted",
            )]),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn has_pattern(item: &SelectItem) -> bool {
    match item {
        SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
            options.opt_ilike.is_some()
        }
        _ => false,
    }
}

fn has_no_columns(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.projection.is_empty(),
        SetExpr::Query(query) => has_no_columns(&query.body),
        SetExpr::SetOperation { left, .. } => has_no_columns(left),
        _ => false,
    }
}
