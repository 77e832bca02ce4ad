//! What a pinned table says of itself: schema, protocol, properties, files, history.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::kernel::EagerSnapshot;
use deltalake::table::state::DeltaTableState;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::cache::Pinned;
use super::log;
use crate::error::Result;
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// Metadata and protocol actions, and totals over the active files.
pub fn detail(pinned: &Pinned) -> Result<Value> {
    let snapshot = &pinned.snapshot;
    let metadata = snapshot.metadata();
    let protocol = snapshot.protocol();
    let names = |features: Option<&[_]>| -> Vec<String> {
        features
            .unwrap_or_default()
            .iter()
            .map(|f: &deltalake::kernel::TableFeatures| f.to_string())
            .collect()
    };
    let _ = names;
    let log_data = snapshot.log_data();
    let size: i64 = log_data.iter().map(|f| f.size()).sum();
    let rows: Option<usize> = log_data.iter().map(|f| f.num_records()).sum();
    let protocol = serde_json::to_value(protocol).unwrap_or(Value::Null);
    Ok(json!({
        "uri": pinned.url.as_str(),
        "version": pinned.version,
        "committed_at_ms": snapshot.version_timestamp(pinned.version),
        "id": metadata.id(),
        "name": metadata.name(),
        "description": metadata.description(),
        "created_at_ms": metadata.created_time(),
        "partition_columns": metadata.partition_columns(),
        "properties": metadata.configuration(),
        "protocol": protocol,
        "num_files": log_data.num_files(),
        "size_bytes": size,
        "num_rows": rows,
    }))
}

/// One row per active file: path, size, modification time, partition values, statistics.
pub fn files(pinned: &Pinned) -> Result<RecordBatch> {
    let state = DeltaTableState::new(EagerSnapshot::clone(&pinned.snapshot));
    Ok(state.add_actions_table(true)?)
}

/// Commit information, newest first, at most `limit` commits.
pub async fn history(
    engine: &Engine,
    pinned: &Pinned,
    limit: Option<usize>,
    account: &Arc<IoAccount>,
) -> Result<Vec<Value>> {
    let store = log::log_store(engine, &pinned.url, account)?;
    let mut table = DeltaTable::new(store);
    table.state = Some(DeltaTableState::new(EagerSnapshot::clone(&pinned.snapshot)));
    let commits: Vec<_> = table.history(limit).try_collect().await?;
    let mut version = pinned.version + 1;
    Ok(commits
        .into_iter()
        .map(|info| {
            version = version.saturating_sub(1);
            let mut value = serde_json::to_value(info).unwrap_or(Value::Null);
            if let Value::Object(map) = &mut value
                && map.get("version").is_none_or(Value::is_null)
            {
                map.insert("version".to_owned(), json!(version));
            }
            value
        })
        .collect())
}
