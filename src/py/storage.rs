//! Storage profiles as Python gives them, and credentials that a Python callable gives.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::{AzureAccessKey, AzureCredential};
use object_store::gcp::GcpCredential;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use super::config::{choice, seconds};
use crate::error::{ErrorKind, NativeError, Result};
use crate::store::credentials::{Fetch, Fetched, Refreshing};
use crate::store::profile::{Identity, LockPlace, Policy, StoreKind, StoreProfile};

/// `fusiondelta.profiles` renders a `StorageProfile` to this; durations in seconds, sizes in bytes.
#[derive(FromPyObject)]
pub struct PyStorage {
    prefix: String,
    kind: String,
    options: std::collections::HashMap<String, String>,
    chain: String,
    aws_profile: Option<String>,
    aws_region: Option<String>,
    credentials: Option<Py<PyAny>>,
    lock: Option<PyLock>,
    connect_timeout: f64,
    request_timeout: f64,
    first_backoff: f64,
    longest_backoff: f64,
    retry_budget: f64,
    retries: usize,
    concurrency: usize,
    coalesce: u64,
}

/// A table of locks, and its own credentials where they are not the store's.
#[derive(FromPyObject)]
struct PyLock {
    table: String,
    region: String,
    endpoint: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
}

impl From<PyLock> for LockPlace {
    fn from(lock: PyLock) -> Self {
        let credential = lock.access_key_id.zip(lock.secret_access_key);
        Self {
            table: lock.table,
            region: lock.region,
            endpoint: lock.endpoint,
            credential: credential.map(|(key_id, secret_key)| {
                Arc::new(StaticCredentialProvider::new(AwsCredential {
                    key_id,
                    secret_key,
                    token: lock.session_token,
                })) as _
            }),
        }
    }
}

impl TryFrom<PyStorage> for StoreProfile {
    type Error = NativeError;

    fn try_from(storage: PyStorage) -> Result<Self> {
        let kinds = [
            ("local", StoreKind::Local),
            ("s3", StoreKind::S3),
            ("gcs", StoreKind::Gcs),
            ("azure", StoreKind::Azure),
        ];
        let kind = choice("kind", &storage.kind, &kinds)?;
        let identity = match (storage.chain.as_str(), storage.credentials) {
            ("aws", _) => Identity::AwsChain {
                profile: storage.aws_profile,
                region: storage.aws_region,
            },
            ("callable", Some(callable)) => given(kind, callable)?,
            _ => Identity::Options,
        };
        Ok(Self {
            prefix: storage.prefix,
            kind,
            options: storage.options.into_iter().collect(),
            identity,
            lock: storage.lock.map(LockPlace::from),
            policy: Arc::new(Policy {
                connect_timeout: seconds(storage.connect_timeout),
                request_timeout: seconds(storage.request_timeout),
                retries: storage.retries,
                first_backoff: seconds(storage.first_backoff),
                longest_backoff: seconds(storage.longest_backoff),
                retry_budget: seconds(storage.retry_budget),
                concurrency: storage.concurrency,
                coalesce: storage.coalesce,
            }),
        })
    }
}

/// One provider for all stores of the profile.
fn given(kind: StoreKind, callable: Py<PyAny>) -> Result<Identity> {
    let callable = Callable(Arc::new(callable));
    Ok(match kind {
        StoreKind::S3 => Identity::Aws(Arc::new(Refreshing::new(AwsGiven(callable)))),
        StoreKind::Gcs => Identity::Gcp(Arc::new(Refreshing::new(GcpGiven(callable)))),
        StoreKind::Azure => Identity::Azure(Arc::new(Refreshing::new(AzureGiven(callable)))),
        StoreKind::Local => {
            return Err(NativeError::new(
                ErrorKind::Configuration,
                "local files need no credentials; leave credentials= out",
            ));
        }
    })
}

/// A Python callable without arguments that gives a mapping. Neither it nor what it gives is ever shown.
#[derive(Clone)]
struct Callable(Arc<Py<PyAny>>);

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials=callable")
    }
}

impl Callable {
    /// Calls it off the runtime's own threads, and reads what it gave.
    async fn call<C: Send + Sync + 'static>(
        &self,
        read: fn(&Given<'_, '_>) -> Result<C>,
    ) -> Result<Fetched<C>> {
        let callable = Arc::clone(&self.0);
        let called = tokio::task::spawn_blocking(move || {
            Python::try_attach(|py| {
                let answer = callable.bind(py).call0().map_err(|e| failed(py, &e))?;
                let mapping = answer.cast::<PyMapping>().map_err(|_| {
                    wrong("it gave no mapping; it has to give a dict of credentials")
                })?;
                let given = Given(mapping);
                Ok(Fetched {
                    credential: Arc::new(read(&given)?),
                    expires: given.expires()?,
                })
            })
        })
        .await;
        match called {
            Ok(Some(outcome)) => outcome,
            _ => Err(wrong("the interpreter is shutting down")),
        }
    }
}

fn wrong(what: &str) -> NativeError {
    NativeError::new(
        ErrorKind::Authentication,
        format!("the callable given as credentials= could not be used: {what}"),
    )
}

/// The exception by its class alone: its text is not ours, and may hold what must not be shown.
fn failed(py: Python<'_>, error: &PyErr) -> NativeError {
    let name = error
        .get_type(py)
        .qualname()
        .map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    wrong(&format!("it raised {name}"))
}

struct Given<'a, 'py>(&'a Bound<'py, PyMapping>);

impl Given<'_, '_> {
    fn text(&self, name: &str) -> Result<Option<String>> {
        match self.0.get_item(name) {
            Ok(value) if value.is_none() => Ok(None),
            Ok(value) => value
                .extract()
                .map(Some)
                .map_err(|_| wrong(&format!("{name} is no text"))),
            Err(_) => Ok(None),
        }
    }

    fn needed(&self, name: &str) -> Result<String> {
        self.text(name)?
            .ok_or_else(|| wrong(&format!("what it gave lacks {name}")))
    }

    /// `expires_at`: a datetime with a zone, or seconds since the epoch; without one they last.
    fn expires(&self) -> Result<Option<SystemTime>> {
        let Ok(value) = self.0.get_item("expires_at") else {
            return Ok(None);
        };
        if value.is_none() {
            return Ok(None);
        }
        let seconds: f64 = match value.call_method0("timestamp") {
            Ok(stamp) => stamp.extract(),
            Err(_) => value.extract(),
        }
        .map_err(|_| wrong("expires_at is neither a datetime nor seconds since the epoch"))?;
        let since = Duration::try_from_secs_f64(seconds)
            .map_err(|_| wrong("expires_at is no moment after 1970"))?;
        Ok(SystemTime::UNIX_EPOCH.checked_add(since))
    }
}

#[derive(Debug)]
struct AwsGiven(Callable);

#[async_trait]
impl Fetch for AwsGiven {
    type Credential = AwsCredential;

    async fn fetch(&self) -> Result<Fetched<AwsCredential>> {
        self.0
            .call(|given| {
                Ok(AwsCredential {
                    key_id: given.needed("access_key_id")?,
                    secret_key: given.needed("secret_access_key")?,
                    token: given.text("session_token")?,
                })
            })
            .await
    }
}

#[derive(Debug)]
struct GcpGiven(Callable);

#[async_trait]
impl Fetch for GcpGiven {
    type Credential = GcpCredential;

    async fn fetch(&self) -> Result<Fetched<GcpCredential>> {
        self.0
            .call(|given| {
                Ok(GcpCredential {
                    bearer: given.needed("bearer_token")?,
                })
            })
            .await
    }
}

#[derive(Debug)]
struct AzureGiven(Callable);

#[async_trait]
impl Fetch for AzureGiven {
    type Credential = AzureCredential;

    async fn fetch(&self) -> Result<Fetched<AzureCredential>> {
        self.0
            .call(|given| {
                if let Some(token) = given.text("bearer_token")? {
                    return Ok(AzureCredential::BearerToken(token));
                }
                if let Some(token) = given.text("sas_token")? {
                    let pairs =
                        url::form_urlencoded::parse(token.trim_start_matches('?').as_bytes());
                    return Ok(AzureCredential::SASToken(pairs.into_owned().collect()));
                }
                let key = given.text("account_key")?.ok_or_else(|| {
                    wrong("what it gave has neither bearer_token, sas_token nor account_key")
                })?;
                AzureAccessKey::try_new(&key)
                    .map(AzureCredential::AccessKey)
                    .map_err(|_| wrong("account_key is not base64"))
            })
            .await
    }
}
