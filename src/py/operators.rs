//! Operators with what they measured, as Python takes them.

use std::collections::HashMap;

use datafusion::arrow::array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::metrics::{Measure, Node, measures};

/// A tuple for each operator: path, name, detail, partitions, and by the names of its metrics their
/// totals, their values by partition, their units. `metrics` are the metrics tables that speak of them.
pub fn operators<'py>(
    py: Python<'py>,
    nodes: &[Node],
    metrics: &[RecordBatch],
) -> PyResult<Bound<'py, PyList>> {
    let measured = py.detach(|| measures(metrics));
    let mut names = Names(HashMap::new());
    let found = PyList::empty(py);
    for node in nodes {
        let (totals, by_partition) = (PyDict::new(py), PyDict::new(py));
        let units = PyDict::new(py);
        for measure in measured.get(node.id.as_str()).into_iter().flatten() {
            let Measure {
                name,
                unit,
                total,
                partitions,
            } = measure;
            let name = names.of(py, name);
            if let Some(total) = total {
                totals.set_item(&name, total)?;
            }
            if !partitions.is_empty() {
                let values = PyDict::new(py);
                for (partition, value) in partitions {
                    values.set_item(partition, value)?;
                }
                by_partition.set_item(&name, values)?;
            }
            units.set_item(name, names.of(py, unit))?;
        }
        found.append((
            &node.id,
            &node.operator,
            &node.detail,
            node.partitions,
            totals,
            by_partition,
            units,
        ))?;
    }
    Ok(found)
}

/// Strings that come again and again, made once.
struct Names<'a, 'py>(HashMap<&'a str, Bound<'py, PyString>>);

impl<'a, 'py> Names<'a, 'py> {
    fn of(&mut self, py: Python<'py>, name: &'a str) -> Bound<'py, PyString> {
        self.0
            .entry(name)
            .or_insert_with(|| PyString::new(py, name))
            .clone()
    }
}
