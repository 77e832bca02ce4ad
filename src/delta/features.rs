//! Whether a table can be written here, by the features of its protocol.

use std::sync::Arc;
use std::time::Duration;

use delta_kernel::table_properties::TableProperties;
use deltalake::kernel::transaction::{PROTOCOL, TableReference};
use deltalake::kernel::{EagerSnapshot, Metadata, Protocol};
use url::Url;

use super::cache;
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// Features of writers that delta-rs does not know and changes here keep.
const OURS: [&str; 1] = ["allowColumnDefaults"];

/// A snapshot as delta-rs is shown it: without the features that are kept here.
pub struct Writable<'a> {
    snapshot: &'a EagerSnapshot,
    protocol: Protocol,
}

impl<'a> Writable<'a> {
    pub fn new(snapshot: &'a EagerSnapshot) -> Self {
        let own = snapshot.protocol();
        let mut json = serde_json::to_value(own).unwrap_or_default();
        if let Some(features) = json["writerFeatures"].as_array_mut() {
            features.retain(|name| !OURS.iter().any(|ours| name == ours));
        }
        Self {
            snapshot,
            protocol: serde_json::from_value(json).unwrap_or_else(|_| own.clone()),
        }
    }
}

impl TableReference for Writable<'_> {
    fn config(&self) -> &TableProperties {
        self.snapshot.table_properties()
    }

    fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    fn metadata(&self) -> &Metadata {
        self.snapshot.metadata()
    }

    fn eager_snapshot(&self) -> &EagerSnapshot {
        self.snapshot
    }
}

/// # Errors
/// `unsupported_table_feature`, naming the features and the table.
pub fn can_write(url: &Url, snapshot: &EagerSnapshot) -> Result<()> {
    PROTOCOL
        .can_write_to(&Writable::new(snapshot))
        .map_err(|e| {
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
