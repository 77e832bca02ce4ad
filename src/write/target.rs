//! The table that a change of rows is made to, and what the change needs of its session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::ViewTable;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::delta_datafusion::planner::DeltaPlanner;
use deltalake::kernel::EagerSnapshot;
use deltalake::logstore::LogStore;
use url::Url;

use super::assign::lenient_type;
use super::encode::ParquetOptions;
use super::expressions::{Binder, Text, bare, with_columns};
use super::files::FileSpec;
use super::layout::Layout;
use super::rows::{Checks, Condition, Sinks};
use super::schema::{self, Evolved};
use super::statistics::Indexed;
use crate::delta::log;
use crate::error::{ErrorKind, NativeError, Result};
use crate::scan::files::{self, Files, TableFile};
use crate::scan::positions::{Chosen, Place, PositionTable};
use crate::write::commit::transaction::Prepared;

/// Bytes of a data file where neither the caller nor the table says (delta-rs' default).
const TARGET_SIZE: u64 = 100 * 1024 * 1024;

/// What a change of rows can be told.
#[derive(Clone, Debug, Default)]
pub struct ChangeOptions {
    /// Values of `$1` and `$name`.
    pub parameters: Vec<(String, ScalarValue)>,
    /// Tables that subqueries can name.
    pub sources: Vec<(String, LogicalPlan)>,
    /// Whether rows are deleted by deletion vectors; as the table says where it is not said.
    pub vectors: Option<bool>,
    pub target_file_size: Option<u64>,
}

/// A table with its active files, in a session that knows it by a name.
pub struct Target {
    pub layout: Arc<Layout>,
    pub files: Files,
    pub place: Place,
    pub table: Arc<PositionTable>,
    pub snapshot: EagerSnapshot,
    pub binder: Binder,
    /// Name of the table in the change's SQL.
    pub name: String,
    pub options: ChangeOptions,
    pub writer: Arc<ParquetOptions>,
    pub started: Instant,
    /// What becomes of its metadata, where columns are added.
    pub evolved: Option<Evolved>,
}

impl Target {
    /// Opens it, with columns that only `added` has where some are to be.
    ///
    /// # Errors
    /// `source` where there is no table.
    pub fn open(
        prepared: &Prepared,
        state: SessionState,
        writer: Arc<ParquetOptions>,
        options: ChangeOptions,
        name: &str,
        added: Option<&Schema>,
    ) -> Result<Self> {
        let snapshot = prepared.existing_snapshot()?;
        let layout = Layout::of(&snapshot)?;
        let evolved = match added {
            Some(data) => schema::merged(&snapshot, &layout.schema, data)?,
            None => None,
        };
        let layout = Arc::new(match &evolved {
            Some(evolved) => {
                let metadata = &evolved.metadata;
                Layout::new(
                    &evolved.schema,
                    metadata.partition_columns(),
                    metadata.configuration(),
                )?
            }
            None => layout,
        });
        let files: Files = files::active(&snapshot, &layout)?.into();
        let place = place(prepared)?;
        let table = Arc::new(PositionTable::new(
            Arc::clone(&layout),
            Arc::clone(&files),
            place.clone(),
            Chosen::Live,
        ));
        let binder = Binder::new(state, options.parameters.clone());
        binder.register(name, Arc::clone(&table) as _)?;
        for (alias, plan) in &options.sources {
            if alias == name {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    format!("sources names {alias:?}, which is what the changed table is called"),
                ));
            }
            binder.register(alias, Arc::new(ViewTable::new(plan.clone(), None)))?;
        }
        Ok(Self {
            layout,
            files,
            place,
            table,
            snapshot,
            binder,
            name: name.to_owned(),
            options,
            writer,
            started: Instant::now(),
            evolved,
        })
    }

    pub fn url(&self) -> &Url {
        &self.place.url
    }

    pub fn state(&self) -> &SessionState {
        self.binder.state()
    }

    pub fn properties(&self) -> &HashMap<String, String> {
        self.snapshot.metadata().configuration()
    }

    fn is_on(&self, property: &str) -> bool {
        let value = self.properties().get(property);
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub fn has_feed(&self) -> bool {
        self.is_on("delta.enableChangeDataFeed")
    }

    /// Whether deleted rows go into deletion vectors.
    ///
    /// # Errors
    /// `configuration` where they are asked for and the table has none.
    pub fn uses_vectors(&self) -> Result<bool> {
        let enabled = self.is_on("delta.enableDeletionVectors");
        let protocol = serde_json::to_value(self.snapshot.protocol()).unwrap_or_default();
        let is_possible = protocol["writerFeatures"]
            .as_array()
            .is_some_and(|features| features.iter().any(|name| name == "deletionVectors"));
        match self.options.vectors {
            Some(true) if !is_possible => Err(NativeError::new(
                ErrorKind::Configuration,
                format!(
                    "deletion_vectors=True, and {} has none: set its property \
                     delta.enableDeletionVectors to true, or pass allow_metadata_change=True",
                    self.url()
                ),
            )),
            asked => Ok(asked.unwrap_or(enabled)),
        }
    }

    /// A file by its number.
    pub fn file(&self, number: u32) -> Option<&TableFile> {
        self.files.get(usize::try_from(number).ok()?)
    }

    /// Milliseconds since the change began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Where new rows go.
    pub fn sinks(&self, with_feed: bool) -> Result<Arc<Sinks>> {
        let rows = self.file_spec(false);
        let feed = (with_feed && self.has_feed()).then(|| self.file_spec(true));
        let count = self.state().config().target_partitions();
        Ok(Arc::new(Sinks::new(count, &rows, feed.as_ref())?))
    }

    fn file_spec(&self, is_feed: bool) -> Arc<FileSpec> {
        file_spec(
            &self.layout,
            &self.place,
            self.properties(),
            &self.writer,
            self.options.target_file_size,
            self.state(),
            is_feed,
        )
    }

    /// What every row has to keep: `generated` are the columns whose values came from the caller.
    pub async fn checks(
        &self,
        generated: &[&str],
        more: Vec<(Condition, Expr)>,
    ) -> Result<Arc<Checks>> {
        let found = conditions(&self.binder, &self.layout, &self.name, generated).await?;
        let all = found.into_iter().chain(more).collect();
        Ok(Arc::new(Checks::new(
            &self.layout.schema,
            all,
            self.state(),
        )?))
    }

    /// The plan of the change itself.
    ///
    /// # Errors
    /// `sql` for what the planner finds wrong with its texts.
    pub async fn plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let planned = self.state().create_physical_plan(plan).await;
        planned.map_err(|error| {
            let error = NativeError::from(error);
            match error.kind {
                ErrorKind::Query | ErrorKind::Execution => NativeError {
                    kind: ErrorKind::Sql,
                    ..error
                },
                _ => error,
            }
        })
    }

    /// A plan whose account is not that of the change.
    pub async fn plan_aside(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(aside(self.state()).create_physical_plan(plan).await?)
    }
}

/// The session without the planner that keeps the account of the change.
pub fn aside(state: &SessionState) -> SessionState {
    SessionStateBuilder::new_from_existing(state.clone())
        .with_query_planner(DeltaPlanner::new())
        .build()
}

/// Where the files of a table are.
pub fn place(prepared: &Prepared) -> Result<Place> {
    let url = prepared.store.root_url();
    Ok(Place {
        url: url.clone(),
        prefix: log::table_path(url)?,
        store: LogStore::object_store(prepared.store.as_ref(), None),
    })
}

/// How files of a table are written.
pub fn file_spec(
    layout: &Arc<Layout>,
    place: &Place,
    properties: &HashMap<String, String>,
    writer: &Arc<ParquetOptions>,
    target_size: Option<u64>,
    state: &SessionState,
    is_feed: bool,
) -> Arc<FileSpec> {
    const MIB: usize = 1024 * 1024;
    let own = properties
        .get("delta.targetFileSize")
        .and_then(|size| size.trim().parse().ok());
    let most_open = match state.runtime_env().memory_pool.memory_limit() {
        MemoryLimit::Finite(limit) => (limit / (64 * MIB)).clamp(4, 256),
        MemoryLimit::Infinite | MemoryLimit::Unknown => 256,
    };
    Arc::new(FileSpec {
        layout: Arc::clone(layout),
        store: Arc::clone(&place.store),
        parquet: Arc::clone(writer),
        target_size: target_size.or(own).unwrap_or(TARGET_SIZE),
        indexed: Indexed::of(properties),
        most_open,
        is_feed,
    })
}

/// Constraints, invariants and the values of generated columns, over unqualified columns.
pub async fn conditions(
    binder: &Binder,
    layout: &Layout,
    relation: &str,
    generated: &[&str],
) -> Result<Vec<(Condition, Expr)>> {
    let mut found = Vec::new();
    for (name, sql) in &layout.constraints {
        let text = Text::new(format!("the constraint {name:?}"), sql);
        let bound = binder.stored(&text, relation).await?;
        found.push((
            Condition::Constraint(name.clone(), sql.clone()),
            bare(bound.expr)?,
        ));
    }
    for name in generated {
        let Some(sql) = layout.generated.get(*name) else {
            continue;
        };
        let value = generation(binder, layout, relation, name, sql).await?;
        let own = Expr::Column(Column::from_name(*name));
        let same = Expr::BinaryExpr(datafusion::logical_expr::BinaryExpr::new(
            Box::new(own),
            datafusion::logical_expr::Operator::IsNotDistinctFrom,
            Box::new(bare(value)?),
        ));
        let column = (*name).to_owned();
        found.push((Condition::Generated(column, sql.clone()), same));
    }
    Ok(found)
}

/// What a generated column is, over qualified columns of the relation.
async fn generation(
    binder: &Binder,
    layout: &Layout,
    relation: &str,
    name: &str,
    sql: &str,
) -> Result<Expr> {
    let text = Text::new(format!("the generation expression of {name:?}"), sql);
    of_column(binder, layout, relation, name, &text).await
}

/// What a column is in rows that do not say.
pub async fn default(
    binder: &Binder,
    layout: &Layout,
    relation: &str,
    name: &str,
    sql: &str,
) -> Result<Expr> {
    let text = Text::new(format!("the default of {name:?}"), sql);
    of_column(binder, layout, relation, name, &text).await
}

/// The table's own definition of a column: what it gives is made the column's type.
async fn of_column(
    binder: &Binder,
    layout: &Layout,
    relation: &str,
    name: &str,
    text: &Text,
) -> Result<Expr> {
    let bound = binder.stored(text, relation).await?;
    let kind = lenient_type(layout.schema.field_with_name(name)?.data_type());
    Ok(cast(bound.expr, kind))
}

/// Computes the generated columns that are not given from the other columns of the same row, which the plan
/// has by the names that `named` makes of the table's.
pub async fn computed(
    binder: &Binder,
    layout: &Layout,
    relation: &str,
    builder: LogicalPlanBuilder,
    named: fn(&str) -> String,
    is_given: impl Fn(&str) -> bool,
) -> Result<LogicalPlanBuilder> {
    let missing: HashMap<String, (&String, &String)> = layout
        .generated
        .iter()
        .filter(|(name, _)| !is_given(name))
        .map(|(name, sql)| (named(name), (name, sql)))
        .collect();
    if missing.is_empty() {
        return Ok(builder);
    }
    let mut columns = Vec::new();
    for field in builder.schema().fields() {
        columns.push(match missing.get(field.name()) {
            None => Expr::Column(Column::from_name(field.name())),
            Some((name, sql)) => {
                let value = generation(binder, layout, relation, name, sql).await?;
                let value = with_columns(value, |c| Column::from_name(named(&c.name)))?;
                value.alias(field.name())
            }
        });
    }
    Ok(builder.project(columns)?)
}
