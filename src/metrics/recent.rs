//! Metrics of the queries and writes that ended last, as many as fit.

use std::collections::VecDeque;

use datafusion::arrow::array::RecordBatch;
use parking_lot::Mutex;

/// Bytes of metrics tables that are kept: of a few hundred queries, or of one very large plan.
const KEPT: usize = 16 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<(usize, VecDeque<(String, RecordBatch)>)>,
}

impl Recent {
    /// Keeps the table of a query or write, and lets go of the oldest.
    pub fn add(&self, run: &str, metrics: &RecordBatch) {
        let mut kept = self.kept.lock();
        kept.0 += metrics.get_array_memory_size();
        kept.1.push_back((run.to_owned(), metrics.clone()));
        while kept.0 > KEPT && kept.1.len() > 1 {
            if let Some((_, oldest)) = kept.1.pop_front() {
                kept.0 -= oldest.get_array_memory_size();
            }
        }
    }

    /// Tables of the runs asked for, oldest first; of all runs where none is named.
    pub fn of(&self, runs: Option<&[String]>) -> Vec<RecordBatch> {
        let kept = self.kept.lock();
        let wanted = |run: &String| runs.is_none_or(|runs| runs.contains(run));
        kept.1
            .iter()
            .filter(|(run, _)| wanted(run))
            .map(|(_, metrics)| metrics.clone())
            .collect()
    }
}
