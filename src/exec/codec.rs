//! The logical codec that carries tables and functions across the seam by handle.
//!
//! Functions that both sides have go by their names, unless the context has put its own in their place.
//! Encoding happens inside the pooled context, decoding inside the extension, in one process: bytes
//! hold a number, the thing itself waits here. Our own tables arrive unwrapped (datafusion-ffi knows its
//! own library), foreign ones stay behind FFI, and so do functions. A codec belongs to one pooled context,
//! whose lease is exclusive, so it is emptied after each crossing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, TableReference, not_impl_err};
use datafusion::execution::{SessionStateDefaults, TaskContext};
use datafusion::logical_expr::{AggregateUDF, Extension, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use parking_lot::Mutex;

/// Functions that both sides have.
static SHARED: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let scalars = SessionStateDefaults::default_scalar_functions();
    let aggregates = SessionStateDefaults::default_aggregate_functions();
    let windows = SessionStateDefaults::default_window_functions();
    let names = |name: &str, aliases: &[String]| {
        let aliases = aliases.iter().cloned();
        aliases.chain([name.to_owned()]).collect::<Vec<_>>()
    };
    let scalars = scalars.iter().flat_map(|f| names(f.name(), f.aliases()));
    let aggregates = aggregates.iter().flat_map(|f| names(f.name(), f.aliases()));
    let windows = windows.iter().flat_map(|f| names(f.name(), f.aliases()));
    scalars.chain(aggregates).chain(windows).collect()
});

#[derive(Debug)]
enum Thing {
    Table(Arc<dyn TableProvider>),
    Scalar(Arc<ScalarUDF>),
    Aggregate(Arc<AggregateUDF>),
    Window(Arc<WindowUDF>),
}

#[derive(Debug, Default)]
struct Carried {
    next: u64,
    things: HashMap<u64, Thing>,
}

#[derive(Clone, Debug, Default)]
pub struct HandleCodec {
    carried: Arc<Mutex<Carried>>,
    /// Names of functions that the context has in the place of shared ones.
    replaced: Arc<Mutex<HashSet<String>>>,
}

impl HandleCodec {
    /// Forgets what was carried.
    pub fn clear(&self) {
        let before = std::mem::take(&mut self.carried.lock().things);
        // It may be Python's, and is not dropped under the lock.
        drop(before);
    }

    /// Carries a function of this name from now on, whether both sides have one or not.
    pub fn replace(&self, name: String) {
        self.replaced.lock().insert(name);
    }

    fn goes_by_name(&self, name: &str) -> bool {
        SHARED.contains(name) && !self.replaced.lock().contains(name)
    }

    fn put(&self, thing: Thing, buf: &mut Vec<u8>) {
        let mut carried = self.carried.lock();
        carried.next += 1;
        let handle = carried.next;
        carried.things.insert(handle, thing);
        buf.extend_from_slice(&handle.to_le_bytes());
    }

    fn get<T>(&self, name: &str, buf: &[u8], found: impl Fn(&Thing) -> Option<T>) -> Result<T> {
        let handle = buf
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| DataFusionError::Internal(format!("the handle of {name} is malformed")))?;
        let carried = self.carried.lock();
        let thing = carried.things.get(&handle).and_then(found);
        thing.ok_or_else(|| {
            DataFusionError::Internal(format!("{name} was not carried with this plan"))
        })
    }
}

impl LogicalExtensionCodec for HandleCodec {
    fn try_decode(&self, _: &[u8], _: &[LogicalPlan], _: &TaskContext) -> Result<Extension> {
        not_impl_err!("fusiondelta carries tables and functions, not extension nodes")
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
        self.get(&table.to_string(), buf, |thing| match thing {
            Thing::Table(table) => Some(Arc::clone(table)),
            _ => None,
        })
    }

    fn try_encode_table_provider(
        &self,
        _: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        self.put(Thing::Table(node), buf);
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.get(name, buf, |thing| match thing {
            Thing::Scalar(function) => Some(Arc::clone(function)),
            _ => None,
        })
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        if !self.goes_by_name(node.name()) {
            self.put(Thing::Scalar(Arc::new(node.clone())), buf);
        }
        Ok(())
    }

    fn try_decode_udaf(&self, name: &str, buf: &[u8]) -> Result<Arc<AggregateUDF>> {
        self.get(name, buf, |thing| match thing {
            Thing::Aggregate(function) => Some(Arc::clone(function)),
            _ => None,
        })
    }

    fn try_encode_udaf(&self, node: &AggregateUDF, buf: &mut Vec<u8>) -> Result<()> {
        if !self.goes_by_name(node.name()) {
            self.put(Thing::Aggregate(Arc::new(node.clone())), buf);
        }
        Ok(())
    }

    fn try_decode_udwf(&self, name: &str, buf: &[u8]) -> Result<Arc<WindowUDF>> {
        self.get(name, buf, |thing| match thing {
            Thing::Window(function) => Some(Arc::clone(function)),
            _ => None,
        })
    }

    fn try_encode_udwf(&self, node: &WindowUDF, buf: &mut Vec<u8>) -> Result<()> {
        if !self.goes_by_name(node.name()) {
            self.put(Thing::Window(Arc::new(node.clone())), buf);
        }
        Ok(())
    }
}
