//! Writing rows: from a plan or a stream to a committed version, in Rust from scan to commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use deltalake::kernel::Action;
use deltalake::operations::write::SchemaMode;
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use super::assign::{assigned, lenient, lenient_type};
use super::commit::transaction::{Finished, Prepared};
use super::dml::reads_more;
use super::encode::ParquetOptions;
use super::expressions::{Binder, Text, bare};
use super::files::DataFile;
use super::finish::{Effects, commit, read_rows};
use super::layout::Layout;
use super::partitions::{self, Budget, GROUPS, Groups, Split};
use super::rows::{Checks, Condition, Found, Sinks, Work, run};
use super::schema::{self, Evolved};
use super::target::{
    ChangeOptions, Target, aside, computed, conditions, default, file_spec, place,
};
use crate::error::{ErrorKind, NativeError, Result};
use crate::scan::files::partition;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Append,
    Overwrite,
    Error,
    Ignore,
}

pub struct WriteSpec {
    pub mode: Mode,
    pub schema_mode: Option<SchemaMode>,
    pub partition_by: Option<Vec<String>>,
    pub replace_where: Option<String>,
    /// Whether just the partitions that the rows are in are replaced.
    pub replace_partitions: bool,
    pub target_file_size: Option<u64>,
    /// Whether nanoseconds may be cut off timestamps.
    pub truncate_timestamps: bool,
    pub properties: HashMap<String, String>,
}

/// Name of the rows' table in expressions that are kept with a table.
const ROWS: &str = "__fusiondelta_rows";

/// Writes the rows of `input`, a logical plan of `state`'s session.
pub async fn write(
    spec: WriteSpec,
    prepared: Prepared,
    input: LogicalPlan,
    state: SessionState,
    writer: Arc<ParquetOptions>,
    options: ChangeOptions,
) -> Result<Finished> {
    match (&prepared.existing, spec.mode) {
        (Some(found), Mode::Error) => {
            return Err(NativeError::new(
                ErrorKind::Source,
                format!(
                    "there is a table at {} already, at version {}; mode=\"error\" writes only \
                     where there is none",
                    found.url, found.version
                ),
            )
            .with("exists", "true"));
        }
        (Some(_), Mode::Ignore) => {
            return Ok(Finished {
                table: prepared.table,
                metrics: json!({"ignored": true}),
            });
        }
        _ => {}
    }
    if prepared.existing.is_none() {
        schema::columns_of(input.schema().as_arrow())?;
    }
    check_partition_columns(&spec, &input)?;
    prepare_folder(prepared.store.root_url())?;
    let (evolved, layout, properties) = outline(&spec, &prepared, &input).await?;
    let layout = Arc::new(layout);
    if let (Some(found), Some(columns)) = (&prepared.existing, &spec.partition_by) {
        let own = layout.partition_names();
        if own != *columns {
            return Err(NativeError::new(
                ErrorKind::SchemaMismatch,
                format!(
                    "{} is partitioned by {own:?}, and partition_by is {columns:?}; another one \
                     needs schema_mode=\"overwrite\"",
                    found.url
                ),
            ));
        }
    }
    let binder = Binder::new(state, Vec::new());
    binder.register(ROWS, Arc::new(EmptyTable::new(lenient(&layout.schema))))?;
    let (rows, given) = columns(&binder, &layout, &input, spec.truncate_timestamps).await?;
    let given: Vec<_> = given.iter().map(String::as_str).collect();
    let mut kept = conditions(&binder, &layout, ROWS, &given).await?;
    let mut replacing = None;
    if let Some(sql) = &spec.replace_where {
        let mut options = options.clone();
        options.target_file_size = spec.target_file_size;
        let target = open_target(&prepared, &binder, &writer, options)?;
        let text = Text::new("replace_where", sql);
        let condition = target.binder.condition(&text, &[&target.name]).await?;
        if reads_more(&condition) {
            return Err(NativeError::new(
                ErrorKind::Sql,
                format!("replace_where ({sql}) is decided row by row and takes no subquery"),
            ));
        }
        let bare = bare(condition.clone())?;
        kept.push((Condition::Replaced(sql.clone()), bare));
        replacing = Some((target, condition));
    }
    let checks = Arc::new(Checks::new(&layout.schema, kept, binder.state())?);
    let place = place(&prepared)?;
    // Of an append that leaves the schema as it is readers of the feed take the files themselves.
    let has_feed = replacing
        .as_ref()
        .is_some_and(|(target, _)| target.has_feed());
    let specs = [false, true].map(|is_feed| {
        let (size, state) = (spec.target_file_size, binder.state());
        file_spec(&layout, &place, &properties, &writer, size, state, is_feed)
    });
    let count = binder.state().config().target_partitions();
    let sinks = || -> Result<Arc<Sinks>> {
        Ok(Arc::new(Sinks::new(
            count,
            &specs[0],
            has_feed.then_some(&specs[1]),
        )?))
    };
    let found = Arc::new(Found::new(false));
    let writing = Writing {
        layout: Arc::clone(&layout),
        checks,
        found: Arc::clone(&found),
        state: match input {
            LogicalPlan::TableScan(_) => in_order(binder.state()),
            _ => binder.state().clone(),
        },
    };
    let files = writing.write(&rows, &sinks).await?;
    let mut effects = match (&prepared.existing, spec.mode, replacing) {
        (Some(_), Mode::Overwrite, Some((target, condition))) => {
            let effects = remove_where(&target, condition.clone()).await?;
            prepared
                .progress
                .read(read_rows(&target, vec![condition], false));
            effects
        }
        (Some(_), Mode::Overwrite, None) => {
            let mut options = options.clone();
            options.target_file_size = spec.target_file_size;
            let target = open_target(&prepared, &binder, &writer, options)?;
            let removed = remove_files(&target, &files.0, spec.replace_partitions)?;
            prepared.progress.read(removed.1);
            removed.0
        }
        _ => Effects::default(),
    };
    let (data, feed) = files;
    effects.files_added += u64::try_from(data.len()).unwrap_or_default();
    let mut actions: Vec<Action> = evolved.iter().flat_map(Evolved::actions).collect();
    actions.append(&mut effects.actions);
    let new = data.into_iter().chain(feed).map(|file| file.action(true));
    actions.extend(new);
    let partition_by = layout.partition_names();
    let operation = |predicate: Option<String>| DeltaOperation::Write {
        mode: match spec.mode {
            Mode::Append => SaveMode::Append,
            Mode::Overwrite => SaveMode::Overwrite,
            Mode::Error => SaveMode::ErrorIfExists,
            Mode::Ignore => SaveMode::Ignore,
        },
        partition_by: (!partition_by.is_empty()).then(|| partition_by.clone()),
        predicate,
    };
    let metrics = json!({
        "num_added_files": effects.files_added,
        "num_removed_files": effects.files_removed,
        "num_added_rows": found.inserted(),
        "num_copied_rows": effects.rows_copied,
        "num_partitions": partition_by.len(),
    });
    let finished = commit(
        prepared,
        actions,
        &operation(spec.replace_where.clone()),
        operation(None),
        metrics,
    )
    .await?;
    Ok(Finished {
        metrics: Value::Null,
        ..finished
    })
}

fn open_target(
    prepared: &Prepared,
    binder: &Binder,
    writer: &Arc<ParquetOptions>,
    options: ChangeOptions,
) -> Result<Target> {
    Target::open(
        prepared,
        aside(binder.state()),
        writer.clone(),
        options,
        super::expressions::TARGET,
        None,
    )
}

/// The session for rows that are written as they come: dealt out to several files, those of a sorted source
/// would be between each other, and statistics would tell none of the files apart.
fn in_order(state: &SessionState) -> SessionState {
    let mut config = state.config().clone();
    config
        .options_mut()
        .optimizer
        .enable_round_robin_repartition = false;
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .build()
}

/// The table's columns once the rows are written, its properties, and what changes of its metadata.
async fn outline(
    spec: &WriteSpec,
    prepared: &Prepared,
    input: &LogicalPlan,
) -> Result<(Option<Evolved>, Layout, HashMap<String, String>)> {
    let data = input.schema().as_arrow();
    let Some(found) = &prepared.existing else {
        let columns = schema::columns_of(data)?;
        let partitions = spec.partition_by.clone().unwrap_or_default();
        let made =
            schema::creation(&prepared.store, &columns, &partitions, &spec.properties).await?;
        let properties = made.metadata.configuration().clone();
        let layout = Layout::new(&made.schema, &partitions, &properties)?;
        return Ok((Some(made), layout, properties));
    };
    let snapshot = &found.snapshot;
    let properties = snapshot.metadata().configuration().clone();
    let layout = Layout::of(snapshot)?;
    let evolved = match spec.schema_mode {
        None => {
            let made = |name: &str| {
                layout.generated.contains_key(name) || layout.defaults.contains_key(name)
            };
            let place = format!("{} at version {}", found.url, found.version);
            schema::check(data, &layout.schema, made, &place)?;
            None
        }
        Some(SchemaMode::Merge) => schema::merged(snapshot, &layout.schema, data)?,
        Some(SchemaMode::Overwrite) => {
            schema::replaced(snapshot, data, spec.partition_by.as_deref())?
        }
    };
    let layout = match &evolved {
        Some(evolved) => Layout::new(
            &evolved.schema,
            evolved.metadata.partition_columns(),
            &properties,
        )?,
        None => layout,
    };
    Ok((evolved, layout, properties))
}

/// The rows with the table's columns in its order and types, and the names of those that the data has.
async fn columns(
    binder: &Binder,
    layout: &Layout,
    input: &LogicalPlan,
    truncate: bool,
) -> Result<(LogicalPlan, HashSet<String>)> {
    let data = input.schema();
    let mut given = HashSet::new();
    let mut columns = Vec::new();
    for field in layout.schema.fields() {
        let kind = lenient_type(field.data_type());
        let lenient = datafusion::arrow::datatypes::Field::new(field.name(), kind.clone(), true);
        let found = data.iter().find(|(_, own)| own.name() == field.name());
        let value = match found {
            Some((qualifier, own)) => {
                given.insert(field.name().clone());
                let column = Expr::Column(Column::new(qualifier.cloned(), own.name()));
                assigned(column, own.data_type(), &lenient, truncate)?
            }
            None if layout.defaults.contains_key(field.name()) => {
                let sql = &layout.defaults[field.name()];
                default(binder, layout, ROWS, field.name(), sql).await?
            }
            None => lit(ScalarValue::try_from(&kind)?),
        };
        columns.push(value.alias(field.name()));
    }
    let builder = LogicalPlanBuilder::from(input.clone()).project(columns)?;
    let is_given = |name: &str| given.contains(name);
    let builder = computed(binder, layout, ROWS, builder, str::to_owned, is_given).await?;
    Ok((builder.build()?, given))
}

/// Local stores do not make the table's own folder.
fn prepare_folder(url: &Url) -> Result<()> {
    if url.scheme() != "file" {
        return Ok(());
    }
    let Ok(folder) = url.to_file_path() else {
        return Ok(());
    };
    std::fs::create_dir_all(&folder).map_err(|e| {
        NativeError::new(
            ErrorKind::Storage,
            format!("the folder {} could not be made: {e}", folder.display()),
        )
    })
}

fn check_partition_columns(spec: &WriteSpec, input: &LogicalPlan) -> Result<()> {
    let schema = input.schema().as_arrow();
    let Some(columns) = &spec.partition_by else {
        return Ok(());
    };
    let missing: Vec<_> = columns
        .iter()
        .filter(|c| schema.field_with_name(c).is_err())
        .map(|c| format!("{c:?}"))
        .collect();
    if missing.is_empty() && columns.len() < schema.fields().len() {
        return Ok(());
    }
    let message = if missing.is_empty() {
        "every column is a partition column; a table needs at least one other".to_owned()
    } else {
        let have: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        format!(
            "partition_by names {}, which the data does not have; its columns are {}",
            missing.join(", "),
            have.join(", ")
        )
    };
    Err(NativeError::new(ErrorKind::SchemaMismatch, message))
}

/// Rows on their way to files.
struct Writing {
    layout: Arc<Layout>,
    checks: Arc<Checks>,
    found: Arc<Found>,
    state: SessionState,
}

type Written = (Vec<DataFile>, Vec<DataFile>);

impl Writing {
    fn work(&self) -> Work {
        Work::New(Arc::clone(&self.checks), Arc::clone(&self.found))
    }

    /// Writes all rows; the files of rows, and those of the feed.
    async fn write(
        &self,
        rows: &LogicalPlan,
        sinks: &impl Fn() -> Result<Arc<Sinks>>,
    ) -> Result<Written> {
        let names = self.layout.partition_names();
        let plan = self.state.create_physical_plan(rows).await?;
        let context = self.state.task_ctx();
        if !partitions::can_split(&plan.schema(), &names) {
            let to = sinks()?;
            run(plan, context, self.work(), &to).await?;
            return to.finish().await;
        }
        let budget = Budget::of(&context);
        let Split { few, others } = partitions::split(plan, &names, budget, Arc::clone(&context))?;
        let first = async {
            let to = sinks()?;
            run(few, Arc::clone(&context), self.work(), &to).await?;
            to.finish().await
        };
        let (first, others) = tokio::join!(first, self.write_groups(others, sinks));
        let (mut all, more) = (first?, others?);
        all.0.extend(more.0);
        all.1.extend(more.1);
        Ok(all)
    }

    /// Writes groups of partitions, a few at a time.
    async fn write_groups(
        &self,
        mut groups: Groups,
        sinks: &impl Fn() -> Result<Arc<Sinks>>,
    ) -> Result<Written> {
        let mut all = Written::default();
        let mut running: JoinSet<Result<Written>> = JoinSet::new();
        let mut add = |ended: std::result::Result<Result<Written>, tokio::task::JoinError>| {
            let written = ended.unwrap_or_else(|e| {
                let message = format!("a task that writes files ended: {e}");
                Err(NativeError::new(ErrorKind::Internal, message))
            })?;
            all.0.extend(written.0);
            all.1.extend(written.1);
            Ok::<_, NativeError>(())
        };
        let mut ended = Ok(());
        loop {
            match groups.has_more().await.map_err(NativeError::from) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
            let (plan, feed) = groups.plan()?;
            let (to, context, work) = (sinks()?, self.state.task_ctx(), self.work());
            running.spawn(async move {
                run(plan, context, work, &to).await?;
                to.finish().await
            });
            if let Err(error) = groups.feed(feed).await.map_err(NativeError::from) {
                ended = Err(error);
                break;
            }
            if running.len() >= GROUPS
                && let Some(one) = running.join_next().await
            {
                ended = add(one);
                if ended.is_err() {
                    break;
                }
            }
        }
        // Nothing must be written once this has failed.
        while let Some(one) = running.join_next().await {
            let one = add(one);
            ended = ended.and(one);
        }
        ended.map(|()| all)
    }
}

/// Removes the rows that a condition is true of, as `delete` does.
async fn remove_where(target: &Target, condition: Expr) -> Result<Effects> {
    // Where a commit has change data, readers of the feed take that alone.
    if !target.has_feed()
        && let Some((effects, _)) = super::dml::whole_files(target, Some(&condition))?
    {
        return Ok(effects);
    }
    let (_, effects) = super::dml::delete_rows(target, Some(condition)).await?;
    Ok(effects)
}

/// Removes all files, or those of the partitions that new files are in; and what that has read.
fn remove_files(
    target: &Target,
    new: &[DataFile],
    by_partition: bool,
) -> Result<(Effects, crate::write::commit::gate::ReadRows)> {
    if by_partition && target.layout.partitions.is_empty() {
        return Err(NativeError::new(
            ErrorKind::Configuration,
            format!("{} has no partitions that could be replaced", target.url()),
        ));
    }
    let layout = &target.layout;
    let partitions: Option<HashSet<Vec<ScalarValue>>> = match by_partition {
        true => {
            let all = new
                .iter()
                .map(|file| partition(&file.partition_values, layout));
            Some(all.collect::<Result<_>>()?)
        }
        false => None,
    };
    let mut effects = Effects::default();
    let mut files = HashSet::new();
    for file in target.files.iter() {
        let is_gone = partitions
            .as_ref()
            .is_none_or(|found| found.contains(&file.partition));
        if is_gone {
            effects.files_removed += 1;
            effects
                .actions
                .push(Action::Remove(file.view.remove_action(true)));
            files.insert(file.view.path().into_owned());
        }
    }
    let layout = Arc::clone(layout);
    let read = crate::write::commit::gate::ReadRows {
        files,
        may_match: Box::new(move |adds| match &partitions {
            // What is replaced is what was there: rows that come meanwhile stay.
            None => false,
            Some(found) => adds.iter().any(|add| {
                partition(&add.partition_values, &layout).map_or(true, |one| found.contains(&one))
            }),
        }),
    };
    Ok((effects, read))
}
