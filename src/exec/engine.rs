//! What all queries of one engine share: memory pool, spill space, caches, stores, slots.

use std::any::Any;
use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunction};
use datafusion::common::Result as DfResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use deltalake::delta_datafusion::planner::DeltaPlanner;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::caches::Caches;
use super::handover;
use super::memory::{self, QueryPool};
use crate::delta::cache::SnapshotCache;
use crate::error::{ErrorKind, NativeError, Result};
use crate::metrics::recent::Recent;
use crate::planner;
use crate::planner::abandoned::{Abandoned, Watching};
use crate::planner::around;
use crate::planner::interrupt::{Begin, Watch};
use crate::store::account::IoAccount;
use crate::store::profile::StoreProfile;
use crate::store::{QueryStores, Stores};

/// `EngineProfile` as it crosses the border: sizes in bytes, durations in milliseconds.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub memory_limit: Option<usize>,
    pub memory_pool: PoolKind,
    pub spill_dir: Option<PathBuf>,
    pub max_spill: Option<u64>,
    pub slots: usize,
    pub queue_timeout: Duration,
    /// How long a query may do nothing while nothing keeps it waiting.
    pub stall_timeout: Option<Duration>,
    pub metadata_cache: usize,
    pub list_files_cache: usize,
    pub list_files_ttl: Option<Duration>,
    pub file_statistics_cache: usize,
    pub snapshot_cache: usize,
    /// Whether rows are handed over with views of text, bytes and lists in them.
    pub string_views: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    Fair,
    Greedy,
    Unbounded,
}

/// delta-rs' planner, which its writes need, remembering the last plan it made: the plan of a write is
/// built inside the operation and is to be had nowhere else.
#[derive(Debug, Default)]
pub struct CatchingPlanner {
    last: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl CatchingPlanner {
    pub fn caught(&self) -> Option<Arc<dyn ExecutionPlan>> {
        self.last.lock().clone()
    }
}

#[async_trait]
impl QueryPlanner for CatchingPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let plan = DeltaPlanner::new()
            .create_physical_plan(logical_plan, session)
            .await?;
        *self.last.lock() = Some(Arc::clone(&plan));
        Ok(plan)
    }
}

/// A function that is not DataFusion's.
#[derive(Clone, Debug)]
pub enum Function {
    Scalar(Arc<ScalarUDF>),
    /// With how a call of it is stopped.
    Aggregate(Arc<AggregateUDF>, Begin),
    Window(Arc<WindowUDF>, Begin),
    Table(Arc<TableFunction>),
}

impl Function {
    fn name(&self) -> &str {
        match self {
            Self::Scalar(function) => function.name(),
            Self::Aggregate(function, _) => function.name(),
            Self::Window(function, _) => function.name(),
            Self::Table(function) => function.name(),
        }
    }

    /// Makes the function known to a session, in place of one of its kind and name.
    fn register(self, state: &mut SessionState, abandoned: &Arc<Abandoned>) -> DfResult<()> {
        match self {
            Self::Scalar(function) => drop(state.register_udf(function)?),
            Self::Aggregate(function, begin) => {
                let watch = Watch::within_calls(abandoned, begin);
                state.register_udaf(around::aggregate(&function, &watch))?;
            }
            Self::Window(function, begin) => {
                let watch = Watch::within_calls(abandoned, begin);
                state.register_udwf(around::window(&function, &watch))?;
            }
            Self::Table(function) => {
                state.register_udtf(function.name(), Arc::clone(function.function()));
            }
        }
        Ok(())
    }
}

/// What lives as long as a session: contexts that tables of its plan ask for, each time they are planned.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Box<dyn Any + Send + Sync>>>);

impl Kept {
    pub fn add(&self, kept: impl Any + Send + Sync) {
        self.0.lock().push(Box::new(kept));
    }
}

/// Functions by their kinds and names.
#[derive(Debug, Default)]
pub struct Functions(RwLock<HashMap<(Discriminant<Function>, String), Function>>);

impl Functions {
    /// Makes a function known to queries that are planned from now on, in place of one of its kind and name.
    pub fn add(&self, function: Function) {
        let key = (discriminant(&function), function.name().to_owned());
        let before = self.0.write().insert(key, function);
        // It may be Python's, and is not dropped under the lock.
        drop(before);
    }

    fn register(&self, state: &mut SessionState, abandoned: &Arc<Abandoned>) -> DfResult<()> {
        let known: Vec<_> = self.0.read().values().cloned().collect();
        for function in known {
            function.register(state, abandoned)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct Engine {
    pub config: EngineConfig,
    pub stores: Arc<Stores>,
    pub io: Arc<IoAccount>,
    pub slots: Arc<Semaphore>,
    pub snapshots: SnapshotCache,
    /// Cancelled when the engine is closed without draining.
    pub closing: CancellationToken,
    pub caches: Caches,
    /// Metrics of what ended last.
    pub recent: Recent,
    /// Functions that queries may call besides DataFusion's.
    pub functions: Functions,
    env: Arc<RuntimeEnv>,
    pid: u32,
}

impl Engine {
    pub fn new(config: EngineConfig, profiles: Vec<StoreProfile>) -> Result<Arc<Self>> {
        let pool: Arc<dyn MemoryPool> = match (config.memory_pool, config.memory_limit) {
            (PoolKind::Unbounded, _) | (_, None) => Arc::new(UnboundedMemoryPool::default()),
            (kind, Some(limit)) => memory::pool(kind, limit, "memory_limit of the engine"),
        };
        let mut disk = DiskManagerBuilder::default();
        if let Some(folder) = &config.spill_dir {
            disk = disk.with_mode(DiskManagerMode::Directories(vec![folder.clone()]));
        }
        if let Some(bytes) = config.max_spill {
            disk = if bytes == 0 {
                disk.with_mode(DiskManagerMode::Disabled)
            } else {
                disk.with_max_temp_directory_size(bytes)
            };
        }
        let caches = Caches::new(&config);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .with_cache_manager(caches.config(""))
            .build_arc()?;
        Ok(Arc::new(Self {
            stores: Arc::new(Stores::new(profiles)),
            io: Arc::new(IoAccount::default()),
            slots: Arc::new(Semaphore::new(config.slots)),
            snapshots: SnapshotCache::new(config.snapshot_cache),
            closing: CancellationToken::new(),
            caches,
            recent: Recent::default(),
            functions: Functions::default(),
            env,
            pid: std::process::id(),
            config,
        }))
    }

    /// # Errors
    /// `engine_forked` in a child of the process that made the engine, `engine_closed` after close.
    pub fn check(&self) -> Result<()> {
        self.check_process()?;
        if self.closing.is_cancelled() {
            return Err(NativeError::new(
                ErrorKind::EngineClosed,
                "the engine is closed",
            ));
        }
        Ok(())
    }

    /// # Errors
    /// `engine_forked` in a child of the process that made the engine.
    pub fn check_process(&self) -> Result<()> {
        let pid = std::process::id();
        if pid != self.pid {
            return Err(NativeError::new(
                ErrorKind::EngineForked,
                format!(
                    "the engine was made in process {} and this is its child {pid}: its threads did \
                     not come along; make a new one here with engine.respawn()",
                    self.pid
                ),
            ));
        }
        Ok(())
    }

    pub fn env(&self) -> &Arc<RuntimeEnv> {
        &self.env
    }

    /// The shared environment as one query sees it: its own requests, its own memory, the caches of its
    /// tenant.
    pub fn query_env(
        &self,
        account: &Arc<IoAccount>,
        memory_limit: Option<usize>,
    ) -> Result<(Arc<RuntimeEnv>, Arc<QueryPool>)> {
        let own = memory_limit
            .map(|limit| memory::pool(self.config.memory_pool, limit, "query's memory_limit"));
        let pool = Arc::new(QueryPool::new(Arc::clone(&self.env.memory_pool), own));
        let stores = QueryStores::new(Arc::clone(&self.stores), Arc::clone(account));
        let cache_manager = match account.tenant() {
            "" => Arc::clone(&self.env.cache_manager),
            tenant => self.caches.manager(tenant)?,
        };
        let env = RuntimeEnv {
            cache_manager,
            memory_pool: Arc::clone(&pool) as Arc<dyn MemoryPool>,
            object_store_registry: Arc::new(stores),
            ..RuntimeEnv::clone(&self.env)
        };
        Ok((Arc::new(env), pool))
    }

    /// The schema in which rows of another one are handed over.
    pub fn handed_over(&self, schema: &SchemaRef) -> SchemaRef {
        match self.config.string_views {
            true => Arc::clone(schema),
            false => handover::without_views(schema),
        }
    }

    /// A session for a write that ends once it is abandoned, and the planner that will have seen the write's plan.
    pub fn write_session(
        &self,
        abandoned: &Arc<Abandoned>,
        settings: &HashMap<String, String>,
        env: Arc<RuntimeEnv>,
    ) -> Result<(SessionState, Arc<CatchingPlanner>)> {
        let planner = Arc::new(CatchingPlanner::default());
        let state =
            SessionStateBuilder::new_from_existing(self.session_until(abandoned, settings, env)?)
                .with_query_planner(Arc::clone(&planner) as _)
                .build();
        Ok((state, planner))
    }

    /// Session under `settings`, whose functions are made under them too (time zones). What `now()` is in
    /// it stays the same.
    pub fn session(
        &self,
        settings: &HashMap<String, String>,
        env: Arc<RuntimeEnv>,
    ) -> Result<SessionState> {
        self.session_until(&Arc::default(), settings, env)
    }

    /// The same for what ends once it is abandoned.
    pub fn session_until(
        &self,
        abandoned: &Arc<Abandoned>,
        settings: &HashMap<String, String>,
        env: Arc<RuntimeEnv>,
    ) -> Result<SessionState> {
        let mut config = SessionConfig::new().with_information_schema(true);
        for (key, value) in settings {
            // Runtime keys describe the shared environment, which was made with the engine.
            if !key.starts_with("datafusion.runtime.") {
                config.options_mut().set(key, value)?;
            }
        }
        memory::fit(&mut config, env.memory_pool.as_ref(), settings);
        config.set_extension(Arc::clone(abandoned));
        let watching = Watching(Arc::clone(abandoned));
        config.options_mut().extensions.insert(watching);
        config.set_extension(Arc::new(Kept::default()));
        let builder = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_query_planner(DeltaPlanner::new());
        let mut state = planner::state(builder, env, abandoned)?;
        self.functions.register(&mut state, abandoned)?;
        let options = Arc::clone(state.config_options());
        state.execution_props_mut().mark_start_execution(options);
        Ok(state)
    }
}
