//! A table's columns as changes need them: what they are called in SQL and in files, and what is kept of
//! them.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::{DataType as KernelType, EagerSnapshot, StructField, StructType};
use deltalake::parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::assign::lenient;
use crate::error::{ErrorKind, NativeError, Result};

/// Columns of a table.
#[derive(Clone, Debug)]
pub struct Layout {
    /// By their logical names, in the order of the metadata, NOT NULL where they are.
    pub schema: SchemaRef,
    /// As they are in files, partition columns among them: physical names at every depth, with their ids
    /// where the table maps columns.
    pub physical: Vec<FieldRef>,
    /// Indices of the partition columns, in their order.
    pub partitions: Vec<usize>,
    /// Whether names in files are others.
    pub is_mapped: bool,
    /// SQL by which a column is made from others.
    pub generated: HashMap<String, String>,
    /// SQL of what a column is where a row does not say.
    pub defaults: HashMap<String, String>,
    /// Conditions that every row keeps: name and SQL.
    pub constraints: Vec<(String, String)>,
}

impl Layout {
    /// # Errors
    /// `unsupported_table_feature` for identity columns, which only their own writers may fill.
    pub fn of(snapshot: &EagerSnapshot) -> Result<Self> {
        let metadata = snapshot.metadata();
        let partitions = metadata.partition_columns();
        Self::new(&snapshot.schema(), partitions, metadata.configuration())
    }

    /// Of a table with this schema, these partition columns and properties.
    pub fn new(
        kernel: &StructType,
        partitions: &[String],
        configuration: &HashMap<String, String>,
    ) -> Result<Self> {
        let arrow: Schema = kernel.try_into_arrow()?;
        let is_mapped = configuration
            .get("delta.columnMapping.mode")
            .is_some_and(|mode| mode != "none");
        let mut schema = Vec::new();
        let mut physical = Vec::new();
        let mut generated = HashMap::new();
        let mut defaults = HashMap::new();
        let mut constraints = Vec::new();
        for field in kernel.fields() {
            let name = field.name();
            let arrow = arrow.field_with_name(name).map_err(|e| {
                NativeError::new(ErrorKind::Source, format!("the table's schema: {e}"))
            })?;
            let kind = bare(arrow.data_type());
            schema.push(Arc::new(Field::new(
                name,
                kind.clone(),
                field.is_nullable(),
            )));
            physical.push(physical_field(field, &kind, is_mapped));
            let text = |key: &str| note(field, key)?.as_str().map(str::to_owned);
            if field.metadata().contains_key("delta.identity.start")
                || field.metadata().contains_key("delta.identity.step")
            {
                return Err(NativeError::new(
                    ErrorKind::UnsupportedTableFeature,
                    format!("column {name:?} is an identity column, which cannot be written here"),
                ));
            }
            if let Some(sql) = text("delta.generationExpression") {
                generated.insert(name.clone(), sql);
            }
            if let Some(sql) = text("CURRENT_DEFAULT") {
                defaults.insert(name.clone(), sql);
            }
            if let Some(json) = text("delta.invariants")
                && let Ok(found) = serde_json::from_str::<serde_json::Value>(&json)
                && let Some(sql) = found["expression"]["expression"].as_str()
            {
                constraints.push((format!("invariant of {name}"), sql.to_owned()));
            }
        }
        let mut checks: Vec<_> = configuration
            .iter()
            .filter_map(|(key, sql)| {
                let name = key.strip_prefix("delta.constraints.")?;
                Some((name.to_owned(), sql.clone()))
            })
            .collect();
        checks.sort();
        constraints.extend(checks);
        let schema: SchemaRef = Arc::new(Schema::new(schema));
        let partitions = partitions
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| {
                    NativeError::new(
                        ErrorKind::Source,
                        format!("the table has no column {name:?}, which it is partitioned by"),
                    )
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            schema,
            physical,
            partitions,
            is_mapped,
            generated,
            defaults,
            constraints,
        })
    }

    pub fn is_partition(&self, index: usize) -> bool {
        self.partitions.contains(&index)
    }

    /// Names of the columns that the table is partitioned by, in its order.
    pub fn partition_names(&self) -> Vec<String> {
        let names = self.partitions.iter();
        names
            .map(|i| self.schema.field(*i).name().clone())
            .collect()
    }

    /// Indices of the columns that files hold.
    pub fn stored(&self) -> Vec<usize> {
        (0..self.schema.fields().len())
            .filter(|i| !self.is_partition(*i))
            .collect()
    }

    /// What files hold, under their own names; files of others may have NULL where the table has none.
    pub fn read_schema(&self) -> SchemaRef {
        lenient(&self.written_schema())
    }

    /// What files hold that are written here.
    pub fn written_schema(&self) -> SchemaRef {
        let fields = self
            .stored()
            .into_iter()
            .map(|i| Arc::clone(&self.physical[i]));
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

/// What the table notes on a field.
fn note(field: &StructField, key: &str) -> Option<serde_json::Value> {
    let json = serde_json::to_value(field.metadata().get(key)?).ok()?;
    (!json.is_null()).then_some(json)
}

/// The field of a file.
fn physical_field(field: &StructField, kind: &DataType, is_mapped: bool) -> FieldRef {
    let name = note(field, "delta.columnMapping.physicalName").filter(|_| is_mapped);
    let name = name.and_then(|name| name.as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| field.name().clone());
    let id = note(field, "delta.columnMapping.id").filter(|_| is_mapped);
    let metadata =
        id.map(|id| HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]));
    let kind = physical_type(field.data_type(), kind, is_mapped);
    Arc::new(
        Field::new(name, kind, field.is_nullable()).with_metadata(metadata.unwrap_or_default()),
    )
}

fn physical_type(kernel: &KernelType, arrow: &DataType, is_mapped: bool) -> DataType {
    match (kernel, arrow) {
        (KernelType::Struct(kernel), DataType::Struct(fields)) => DataType::Struct(
            kernel
                .fields()
                .zip(fields)
                .map(|(field, arrow)| physical_field(field, arrow.data_type(), is_mapped))
                .collect(),
        ),
        (KernelType::Array(kernel), DataType::List(item)) => {
            let kind = physical_type(kernel.element_type(), item.data_type(), is_mapped);
            DataType::List(Arc::new(Field::new("element", kind, item.is_nullable())))
        }
        (KernelType::Map(kernel), DataType::Map(entries, sorted)) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return arrow.clone();
            };
            let key = physical_type(kernel.key_type(), pair[0].data_type(), is_mapped);
            let value = physical_type(kernel.value_type(), pair[1].data_type(), is_mapped);
            let pair = vec![
                Field::new("key", key, false),
                Field::new("value", value, pair[1].is_nullable()),
            ];
            let entries = Field::new("key_value", DataType::Struct(pair.into()), false);
            DataType::Map(Arc::new(entries), *sorted)
        }
        _ => arrow.clone(),
    }
}

/// The type without what others have noted on its fields.
fn bare(kind: &DataType) -> DataType {
    let plain = |field: &FieldRef| {
        Arc::new(Field::new(
            field.name(),
            bare(field.data_type()),
            field.is_nullable(),
        ))
    };
    match kind {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::List(item) => DataType::List(plain(item)),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        other => other.clone(),
    }
}
