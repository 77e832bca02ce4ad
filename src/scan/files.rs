//! The active files of a snapshot, as scans and changes need them.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use deltalake::kernel::{DeletionVectorDescriptor, EagerSnapshot, LogicalFileView};
use object_store::path::Path;

use super::prune::Candidate;
use crate::error::{ErrorKind, NativeError, Result};
use crate::write::layout::Layout;
use crate::write::values;

/// One active file.
#[derive(Clone)]
pub struct TableFile {
    pub view: LogicalFileView,
    pub location: Path,
    pub size: u64,
    /// Values of the partition columns, in their order.
    pub partition: Vec<ScalarValue>,
    pub vector: Option<DeletionVectorDescriptor>,
}

impl std::fmt::Debug for TableFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableFile")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl TableFile {
    pub fn candidate(&self) -> Candidate {
        Candidate {
            partition: self.partition.clone(),
            statistics: self.view.stats(),
        }
    }

    /// Rows in the file, deleted ones among them, where the log says so.
    pub fn rows(&self) -> Option<u64> {
        self.view.num_records().and_then(|n| u64::try_from(n).ok())
    }
}

/// All active files.
///
/// # Errors
/// `source` for a partition value that is none of its column's type, `unsupported_table_feature` for a
/// file outside of the table.
pub fn active(snapshot: &EagerSnapshot, layout: &Layout) -> Result<Vec<TableFile>> {
    snapshot
        .log_data()
        .iter()
        .map(|view| {
            if view.path().contains("://") {
                return Err(NativeError::new(
                    ErrorKind::UnsupportedTableFeature,
                    format!("the file {} lies outside of the table", view.path()),
                ));
            }
            Ok(TableFile {
                location: view.object_store_path(),
                size: u64::try_from(view.size()).unwrap_or_default(),
                partition: partition(&view.partition_values_map(), layout)?,
                vector: view.deletion_vector_descriptor(),
                view,
            })
        })
        .collect()
}

/// Partition values of a file, in the order of the table's columns.
pub fn partition(
    given: &HashMap<String, Option<String>>,
    layout: &Layout,
) -> Result<Vec<ScalarValue>> {
    let columns = layout.partitions.iter();
    columns
        .map(|i| {
            let field = layout.schema.field(*i);
            let text = given
                .get(layout.physical[*i].name())
                .or_else(|| given.get(field.name()))
                .and_then(Option::as_deref);
            values::parse(text, field.data_type(), field.name())
        })
        .collect()
}

pub type Files = Arc<[TableFile]>;
