//! The change data feed (protocol section "Change Data Files"), on delta-rs' reader.

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::DeltaCdfTableProvider;
use deltalake::kernel::EagerSnapshot;
use deltalake::table::state::DeltaTableState;
use url::Url;

use super::{cache, log};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::engine::Engine;
use crate::store::account::IoAccount;

/// Table property that makes writers keep changes.
const ENABLED: &str = "delta.enableChangeDataFeed";

/// What the commits from `start` to `end` did to rows.
pub async fn changes(
    engine: &Engine,
    url: &Url,
    start: u64,
    end: Option<u64>,
    account: &Arc<IoAccount>,
) -> Result<Arc<dyn TableProvider>> {
    let pinned = cache::open_latest(engine, url, Duration::ZERO, account).await?;
    if start > pinned.version || end.is_some_and(|end| end < start || end > pinned.version) {
        return Err(NativeError::new(
            ErrorKind::SnapshotNotFound,
            format!(
                "there are no versions {start} to {} of {url}; the newest is {}",
                end.map_or("the newest".to_owned(), |end| end.to_string()),
                pinned.version
            ),
        ));
    }
    let properties = pinned.snapshot.metadata().configuration();
    if properties.get(ENABLED).is_none_or(|value| value != "true") {
        return Err(NativeError::new(
            ErrorKind::UnsupportedTableFeature,
            format!(
                "{url} keeps no changes; set {ENABLED} to true, and changes are kept from there on"
            ),
        ));
    }
    // The crate says so once rows are asked for, and of versions that were cleaned away it does not know.
    let first = cache::open_version(engine, url, start, account).await?;
    let first = first.snapshot.metadata().configuration();
    if first.get(ENABLED).is_none_or(|value| value != "true") {
        return Err(NativeError::new(
            ErrorKind::UnsupportedTableFeature,
            format!(
                "{url} kept no changes at version {start}: {ENABLED} was set later; ask from a version \
                 on that has it"
            ),
        ));
    }
    let store = log::feed_store(engine, url, account)?;
    let mut table = DeltaTable::new(store);
    table.state = Some(DeltaTableState::new(EagerSnapshot::clone(&pinned.snapshot)));
    let mut feed = table.scan_cdf().with_starting_version(start);
    if let Some(end) = end {
        feed = feed.with_ending_version(end);
    }
    Ok(Arc::new(DeltaCdfTableProvider::try_new(feed)?))
}
