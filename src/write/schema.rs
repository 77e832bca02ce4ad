//! The schema of a table that a write makes or changes.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::{Action, EagerSnapshot, Metadata, MetadataExt, Protocol, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use serde_json::Value;

use super::assign::{delta_type, named, obstacle};
use crate::error::{ErrorKind, NativeError, Result};
use crate::write::commit::draft::Draft;

/// Columns of data as a table would have them.
///
/// # Errors
/// `schema_mismatch`, naming the columns whose types Delta does not have.
pub fn columns_of(data: &Schema) -> Result<Vec<FieldRef>> {
    if data.fields().is_empty() {
        return Err(NativeError::new(
            ErrorKind::SchemaMismatch,
            "a table needs at least one column and the data has none",
        ));
    }
    let mut columns = Vec::new();
    let mut problems = Vec::new();
    for field in data.fields() {
        match delta_type(field.data_type()) {
            Some(kind) => {
                columns.push(Arc::new(Field::new(
                    field.name(),
                    kind,
                    field.is_nullable(),
                )));
            }
            None => {
                let name = field.name();
                problems.push(match field.data_type() {
                    DataType::Null => {
                        format!("column {name:?}, which has no type but null; cast it to one")
                    }
                    kind => format!(
                        "column {name:?}, as it has no type for {kind}; cast it to one that there is"
                    ),
                });
            }
        }
    }
    if problems.is_empty() {
        return Ok(columns);
    }
    Err(NativeError::new(
        ErrorKind::SchemaMismatch,
        format!("a Delta table cannot hold {}", problems.join("; ")),
    ))
}

/// Refuses data whose columns are not the table's, naming each with both types. Columns in `may_miss` are
/// made by the table.
pub fn check(
    data: &Schema,
    table: &SchemaRef,
    may_miss: impl Fn(&str) -> bool,
    place: &str,
) -> Result<()> {
    let mut problems = Vec::new();
    for field in table.fields() {
        match data.field_with_name(field.name()) {
            Err(_) if may_miss(field.name()) => {}
            Err(_) => problems.push(format!(
                "{}: {} in the table, missing in the data",
                field.name(),
                named(field.data_type())
            )),
            Ok(found) => {
                let is_same = delta_type(found.data_type())
                    .is_some_and(|kind| same(&kind, field.data_type()));
                if !is_same {
                    problems.push(format!(
                        "{}: {} in the table, {} in the data",
                        field.name(),
                        named(field.data_type()),
                        delta_type(found.data_type())
                            .map_or_else(|| found.data_type().to_string(), |kind| named(&kind)),
                    ));
                }
            }
        }
    }
    for field in data.fields() {
        if table.field_with_name(field.name()).is_err() {
            problems.push(format!(
                "{}: {} in the data, not in the table",
                field.name(),
                named(field.data_type())
            ));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(NativeError::new(
        ErrorKind::SchemaMismatch,
        format!(
            "the data does not fit the table {place}: {}; cast the columns, or evolve the table with \
             schema_mode=\"merge\" or \"overwrite\"",
            problems.join("; ")
        ),
    )
    .with("columns", problems.join("\n")))
}

/// Whether two types are one but for NULLs within, which are looked for row by row.
fn same(a: &DataType, b: &DataType) -> bool {
    a == b || {
        use super::assign::lenient_type;
        obstacle(a, b).is_none() && leaf_types(&lenient_type(a)) == leaf_types(&lenient_type(b))
    }
}

/// Types by path, in the order of their names: fields of structs may stand in another order.
fn leaf_types(kind: &DataType) -> Vec<(String, String)> {
    use DataType as T;
    let mut found: Vec<(String, String)> = match kind {
        T::Struct(fields) => fields
            .iter()
            .flat_map(|f| {
                leaf_types(f.data_type())
                    .into_iter()
                    .map(|(path, kind)| (format!("{}.{path}", f.name()), kind))
            })
            .collect(),
        T::List(item) => leaf_types(item.data_type())
            .into_iter()
            .map(|(path, kind)| (format!("[].{path}"), kind))
            .collect(),
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) => pair
                .iter()
                .enumerate()
                .flat_map(|(i, f)| {
                    leaf_types(f.data_type())
                        .into_iter()
                        .map(move |(path, kind)| (format!("{{{i}}}.{path}"), kind))
                })
                .collect(),
            _ => Vec::new(),
        },
        other => vec![(String::new(), other.to_string())],
    };
    found.sort();
    found
}

/// The schema with columns that only the data has, or nothing where there are none.
///
/// # Errors
/// `unsupported_table_feature` on tables that map columns, `schema_mismatch` where a column that both have
/// takes none of its values.
pub fn merged(
    snapshot: &EagerSnapshot,
    table: &SchemaRef,
    data: &Schema,
) -> Result<Option<Evolved>> {
    for field in data.fields() {
        if let Ok(own) = table.field_with_name(field.name())
            && let Some(why) = obstacle(field.data_type(), own.data_type())
        {
            return Err(super::assign::refused(own.name(), &why));
        }
    }
    let new = data
        .fields()
        .iter()
        .filter(|f| table.field_with_name(f.name()).is_err());
    let new: Vec<FieldRef> = new.cloned().collect();
    if new.is_empty() {
        return Ok(None);
    }
    let added = columns_of(&Schema::new(new))?;
    let added = added.iter().map(|f| f.as_ref().clone().with_nullable(true));
    let added: StructType = (&Schema::new(added.collect::<Vec<_>>())).try_into_kernel()?;
    let all = snapshot.schema();
    let fields = all.fields().cloned().chain(added.fields().cloned());
    let schema = StructType::try_new(fields).map_err(kernel)?;
    Evolved::new(snapshot, &schema, None).map(Some)
}

/// The schema of data in the place of the table's, with partition columns of its own where these are named.
pub fn replaced(
    snapshot: &EagerSnapshot,
    data: &Schema,
    partitions: Option<&[String]>,
) -> Result<Option<Evolved>> {
    let columns = columns_of(data)?;
    let schema: StructType = (&Schema::new(columns)).try_into_kernel()?;
    let is_same = snapshot.schema().as_ref() == &schema
        && partitions.is_none_or(|p| p == snapshot.metadata().partition_columns());
    if is_same {
        return Ok(None);
    }
    Evolved::new(snapshot, &schema, partitions).map(Some)
}

/// A table's metadata once its schema has changed, and its protocol where that has to change too.
#[derive(Clone, Debug)]
pub struct Evolved {
    pub schema: StructType,
    pub metadata: Metadata,
    pub protocol: Option<Protocol>,
}

impl Evolved {
    fn new(
        snapshot: &EagerSnapshot,
        schema: &StructType,
        partitions: Option<&[String]>,
    ) -> Result<Self> {
        let mapped = snapshot
            .metadata()
            .configuration()
            .get("delta.columnMapping.mode");
        if mapped.is_some_and(|mode| mode != "none") {
            return Err(NativeError::new(
                ErrorKind::UnsupportedTableFeature,
                "the schema of a table that maps columns cannot be changed here",
            ));
        }
        let mut metadata = snapshot
            .metadata()
            .clone()
            .with_schema(schema)
            .map_err(kernel)?;
        if let Some(partitions) = partitions {
            let mut json = serde_json::to_value(&metadata).map_err(kernel)?;
            json["partitionColumns"] = Value::from(partitions.to_vec());
            metadata = serde_json::from_value(json).map_err(kernel)?;
        }
        let arrow: Schema = schema.try_into_arrow()?;
        let has_local_times = arrow.fields().iter().any(|f| has_local_time(f.data_type()));
        Ok(Self {
            schema: schema.clone(),
            metadata,
            protocol: match has_local_times {
                true => with_feature(snapshot.protocol(), "timestampNtz")?,
                false => None,
            },
        })
    }

    pub fn actions(&self) -> Vec<Action> {
        let protocol = self.protocol.iter().cloned().map(Action::Protocol);
        protocol
            .chain([Action::Metadata(self.metadata.clone())])
            .collect()
    }
}

fn kernel(error: impl std::error::Error + Send + Sync + 'static) -> NativeError {
    NativeError::from(datafusion::common::DataFusionError::External(Box::new(
        error,
    )))
}

fn has_local_time(kind: &DataType) -> bool {
    match kind {
        DataType::Timestamp(_, zone) => zone.is_none(),
        DataType::Struct(fields) => fields.iter().any(|f| has_local_time(f.data_type())),
        DataType::List(item) | DataType::Map(item, _) => has_local_time(item.data_type()),
        _ => false,
    }
}

/// The protocol with a feature of readers and writers; nothing where it has it (protocol section "Table
/// Features": what an older version implied is named then).
fn with_feature(protocol: &Protocol, feature: &str) -> Result<Option<Protocol>> {
    const IMPLIED: [(i64, &[&str]); 5] = [
        (2, &["appendOnly", "invariants"]),
        (3, &["checkConstraints"]),
        (4, &["changeDataFeed", "generatedColumns"]),
        (5, &["columnMapping"]),
        (6, &["identityColumns"]),
    ];
    let mut json = serde_json::to_value(protocol).map_err(kernel)?;
    let list = |value: &Value| -> Vec<String> {
        let names = value.as_array().into_iter().flatten();
        names
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let (mut readers, mut writers) = (list(&json["readerFeatures"]), list(&json["writerFeatures"]));
    let version = json["minWriterVersion"].as_i64().unwrap_or_default();
    if version < 7 {
        let implied = IMPLIED.iter().filter(|(since, _)| *since <= version);
        writers.extend(implied.flat_map(|(_, names)| names.iter().map(|n| (*n).to_owned())));
    }
    let reader = json["minReaderVersion"].as_i64().unwrap_or_default();
    if reader == 2 {
        readers.push("columnMapping".to_owned());
    }
    if version >= 7 && reader >= 3 && writers.iter().any(|name| name == feature) {
        return Ok(None);
    }
    for features in [&mut readers, &mut writers] {
        if !features.iter().any(|name| name == feature) {
            features.push(feature.to_owned());
        }
    }
    json["minReaderVersion"] = Value::from(3);
    json["minWriterVersion"] = Value::from(7);
    json["readerFeatures"] = Value::from(readers);
    json["writerFeatures"] = Value::from(writers);
    Ok(Some(serde_json::from_value(json).map_err(kernel)?))
}

/// The protocol with every feature that the properties switch on and the types need: with several
/// properties delta-rs leaves out some, and it sees no timestamps within maps. Nobody could read the
/// table.
fn complete(
    protocol: Protocol,
    columns: &[FieldRef],
    properties: &HashMap<String, String>,
) -> Result<Protocol> {
    let is = |name: &str, value: &str| {
        properties
            .get(name)
            .is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    let has_features = |protocol: &Protocol| -> Result<bool> {
        let json = serde_json::to_value(protocol).map_err(kernel)?;
        Ok(json["minWriterVersion"].as_i64().unwrap_or_default() >= 7)
    };
    let mut complete = protocol;
    if columns.iter().any(|f| has_local_time(f.data_type())) {
        complete = with_feature(&complete, "timestampNtz")?.unwrap_or(complete);
    }
    if is("delta.enableDeletionVectors", "true") {
        complete = with_feature(&complete, "deletionVectors")?.unwrap_or(complete);
    }
    let is_mapped = is("delta.columnMapping.mode", "name") || is("delta.columnMapping.mode", "id");
    if is_mapped && has_features(&complete)? {
        complete = with_feature(&complete, "columnMapping")?.unwrap_or(complete);
    }
    if is("delta.enableChangeDataFeed", "true") && has_features(&complete)? {
        let mut json = serde_json::to_value(&complete).map_err(kernel)?;
        if let Some(features) = json["writerFeatures"].as_array_mut()
            && !features.iter().any(|name| name == "changeDataFeed")
        {
            features.push(Value::from("changeDataFeed"));
        }
        complete = serde_json::from_value(json).map_err(kernel)?;
    }
    Ok(complete)
}

/// The protocol with which writers keep constraints; nothing where they do.
pub fn with_check_constraints(protocol: &Protocol) -> Result<Option<Protocol>> {
    const FEATURE: &str = "checkConstraints";
    let mut json = serde_json::to_value(protocol).map_err(kernel)?;
    match json["minWriterVersion"].as_i64().unwrap_or_default() {
        0..3 => json["minWriterVersion"] = Value::from(3),
        3..7 => return Ok(None),
        _ => match json["writerFeatures"].as_array_mut() {
            Some(features) if features.iter().any(|name| name == FEATURE) => return Ok(None),
            Some(features) => features.push(Value::from(FEATURE)),
            None => json["writerFeatures"] = Value::from(vec![FEATURE]),
        },
    }
    Ok(Some(serde_json::from_value(json).map_err(kernel)?))
}

fn read_schema(metadata: &Metadata) -> Result<StructType> {
    let json = serde_json::to_value(metadata).map_err(kernel)?;
    let text = json["schemaString"].as_str().unwrap_or_default();
    serde_json::from_str(text).map_err(kernel)
}

/// The actions that make a table, by delta-rs' rules of which features its properties and types need.
pub async fn creation(
    store: &LogStoreRef,
    columns: &[FieldRef],
    partitions: &[String],
    properties: &HashMap<String, String>,
) -> Result<Evolved> {
    let fields: Vec<_> = columns.iter().map(|f| f.as_ref().clone()).collect();
    let schema: StructType = (&Schema::new(fields)).try_into_kernel()?;
    let draft = Draft::new(Arc::clone(store));
    let made = CreateBuilder::new()
        .with_log_store(Arc::clone(&draft) as _)
        .with_columns(schema.fields().cloned())
        .with_partition_columns(partitions.to_vec())
        .with_configuration(properties.iter().map(|(k, v)| (k.clone(), Some(v.clone()))))
        .await;
    let (mut metadata, mut protocol) = (None, None);
    for action in draft.actions()? {
        match action {
            Action::Metadata(found) => metadata = Some(found),
            Action::Protocol(found) => protocol = Some(found),
            _ => {}
        }
    }
    match (metadata, protocol, made) {
        (Some(metadata), Some(protocol), _) => Ok(Evolved {
            protocol: Some(complete(protocol, columns, metadata.configuration())?),
            schema: read_schema(&metadata)?,
            metadata,
        }),
        (_, _, Err(error)) => Err(error.into()),
        (_, _, Ok(_)) => Err(NativeError::new(
            ErrorKind::Internal,
            "a table was made of nothing",
        )),
    }
}
