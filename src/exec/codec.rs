//! The logical codec that carries table providers across the seam by handle.
//!
//! Encoding happens inside the pooled context, decoding inside the extension, in one process: bytes
//! hold a number, the provider waits in the table. Our own providers arrive unwrapped (datafusion-ffi
//! knows its own library), foreign ones stay behind FFI. A table belongs to one pooled context, whose
//! lease is exclusive, so it is emptied after each crossing.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, TableReference, not_impl_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Carried {
    next: u64,
    tables: HashMap<u64, Arc<dyn TableProvider>>,
}

#[derive(Clone, Debug, Default)]
pub struct HandleCodec {
    carried: Arc<Mutex<Carried>>,
}

impl HandleCodec {
    /// Forgets what was carried.
    pub fn clear(&self) {
        self.carried.lock().tables.clear();
    }
}

impl LogicalExtensionCodec for HandleCodec {
    fn try_decode(&self, _: &[u8], _: &[LogicalPlan], _: &TaskContext) -> Result<Extension> {
        not_impl_err!("fusiondelta carries tables, not extension nodes")
    }

    fn try_encode(&self, node: &Extension, _: &mut Vec<u8>) -> Result<()> {
        not_impl_err!(
            "the plan has the extension node {}, which no codec carries",
            node.node.name()
        )
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        table: &TableReference,
        _: SchemaRef,
        _: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let handle = buf.try_into().map(u64::from_le_bytes).map_err(|_| {
            DataFusionError::Internal(format!("the handle of table {table} is malformed"))
        })?;
        self.carried
            .lock()
            .tables
            .get(&handle)
            .cloned()
            .ok_or_else(|| {
                DataFusionError::Internal(format!("table {table} was not carried with this plan"))
            })
    }

    fn try_encode_table_provider(
        &self,
        _: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let mut carried = self.carried.lock();
        carried.next += 1;
        let handle = carried.next;
        carried.tables.insert(handle, node);
        buf.extend_from_slice(&handle.to_le_bytes());
        Ok(())
    }
}
