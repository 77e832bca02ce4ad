//! Mirrors of the frozen Python configurations: sizes in bytes, durations in seconds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::error::{ErrorKind, NativeError};
use crate::exec::engine::{EngineConfig, PoolKind};

/// `fusiondelta.profiles` renders an `EngineProfile` to this.
#[derive(FromPyObject)]
pub struct PyEngineConfig {
    memory_limit: Option<usize>,
    memory_pool: String,
    spill_dir: Option<PathBuf>,
    max_spill: Option<u64>,
    slots: usize,
    queue_timeout: f64,
    stall_timeout: Option<f64>,
    metadata_cache: usize,
    list_files_cache: usize,
    list_files_ttl: Option<f64>,
    file_statistics_cache: usize,
    snapshot_cache: usize,
    string_views: bool,
}

impl TryFrom<PyEngineConfig> for EngineConfig {
    type Error = NativeError;

    fn try_from(config: PyEngineConfig) -> Result<Self, NativeError> {
        let PyEngineConfig {
            memory_limit,
            memory_pool,
            spill_dir,
            max_spill,
            slots,
            queue_timeout,
            stall_timeout,
            metadata_cache,
            list_files_cache,
            list_files_ttl,
            file_statistics_cache,
            snapshot_cache,
            string_views,
        } = config;
        let memory_pool = match memory_pool.as_str() {
            "fair" => PoolKind::Fair,
            "greedy" => PoolKind::Greedy,
            "unbounded" => PoolKind::Unbounded,
            other => {
                return Err(NativeError::new(
                    ErrorKind::Configuration,
                    format!("memory_pool is fair, greedy or unbounded, not {other:?}"),
                ));
            }
        };
        Ok(Self {
            memory_limit,
            memory_pool,
            spill_dir,
            max_spill,
            slots,
            queue_timeout: seconds(queue_timeout),
            stall_timeout: stall_timeout.map(seconds),
            metadata_cache,
            list_files_cache,
            list_files_ttl: list_files_ttl.map(seconds),
            file_statistics_cache,
            snapshot_cache,
            string_views,
        })
    }
}

/// A duration from seconds; what is negative or not a number is none, what is huge is a century.
pub fn seconds(value: f64) -> Duration {
    const CENTURY: f64 = 100.0 * 365.0 * 24.0 * 3600.0;
    Duration::try_from_secs_f64(value.clamp(0.0, CENTURY)).unwrap_or_default()
}

/// A deadline `timeout` seconds from now.
pub fn deadline(timeout: Option<f64>) -> Option<Instant> {
    timeout.map(|t| Instant::now() + seconds(t))
}

/// One of a few words.
pub fn choice<T: Copy>(name: &str, text: &str, choices: &[(&str, T)]) -> Result<T, NativeError> {
    choices
        .iter()
        .find(|(known, _)| *known == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<_> = choices.iter().map(|(k, _)| *k).collect();
            NativeError::new(
                ErrorKind::Configuration,
                format!("{name} is one of {}, not {text:?}", known.join(", ")),
            )
        })
}
