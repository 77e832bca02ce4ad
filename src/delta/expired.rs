//! Why a file of a pinned version is not there: a vacuum has removed it.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use url::Url;

use super::log;
use super::node::DeltaNode;
use super::upkeep::object_path;
use crate::commit::entry;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// The error of a plan that did not find a file, as what it means for the version that was read.
pub async fn explain(
    engine: &Engine,
    plan: &Arc<dyn ExecutionPlan>,
    account: &Arc<IoAccount>,
    error: NativeError,
) -> NativeError {
    if error.kind != ErrorKind::ObjectNotFound {
        return error;
    }
    for (uri, version) in scans(plan) {
        let Ok(url) = Url::parse(&uri) else { continue };
        let removed = removed_by(engine, &url, version, &error.message, account).await;
        if let Ok(Some(removed)) = removed {
            return NativeError::new(
                ErrorKind::SnapshotExpired,
                format!(
                    "version {version} of {uri} cannot be read any more: version {removed} took one \
                     of its files out of the table, and a vacuum has removed it since; \
                     engine.reachable_versions(uri) has the versions whose files are all there"
                ),
            )
            .with("uri", uri)
            .with("version", version.to_string())
            .with("removed_by", removed.to_string());
        }
    }
    error
}

/// Delta tables that a plan reads, and at which versions.
fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<(String, u64)> {
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
