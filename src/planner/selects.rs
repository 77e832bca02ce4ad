//! A way through the SELECTs of a statement, from within: what a query names is not known in the queries in it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{OrderBy, Query, Select, SetExpr, VisitMut, VisitorMut};

use crate::error::{NativeError, Result};

/// What is done in a SELECT, and in the ORDER BY of the query whose body it is.
pub trait InSelects {
    /// What the SELECT names.
    type Named;

    fn in_query(&self, _: &Query) -> Result<()> {
        Ok(())
    }

    fn in_select(&self, select: &mut Select) -> Result<Self::Named>;

    fn in_order(
        &self,
        order: &mut Option<OrderBy>,
        named: Self::Named,
        select: &Select,
    ) -> Result<()>;
}

/// Does it in every SELECT within.
pub fn each<T: InSelects>(parsed: &mut impl VisitMut, what: T) -> Result<()> {
    match parsed.visit(&mut Each(what)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Each<T>(T);

impl<T: InSelects> VisitorMut for Each<T> {
    type Break = NativeError;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<NativeError> {
        match self.in_query(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl<T: InSelects> Each<T> {
    fn in_query(&self, query: &mut Query) -> Result<()> {
        self.0.in_query(query)?;
        match query.body.as_mut() {
            SetExpr::Select(select) => {
                let named = self.0.in_select(select)?;
                self.0.in_order(&mut query.order_by, named, select)
            }
            operands => self.in_operands(operands),
        }
    }

    fn in_operands(&self, body: &mut SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.0.in_select(select).map(drop),
            SetExpr::SetOperation { left, right, .. } => {
                self.in_operands(left)?;
                self.in_operands(right)
            }
            _ => Ok(()),
        }
    }
}
