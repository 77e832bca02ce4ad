//! A table whose rows come with their place: the number of their file and their position in it.
//!
//! Changes find rows with it, and read what is left of a file once rows of it are deleted. Files are read
//! by DataFusion's Parquet source; what the protocol says of rows beyond that (deletion vectors, names that
//! files have for columns) is done here, in every partition of the scan by itself.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::parquet::arrow::RowNumber;
use datafusion::physical_plan::ExecutionPlan;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use url::Url;

use super::files::{Files, TableFile};
use super::position_node::PositionExec;
use super::prune;
use crate::delta::files::read_well;
use crate::error::NativeError;
use crate::metrics::observe::observed;
use crate::store::profile::StoreKind;
use crate::write::assign::lenient;
use crate::write::layout::Layout;
use crate::write::vectors::{self, Rows};

/// Column with the number of a row's file.
pub const FILE: &str = "__fusiondelta_file";
/// Column with a row's position in its file.
pub const ROW: &str = "__fusiondelta_row";

/// Deletion vectors read at once.
const VECTORS_AT_ONCE: usize = 16;

/// Deleted rows by the number of their file.
pub type Deleted = HashMap<u32, Arc<Rows>>;

/// Where a table's files are.
#[derive(Clone)]
pub struct Place {
    pub url: Url,
    /// Of the whole store; locations of files begin with the table's.
    pub prefix: object_store::path::Path,
    /// Its root is the table.
    pub store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// Deletion vectors of files, by their numbers.
///
/// # Errors
/// Those of `vectors::read`.
pub async fn deleted(
    files: &[TableFile],
    numbers: &[u32],
    place: &Place,
) -> crate::error::Result<Deleted> {
    let reads: Vec<_> = numbers
        .iter()
        .filter_map(|number| {
            let file = files.get(usize::try_from(*number).ok()?)?;
            let (descriptor, place) = (file.vector.clone()?, place.clone());
            let number = *number;
            Some(async move {
                let rows = vectors::read(&place.store, &place.url, &descriptor).await?;
                Ok::<_, NativeError>((number, Arc::new(rows)))
            })
        })
        .collect();
    stream::iter(reads)
        .buffer_unordered(VECTORS_AT_ONCE)
        .try_collect()
        .await
}

/// Which rows a scan gives.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// Those of all files that its filters leave, but for what deletion vectors have deleted.
    Live,
    /// Those of some files, but for the rows named (deletion vectors among them).
    Rest(Arc<Deleted>),
}

#[derive(Debug)]
pub struct PositionTable {
    pub layout: Arc<Layout>,
    pub files: Files,
    place: Place,
    chosen: Chosen,
    schema: SchemaRef,
    /// Numbers of the files that were scanned last.
    scanned: parking_lot::Mutex<Vec<u32>>,
}

impl PositionTable {
    pub fn new(layout: Arc<Layout>, files: Files, place: Place, chosen: Chosen) -> Self {
        let columns = lenient(&layout.schema);
        let fields = columns
            .fields()
            .iter()
            .cloned()
            .chain([
                FieldRef::from(Field::new(FILE, DataType::UInt32, true)),
                FieldRef::from(Field::new(ROW, DataType::Int64, true)),
            ])
            .collect::<Vec<_>>();
        Self {
            schema: Arc::new(Schema::new(fields)),
            layout,
            files,
            place,
            chosen,
            scanned: parking_lot::Mutex::default(),
        }
    }

    /// Numbers of the files that scans have read so far: those that their filters have left.
    pub fn scanned(&self) -> Vec<u32> {
        self.scanned.lock().clone()
    }

    /// Notes files that were read, or were looked at as a whole.
    pub fn note_scanned(&self, numbers: &[u32]) {
        let mut scanned = self.scanned.lock();
        scanned.extend(numbers);
        scanned.sort_unstable();
        scanned.dedup();
    }

    async fn numbers(
        &self,
        state: &SessionState,
        filters: &[Expr],
    ) -> crate::error::Result<(Vec<u32>, Arc<Deleted>)> {
        let all = 0..u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        match &self.chosen {
            Chosen::Rest(deleted) => {
                let mut numbers: Vec<_> = deleted.keys().copied().collect();
                numbers.sort_unstable();
                Ok((numbers, Arc::clone(deleted)))
            }
            Chosen::Live => {
                let keep = if filters.is_empty() {
                    vec![true; self.files.len()]
                } else {
                    let candidates: Vec<_> = self.files.iter().map(TableFile::candidate).collect();
                    prune::may_match(&candidates, &self.layout, filters, state)?
                };
                let numbers: Vec<u32> = all
                    .zip(keep)
                    .filter(|(_, keep)| *keep)
                    .map(|(n, _)| n)
                    .collect();
                let deleted = deleted(&self.files, &numbers, &self.place).await?;
                Ok((numbers, Arc::new(deleted)))
            }
        }
    }

    /// The scan of what lies in files, before rows are left out.
    fn source(
        &self,
        session: &dyn Session,
        numbers: &[u32],
        columns: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let layout = &self.layout;
        let stored = layout.stored();
        let mut partition_fields: Vec<FieldRef> = layout
            .partitions
            .iter()
            .map(|i| {
                let field = layout.schema.field(*i);
                FieldRef::from(Field::new(
                    layout.physical[*i].name(),
                    field.data_type().clone(),
                    true,
                ))
            })
            .collect();
        partition_fields.push(Arc::new(Field::new(FILE, DataType::UInt32, false)));
        let row = Field::new(ROW, DataType::Int64, false).with_extension_type(RowNumber);
        let schema = TableSchema::builder(layout.read_schema())
            .with_table_partition_cols(partition_fields)
            .with_virtual_columns(vec![FieldRef::from(row)])
            .build();
        let mut options = TableParquetOptions::new();
        options.global = session.config_options().execution.parquet.clone();
        // Positions are those of rows in the file, whatever is filtered.
        options.global.pushdown_filters = false;
        options.global.coerce_int96 = Some("us".to_owned());
        let source = ParquetSource::new(schema).with_table_parquet_options(options);
        let mut files = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(file) = usize::try_from(*number)
                .ok()
                .and_then(|n| self.files.get(n))
            else {
                return internal_err!("there is no file {number}");
            };
            let mut values = file.partition.clone();
            values.push(ScalarValue::UInt32(Some(*number)));
            let modified = chrono::DateTime::from_timestamp_millis(file.view.modification_time());
            let parts = self.place.prefix.parts().chain(file.location.parts());
            files.push(
                PartitionedFile::new_from_meta(ObjectMeta {
                    location: parts.collect(),
                    last_modified: modified.unwrap_or_default(),
                    size: file.size,
                    e_tag: None,
                    version: None,
                })
                .with_partition_values(values),
            );
        }
        let groups = groups(files, session.config().target_partitions());
        let projection = columns
            .iter()
            .map(|i| {
                let fields = layout.schema.fields().len();
                let partitions = layout.partitions.len();
                if *i >= fields {
                    return Ok(stored.len() + partitions + i - fields);
                }
                let place = layout.partitions.iter().position(|p| p == i);
                match place
                    .map(|p| stored.len() + p)
                    .or_else(|| stored.iter().position(|s| s == i))
                {
                    Some(place) => Ok(place),
                    None => internal_err!("there is no column {i}"),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let config = FileScanConfigBuilder::new(
            ObjectStoreUrl::parse(&self.place.url[..url::Position::BeforePath])?,
            Arc::new(source),
        )
        .with_file_groups(groups)
        .with_projection_indices(Some(projection))?
        .build();
        let is_local = StoreKind::Local.serves(self.place.url.scheme());
        let scan = read_well(DataSourceExec::from_data_source(config), session, is_local)?;
        observed(scan)
    }
}

/// Files in groups of about equal bytes.
fn groups(mut files: Vec<PartitionedFile>, count: usize) -> Vec<FileGroup> {
    let count = count.clamp(1, files.len().max(1));
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let mut groups = vec![(0, Vec::new()); count];
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.object_meta.size.max(1);
            group.push(file);
        }
    }
    groups
        .into_iter()
        .map(|(_, files)| FileGroup::new(files))
        .collect()
}

#[async_trait]
impl TableProvider for PositionTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return internal_err!("rows are found in sessions of the engine alone");
        };
        let (numbers, deleted) = self.numbers(state, filters).await?;
        self.note_scanned(&numbers);
        let count = self.schema.fields().len();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..count).collect());
        // Deleted rows are known by file and position, whether these are asked for or not.
        let mut columns = wanted.clone();
        if !deleted.is_empty() {
            let more = [count - 2, count - 1]
                .into_iter()
                .filter(|i| !wanted.contains(i));
            columns.extend(more);
        }
        let input = self.source(session, &numbers, &columns)?;
        let place = |index: usize| columns.iter().position(|i| *i == index);
        let is_plain = !self.layout.is_mapped;
        Ok(Arc::new(PositionExec::new(
            input,
            Arc::new(self.schema.project(&wanted)?),
            place(count - 2).zip(place(count - 1)),
            deleted,
            is_plain,
        )))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // They choose files; which rows it is the filter above decides.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Indices of the columns whose statistics bound all of their values: no NaN can be in them.
pub fn exact_columns(schema: &Schema) -> HashSet<usize> {
    let fields = schema.fields().iter().enumerate();
    fields
        .filter(|(_, field)| !has_floats(field.data_type()))
        .map(|(i, _)| i)
        .collect()
}

pub fn has_floats(kind: &DataType) -> bool {
    match kind {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_floats(f.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            has_floats(item.data_type())
        }
        DataType::Dictionary(_, value) => has_floats(value),
        _ => false,
    }
}
