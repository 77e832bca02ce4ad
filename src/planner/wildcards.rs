//! `*` and what may follow it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Select, SelectFlavor, SelectItem, Statement, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

/// `FROM t` as `SELECT * FROM t`: the planner takes it for one of no columns.
pub fn of_from(parsed: &mut impl VisitMut) {
    let _ = parsed.visit(&mut FromFirst);
}

struct FromFirst;

impl VisitorMut for FromFirst {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if matches!(select.flavor, SelectFlavor::FromFirstNoSelect) && select.projection.is_empty()
        {
            select.projection = vec![SelectItem::Wildcard(Default::default())];
        }
        ControlFlow::Continue(())
    }
}

/// The statement with `* EXCLUDE (x)` in the place of `* REPLACE (y AS x)`; nothing where there is none.
///
/// The planner passes over a column to be replaced that is not there, and refuses one to be left out.
pub fn excluding(statement: &Statement) -> Option<Statement> {
    if statement.visit(&mut Replacing).is_continue() {
        return None;
    }
    let mut changed = statement.clone();
    let _ = VisitMut::visit(&mut changed, &mut Excluding);
    Some(changed)
}

/// `as_keyword` of a column to be replaced that is there: one of several tables, which could not be left out.
pub const IS_CHECKED: bool = false;

/// Looks for `* REPLACE`.
struct Replacing;

impl Visitor for Replacing {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let is_there = select.projection.iter().any(|item| match item {
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                let replaced = options.opt_replace.iter().flat_map(|list| &list.items);
                replaced
                    .into_iter()
                    .any(|item| item.as_keyword != IS_CHECKED)
            }
            _ => false,
        });
        match is_there {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Excluding;

impl VisitorMut for Excluding {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut is_there = false;
        for item in &mut select.projection {
            let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
            else {
                continue;
            };
            if options.opt_exclude.is_some() || options.opt_except.is_some() {
                continue;
            }
            if let Some(replaced) = options.opt_replace.take() {
                let names = replaced
                    .items
                    .into_iter()
                    .filter(|item| item.as_keyword != IS_CHECKED)
                    .map(|item| ObjectName::from(vec![item.column_name]));
                options.opt_exclude = Some(ExcludeSelectItem::Multiple(names.collect()));
                is_there = true;
            }
        }
        if is_there {
            // Something is left, whatever is left out.
            select.projection.push(SelectItem::ExprWithAlias {
                expr: Expr::Value(Value::Null.into()),
                alias: Ident::with_quote('"', ""),
            });
        }
        ControlFlow::Continue(())
    }
}
