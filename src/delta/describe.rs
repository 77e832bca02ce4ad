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
    let log_data = snapshot.log_data();
    let size: i64 = log_data.iter().map(|f| f.size()).sum();
    let live = |file: deltalake::kernel::LogicalFileView| {
        let deleted = file
            .deletion_vector_descriptor()
            .map_or(0, |vector| vector.cardinality);
        let deleted = usize::try_from(deleted).unwrap_or_default();
        Some(file.num_records()?.saturating_sub(deleted))
    };
    let rows: Option<usize> = log_data.iter().map(live).sum();
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
    // The crate walks back from the newest commit there is, which may be newer than the pinned one, and
    // gives no version with an entry.
    let listing = log::list_from(engine, &pinned.url, pinned.version, account).await?;
    let newest = listing
        .commits
        .keys()
        .next_back()
        .copied()
        .unwrap_or(pinned.version);
    let newer = usize::try_from(newest - pinned.version).unwrap_or(usize::MAX);
    let wanted = limit.map(|n| n.saturating_add(newer));
    let commits: Vec<_> = table.history(wanted).try_collect().await?;
    Ok(commits
        .into_iter()
        .zip((0..=newest).rev())
        .skip(newer)
        .take(limit.unwrap_or(usize::MAX))
        .map(|(info, version)| {
            let mut value = serde_json::to_value(info).unwrap_or(Value::Null);
            if let Value::Object(map) = &mut value {
                map.insert("version".to_owned(), json!(version));
            }
            value
        })
        .collect())
}
