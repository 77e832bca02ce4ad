//! Files of writes that came to nothing: removed where nothing can refer to them.

use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::ObjectStore;

use crate::store::account::IoAccount;

/// Removes the data files that were written for `account`. Only for writes that are certain not to have been
/// committed. A file that cannot be removed is what vacuum is for; the error of the write says more.
pub async fn remove(store: Arc<dyn ObjectStore>, account: &IoAccount) {
    let paths = account.take_written();
    let locations = stream::iter(paths.into_iter().map(Ok)).boxed();
    let mut removed = store.delete_stream(locations);
    while let Some(Ok(_)) = removed.next().await {}
}
