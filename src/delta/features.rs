//! Whether a table can be written here, by the features of its protocol.

use std::sync::Arc;
use std::time::Duration;

use deltalake::kernel::EagerSnapshot;
use deltalake::kernel::transaction::PROTOCOL;
use url::Url;

use super::cache;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// # Errors
/// `unsupported_table_feature`, naming the features and the table.
pub fn can_write(url: &Url, snapshot: &EagerSnapshot) -> Result<()> {
    PROTOCOL.can_write_to(snapshot).map_err(|e| {
        let error = NativeError::from(deltalake::DeltaTableError::from(e));
        NativeError {
            kind: ErrorKind::UnsupportedTableFeature,
            message: format!("{url} cannot be written: {}", error.message),
            ..error
        }
    })
}

/// The newest version, and why it cannot be appended to, and why rows of it cannot be changed.
pub async fn write_obstacles(
    engine: &Engine,
    url: &Url,
    account: &Arc<IoAccount>,
) -> Result<(u64, Option<String>, Option<String>)> {
    let pinned = cache::open_latest(engine, url, Duration::ZERO, account).await?;
    let snapshot = pinned.snapshot.as_ref();
    let write = can_write(url, snapshot).err().map(|e| e.message);
    let change = PROTOCOL
        .check_append_only(snapshot)
        .err()
        .map(|e| NativeError::from(deltalake::DeltaTableError::from(e)).message);
    Ok((pinned.version, write.clone(), write.or(change)))
}
