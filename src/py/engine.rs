//! The engine as Python holds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::prelude::SessionContext;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use url::Url;

use super::arrow::NativeBatch;
use super::capsules;
use super::commits::{self, PyChangeOptions, PyCommitSpec};
use super::config::{PyEngineConfig, deadline, seconds};
use super::functions::{self, PyFunction};
use super::io::NativeIo;
use super::objects::NativeObjects;
use super::options::{PyFileOptions, file_options, url};
use super::query::{NativeCodec, NativeQuery, NativeRows};
use super::sql::NativeSql;
use super::storage::PyStorage;
use super::tables::{self, NativeDelta, NativeFiles, NativeTable};
use crate::delta::provider::DeltaProvider;
use crate::delta::{cache, features, feed, log};
use crate::error::{ErrorKind, NativeError, Result};
use crate::exec::caches::CacheReading;
use crate::exec::codec::HandleCodec;
use crate::exec::engine::{Engine, Function};
use crate::exec::proto;
use crate::exec::query::{Query, QueryContext};
use crate::exec::sql::{Asked, Given};
use crate::exec::stream::{Rows, Slot, Start};
use crate::metrics::funnel::funnels;
use crate::metrics::measured;
use crate::planner::abandoned::Abandoned;
use crate::runtime;
use crate::sources::files;
use crate::store::account::{IoAccount, blamed};
use crate::store::profile::StoreProfile;
use crate::write::change;
use crate::write::commit::transaction;
use crate::write::maintenance::{self, Keep};
use crate::write::target::ChangeOptions;

#[pyclass(frozen, weakref, module = "fusiondelta._native")]
pub struct NativeEngine(Arc<Engine>);

#[pymethods]
impl NativeEngine {
    #[new]
    fn new(config: PyEngineConfig, storage: Vec<PyStorage>) -> PyResult<Self> {
        runtime::handle()?;
        let profiles = storage
            .into_iter()
            .map(StoreProfile::try_from)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(Engine::new(config.try_into()?, profiles)?))
    }

    /// Raises where the engine is closed, or was made in a parent process.
    fn check(&self) -> PyResult<()> {
        Ok(self.0.check()?)
    }

    /// Requests of the whole engine.
    #[getter]
    fn io(&self) -> NativeIo {
        NativeIo(Arc::clone(&self.0.io))
    }

    /// Counters for one query, whose counts are also the engine's.
    /// `tenant` says whose caches the query sees; empty for those that all share.
    #[pyo3(signature = (tenant=""))]
    fn new_io(&self, tenant: &str) -> NativeIo {
        NativeIo(IoAccount::of_tenant(&self.0.io, tenant.to_owned()))
    }

    /// The objects at a location.
    fn objects(&self, uri: &str, io: &NativeIo) -> PyResult<NativeObjects> {
        self.0.check()?;
        let url = url(uri)?;
        let store = self.0.stores.counted(&url, &io.0)?;
        Ok(NativeObjects::new(store, &url)?)
    }

    /// Where the credentials of a location come from, as far as its profile leaves that to be found.
    #[pyo3(signature = (uri, timeout=None))]
    fn identity(
        &self,
        py: Python<'_>,
        uri: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<String>> {
        self.0.check()?;
        let url = url(uri)?;
        let engine = Arc::clone(&self.0);
        Ok(runtime::run(py, deadline(timeout), async move {
            engine.stores.identity(&url).await
        })?)
    }

    /// A codec for one pooled context.
    fn codec(&self) -> NativeCodec {
        NativeCodec {
            codec: HandleCodec::default(),
            tasks: Arc::new(SessionContext::new_with_config_rt(
                Default::default(),
                Arc::clone(self.0.env()),
            )),
        }
    }

    /// Opens a Delta table: at `version`, at the last version committed by `timestamp_ms`, or newest.
    #[pyo3(signature = (uri, io, *, version=None, timestamp_ms=None, staleness=0.0, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn open_delta(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
        version: Option<u64>,
        timestamp_ms: Option<i64>,
        staleness: f64,
        timeout: Option<f64>,
    ) -> PyResult<NativeDelta> {
        self.0.check()?;
        let url = url(uri)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let blame = Arc::clone(&account);
        let opening = async move {
            let version = match (version, timestamp_ms) {
                (Some(version), _) => version,
                (None, Some(at)) => {
                    let newest =
                        cache::open_latest(&engine, &url, Duration::ZERO, &account).await?;
                    let in_commit = newest
                        .snapshot
                        .metadata()
                        .configuration()
                        .get("delta.enableInCommitTimestamps")
                        .is_some_and(|v| v == "true");
                    log::version_at(&engine, &url, at, in_commit, &account).await?
                }
                (None, None) => {
                    return cache::open_latest(&engine, &url, seconds(staleness), &account).await;
                }
            };
            cache::open_version(&engine, &url, version, &account).await
        };
        let pinned = runtime::run(py, deadline(timeout), blamed(blame, opening))?;
        let provider = DeltaProvider::new(Arc::clone(&self.0), Arc::clone(&pinned))?;
        Ok(NativeDelta {
            engine: Arc::clone(&self.0),
            pinned,
            provider: Arc::new(provider),
        })
    }

    /// Oldest and newest readable version by the log's file names, or `None` where there is no log.
    fn log_range(&self, py: Python<'_>, uri: &str, io: &NativeIo) -> PyResult<Option<(u64, u64)>> {
        self.0.check()?;
        let url = url(uri)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let blame = Arc::clone(&account);
        let listing = async move { log::list(&engine, &url, &account).await };
        let listing = runtime::run(py, None, blamed(blame, listing))?;
        Ok(listing.readable())
    }

    #[pyo3(signature = (options, settings, io, timeout=None))]
    fn open_files(
        &self,
        py: Python<'_>,
        options: PyFileOptions,
        settings: HashMap<String, String>,
        io: &NativeIo,
        timeout: Option<f64>,
    ) -> PyResult<NativeFiles> {
        self.0.check()?;
        let options = file_options(py, options)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let blame = Arc::clone(&account);
        let opening = async move { files::open(&engine, options, &settings, &account).await };
        let table = runtime::run(py, deadline(timeout), blamed(blame, opening))?;
        Ok(NativeFiles(table))
    }

    /// Plans what `plan.to_bytes(session)` gave, under `settings`; `ids` are those of run and query.
    ///
    /// # Errors
    /// `ValueError` where the plan cannot be decoded.
    #[pyo3(signature = (session, codec, plan, settings, io, ids, *, capture=true, digest=false, memory_limit=None, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn plan(
        &self,
        py: Python<'_>,
        session: &Bound<'_, PyAny>,
        codec: &NativeCodec,
        plan: Vec<u8>,
        settings: HashMap<String, String>,
        io: &NativeIo,
        ids: (String, String),
        capture: bool,
        digest: bool,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<NativeQuery> {
        self.0.check()?;
        let decoding = capsules::decoding_codec(session)?;
        let context = QueryContext {
            settings,
            memory_limit,
            deadline: deadline(timeout),
            account: Arc::clone(&io.0),
            capture,
            digest,
            abandoned: Arc::default(),
        };
        let engine = Arc::clone(&self.0);
        let deadline = context.deadline;
        let abandoned = Arc::clone(&context.abandoned);
        let planning = Query::from_bytes(engine, plan, decoding, context, ids);
        let planned = NativeQuery::planned(py, deadline, io, &abandoned, planning);
        codec.codec.clear();
        planned
    }

    /// Plans a query under `settings`; `ids` are those of run and query.
    ///
    /// A table that is none of ours is given as the plan that reads it, encoded by `session`.
    ///
    /// # Errors
    /// `ValueError` with what the planner says of it.
    #[pyo3(signature = (sql, tables, parameters, settings, io, ids, *, session=None, readonly=true, capture=true, digest=false, memory_limit=None, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn plan_sql(
        &self,
        py: Python<'_>,
        sql: &NativeSql,
        tables: Vec<(String, Bound<'_, PyAny>)>,
        parameters: Vec<(String, Bound<'_, PyAny>)>,
        settings: HashMap<String, String>,
        io: &NativeIo,
        ids: (String, String),
        session: Option<Bound<'_, PyAny>>,
        readonly: bool,
        capture: bool,
        digest: bool,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<NativeQuery> {
        self.0.check()?;
        let codec = session.map(|session| capsules::decoding_codec(&session));
        let codec = codec.transpose()?;
        let mut given = Vec::with_capacity(tables.len());
        for (name, table) in tables {
            let table = match (tables::own(&table), &codec) {
                (Some(own), _) => Given::Own(own),
                (None, Some(codec)) => Given::Foreign(table.extract()?, Arc::clone(codec)),
                (None, None) => {
                    let message = format!("the table {name:?} is none of the engine's own");
                    return Err(NativeError::new(ErrorKind::Source, message).into());
                }
            };
            given.push((name, table));
        }
        let statement = sql
            .statement
            .clone()
            .ok_or_else(|| NativeError::new(ErrorKind::Query, "the query has no statement"))?;
        let asked = Asked {
            statement,
            readonly,
            tables: given,
            parameters: commits::parameters(parameters)?,
        };
        let context = QueryContext {
            settings,
            memory_limit,
            deadline: deadline(timeout),
            account: Arc::clone(&io.0),
            capture,
            digest,
            abandoned: Arc::default(),
        };
        let engine = Arc::clone(&self.0);
        let deadline = context.deadline;
        let abandoned = Arc::clone(&context.abandoned);
        let planning = Query::from_sql(engine, asked, context, ids);
        NativeQuery::planned(py, deadline, io, &abandoned, planning)
    }

    /// Rows of a physical plan in protobuf, as `NativeQuery.physical_proto` gives it.
    #[pyo3(signature = (plan, settings, io, *, memory_limit=None, timeout=None))]
    fn run_physical_proto(
        &self,
        py: Python<'_>,
        plan: Vec<u8>,
        settings: HashMap<String, String>,
        io: &NativeIo,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<NativeRows> {
        self.0.check()?;
        let account = Arc::clone(&io.0);
        let (env, _) = self.0.query_env(&account, memory_limit)?;
        let state = self.0.session(&settings, env)?;
        let context = state.task_ctx();
        let engine = Arc::clone(&self.0);
        let deadline = deadline(timeout);
        let decoded = proto::decode(engine, plan, state, Arc::clone(&account));
        let plan = runtime::run(py, deadline, blamed(Arc::clone(&account), decoded))?;
        Ok(NativeRows(Arc::new(Rows::new(Start {
            engine: Arc::clone(&self.0),
            plan,
            context,
            partition: None,
            deadline,
            slot: Slot::default(),
            account,
            execution: None,
        }))))
    }

    /// Makes a change, of the rows of a planned query or of an Arrow stream where it needs any, and
    /// gives what was committed.
    #[pyo3(signature = (commit, spec, io, settings, *, query=None, stream=None, options=None, memory_limit=None, timeout=None))]
    #[allow(clippy::too_many_arguments)]
    fn commit<'py>(
        &self,
        py: Python<'py>,
        commit: PyCommitSpec,
        spec: &Bound<'py, PyAny>,
        io: &NativeIo,
        settings: HashMap<String, String>,
        query: Option<&NativeQuery>,
        stream: Option<&Bound<'py, PyAny>>,
        options: Option<PyChangeOptions<'py>>,
        memory_limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.0.check()?;
        let (change, writer) = commits::change(spec, commits::rows(query, stream)?)?;
        let options = match options {
            Some(options) => options.build()?,
            None => ChangeOptions::default(),
        };
        let commit = commit.build(&change)?;
        let engine = Arc::clone(&self.0);
        let account = Arc::clone(&io.0);
        let blame = Arc::clone(&account);
        let commit_id = commit.commit_id.clone();
        account.keep_written();
        let stop = engine.closing.child_token();
        let stopped = stop.clone();
        let abandoned = Arc::new(Abandoned::default());
        // What computes is told by another thread: it may keep its own.
        let _telling = runtime::once_cancelled(&stop, {
            let abandoned = Arc::clone(&abandoned);
            move || abandoned.set(true)
        })?;
        let committing = async move {
            let slot = Slot::default();
            slot.enter(&engine).await?;
            let (env, pool) = engine.query_env(&account, memory_limit)?;
            let (state, planner) = engine.write_session(&abandoned, &settings, env)?;
            let work = |prepared| change::make(change, prepared, state, writer, options);
            let done = transaction::run(&engine, &commit, &account, &stopped, work).await?;
            let plan = planner.caught();
            let measured = plan.and_then(|plan| {
                measured(
                    plan.as_ref(),
                    &funnels(plan.as_ref()),
                    &commit.run_id,
                    &commit.query_id,
                )
                .ok()
            });
            if let Some(measured) = &measured {
                engine.recent.add(&commit.run_id, &measured.metrics);
            }
            Ok((done, measured, (pool.peak(), pool.limit())))
        };
        let committing = blamed(blame, committing);
        let (done, measured, memory) =
            runtime::run_to_outcome(py, deadline(timeout), &stop, &commit_id, committing)?;
        commits::done(py, done, measured, memory)
    }

    /// Metrics tables of the runs named, or of all, of the queries and writes that ended last.
    #[pyo3(signature = (runs=None))]
    fn recent_metrics(&self, runs: Option<Vec<String>>) -> Vec<NativeBatch> {
        let found = self.0.recent.of(runs.as_deref());
        found.into_iter().map(NativeBatch).collect()
    }

    /// The version that a commit became, or `None` where it is not in the log.
    fn commit_version(
        &self,
        py: Python<'_>,
        uri: &str,
        commit_id: String,
        io: &NativeIo,
    ) -> PyResult<Option<u64>> {
        self.about(py, uri, io, |engine, url, account| async move {
            transaction::outcome(&engine, &url, &commit_id, &account).await
        })
    }

    /// Checks the table of locks that commits to a location go through, or makes it first.
    fn lock_table(&self, py: Python<'_>, uri: &str, create: bool) -> PyResult<()> {
        self.0.check()?;
        let url = url(uri)?;
        let lock = self.0.stores.lock(&url)?.ok_or_else(|| {
            NativeError::new(
                ErrorKind::Configuration,
                format!("commits to {url} go through no table of locks"),
            )
        })?;
        let checking = async move {
            if create {
                lock.create().await?;
            }
            lock.check().await
        };
        Ok(runtime::run(py, None, checking)?)
    }

    /// What commits from `start` to `end` (or the newest) did to rows, as a table.
    #[pyo3(signature = (uri, io, *, start, end=None))]
    fn changes(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
        start: u64,
        end: Option<u64>,
    ) -> PyResult<NativeTable> {
        let provider = self.about(py, uri, io, |engine, url, account| async move {
            feed::changes(&engine, &url, start, end, &account).await
        })?;
        Ok(NativeTable { provider })
    }

    /// Why the newest version of a table cannot be written, by what would be done: appends, and changes
    /// of rows that are there.
    fn write_obstacles(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
    ) -> PyResult<(u64, Option<String>, Option<String>)> {
        self.about(py, uri, io, |engine, url, account| async move {
            features::write_obstacles(&engine, &url, &account).await
        })
    }

    /// Writes a checkpoint of the newest version, and gives that version.
    fn checkpoint(&self, py: Python<'_>, uri: &str, io: &NativeIo) -> PyResult<u64> {
        self.about(py, uri, io, |engine, url, account| async move {
            maintenance::checkpoint(&engine, &url, &account).await
        })
    }

    /// Removes entries of the log that no version from `from` on needs; their names, and the oldest
    /// version that can be read afterwards.
    #[pyo3(signature = (uri, io, *, from_version, since_ms, dry_run))]
    fn clean_log(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
        from_version: u64,
        since_ms: i64,
        dry_run: bool,
    ) -> PyResult<(Vec<String>, Option<u64>)> {
        let keep = Keep {
            from: from_version,
            since_ms,
            dry_run,
        };
        let cleaned = self.about(py, uri, io, |engine, url, account| async move {
            maintenance::clean(&engine, &url, keep, &account).await
        })?;
        Ok((cleaned.removed, cleaned.oldest))
    }

    /// Versions whose log and data files are all there.
    fn readable_versions(&self, py: Python<'_>, uri: &str, io: &NativeIo) -> PyResult<Vec<u64>> {
        self.about(py, uri, io, |engine, url, account| async move {
            maintenance::readable_versions(&engine, &url, &account).await
        })
    }

    /// Makes a function of Python known to queries.
    fn register_function(&self, py: Python<'_>, function: PyFunction) -> PyResult<()> {
        let function = functions::function(py, function)?;
        self.0.functions.add(Function::Scalar(Arc::new(function)));
        Ok(())
    }

    /// Makes a function of a Python context known to queries: a scalar, an aggregate or a window function.
    fn register_function_of(
        &self,
        session: &Bound<'_, PyAny>,
        kind: &str,
        name: &str,
    ) -> PyResult<()> {
        let context = capsules::task_context(session)?;
        let function = functions::foreign(&context, kind, name)?;
        self.0.functions.add(function);
        Ok(())
    }

    /// Makes a table function known to queries. `call` is given Arrow arrays of one value each, and gives the
    /// lease of a context and the plan, encoded, that reads the table there.
    fn register_table_function(&self, name: String, call: Py<PyAny>) {
        let function = functions::table_function(name, call);
        self.0.functions.add(Function::Table(Arc::new(function)));
    }

    /// State of the snapshot cache: entries (uri, version, bytes) and counters.
    fn snapshot_cache<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        cache_state(py, self.0.snapshots.reading())
    }

    /// State of the caches of files by name: entries (path, bytes), limit in bytes and counters.
    fn file_caches<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (name, reading) in self.0.caches.readings() {
            out.set_item(name, cache_state(py, reading)?)?;
        }
        Ok(out)
    }

    /// Empties every cache.
    fn clear_caches(&self) {
        self.0.snapshots.clear();
        self.0.caches.clear();
    }

    /// Execution slots in all, and those free now.
    #[getter]
    fn slots(&self) -> (usize, usize) {
        (self.0.config.slots, self.0.slots.available_permits())
    }

    /// Bytes reserved in the memory pool now.
    #[getter]
    fn reserved_memory(&self) -> usize {
        self.0.env().memory_pool.reserved()
    }

    /// Cancels what runs and refuses what comes.
    fn close(&self) {
        self.0.closing.cancel();
        self.0.slots.close();
        self.0.snapshots.clear();
    }
}

impl NativeEngine {
    /// Does something about a table, while other threads run Python; its errors name the table and the
    /// last request.
    fn about<T, F>(
        &self,
        py: Python<'_>,
        uri: &str,
        io: &NativeIo,
        ask: impl FnOnce(Arc<Engine>, Url, Arc<IoAccount>) -> F,
    ) -> PyResult<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.0.check()?;
        let asking = ask(Arc::clone(&self.0), url(uri)?, Arc::clone(&io.0));
        Ok(runtime::run(py, None, blamed(Arc::clone(&io.0), asking))?)
    }
}

/// A cache's state as Python sees it.
fn cache_state<'py, E>(py: Python<'py>, reading: CacheReading<E>) -> PyResult<Bound<'py, PyDict>>
where
    Vec<E>: IntoPyObject<'py>,
{
    let out = PyDict::new(py);
    out.set_item("entries", reading.entries)?;
    out.set_item("limit", reading.limit)?;
    out.set_item("hits", reading.hits)?;
    out.set_item("misses", reading.misses)?;
    out.set_item("evictions", reading.evictions)?;
    Ok(out)
}
