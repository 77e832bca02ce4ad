//! A storage profile made real: one store for each bucket or container it serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::gcp::{
    GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig, StaticCredentialProvider,
};
use url::Url;

use super::counted::Backend;
use super::credentials::{AwsChain, Refreshing};
use super::wire::WireConnector;
use crate::error::{ErrorKind, NativeError, Result};
use crate::store::dynamodb::{LockOptions, LockTable};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Local,
    S3,
    Gcs,
    Azure,
}

impl StoreKind {
    /// Whether locations of this scheme are this kind's.
    pub fn serves(self, scheme: &str) -> bool {
        match self {
            Self::Local => matches!(scheme, "file" | "memory"),
            Self::S3 => matches!(scheme, "s3" | "s3a"),
            Self::Gcs => matches!(scheme, "gs" | "gcs"),
            Self::Azure => matches!(scheme, "az" | "azure" | "adl" | "abfs" | "abfss"),
        }
    }
}

/// Who gives credentials.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The options hold them, or say where the store's own client finds them.
    Options,
    /// The AWS SDK's default chain.
    AwsChain {
        profile: Option<String>,
        region: Option<String>,
    },
    Aws(AwsCredentialProvider),
    Gcp(GcpCredentialProvider),
    Azure(AzureCredentialProvider),
}

/// `IoPolicy`.
#[derive(Clone, Debug)]
pub struct Policy {
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    pub retries: usize,
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    pub retry_budget: Duration,
    pub concurrency: usize,
    pub coalesce: u64,
}

/// A table of locks that commits go through.
#[derive(Clone)]
pub struct LockPlace {
    pub table: String,
    pub region: String,
    pub endpoint: Option<String>,
    /// Its own; the store's where there is none.
    pub credential: Option<AwsCredentialProvider>,
}

/// `StorageProfile` as it crosses the border.
#[derive(Clone)]
pub struct StoreProfile {
    /// Canonical URI whose locations it serves; empty for all.
    pub prefix: String,
    pub kind: StoreKind,
    /// Options of the store's client by name. Secrets are among them.
    pub options: Vec<(String, String)>,
    pub identity: Identity,
    pub lock: Option<LockPlace>,
    pub policy: Arc<Policy>,
}

impl fmt::Debug for StoreProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreProfile")
            .field("prefix", &self.prefix)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl StoreProfile {
    /// The store whose root is the root of the URL's bucket, container or file system.
    pub fn store(&self, url: &Url) -> Result<Backend> {
        let store: Arc<dyn ObjectStore> = match self.kind {
            StoreKind::Local if url.scheme() == "memory" => Arc::new(InMemory::new()),
            StoreKind::Local => Arc::new(LocalFileSystem::new()),
            StoreKind::S3 => self.s3(url)?,
            StoreKind::Gcs => self.gcs(url)?,
            StoreKind::Azure => self.azure(url)?,
        };
        let wire = (self.kind != StoreKind::Local).then(|| Arc::clone(&self.policy));
        Ok(Backend { store, wire })
    }

    /// Which link of the chain gives credentials; `None` where there is no chain.
    pub async fn identity(&self) -> Result<Option<String>> {
        match &self.identity {
            Identity::AwsChain { profile, region } => {
                let chain = AwsChain::new(profile.clone(), region.clone());
                chain.link().await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The table of locks that commits go through, if they do.
    pub fn lock(&self) -> Result<Option<LockTable>> {
        let Some(place) = &self.lock else {
            return Ok(None);
        };
        let credentials: AwsCredentialProvider = match &place.credential {
            Some(own) => Arc::clone(own),
            None => self.aws_credentials()?,
        };
        Ok(Some(LockTable::new(LockOptions {
            table: place.table.clone(),
            region: place.region.clone(),
            endpoint: place.endpoint.clone(),
            credentials,
            policy: Arc::clone(&self.policy),
        })))
    }

    /// The credentials that requests to S3 are signed with, for another service of AWS.
    fn aws_credentials(&self) -> Result<AwsCredentialProvider> {
        match &self.identity {
            Identity::Aws(provider) => return Ok(Arc::clone(provider)),
            Identity::AwsChain { profile, region } => {
                let chain = AwsChain::new(profile.clone(), region.clone());
                return Ok(Arc::new(Refreshing::new(chain)));
            }
            _ => {}
        }
        let given = |wanted: AmazonS3ConfigKey| {
            let found = self
                .options
                .iter()
                .find(|(name, _)| name.parse::<AmazonS3ConfigKey>().is_ok_and(|k| k == wanted));
            found.map(|(_, value)| value.clone())
        };
        let (Some(key_id), Some(secret_key)) = (
            given(AmazonS3ConfigKey::AccessKeyId),
            given(AmazonS3ConfigKey::SecretAccessKey),
        ) else {
            return Err(NativeError::new(
                ErrorKind::Configuration,
                "the table of locks needs credentials: dynamodb_access_key_id and \
                 dynamodb_secret_access_key, or those of the store",
            ));
        };
        Ok(Arc::new(StaticCredentialProvider::new(AwsCredential {
            key_id,
            secret_key,
            token: given(AmazonS3ConfigKey::Token),
        })))
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.policy.first_backoff,
                max_backoff: self.policy.longest_backoff,
                base: 2.0,
            },
            max_retries: self.policy.retries,
            retry_timeout: self.policy.retry_budget,
        }
    }

    fn connector(&self) -> WireConnector {
        WireConnector::new(self.policy.concurrency, self.policy.longest_backoff)
    }

    /// Timeouts as the clients' options have them.
    fn timeouts(&self) -> [(ClientConfigKey, String); 2] {
        let text = |d: Duration| format!("{}us", d.as_micros());
        [
            (
                ClientConfigKey::ConnectTimeout,
                text(self.policy.connect_timeout),
            ),
            (ClientConfigKey::Timeout, text(self.policy.request_timeout)),
        ]
    }

    fn option<K: std::str::FromStr>(&self, name: &str) -> Result<K> {
        name.parse().map_err(|_| {
            NativeError::new(
                ErrorKind::Configuration,
                format!("this build's store has no option {name:?}"),
            )
        })
    }

    fn s3(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket(url)?)
            .with_retry(self.retry())
            .with_http_connector(self.connector());
        for (key, value) in self.timeouts() {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        for (name, value) in &self.options {
            builder = builder.with_config(self.option(name)?, value);
        }
        match &self.identity {
            Identity::AwsChain { profile, region } => {
                let chain = AwsChain::new(profile.clone(), region.clone());
                builder = builder.with_credentials(Arc::new(Refreshing::new(chain)));
            }
            Identity::Aws(provider) => builder = builder.with_credentials(Arc::clone(provider)),
            _ => {}
        }
        Ok(Arc::new(builder.build().map_err(misconfigured)?))
    }

    fn gcs(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket(url)?)
            .with_retry(self.retry())
            .with_http_connector(self.connector());
        for (key, value) in self.timeouts() {
            builder = builder.with_config(GoogleConfigKey::Client(key), value);
        }
        for (name, value) in &self.options {
            builder = builder.with_config(self.option(name)?, value);
        }
        if let Identity::Gcp(provider) = &self.identity {
            builder = builder.with_credentials(Arc::clone(provider));
        } else if self.is_anonymous() {
            // Uploads ask for a credential all the same, and none must not mean the metadata service.
            let nobody = GcpCredential {
                bearer: String::new(),
            };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
        }
        Ok(Arc::new(builder.build().map_err(misconfigured)?))
    }

    fn is_anonymous(&self) -> bool {
        self.options
            .iter()
            .any(|(name, value)| name.ends_with("skip_signature") && value == "true")
    }

    fn azure(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = MicrosoftAzureBuilder::new()
            .with_retry(self.retry())
            .with_http_connector(self.connector());
        for (key, value) in self.timeouts() {
            builder = builder.with_config(AzureConfigKey::Client(key), value);
        }
        // `native_url` has made az://container.account.host of abfss://container@account.host
        let host = bucket(url)?;
        let (container, account) = host.split_once('.').unwrap_or((host, ""));
        if let Some(account) = account.split('.').next().filter(|a| !a.is_empty()) {
            builder = builder.with_account(account);
        }
        builder = builder.with_container_name(container);
        for (name, value) in &self.options {
            builder = builder.with_config(self.option(name)?, value);
        }
        if let Identity::Azure(provider) = &self.identity {
            builder = builder.with_credentials(Arc::clone(provider));
        }
        Ok(Arc::new(builder.build().map_err(misconfigured)?))
    }
}

fn bucket(url: &Url) -> Result<&str> {
    url.host_str().filter(|b| !b.is_empty()).ok_or_else(|| {
        NativeError::new(
            ErrorKind::Configuration,
            format!("{url} names no bucket or container"),
        )
    })
}

/// The client could not be made; its errors name options, not values.
fn misconfigured(error: object_store::Error) -> NativeError {
    NativeError::new(
        ErrorKind::Configuration,
        format!("the storage profile cannot be used: {error}"),
    )
}
