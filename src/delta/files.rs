//! How the files of a scan are read, which delta-rs' scan leaves open.
//!
//! Each footer in one request, and a small file with it (`tails`): without being told how much of a
//! file's end to read at first, the reader asks for the footer's length, then for the footer. Behind a
//! wire also several files at once: a part of a scan waits for one answer at a time, so that parts for
//! the cores alone would leave them idle.

use std::sync::Arc;

use super::tails::TailReaders;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::parquet::file::FOOTER_SIZE;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use crate::sources::parquet::change_sources;

/// Files that are read at once, at least: of large ones few, each with a row group in memory, of small
/// ones many.
const FILES_AT_ONCE: usize = 8;
const SMALL_FILES_AT_ONCE: usize = 32;
const SMALL_FILE: u64 = 1024 * 1024;
/// Most bytes of a file's end on a local disk, where another read costs little and a longer one
/// more.
const LOCAL_TAIL: usize = 64 * 1024;

/// The scan, reading files as they are best read.
pub fn read_well(
    scan: Arc<dyn ExecutionPlan>,
    session: &dyn Session,
    is_local: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let longest = if is_local { LOCAL_TAIL } else { usize::MAX };
    let parquet = &session.config_options().execution.parquet;
    let hint = parquet
        .metadata_size_hint
        .map(|hint| hint.min(longest).max(FOOTER_SIZE));
    let cores = session.config().target_partitions();
    change_sources(scan, |config, source| {
        let mut source = source.clone();
        if let Some(bytes) = hint {
            let env = session.runtime_env();
            let readers = TailReaders::new(
                env.object_store(&config.object_store_url)?,
                env.cache_manager.get_file_metadata_cache(),
            );
            source = source
                .with_metadata_size_hint(bytes)
                .with_parquet_file_reader_factory(Arc::new(readers));
        }
        let mut builder = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source));
        if !is_local && let Some(groups) = spread(config, cores) {
            // Said outright, or the optimizer would gather them again.
            builder = builder
                .with_output_partitioning(Some(Partitioning::UnknownPartitioning(groups.len())))
                .with_file_groups(groups);
        }
        Ok(Some(builder.build()))
    })
}

/// The files in groups of about equal bytes, at least one for each core; `None` where there are fewer
/// files, which the optimizer may cut into ranges.
fn spread(config: &FileScanConfig, cores: usize) -> Option<Vec<FileGroup>> {
    let mut files: Vec<_> = config
        .file_groups
        .iter()
        .flat_map(FileGroup::iter)
        .collect();
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let at_once = if bytes / SMALL_FILE < files.len() as u64 {
        SMALL_FILES_AT_ONCE.min(files.len())
    } else {
        FILES_AT_ONCE
    };
    let partitions = cores.max(at_once);
    if files.len() < partitions {
        return None;
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let mut groups = vec![(0, Vec::new()); partitions];
    for file in files {
        // The emptiest so far; where files are alike, one after the other.
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.object_meta.size.max(1);
            group.push(file.clone());
        }
    }
    let groups = groups.into_iter().map(|(_, files)| FileGroup::new(files));
    Some(groups.collect())
}
