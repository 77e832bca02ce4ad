//! Credentials that expire, refreshed ahead of it: one fetch however many requests wait for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::ProvideCredentials;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::error::{ErrorKind, NativeError};

/// Credentials are replaced so long before they expire, or after three quarters of a shorter life.
const LONGEST_MARGIN: Duration = Duration::from_secs(5 * 60);

/// Credentials as they were fetched.
#[derive(Clone)]
pub struct Fetched<C> {
    pub credential: Arc<C>,
    pub expires: Option<SystemTime>,
}

/// Where credentials come from.
#[async_trait]
pub trait Fetch: Debug + Send + Sync + 'static {
    type Credential: Send + Sync + 'static;

    async fn fetch(&self) -> Result<Fetched<Self::Credential>, NativeError>;
}

struct Held<C> {
    credential: Arc<C>,
    expires: Option<SystemTime>,
    /// From here on they are fetched anew.
    refresh: Option<SystemTime>,
}

/// Credentials of one fetch, and those before them, which serve while they last should the fetch fail.
struct Generation<C> {
    cell: OnceCell<Held<C>>,
    before: Option<(Arc<C>, SystemTime)>,
}

pub struct Refreshing<F: Fetch> {
    source: F,
    current: Mutex<Arc<Generation<F::Credential>>>,
}

impl<F: Fetch> Debug for Refreshing<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refreshing({:?})", self.source)
    }
}

impl<F: Fetch> Refreshing<F> {
    pub fn new(source: F) -> Self {
        let empty = Generation {
            cell: OnceCell::new(),
            before: None,
        };
        Self {
            source,
            current: Mutex::new(Arc::new(empty)),
        }
    }

    /// The generation that serves now; a new one where the current is about to expire.
    fn generation(&self) -> Arc<Generation<F::Credential>> {
        let mut current = self.current.lock();
        let now = SystemTime::now();
        if let Some(held) = current.cell.get()
            && held.refresh.is_some_and(|at| at <= now)
        {
            let before = held
                .expires
                .filter(|at| *at > now)
                .map(|at| (Arc::clone(&held.credential), at));
            *current = Arc::new(Generation {
                cell: OnceCell::new(),
                before,
            });
        }
        Arc::clone(&current)
    }
}

#[async_trait]
impl<F: Fetch> CredentialProvider for Refreshing<F> {
    type Credential = F::Credential;

    async fn get_credential(&self) -> object_store::Result<Arc<F::Credential>> {
        let generation = self.generation();
        let held = generation
            .cell
            .get_or_try_init(|| async {
                let asked = SystemTime::now();
                self.source.fetch().await.map(|fetched| Held {
                    credential: fetched.credential,
                    expires: fetched.expires,
                    refresh: fetched.expires.map(|at| refresh_at(asked, at)),
                })
            })
            .await;
        match (held, &generation.before) {
            (Ok(held), _) => Ok(Arc::clone(&held.credential)),
            (Err(_), Some((credential, expires))) if *expires > SystemTime::now() => {
                Ok(Arc::clone(credential))
            }
            (Err(error), _) => Err(object_store::Error::Generic {
                store: "credentials",
                source: Box::new(error),
            }),
        }
    }
}

fn refresh_at(asked: SystemTime, expires: SystemTime) -> SystemTime {
    let life = expires.duration_since(asked).unwrap_or_default();
    let margin = (life / 4).min(LONGEST_MARGIN);
    expires.checked_sub(margin).unwrap_or(expires)
}

/// The AWS SDK's default chain: environment, shared profile and SSO, web identity, container, instance
/// metadata.
pub struct AwsChain {
    profile: Option<String>,
    region: Option<String>,
    chain: OnceCell<DefaultCredentialsChain>,
}

impl Debug for AwsChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AwsChain(profile {:?})", self.profile)
    }
}

impl AwsChain {
    pub fn new(profile: Option<String>, region: Option<String>) -> Self {
        Self {
            profile,
            region,
            chain: OnceCell::new(),
        }
    }
}

impl AwsChain {
    /// The link that gives credentials, by the SDK's own names for what was used.
    pub async fn link(&self) -> Result<String, NativeError> {
        let found = self.provide().await?;
        let used: Vec<String> = found
            .get_property::<Vec<AwsCredentialFeature>>()
            .into_iter()
            .flatten()
            .map(|feature| format!("{feature:?}"))
            .collect();
        Ok(if used.is_empty() {
            "unnamed".to_owned()
        } else {
            used.join(", ")
        })
    }

    async fn provide(&self) -> Result<Credentials, NativeError> {
        let chain = self
            .chain
            .get_or_init(|| async {
                let mut builder = DefaultCredentialsChain::builder();
                if let Some(profile) = &self.profile {
                    builder = builder.profile_name(profile);
                }
                if let Some(region) = &self.region {
                    builder = builder.region(aws_config::Region::new(region.clone()));
                }
                builder.build().await
            })
            .await;
        chain.provide_credentials().await.map_err(|e| {
            NativeError::new(
                ErrorKind::Authentication,
                format!(
                    "no AWS credentials were found (environment, shared profile and SSO, web \
                     identity, container, instance metadata): {}; give access_key_id and \
                     secret_access_key, credentials=, profile=, or anonymous=True",
                    causes(&e)
                ),
            )
        })
    }
}

#[async_trait]
impl Fetch for AwsChain {
    type Credential = AwsCredential;

    async fn fetch(&self) -> Result<Fetched<AwsCredential>, NativeError> {
        let found = self.provide().await?;
        Ok(Fetched {
            credential: Arc::new(AwsCredential {
                key_id: found.access_key_id().to_owned(),
                secret_key: found.secret_access_key().to_owned(),
                token: found.session_token().map(str::to_owned),
            }),
            expires: found.expiry(),
        })
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text
}
