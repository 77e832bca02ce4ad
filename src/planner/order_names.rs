//! Names in ORDER BY, GROUP BY and DISTINCT ON that a column of SELECT has: `SELECT b.id … FROM a, b ORDER BY id`.
//!
//! Where several tables of FROM have such a column, the planner looks for it around a subquery before it thinks of
//! SELECT.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, ObjectNamePart, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableFactor, TableWithJoins, VisitMut, VisitorMut,
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
            let tables = tables(&select.from);
            if let Some(order) = &mut query.order_by
                && let OrderByKind::Expressions(keys) = &mut order.kind
            {
                for key in keys {
                    qualify_key(&mut key.expr, &select.projection, &tables);
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
                    qualify_key(key, projection, &tables);
                }
            }
            if let GroupByExpr::Expressions(keys, _) = group_by {
                for key in keys {
                    qualify_key(key, projection, &tables);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// What the tables of FROM are called.
fn tables(from: &[TableWithJoins]) -> Vec<String> {
    let factors = from.iter().flat_map(|one| {
        let joined = one.joins.iter().map(|join| &join.relation);
        std::iter::once(&one.relation).chain(joined)
    });
    let mut names = Vec::new();
    for factor in factors {
        match factor {
            TableFactor::NestedJoin {
                alias: None,
                table_with_joins,
            } => names.extend(tables(std::slice::from_ref(table_with_joins))),
            TableFactor::Table { name, alias, .. } => match (alias, name.0.last()) {
                (Some(alias), _) => names.push(folded(&alias.name)),
                (None, Some(ObjectNamePart::Identifier(name))) => names.push(folded(name)),
                (None, _) => {}
            },
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => {
                names.extend(alias.as_ref().map(|alias| folded(&alias.name)));
            }
            _ => {}
        }
    }
    names
}

fn qualify_key(key: &mut Expr, projection: &[SelectItem], tables: &[String]) {
    if let Expr::Identifier(name) = key
        && let Some(column @ [table, _]) = column(name, projection)
        && tables.contains(&folded(table))
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
