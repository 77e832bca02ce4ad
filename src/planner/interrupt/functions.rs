//! Functions that look whether a query is abandoned.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};

use crate::planner::abandoned::Abandoned;
use crate::planner::around::{Around, Computation};

/// Begins a call that is stopped once the query is abandoned; it ends when what is given is dropped.
pub type Begin = fn(&Arc<Abandoned>) -> Result<Box<dyn Any>>;

/// Has a function fail once the query is abandoned.
#[derive(Clone)]
pub struct Watch {
    abandoned: Arc<Abandoned>,
    begin: Option<Begin>,
}

impl Watch {
    /// Of a function that gives values soon.
    pub fn between_calls(abandoned: &Arc<Abandoned>) -> Arc<dyn Around> {
        Arc::new(Self {
            abandoned: Arc::clone(abandoned),
            begin: None,
        })
    }

    /// Of one that may take long for each.
    pub fn within_calls(abandoned: &Arc<Abandoned>, begin: Begin) -> Arc<dyn Around> {
        Arc::new(Self {
            abandoned: Arc::clone(abandoned),
            begin: Some(begin),
        })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.abandoned).finish()
    }
}

impl Around for Watch {
    fn begin(&self, _: Option<&DataType>) -> Option<Box<dyn Computation>> {
        Some(Box::new(self.clone()))
    }
}

impl Computation for Watch {
    fn before(&self) -> Result<Option<Box<dyn Any>>> {
        match self.abandoned.get() {
            true => exec_err!("the query was cancelled"),
            false => self.begin.map(|begin| begin(&self.abandoned)).transpose(),
        }
    }
}
