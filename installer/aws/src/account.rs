//! An account of Amazon's, as whoever runs this may use it.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use installer_engine::{EffectError, ErrorKind};
use url::Url;

const CONNECT: Duration = Duration::from_secs(5);
/// One try of one call; the slowest are IAM's, with seconds.
const TRY: Duration = Duration::from_secs(20);
/// What the SDK repeats by itself, with pauses that grow: throttling, and answers that did not come.
const TRIES: u32 = 5;
/// Somebody waits in front of a screen.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How to come to an account.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    pub region: String,
    /// A section of the caller's own AWS configuration.
    pub profile: Option<String>,
    /// One URL for all services instead of Amazon's.
    pub endpoint: Option<Url>,
}

/// Clients for what a site needs. Keys stay inside of them.
#[derive(Debug, Clone)]
pub struct Account {
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) eks: aws_sdk_eks::Client,
}

impl Account {
    /// Finds out who calls, as Amazon's own programs do: environment, configuration files, a login
    /// in the browser, the machine.
    pub async fn connect(connection: &Connection) -> Result<Self, EffectError> {
        Self::with(connection, None).await
    }

    /// As whoever `provider` says.
    pub async fn connect_as(
        connection: &Connection,
        provider: SharedCredentialsProvider,
    ) -> Result<Self, EffectError> {
        Self::with(connection, Some(provider)).await
    }

    async fn with(
        connection: &Connection,
        provider: Option<SharedCredentialsProvider>,
    ) -> Result<Self, EffectError> {
        let client = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(connection.region.clone()))
            .http_client(client)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(TRIES)
                    .with_initial_backoff(FIRST_PAUSE)
                    .with_max_backoff(LONGEST_PAUSE),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(TRY)
                    .build(),
            );
        if let Some(profile) = &connection.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &connection.endpoint {
            loader = loader.endpoint_url(endpoint.as_str().trim_end_matches('/'));
        }
        if let Some(provider) = provider {
            loader = loader.credentials_provider(provider);
        }
        let config = loader.load().await;
        let nobody = || {
            EffectError::new(
                ErrorKind::Forbidden,
                "nobody is logged in at AWS: run `aws sso login`, or set AWS_PROFILE",
            )
        };
        let provider = config.credentials_provider().ok_or_else(nobody)?;
        let found = provider.provide_credentials().await;
        found.map_err(|error| nobody().because(error))?;
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            // An address has no names below it.
            .force_path_style(connection.endpoint.is_some())
            .build();
        Ok(Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            iam: aws_sdk_iam::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            eks: aws_sdk_eks::Client::new(&config),
        })
    }
}
