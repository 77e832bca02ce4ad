//! A Delta table at one version as a DataFusion table.
//!
//! The scan is delta-rs' own. Row filters stay out of the Parquet reader unless the session asks for
//! them (`datafusion.execution.parquet.pushdown_filters`): late materialisation loses on most queries,
//! and pruning by row group and page does not need it.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraints, Result, Statistics};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};

use super::cache::Pinned;
use super::files::read_well;
use super::node::{DeltaNode, ScanSpec};
use crate::exec::engine::Engine;
use crate::metrics::observe::observed;
use crate::scan::positions::has_floats;
use crate::store::account::IoAccount;
use crate::store::profile::StoreKind;

#[derive(Debug)]
pub struct DeltaProvider {
    pub pinned: Arc<Pinned>,
    engine: Arc<Engine>,
    scan: DeltaScanNext,
    filtering_scan: DeltaScanNext,
}

impl DeltaProvider {
    /// # Errors
    /// `unsupported_table_feature` when the table needs a reader feature that is not there.
    pub fn new(engine: Arc<Engine>, pinned: Arc<Pinned>) -> crate::error::Result<Self> {
        // Partition values as plain columns: dictionaries of UInt16 surprise every consumer.
        let config = DeltaScanConfig::new()
            .with_wrap_partition_values(false)
            .with_parquet_pushdown(false);
        let scan = DeltaScanNext::new(Arc::clone(&pinned.snapshot), config.clone())?;
        let filtering_scan = DeltaScanNext::new(
            Arc::clone(&pinned.snapshot),
            config.with_parquet_pushdown(true),
        )?;
        Ok(Self {
            pinned,
            engine,
            scan,
            filtering_scan,
        })
    }
}

/// Filters that statistics of files can be trusted with: those of floats know no NaN, and those of decimals
/// are compared as doubles.
fn prunable(filters: &[Expr], schema: &SchemaRef) -> Vec<Expr> {
    let is_trusted = |filter: &&Expr| {
        filter.column_refs().iter().all(|column| {
            schema
                .field_with_name(&column.name)
                .is_ok_and(|field| !has_inexact_bounds(field.data_type()))
        })
    };
    filters.iter().filter(is_trusted).cloned().collect()
}

fn has_inexact_bounds(kind: &DataType) -> bool {
    match kind {
        DataType::Decimal128(..) | DataType::Decimal256(..) => true,
        DataType::Struct(fields) => fields.iter().any(|f| has_inexact_bounds(f.data_type())),
        other => has_floats(other),
    }
}

#[async_trait]
impl TableProvider for DeltaProvider {
    fn schema(&self) -> SchemaRef {
        self.scan.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        None
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        None
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = if session.config_options().execution.parquet.pushdown_filters {
            &self.filtering_scan
        } else {
            &self.scan
        };
        if session.as_any().is::<SessionState>() {
            let chosen = prunable(filters, &self.scan.schema());
            let input = scan.scan(session, projection, &chosen, limit).await?;
            let spec = ScanSpec {
                uri: self.pinned.url.to_string(),
                version: self.pinned.version,
                pinned: Arc::clone(&self.pinned),
                schema: self.scan.schema(),
                projection: projection.cloned(),
                filters: filters.to_vec(),
                limit,
            };
            let is_local = StoreKind::Local.serves(self.pinned.url.scheme());
            let input = observed(read_well(input, session, is_local)?)?;
            return Ok(Arc::new(DeltaNode::new(Arc::new(spec), input)));
        }
        // A plain context scans us over FFI (the fallback way): its own environment has none of our
        // stores, so the scan is planned in the engine's.
        let account = IoAccount::child_of(&self.engine.io);
        let (env, _) = self.engine.query_env(&account, None)?;
        let state = self.engine.session(&Default::default(), env)?;
        // Polled by whatever thread that context plans on, which knows no runtime.
        let runtime = crate::runtime::handle()?;
        let chosen = prunable(filters, &self.scan.schema());
        let mut planning = scan.scan(&state, projection, &chosen, limit);
        std::future::poll_fn(|context| {
            let _entered = runtime.enter();
            planning.as_mut().poll(context)
        })
        .await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // The crate says that it decides conditions on partition columns, and takes those that it cannot
        // evaluate for true. Filters choose files; which rows it is a filter above the scan decides.
        let found = self.scan.supports_filters_pushdown(filters)?;
        let at_most = |pushed| match pushed {
            TableProviderFilterPushDown::Exact => TableProviderFilterPushDown::Inexact,
            other => other,
        };
        Ok(found.into_iter().map(at_most).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        self.scan.statistics()
    }
}
