//! Paths as the log spells them.
//!
//! Delta-rs decodes the paths of a log and encodes them again by rules of its own: a path that another writer
//! has left as it is (`p=ü`) would be another one in the action that removes its file, and the file would
//! stay.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use deltalake::kernel::{Action, EagerSnapshot, Remove};
use deltalake::table::state::DeltaTableState;

use crate::error::Result;

/// The log's paths by what delta-rs would write for them, as far as they differ.
pub fn respelled(snapshot: &EagerSnapshot) -> Result<HashMap<String, String>> {
    let mut found = HashMap::new();
    // Plain paths are spelled one way.
    if snapshot
        .log_data()
        .iter()
        .all(|file| is_plain(&file.path()))
    {
        return Ok(found);
    }
    let state = DeltaTableState::new(snapshot.clone());
    let log = snapshot.log_data();
    let mut files = log.iter();
    for batch in state.add_actions_batches(true)? {
        let Some(paths) = batch.column_by_name("path") else {
            continue;
        };
        let paths = cast(paths, &DataType::Utf8)?;
        for (raw, file) in paths.as_string::<i32>().iter().zip(&mut files) {
            let Some(raw) = raw else {
                continue;
            };
            let written = written(&file.path());
            if let Some(written) = written.filter(|written| written != raw) {
                found.insert(written, raw.to_owned());
            }
        }
    }
    Ok(found)
}

/// A path as delta-rs writes it.
fn written(path: &str) -> Option<String> {
    let action = Action::Remove(Remove {
        path: path.to_owned(),
        ..Remove::default()
    });
    let json = serde_json::to_value(action).ok()?;
    json["remove"]["path"].as_str().map(str::to_owned)
}

fn is_plain(path: &str) -> bool {
    path.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=/".contains(&byte))
}
