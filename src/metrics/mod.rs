//! The account of a plan: its metrics as one Arrow table (`walk`), its operators (`nodes`), what its
//! scans left out (`funnel`), and the requests of each scan (`observe`).

pub mod funnel;
mod nodes;
pub mod observe;
pub mod recent;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;
use funnel::{Funnel, add_totals};
pub use nodes::{Measure, Node, measures};
use nodes::{nodes, scan_nodes};
use walk::Rows;

/// What there is to say of a plan that ran.
#[derive(Clone, Debug)]
pub struct Measured {
    pub metrics: RecordBatch,
    pub nodes: Arc<[Node]>,
    /// Paths of the operators, by the number that their requests have.
    pub scan_nodes: HashMap<usize, String>,
}

/// All that the operators of `plan` measured so far.
///
/// `scans` are the plan's, which were looked at when it was made.
pub fn measured(
    plan: &dyn ExecutionPlan,
    scans: &[Funnel],
    run: &str,
    query: &str,
) -> Result<Measured> {
    let mut rows = Rows::new(run, query);
    rows.add_plan(plan);
    add_totals(&mut rows, scans);
    Ok(Measured {
        metrics: rows.finish()?,
        nodes: nodes(plan).into(),
        scan_nodes: scan_nodes(plan),
    })
}
