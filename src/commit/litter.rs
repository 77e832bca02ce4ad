//! Files of writes that came to nothing: removed where nothing can refer to them.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

use crate::store::account::IoAccount;

/// Removes the data files that were written for `account`, and says how many are left. Only for writes
/// that are certain not to have been committed.
pub async fn remove(store: Arc<dyn ObjectStore>, account: &IoAccount) -> usize {
    let paths = account.take_written();
    let all = paths.len();
    let locations = stream::iter(paths.into_iter().map(Ok)).boxed();
    let removed = store
        .delete_stream(locations)
        .try_fold(0, |n, _| async move { Ok(n + 1) })
        .await;
    // A file that cannot be removed is what vacuum is for; the error of the write says more.
    all - removed.unwrap_or(0)
}
