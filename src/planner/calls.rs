//! Calls of functions with clauses that the planner passes over: those of aggregates, on a function of values.

use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, Visit, Visitor,
};

/// What is said of the first call that is refused.
pub fn refused(statement: &DfStatement, state: &SessionState) -> Option<String> {
    let DfStatement::Statement(statement) = statement else {
        return None;
    };
    match statement.visit(&mut Calls(state)) {
        ControlFlow::Break(said) => Some(said),
        ControlFlow::Continue(()) => None,
    }
}

struct Calls<'a>(&'a SessionState);

impl Visitor for Calls<'_> {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let name = function.name.to_string().to_lowercase();
        let is_of_values = self.0.scalar_functions().contains_key(&name)
            && !self.0.aggregate_functions().contains_key(&name)
            && !self.0.window_functions().contains_key(&name);
        match clause(function) {
            Some(clause) if is_of_values => {
                ControlFlow::Break(format!("{clause} does not apply to the function {name}"))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn clause(function: &Function) -> Option<&'static str> {
    if function.filter.is_some() {
        return Some("FILTER");
    }
    if function.over.is_some() {
        return Some("OVER");
    }
    if !function.within_group.is_empty() {
        return Some("WITHIN GROUP");
    }
    if function.null_treatment.is_some() {
        return Some("IGNORE or RESPECT NULLS");
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    if list.duplicate_treatment.is_some() {
        return Some("DISTINCT or ALL");
    }
    list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(_) => Some("ORDER BY"),
        FunctionArgumentClause::IgnoreOrRespectNulls(_) => Some("IGNORE or RESPECT NULLS"),
        _ => None,
    })
}
