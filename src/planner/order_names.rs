//! Names in ORDER BY, GROUP BY and DISTINCT ON that a column of SELECT has: `SELECT b.id … FROM a, b ORDER BY id`.
//!
//! Where several tables have such a column, the planner looks for it around a subquery before it thinks of SELECT.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, VisitMut,
    VisitorMut,
};

use super::parse::folded;

/// Says of which table they are, everywhere within.
pub fn qualify(parsed: &mut impl VisitMut) {
    let _ = VisitMut::visit(parsed, &mut Names);
}

struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            if let Some(order) = &mut query.order_by
                && let OrderByKind::Expressions(keys) = &mut order.kind
            {
                for key in keys {
                    qualify_key(&mut key.expr, &select.projection);
                }
            }
            let Select {
                distinct,
                group_by,
                projection,
                ..
            } = select.as_mut();
            if let Some(Distinct::On(keys)) = distinct {
                for key in keys {
                    qualify_key(key, projection);
                }
            }
            if let GroupByExpr::Expressions(keys, _) = group_by {
                for key in keys {
                    qualify_key(key, projection);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn qualify_key(key: &mut Expr, projection: &[SelectItem]) {
    if let Expr::Identifier(name) = key
        && let Some(column) = column(name, projection)
    {
        *key = Expr::CompoundIdentifier(column.to_vec());
    }
}

/// The qualified column that goes by its own name in SELECT, if nothing else there has that.
fn column<'a>(name: &Ident, projection: &'a [SelectItem]) -> Option<&'a [Ident]> {
    let name = folded(name);
    let mut found = None;
    for item in projection {
        let (column, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
            // May have any name, and none is put in the place of another.
            _ => return None,
        };
        let last = match column {
            Expr::CompoundIdentifier(parts) => parts.last(),
            Expr::Identifier(own) => Some(own),
            _ => None,
        };
        let last = last.map(folded);
        if alias.as_ref().or(last.as_ref()) != Some(&name) {
            continue;
        }
        match column {
            Expr::CompoundIdentifier(parts) if found.is_none() && last.as_ref() == Some(&name) => {
                found = Some(parts.as_slice());
            }
            _ => return None,
        }
    }
    found
}
