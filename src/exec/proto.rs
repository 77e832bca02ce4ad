//! Physical plans as protobuf and back.
//!
//! A Delta scan travels as what it was made from (table, version, projection, filters, limit) and the
//! number of its partitions; credentials and files never do. Nor do rows: data in memory travels as its
//! columns, the number of its rows and a digest.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{Array, ArrayData};
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err, not_impl_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions,
};
use datafusion_proto::bytes::{
    Serializeable, physical_plan_from_bytes_with_extension_codec,
    physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use twox_hash::XxHash64;
use url::Url;

use crate::delta::cache;
use crate::delta::node::{DeltaNode, ScanSpec};
use crate::delta::provider::DeltaProvider;
use crate::exec::engine::Engine;
use crate::planner::bounded::{self, Held};
use crate::planner::compact::CompactViews;
use crate::planner::interrupt;
use crate::planner::properties::Properties;
use crate::sources::guard::FloatGuard;
use crate::store::account::IoAccount;

/// A leaf on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Table(TableScan),
    Memory(MemoryScan),
}

/// Data in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MemoryScan {
    columns: Vec<String>,
    rows: u64,
    /// xxHash64 of the data as it lies in memory.
    digest: String,
}

impl MemoryScan {
    fn of(source: &MemorySourceConfig) -> Self {
        let mut hash = XxHash64::with_seed(0);
        let mut rows = 0;
        // Batches are parts of the same memory, mostly.
        let mut seen = HashSet::new();
        for batch in source.partitions().iter().flatten() {
            rows += u64::try_from(batch.num_rows()).unwrap_or_default();
            for column in batch.columns() {
                digest(&column.to_data(), &mut hash, &mut seen);
            }
        }
        let schema = source.original_schema();
        Self {
            columns: schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            rows,
            digest: format!("{:016x}", hash.finish()),
        }
    }
}

fn digest(data: &ArrayData, hash: &mut XxHash64, seen: &mut HashSet<(usize, usize)>) {
    hash.write_usize(data.offset());
    hash.write_usize(data.len());
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    for buffer in data.buffers().iter().chain(nulls) {
        if seen.insert((buffer.as_ptr() as usize, buffer.len())) {
            hash.write(buffer.as_slice());
        }
    }
    for child in data.child_data() {
        digest(child, hash, seen);
    }
}

/// A scan of a table at a version.
#[derive(Debug, Serialize, Deserialize)]
struct TableScan {
    uri: String,
    version: u64,
    projection: Option<Vec<usize>>,
    filters: Vec<String>,
    limit: Option<usize>,
    fetch: Option<usize>,
    partitions: usize,
}

/// Stands for a scan while a plan is encoded: the scan's own children must not be, nor rows in memory.
#[derive(Debug)]
struct Leaf {
    scan: Scan,
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
enum Scan {
    Table(Arc<ScanSpec>),
    Memory(MemoryScan),
}

impl DisplayAs for Leaf {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeltaSnapshotExec")
    }
}

impl ExecutionPlan for Leaf {
    fn name(&self) -> &'static str {
        "DeltaSnapshotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a plan made for encoding does not run")
    }
}

/// What a node of ours passes on that has no form of its own.
fn within(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let guarded = node.downcast_ref::<FloatGuard>().map(|node| &node.input);
    let compacted = node.downcast_ref::<CompactViews>().map(|node| &node.input);
    let corrected = node.downcast_ref::<Properties>().map(|node| &node.input);
    let held = node.downcast_ref::<Held>().map(|node| &node.input);
    guarded.or(compacted).or(corrected).or(held).cloned()
}

/// The plan as bytes.
///
/// # Errors
/// `query` naming the operator that has no protobuf form.
pub fn encode(plan: Arc<dyn ExecutionPlan>) -> crate::error::Result<Vec<u8>> {
    let plan = plan.transform_down(|node| {
        let mut node = node;
        let mut is_changed = false;
        while let Some(input) = within(&node) {
            node = input;
            is_changed = true;
        }
        let bare = [interrupt::bare(&node)?, bounded::bare(&node)?];
        if let Some(bare) = bare.into_iter().flatten().next() {
            node = bare;
            is_changed = true;
        }
        let in_memory = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|exec| exec.data_source().downcast_ref::<MemorySourceConfig>());
        let scan = match (node.downcast_ref::<DeltaNode>(), in_memory) {
            (Some(scan), _) => Scan::Table(Arc::clone(&scan.spec)),
            (None, Some(source)) => Scan::Memory(MemoryScan::of(source)),
            (None, None) => return Ok(Transformed::new_transformed(node, is_changed)),
        };
        let leaf = Leaf {
            scan,
            fetch: node.fetch(),
            properties: Arc::clone(node.properties()),
        };
        Ok(Transformed::new(
            Arc::new(leaf) as _,
            true,
            TreeNodeRecursion::Jump,
        ))
    })?;
    let bytes = physical_plan_to_bytes_with_extension_codec(plan.data, &EncodingCodec)?;
    Ok(bytes.to_vec())
}

#[derive(Debug)]
struct EncodingCodec;

impl PhysicalExtensionCodec for EncodingCodec {
    fn try_decode(
        &self,
        _: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("this codec encodes")
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(leaf) = node.downcast_ref::<Leaf>() else {
            return not_impl_err!("{} has no protobuf form", node.name());
        };
        let wire = match &leaf.scan {
            Scan::Memory(scan) => Wire::Memory(scan.clone()),
            Scan::Table(spec) => Wire::Table(TableScan {
                uri: spec.uri.clone(),
                version: spec.version,
                projection: spec.projection.clone(),
                filters: spec
                    .filters
                    .iter()
                    .map(|f| Ok(STANDARD.encode(f.to_bytes()?)))
                    .collect::<Result<_>>()?,
                limit: spec.limit,
                fetch: leaf.fetch,
                partitions: leaf.properties.output_partitioning().partition_count(),
            }),
        };
        serde_json::to_writer(buf, &wire).map_err(|e| exec_datafusion_err!("{e}"))
    }
}

/// A plan from bytes, its Delta scans made anew in `engine`.
pub async fn decode(
    engine: Arc<Engine>,
    bytes: Vec<u8>,
    state: SessionState,
    account: Arc<IoAccount>,
) -> crate::error::Result<Arc<dyn ExecutionPlan>> {
    let codec = DecodingCodec {
        engine,
        state: state.clone(),
        account,
    };
    // Decoding is synchronous and opens tables, so it has to be on a thread that may block.
    let plan = tokio::task::block_in_place(|| {
        physical_plan_from_bytes_with_extension_codec(&bytes, state.task_ctx().as_ref(), &codec)
    })?;
    Ok(plan)
}

struct DecodingCodec {
    engine: Arc<Engine>,
    state: SessionState,
    account: Arc<IoAccount>,
}

impl fmt::Debug for DecodingCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecodingCodec")
    }
}

impl PhysicalExtensionCodec for DecodingCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wire: Wire = serde_json::from_slice(buf)
            .map_err(|e| exec_datafusion_err!("a scan in the plan is malformed: {e}"))?;
        let wire = match wire {
            Wire::Table(scan) => scan,
            Wire::Memory(scan) => {
                return exec_err!(
                    "the plan reads {} rows that were in memory (columns {}, digest {}), and a plan \
                     holds no rows",
                    scan.rows,
                    scan.columns.join(", "),
                    scan.digest
                );
            }
        };
        let filters = wire
            .filters
            .iter()
            .map(|text| {
                let bytes = STANDARD
                    .decode(text)
                    .map_err(|e| exec_datafusion_err!("a filter in the plan is malformed: {e}"))?;
                Expr::from_bytes_with_ctx(&bytes, context)
            })
            .collect::<Result<Vec<_>>>()?;
        let url = Url::parse(&wire.uri)
            .map_err(|e| exec_datafusion_err!("{:?} is not a location: {e}", wire.uri))?;
        let scan = Handle::current().block_on(async {
            let pinned =
                cache::open_version(&self.engine, &url, wire.version, &self.account).await?;
            let provider = DeltaProvider::new(Arc::clone(&self.engine), pinned)?;
            provider
                .scan(&self.state, wire.projection.as_ref(), &filters, wire.limit)
                .await
        })?;
        let scan = match wire.fetch {
            Some(_) => scan.with_fetch(wire.fetch).unwrap_or(scan),
            None => scan,
        };
        same_partitions(scan, wire.partitions, self.state.config_options())
    }

    fn try_encode(
        &self,
        _: Arc<dyn ExecutionPlan>,
        _: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        not_impl_err!("this codec decodes")
    }
}

/// Operators above count on the number of partitions that the plan was made with.
fn same_partitions(
    scan: Arc<dyn ExecutionPlan>,
    wanted: usize,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    use datafusion::physical_expr::Partitioning;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::repartition::RepartitionExec;

    let count = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
    if count(&scan) == wanted {
        return Ok(scan);
    }
    let split = scan.repartitioned(wanted, config)?.unwrap_or(scan);
    if count(&split) == wanted {
        return Ok(split);
    }
    if wanted == 1 {
        return Ok(Arc::new(CoalescePartitionsExec::new(split)));
    }
    Ok(Arc::new(RepartitionExec::try_new(
        split,
        Partitioning::RoundRobinBatch(wanted),
    )?))
}
