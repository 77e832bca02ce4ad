//! `SELECT * REPLACE (x AS k)` of a column `k` that is not there, which the planner passes over without a word.
//!
//! What replaces is called as a function that is not in the plan where nothing was replaced.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, ReplaceSelectItem, Select, SelectItem, Value, Visit, VisitMut,
    VisitorMut, visit_expressions, visit_relations,
};

use super::inner::inner;
use super::of_first::of_first;
use super::parse::{call, folded};

const NAME: &str = "replaced_column";

/// Columns that a statement replaces, in the order of their marks; nothing for those in a common table expression
/// that is not read, which is not in the plan either.
#[derive(Default)]
pub struct Replaced(Vec<Option<String>>);

/// Marks what replaces columns. Names that are not quoted are in lower case after it, as everywhere else.
pub fn mark(statement: &mut DfStatement) -> Replaced {
    let mut replaced = Replaced::default();
    if let Some(mut inner) = inner(statement) {
        let _ = VisitMut::visit(&mut inner, &mut replaced);
    }
    replaced
}

/// Names of tables and common table expressions that are read.
fn read(parsed: &impl Visit) -> HashSet<String> {
    let mut read = HashSet::new();
    let _ = visit_relations(parsed, |name: &ObjectName| {
        if let [ObjectNamePart::Identifier(name)] = name.0.as_slice() {
            read.insert(folded(name));
        }
        ControlFlow::<()>::Continue(())
    });
    read
}

impl VisitorMut for Replaced {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
            else {
                continue;
            };
            let Some(ReplaceSelectItem { items }) = &mut options.opt_replace else {
                continue;
            };
            for item in items {
                let name = folded(&item.column_name);
                item.column_name = Ident::with_quote('"', name.as_str());
                let number = Value::Number(self.0.len().to_string(), false);
                let value = std::mem::replace(&mut item.expr, SqlExpr::Value(Value::Null.into()));
                item.expr = call(NAME, vec![value, SqlExpr::Value(number.into())]);
                self.0.push(Some(name));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(with) = query.with.take() else {
            return ControlFlow::Continue(());
        };
        let mut read = read(query);
        for table in with.cte_tables.iter().rev() {
            if read.contains(&folded(&table.alias.name)) {
                read.extend(self::read(&table.query));
                continue;
            }
            let _ = visit_expressions(&table.query, |part| {
                if let Some(name) = marked(part).and_then(|place| self.0.get_mut(place)) {
                    *name = None;
                }
                ControlFlow::<()>::Continue(())
            });
        }
        query.with = Some(with);
        ControlFlow::Continue(())
    }
}

/// The number of a mark.
fn marked(part: &SqlExpr) -> Option<usize> {
    let SqlExpr::Function(Function { name, args, .. }) = part else {
        return None;
    };
    let ([ObjectNamePart::Identifier(name)], FunctionArguments::List(list)) =
        (name.0.as_slice(), args)
    else {
        return None;
    };
    match list.args.as_slice() {
        [
            _,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(number))),
        ] if name.value == NAME => number.to_string().parse().ok(),
        _ => None,
    }
}

impl Replaced {
    /// The plan without marks.
    ///
    /// # Errors
    /// For a column that is not there.
    pub fn checked(mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.0.is_empty() {
            return Ok(plan);
        }
        let plan = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|part| match part {
                    Expr::ScalarFunction(ScalarFunction { func, args })
                        if func.inner().downcast_ref::<Mark>().is_some() =>
                    {
                        let mut args = args.into_iter();
                        match (args.next(), args.next()) {
                            (Some(value), Some(Expr::Literal(number, _))) => {
                                let place = number_of(&number);
                                if let Some(name) = place.and_then(|place| self.0.get_mut(place)) {
                                    *name = None;
                                }
                                Ok(Transformed::yes(value))
                            }
                            _ => internal_err!("a replaced column has no number"),
                        }
                    }
                    other => Ok(Transformed::no(other)),
                })
            })
        })?;
        match self.0.into_iter().flatten().next() {
            Some(name) => plan_err!("there is no column {name:?} for REPLACE to replace"),
            None => Ok(plan.data),
        }
    }
}

fn number_of(number: &ScalarValue) -> Option<usize> {
    match number {
        ScalarValue::Int64(Some(number)) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// `replaced_column(value, number)`: the value.
pub fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Mark {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &'static str {
        NAME
    }

    of_first!();

    /// Named as what it gives, which stands for it in the end.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        match arguments.first() {
            Some(value) => Ok(value.schema_name().to_string()),
            None => internal_err!("{NAME} has two arguments"),
        }
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        match arguments.first() {
            Some(value) => Ok(value.human_display().to_string()),
            None => internal_err!("{NAME} has two arguments"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("{NAME} has two arguments"),
        }
    }
}
