//! The standard SQL within a statement: what `EXPLAIN` and `COPY`, which DataFusion's own parser reads, are about.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{Query, Statement, Visit, VisitMut, Visitor, VisitorMut};

/// A statement or query to be visited.
pub enum Inner<'a> {
    Statement(&'a mut Statement),
    Query(&'a mut Query),
}

/// What is within; nothing where a statement has names and settings alone.
pub fn inner(statement: &mut DfStatement) -> Option<Inner<'_>> {
    match statement {
        DfStatement::Statement(statement) => Some(Inner::Statement(statement)),
        DfStatement::Explain(explain) => inner(&mut explain.statement),
        DfStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => Some(Inner::Query(query)),
            CopyToSource::Relation(_) => None,
        },
        DfStatement::CreateExternalTable(_) | DfStatement::Reset(_) => None,
    }
}

impl Visit for Inner<'_> {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> ControlFlow<V::Break> {
        match self {
            Self::Statement(statement) => Visit::visit(*statement, visitor),
            Self::Query(query) => Visit::visit(*query, visitor),
        }
    }
}

impl VisitMut for Inner<'_> {
    fn visit<V: VisitorMut>(&mut self, visitor: &mut V) -> ControlFlow<V::Break> {
        match self {
            Self::Statement(statement) => VisitMut::visit(*statement, visitor),
            Self::Query(query) => VisitMut::visit(*query, visitor),
        }
    }
}
