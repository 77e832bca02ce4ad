//! Why a file of a pinned version is not there: a vacuum has removed it.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use object_store::path::Path;
use url::Url;

use super::cache;
use super::log;
use super::node::DeltaNode;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;
use crate::write::commit::entry;
use crate::write::maintenance::object_path;

/// The error of a plan that did not find a file, as what it means for the version that was read.
pub async fn explain(
    engine: &Engine,
    tables: &[(String, u64)],
    account: &Arc<IoAccount>,
    error: NativeError,
) -> NativeError {
    if error.kind != ErrorKind::ObjectNotFound {
        return error;
    }
    for (uri, version) in tables {
        let version = *version;
        let Ok(url) = Url::parse(uri) else { continue };
        if !matches!(
            is_gone(engine, &url, version, &error.message, account).await,
            Ok(true)
        ) {
            continue;
        }
        // The log may have been cleaned since; then nobody knows which commit it was.
        let removed = removed_by(engine, &url, version, &error.message, account).await;
        let removed = removed.ok().flatten();
        let how = removed.map_or_else(
            || "one of its files left the table since".to_owned(),
            |removed| format!("version {removed} took one of its files out of the table"),
        );
        let expired = NativeError::new(
            ErrorKind::SnapshotExpired,
            format!(
                "version {version} of {uri} cannot be read any more: {how}, and a vacuum has removed \
                 it; engine.reachable_versions(uri) has the versions whose files are all there"
            ),
        )
        .with("uri", uri.as_str())
        .with("version", version.to_string());
        return match removed {
            Some(removed) => expired.with("removed_by", removed.to_string()),
            None => expired,
        };
    }
    error
}

/// Whether the file that an error names is one that the table's newest version has no more.
async fn is_gone(
    engine: &Engine,
    url: &Url,
    version: u64,
    message: &str,
    account: &Arc<IoAccount>,
) -> Result<bool> {
    // Of another table of the plan.
    if !message.contains(log::table_path(url)?.as_ref()) {
        return Ok(false);
    }
    let newest = cache::open_latest(engine, url, Duration::ZERO, account).await?;
    let is_named = |path: &Path| message.contains(path.as_ref());
    Ok(newest.version > version
        && !newest
            .snapshot
            .log_data()
            .iter()
            .any(|file| is_named(&file.object_store_path())))
}

/// Delta tables that a plan reads, and at which versions.
pub fn tables(plan: &Arc<dyn ExecutionPlan>) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut stack = vec![plan];
    while let Some(node) = stack.pop() {
        if let Some(delta) = node.downcast_ref::<DeltaNode>() {
            found.push((delta.spec.uri.clone(), delta.spec.version));
        }
        stack.extend(node.children());
    }
    found
}

/// The commit after `version` that removed the file that an error names.
async fn removed_by(
    engine: &Engine,
    url: &Url,
    version: u64,
    message: &str,
    account: &Arc<IoAccount>,
) -> Result<Option<u64>> {
    let listing = log::list_from(engine, url, version + 1, account).await?;
    let log_store = log::log_store(engine, url, account)?;
    for later in listing.commits.keys() {
        if let Some(entry) = entry::read(log_store.as_ref(), *later).await?
            && entry
                .removed
                .iter()
                .any(|path| message.contains(object_path(path).as_ref()))
        {
            return Ok(Some(*later));
        }
    }
    Ok(None)
}
