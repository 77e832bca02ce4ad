//! What a pinned table says of itself: schema, protocol, properties, files, history.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use deltalake::kernel::{Action, EagerSnapshot};
use deltalake::logstore::get_actions;
use deltalake::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::cache::Pinned;
use super::log;
use crate::error::{NativeError, Result};
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

/// Commits that are read at once.
const COMMITS_AT_ONCE: usize = 8;

/// Commit information, newest first, at most `limit` commits, as far as the log has them.
pub async fn history(
    engine: &Engine,
    pinned: &Pinned,
    limit: Option<usize>,
    account: &Arc<IoAccount>,
) -> Result<Vec<Value>> {
    let store = log::log_store(engine, &pinned.url, account)?;
    let versions = (0..=pinned.version).rev().take(limit.unwrap_or(usize::MAX));
    let mut commits = stream::iter(versions)
        .map(|version| {
            let store = Arc::clone(&store);
            async move { Ok::<_, NativeError>((version, store.read_commit_entry(version).await?)) }
        })
        .buffered(COMMITS_AT_ONCE);
    let mut found = Vec::new();
    while let Some((version, Some(bytes))) = commits.try_next().await? {
        let info = get_actions(version, &bytes)?
            .into_iter()
            .find_map(|action| match action {
                Action::CommitInfo(info) => Some(info),
                _ => None,
            });
        let mut value = serde_json::to_value(info.unwrap_or_default()).unwrap_or(Value::Null);
        if let Value::Object(map) = &mut value {
            map.insert("version".to_owned(), json!(version));
        }
        found.push(value);
    }
    Ok(found)
}
