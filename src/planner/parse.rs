//! SQL expressions as syntax: parsed, mended where the parser is wrong, and put into a statement.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType as SqlType, Expr as SqlExpr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    NullTreatment, ObjectName, ObjectNamePart, SelectItem, SetExpr, Statement, TableFactor,
    TimezoneInfo, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, visit_expressions,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use crate::error::{ErrorKind, NativeError, Result};

/// A token that follows an expression, and where.
pub type Rest = Option<(String, Location)>;

/// The expression that a text begins with, and the token that follows it.
pub fn parse(
    sql: &str,
    dialect: &dyn Dialect,
    limit: usize,
) -> std::result::Result<(SqlExpr, Rest), ParserError> {
    let mut parser = Parser::new(dialect)
        .with_recursion_limit(limit)
        .try_with_sql(sql)?;
    let parsed = parser.parse_expr()?;
    let next = parser.peek_token();
    let rest = (next.token != Token::EOF).then(|| (next.token.to_string(), next.span.start));
    Ok((parsed, rest))
}

/// Mends every expression within.
///
/// # Errors
/// `sql` where an expression is not what it says, and does not parse once it is said anew.
pub fn repaired(parsed: &mut impl VisitMut, dialect: &dyn Dialect) -> Result<()> {
    match parsed.visit(&mut Repair { dialect, depth: 0 }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Mends whole expressions, with all that is in them.
struct Repair<'a> {
    dialect: &'a dyn Dialect,
    depth: usize,
}

impl VisitorMut for Repair<'_> {
    type Break = NativeError;

    fn pre_visit_expr(&mut self, whole: &mut SqlExpr) -> ControlFlow<NativeError> {
        if self.depth == 0 {
            let is_swapped = visit_expressions(whole, |part| match swapped(part) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
            let _ = visit_expressions_mut(whole, |part| {
                repair(part);
                ControlFlow::<()>::Continue(())
            });
            if is_swapped.is_break() {
                // What stands before it took part in the wrong order too.
                let mut texts = Texts::default();
                let _ = whole.visit(&mut texts);
                texts.is_back = true;
                match parse(&whole.to_string(), self.dialect, RECURSION_LIMIT) {
                    Ok((mut anew, None)) => {
                        let _ = anew.visit(&mut texts);
                        *whole = anew;
                    }
                    _ => {
                        return ControlFlow::Break(NativeError::new(
                            ErrorKind::Sql,
                            "put IS DISTINCT FROM and its operands in parentheses: what follows them \
                             is taken for a part of the second one",
                        ));
                    }
                }
            }
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &mut SqlExpr) -> ControlFlow<NativeError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Texts with a backslash, which some dialects read otherwise than they are written, in a place of their own while
/// an expression is said anew.
#[derive(Default)]
struct Texts {
    taken: Vec<Value>,
    is_back: bool,
}

impl VisitorMut for Texts {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        const PLACE: &str = "\u{1}text ";
        let text = value.value.clone().into_string().unwrap_or_default();
        if self.is_back {
            let place = text.strip_prefix(PLACE).and_then(|n| n.parse().ok());
            if let Some(taken) = place.and_then(|place: usize| self.taken.get(place)) {
                value.value = taken.clone();
            }
        } else if text.contains('\\') || text.starts_with(PLACE) {
            let place = format!("{PLACE}{}", self.taken.len());
            let taken = std::mem::replace(&mut value.value, Value::SingleQuotedString(place));
            self.taken.push(taken);
        }
        ControlFlow::Continue(())
    }
}

/// How deep parentheses go in what is said anew.
const RECURSION_LIMIT: usize = 200;

/// Whether it is an `IS [NOT] DISTINCT FROM` that has taken what follows it for a part of its second operand.
fn swapped(part: &SqlExpr) -> bool {
    match part {
        SqlExpr::IsDistinctFrom(_, right) | SqlExpr::IsNotDistinctFrom(_, right) => {
            matches!(
                right.as_ref(),
                SqlExpr::BinaryOp {
                    op: BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor,
                    ..
                }
            )
        }
        _ => false,
    }
}

/// Types numbers with a fraction as decimals, everywhere within: values that are stored keep their digits.
pub fn exact_fractions(parsed: &mut impl VisitMut) {
    let _ = visit_expressions_mut(parsed, |part| {
        if let SqlExpr::Value(value) = part
            && let Value::Number(digits, _) = &value.value
            && digits.to_string().contains('.')
            && let Some(exact) = decimal(&digits.to_string())
        {
            *part = exact;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Gives timestamps WITH TIME ZONE a time zone, everywhere within: in a session that has none, DataFusion
/// types them as local to whatever they are compared with.
pub fn zoned(parsed: &mut impl VisitMut) {
    let _ = visit_expressions_mut(parsed, |part| {
        let value = match part {
            SqlExpr::TypedString(text) => unit_of_zoned(&text.data_type)
                .map(|unit| ("arrow_cast", SqlExpr::Value(text.value.clone()), unit)),
            SqlExpr::Cast {
                kind,
                expr,
                data_type,
                ..
            } => {
                let function = match kind {
                    CastKind::Cast | CastKind::DoubleColon => "arrow_cast",
                    CastKind::TryCast | CastKind::SafeCast => "arrow_try_cast",
                };
                unit_of_zoned(data_type).map(|unit| (function, expr.as_ref().clone(), unit))
            }
            _ => None,
        };
        if let Some((function, value, unit)) = value {
            let kind = format!("Timestamp({unit}, Some(\"+00:00\"))");
            let kind = SqlExpr::Value(Value::SingleQuotedString(kind).into());
            *part = call(function, vec![value, kind]);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// The unit of a timestamp type with a time zone; nothing for other types.
fn unit_of_zoned(kind: &SqlType) -> Option<&'static str> {
    let SqlType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) = kind else {
        return None;
    };
    Some(match precision {
        Some(0) => "Second",
        Some(3) => "Millisecond",
        Some(6) => "Microsecond",
        None | Some(9) => "Nanosecond",
        Some(_) => return None,
    })
}

/// A name as SQL folds it: in lower case unless it is quoted.
pub fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// A function with its arguments.
pub fn call(name: &str, arguments: Vec<SqlExpr>) -> SqlExpr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    SqlExpr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Mends what the parser gets wrong, from the leaves up or down alike.
///
/// `x IS NOT DISTINCT FROM y AND z` comes as `x IS NOT DISTINCT FROM (y AND z)`, told from one with
/// parentheses by these being a node of their own. And a number with more digits than a double keeps
/// is one where it is compared, unless it is given a type. For IGNORE NULLS see `take_null_treatment`.
fn repair(part: &mut SqlExpr) {
    while swapped(part) {
        let taken = std::mem::replace(part, SqlExpr::Value(Value::Null.into()));
        let (left, right, negated) = match taken {
            SqlExpr::IsDistinctFrom(left, right) => (left, right, false),
            SqlExpr::IsNotDistinctFrom(left, right) => (left, right, true),
            other => {
                *part = other;
                break;
            }
        };
        let SqlExpr::BinaryOp {
            left: first,
            op,
            right: second,
        } = *right
        else {
            break;
        };
        let mut inner = if negated {
            SqlExpr::IsNotDistinctFrom(left, first)
        } else {
            SqlExpr::IsDistinctFrom(left, first)
        };
        repair(&mut inner);
        *part = SqlExpr::BinaryOp {
            // In parentheses, so that it stays as it is once it is written out.
            left: Box::new(SqlExpr::Nested(Box::new(inner))),
            op,
            right: second,
        };
    }
    match part {
        SqlExpr::BinaryOp {
            left,
            op:
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq,
            right,
        }
        | SqlExpr::IsDistinctFrom(left, right)
        | SqlExpr::IsNotDistinctFrom(left, right) => {
            keep_digits(left);
            keep_digits(right);
        }
        SqlExpr::Between { low, high, .. } => {
            keep_digits(low);
            keep_digits(high);
        }
        SqlExpr::InList { list, .. } => list.iter_mut().for_each(keep_digits),
        SqlExpr::Function(function) => {
            match function.over {
                Some(_) => take_null_treatment(function),
                None => first_in_order(function),
            }
            if counts(function) {
                let counted = std::mem::replace(part, SqlExpr::Value(Value::Null.into()));
                *part = SqlExpr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(counted),
                    data_type: SqlType::BigInt(None),
                    array: false,
                    format: None,
                };
            }
        }
        // A literal is planned as if nothing was around it: no query, no common table expression.
        SqlExpr::Array(array) => *part = call("make_array", std::mem::take(&mut array.elem)),
        _ => {}
    }
}

/// Whether a function gives an unsigned number, which is BIGINT in SQL: without a sign, `rank() - rank()` ends in an
/// overflow, `id - row_number()` is a decimal, and `-row_number()` is refused.
fn counts(function: &Function) -> bool {
    const WINDOWS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];
    const OTHERS: [&str; 11] = [
        "approx_distinct",
        "array_indexof",
        "array_length",
        "array_ndims",
        "array_position",
        "cardinality",
        "list_indexof",
        "list_length",
        "list_ndims",
        "list_position",
        "regr_count",
    ];
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return false;
    };
    let name = folded(name);
    let name = name.as_str();
    OTHERS.contains(&name) || function.over.is_some() && WINDOWS.contains(&name)
}

/// `any_value(x ORDER BY y)`, whose order the planner passes over, is the first value that is there.
fn first_in_order(function: &mut Function) {
    let FunctionArguments::List(list) = &function.args else {
        return;
    };
    let is_ordered =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    if let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice()
        && folded(name) == "any_value"
        && list.clauses.iter().any(is_ordered)
    {
        *name = Ident::new("first_value");
        function.null_treatment = Some(NullTreatment::IgnoreNulls);
    }
}

/// `lag(coalesce(x, 0) IGNORE NULLS) OVER w`: what stands last among the arguments is said of the function, and
/// comes as if it was said of the argument before it.
fn take_null_treatment(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Function(last)))) =
        list.args.last_mut()
        && last.over.is_none()
        && function.null_treatment.is_none()
    {
        function.null_treatment = last.null_treatment.take();
    }
}

/// A number that is compared, as a decimal where a double would not keep its digits.
fn keep_digits(side: &mut SqlExpr) {
    match side {
        SqlExpr::Nested(inner)
        | SqlExpr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr: inner,
        } => keep_digits(inner),
        SqlExpr::Value(value) => {
            if let Value::Number(digits, _) = &value.value
                && let Some(exact) = exact_number(&digits.to_string())
            {
                *side = exact;
            }
        }
        _ => {}
    }
}

/// A number literal as a decimal, where a double would not keep its digits.
fn exact_number(digits: &str) -> Option<SqlExpr> {
    const DOUBLE_DIGITS: usize = 15;
    if digits.contains(['e', 'E', '_']) {
        return None;
    }
    if !digits.contains('.') && (digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok()) {
        return None;
    }
    let significant = digits.trim_start_matches(['0', '.']);
    let count = significant.chars().filter(char::is_ascii_digit).count();
    if count <= DOUBLE_DIGITS {
        return None;
    }
    decimal(digits)
}

/// A number literal as a decimal with its digits; nothing where it has too many, or an exponent.
fn decimal(digits: &str) -> Option<SqlExpr> {
    if digits.contains(['e', 'E', '_']) {
        return None;
    }
    let scale = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let precision = digits
        .chars()
        .filter(char::is_ascii_digit)
        .count()
        .max(scale);
    if precision > 38 {
        return None;
    }
    let sql = format!("CAST('{digits}' AS DECIMAL({precision}, {scale}))");
    let dialect = datafusion::sql::sqlparser::dialect::GenericDialect {};
    let (parsed, _) = parse(&sql, &dialect, 50).ok()?;
    Some(parsed)
}

/// `SELECT parsed FROM relation [CROSS JOIN relation]`.
pub fn select(parsed: SqlExpr, relations: &[&str], dialect: &dyn Dialect) -> Result<DfStatement> {
    let template = match relations.len() {
        0 => "SELECT 1",
        1 => "SELECT 1 FROM a",
        _ => "SELECT 1 FROM a CROSS JOIN b",
    };
    let broken = || NativeError::new(ErrorKind::Internal, "a statement could not be made");
    let mut statements = Parser::parse_sql(dialect, template).map_err(|_| broken())?;
    let Some(Statement::Query(query)) = statements.first_mut() else {
        return Err(broken());
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(broken());
    };
    select.projection = vec![SelectItem::ExprWithAlias {
        expr: parsed,
        alias: Ident::with_quote('"', "value"),
    }];
    let mut named = relations.iter();
    for from in &mut select.from {
        let joined = from.joins.iter_mut().map(|join| &mut join.relation);
        for factor in std::iter::once(&mut from.relation).chain(joined) {
            if let (TableFactor::Table { name, .. }, Some(relation)) = (factor, named.next()) {
                let quoted = Ident::with_quote('"', *relation);
                *name = ObjectName(vec![ObjectNamePart::Identifier(quoted)]);
            }
        }
    }
    let statement = statements.swap_remove(0);
    Ok(DfStatement::Statement(Box::new(statement)))
}
