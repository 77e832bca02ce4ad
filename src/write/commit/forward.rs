//! Log stores that stand in front of another one, in their field `inner`.

use deltalake::kernel::transaction::TransactionError;

use crate::error::NativeError;

/// Implements `LogStore` for a type: what is given, and the rest handed on to `inner`.
macro_rules! in_front {
    ($front:ty { $($own:tt)* }) => {
        #[async_trait::async_trait]
        impl deltalake::logstore::LogStore for $front {
            /// delta-rs hands the bytes of a commit to stores of some names, and to others a file it has
            /// put: the name decides, so it is handed on too.
            fn name(&self) -> String {
                self.inner.name()
            }

            async fn refresh(&self) -> deltalake::DeltaResult<()> {
                self.inner.refresh().await
            }

            async fn abort_commit_entry(
                &self,
                version: u64,
                commit: deltalake::logstore::CommitOrBytes,
                operation: uuid::Uuid,
            ) -> Result<(), deltalake::kernel::transaction::TransactionError> {
                self.inner
                    .abort_commit_entry(version, commit, operation)
                    .await
            }

            fn object_store(
                &self,
                operation: Option<uuid::Uuid>,
            ) -> std::sync::Arc<dyn object_store::ObjectStore> {
                self.inner.object_store(operation)
            }

            fn root_object_store(
                &self,
                operation: Option<uuid::Uuid>,
            ) -> std::sync::Arc<dyn object_store::ObjectStore> {
                self.inner.root_object_store(operation)
            }

            fn config(&self) -> &deltalake::logstore::LogStoreConfig {
                self.inner.config()
            }

            $($own)*
        }
    };
}

pub(crate) use in_front;

impl From<NativeError> for TransactionError {
    fn from(error: NativeError) -> Self {
        Self::LogStoreError {
            msg: error.message.clone(),
            source: Box::new(error),
        }
    }
}
