//! Putting an object that must not be there yet, which is how a Delta commit is made (protocol section
//! "Delta Log Entries"), over a wire that may lose the answer.
//!
//! Each put is sent once. After any doubt (no answer, a server error, "conflict") the object is read back:
//! there with these bytes, it is ours; there with others, another writer was first; not there, the put is
//! tried again, which its condition makes safe should the first one still arrive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, PutOptions, PutPayload, PutResult, Result};

use super::account::Operation;
use super::counted::CountedStore;
use super::failure::UNANSWERED;
use super::profile::Policy;
use super::request::{Call, Failure};
use crate::error::NativeError;

/// Puts the object unless there is one, within the policy's retries and budget.
pub async fn create(
    store: &CountedStore,
    policy: &Policy,
    location: &Path,
    payload: PutPayload,
    options: PutOptions,
) -> Result<PutResult> {
    let started = Instant::now();
    let mut pause = policy.first_backoff;
    let mut tries = 0;
    loop {
        let call = store.call_once(Operation::Put, location);
        let failed = match store
            .put(&call, location, payload.clone(), options.clone())
            .await
        {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        if !is_doubtful(&failed, &call, tries > 0) {
            return Err(failed);
        }
        match read_back(store, location, &payload).await {
            Ok(Some(outcome)) => return outcome,
            Ok(None) => {}
            // What became of the put is not known, and the error has to say so.
            Err(e) => return Err(in_doubt(&e)),
        }
        if tries >= policy.retries || started.elapsed() + pause > policy.retry_budget {
            return Err(failed);
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).clamp(Duration::from_millis(1), policy.longest_backoff);
    }
}

/// Whether the object may be there although the put failed, or not be there although it is said to be.
fn is_doubtful(error: &Error, call: &Arc<Call>, tried_before: bool) -> bool {
    match (error, call.failure()) {
        (_, Some(Failure::Timeout | Failure::Connect | Failure::Broken)) => true,
        // A conflict of requests is not one of objects.
        (_, Some(Failure::Status(408 | 409 | 429 | 500..))) => true,
        (Error::AlreadyExists { .. }, _) => tried_before,
        _ => false,
    }
}

fn in_doubt(error: &Error) -> Error {
    Error::Generic {
        store: "object store",
        source: Box::new(NativeError::from_store(error).with(UNANSWERED, "true")),
    }
}

/// What is there now: ours, another's, or nothing yet.
async fn read_back(
    store: &CountedStore,
    location: &Path,
    payload: &PutPayload,
) -> Result<Option<Result<PutResult>>> {
    let found = match store.get_opts(location, GetOptions::default()).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = found.meta.clone();
    let bytes = found.bytes().await?;
    let same = bytes.len() == payload.content_length() && payload.iter().flatten().eq(bytes.iter());
    Ok(Some(if same {
        Ok(PutResult {
            e_tag: meta.e_tag,
            version: meta.version,
        })
    } else {
        Err(Error::AlreadyExists {
            path: location.to_string(),
            source: "another writer's object is there".into(),
        })
    }))
}
