//! Commits to S3 through a table of DynamoDB, as Spark's `S3DynamoDBLogStore` makes them.
//!
//! S3 alone once could not refuse a second object of one name, so writers agree on a version through an
//! item that only one of them can create (delta-storage, `BaseExternalLogStore`):
//!
//! 1. the commit is put to a temporary object,
//! 2. an item of table path and file name, `complete` false, names that object: this is the commit,
//! 3. the object is copied to the commit's own name,
//! 4. the item is made complete, and gets a time from which on DynamoDB may forget it.
//!
//! Who finds an item that is not complete, reader or writer, does the last two steps.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedCredentialsProvider};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use object_store::aws::AwsCredentialProvider;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use tokio::sync::OnceCell;

use crate::error::{ErrorKind, NativeError, Result};
use crate::store::profile::Policy;

/// How long a complete item is kept at least: delta-storage's default.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Tries to finish a commit that another began.
const FIXES: usize = 3;

const TABLE_PATH: &str = "tablePath";
const FILE_NAME: &str = "fileName";
const TEMP_PATH: &str = "tempPath";
const COMPLETE: &str = "complete";
const EXPIRE_TIME: &str = "expireTime";

/// How the table of locks is reached.
#[derive(Clone)]
pub struct LockOptions {
    pub table: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub credentials: AwsCredentialProvider,
    pub policy: Arc<Policy>,
}

impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("table", &self.table)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The store's credentials, for the SDK.
#[derive(Debug)]
struct Adapted(AwsCredentialProvider);

impl ProvideCredentials for Adapted {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let found = self
                .0
                .get_credential()
                .await
                .map_err(CredentialsError::provider_error)?;
            // Asked for each request, so that those that expire are the provider's to refresh.
            let soon = SystemTime::now().checked_add(Duration::from_secs(1));
            Ok(Credentials::new(
                &found.key_id,
                &found.secret_key,
                found.token.clone(),
                soon,
                "fusiondelta",
            ))
        })
    }
}

/// One commit, as the table of locks has it.
#[derive(Clone, Debug)]
pub struct Item {
    pub file: String,
    /// Path of the temporary object beneath the log's folder.
    pub temp: String,
    pub complete: bool,
}

/// A table of locks.
#[derive(Debug)]
pub struct LockTable {
    options: LockOptions,
    client: Client,
    /// Whether its keys are what they have to be.
    checked: OnceCell<()>,
}

impl LockTable {
    pub fn new(options: LockOptions) -> Self {
        let policy = &options.policy;
        let attempts = u32::try_from(policy.retries).unwrap_or(u32::MAX);
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(options.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(Adapted(Arc::clone(
                &options.credentials,
            ))))
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(attempts.saturating_add(1))
                    .with_initial_backoff(policy.first_backoff)
                    .with_max_backoff(policy.longest_backoff),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(policy.connect_timeout)
                    .operation_attempt_timeout(policy.request_timeout)
                    .operation_timeout(policy.retry_budget)
                    .build(),
            );
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(config.build()),
            options,
            checked: OnceCell::new(),
        }
    }

    /// What keeps the table from being one of locks; once for each table.
    ///
    /// # Errors
    /// `configuration` where it does not exist or has other keys.
    pub async fn check(&self) -> Result<()> {
        self.checked
            .get_or_try_init(|| self.describe())
            .await
            .copied()
    }

    async fn describe(&self) -> Result<()> {
        let name = &self.options.table;
        let found = self
            .client
            .describe_table()
            .table_name(name)
            .send()
            .await
            .map_err(|e| self.failed("describe", &e))?;
        let keys: Vec<_> = found
            .table()
            .map(|table| {
                table
                    .key_schema()
                    .iter()
                    .map(|key| (key.attribute_name().to_owned(), key.key_type().clone()))
                    .collect()
            })
            .unwrap_or_default();
        let wanted = [
            (TABLE_PATH.to_owned(), KeyType::Hash),
            (FILE_NAME.to_owned(), KeyType::Range),
        ];
        let texts = found.table().is_some_and(|table| {
            table
                .attribute_definitions()
                .iter()
                .filter(|a| [TABLE_PATH, FILE_NAME].contains(&a.attribute_name()))
                .all(|a| *a.attribute_type() == ScalarAttributeType::S)
        });
        if keys == wanted && texts {
            return Ok(());
        }
        Err(NativeError::new(
            ErrorKind::Configuration,
            format!(
                "the DynamoDB table {name} is no table of locks: its keys have to be {TABLE_PATH} \
                 (partition key, string) and {FILE_NAME} (sort key, string); fusiondelta lock-table \
                 create makes one"
            ),
        ))
    }

    /// Makes the table, with what lets DynamoDB forget old items.
    pub async fn create(&self) -> Result<()> {
        let text = |name: &str| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()
        };
        let key = |name: &str, kind: KeyType| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
        };
        let incomplete = |e: aws_sdk_dynamodb::error::BuildError| {
            NativeError::new(ErrorKind::Internal, e.to_string())
        };
        let name = &self.options.table;
        self.client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(text(TABLE_PATH).map_err(incomplete)?)
            .attribute_definitions(text(FILE_NAME).map_err(incomplete)?)
            .key_schema(key(TABLE_PATH, KeyType::Hash).map_err(incomplete)?)
            .key_schema(key(FILE_NAME, KeyType::Range).map_err(incomplete)?)
            .send()
            .await
            .map_err(|e| self.failed("create", &e))?;
        let forget = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(EXPIRE_TIME)
            .build()
            .map_err(incomplete)?;
        // Refused until the table is there, and by stand-ins for DynamoDB that know no such thing.
        for _ in 0..10 {
            let asked = self
                .client
                .update_time_to_live()
                .table_name(name)
                .time_to_live_specification(forget.clone())
                .send()
                .await;
            match asked {
                Err(e) if e.code() == Some("ResourceInUseException") => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn key(&self, table_path: &str, file: &str) -> [(String, AttributeValue); 2] {
        [
            (TABLE_PATH.into(), AttributeValue::S(table_path.into())),
            (FILE_NAME.into(), AttributeValue::S(file.into())),
        ]
    }

    pub async fn get(&self, table_path: &str, file: &str) -> Result<Option<Item>> {
        let found = self
            .client
            .get_item()
            .table_name(&self.options.table)
            .set_key(Some(self.key(table_path, file).into()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| self.failed("read", &e))?;
        Ok(found.item().and_then(read_item))
    }

    async fn latest(&self, table_path: &str) -> Result<Option<Item>> {
        let found = self
            .client
            .query()
            .table_name(&self.options.table)
            .key_condition_expression(format!("{TABLE_PATH} = :path"))
            .expression_attribute_values(":path", AttributeValue::S(table_path.into()))
            .scan_index_forward(false)
            .limit(1)
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| self.failed("query", &e))?;
        Ok(found.items().first().and_then(read_item))
    }

    /// Creates the item; `false` where there is one.
    pub async fn create_item(&self, table_path: &str, item: &Item) -> Result<bool> {
        let put = self
            .client
            .put_item()
            .table_name(&self.options.table)
            .set_item(Some(self.key(table_path, &item.file).into()))
            .item(TEMP_PATH, AttributeValue::S(item.temp.clone()))
            .item(COMPLETE, AttributeValue::S("false".into()))
            .condition_expression(format!("attribute_not_exists({FILE_NAME})"))
            .send()
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(e) if e.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(e) => Err(self.failed("write", &e)),
        }
    }

    pub async fn complete_item(&self, table_path: &str, item: &Item) -> Result<()> {
        let expires = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            + EXPIRES_AFTER;
        self.client
            .put_item()
            .table_name(&self.options.table)
            .set_item(Some(self.key(table_path, &item.file).into()))
            .item(TEMP_PATH, AttributeValue::S(item.temp.clone()))
            .item(COMPLETE, AttributeValue::S("true".into()))
            .item(
                EXPIRE_TIME,
                AttributeValue::N(expires.as_secs().to_string()),
            )
            .send()
            .await
            .map_err(|e| self.failed("write", &e))?;
        Ok(())
    }

    /// Finishes the newest commit of a table, where its writer did not.
    pub async fn recover(&self, store: &dyn ObjectStore, table_path: &str) -> Result<()> {
        self.check().await?;
        match self.latest(table_path).await? {
            Some(item) if !item.complete => self.finish(store, table_path, &item).await,
            _ => Ok(()),
        }
    }

    /// Copies the temporary object to the commit's name, unless it is there, and completes the item.
    /// Done twice, by two who found it, it is done once: both copy the same bytes.
    pub async fn finish(
        &self,
        store: &dyn ObjectStore,
        table_path: &str,
        item: &Item,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            let done = async {
                let target = in_log(&item.file);
                if !exists(store, &target).await? {
                    store.copy(&in_log(&item.temp), &target).await?;
                }
                self.complete_item(table_path, item).await
            };
            match done.await {
                Err(_) if tries < FIXES => tries += 1,
                ended => return ended,
            }
        }
    }

    fn failed<E, R>(&self, doing: &str, error: &SdkError<E, R>) -> NativeError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        let table = &self.options.table;
        let (kind, why) = match error {
            SdkError::TimeoutError(_) => (
                ErrorKind::StorageTimeout,
                "it did not answer in time".to_owned(),
            ),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => (
                ErrorKind::StorageTimeout,
                "it did not answer in time".to_owned(),
            ),
            SdkError::DispatchFailure(_) => (
                ErrorKind::Storage,
                "no connection; check dynamodb_endpoint, the region and the network".to_owned(),
            ),
            other => {
                let code = other.code().unwrap_or_default().to_owned();
                let said = other.message().unwrap_or("it said no more").to_owned();
                let kind = match code.as_str() {
                    "ProvisionedThroughputExceededException"
                    | "ThrottlingException"
                    | "RequestLimitExceeded" => ErrorKind::Throttled,
                    "ResourceNotFoundException" => ErrorKind::Configuration,
                    "AccessDeniedException"
                    | "UnrecognizedClientException"
                    | "ExpiredTokenException"
                    | "InvalidSignatureException" => ErrorKind::Authentication,
                    _ => ErrorKind::Storage,
                };
                (kind, format!("{code}: {said}"))
            }
        };
        NativeError::new(
            kind,
            format!("could not {doing} the DynamoDB table {table}: {why}"),
        )
        .with("lock_table", table.clone())
    }
}

fn read_item(item: &std::collections::HashMap<String, AttributeValue>) -> Option<Item> {
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some(Item {
        file: text(FILE_NAME)?,
        temp: text(TEMP_PATH)?,
        complete: text(COMPLETE)? == "true",
    })
}

pub fn in_log(name: &str) -> Path {
    Path::from_iter(std::iter::once("_delta_log").chain(name.split('/')))
}

pub async fn exists(store: &dyn ObjectStore, path: &Path) -> Result<bool> {
    match store.head(path).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
