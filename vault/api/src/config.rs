//! The vault's configuration file, JSON.

use std::net::SocketAddr;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use url::Url;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// Format of this file; 1.
    pub version: u32,
    pub site: String,
    /// Where the API is served; `0.0.0.0:PORT` is every address of the machine or container.
    pub listen: SocketAddr,
    /// HTTPS; plain HTTP if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// A second place where the API is served, for people and other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicConfig>,
    /// Directory that this process owns: catalogue, outbox, staging.
    pub data: Utf8PathBuf,
    /// File with the bearer token of the read and admin API.
    pub admin_token_file: Utf8PathBuf,
    pub account: AccountConfig,
    pub provider: ProviderConfig,
    /// Where it is noted what the provider holds, and what was told of it.
    #[serde(default, skip_serializing_if = "CatalogueConfig::is_sqlite")]
    pub catalogue: CatalogueConfig,
    pub retention: Retention,
    #[serde(default)]
    pub webhooks: Vec<WebhookConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mqtt: Vec<MqttConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amqp: Vec<AmqpConfig>,
}

/// Never plain HTTP, and never a reason for the vault to stop: where the address or the certificate
/// is missing, it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicConfig {
    pub listen: SocketAddr,
    pub tls: TlsConfig,
}

/// Where the certificate of the API comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum TlsConfig {
    /// PEM files; they are read again when they change, without a restart.
    Files {
        /// The certificate, then what leads to its root.
        certificate: Utf8PathBuf,
        /// PKCS #8, SEC 1 or PKCS #1; nobody else may read it.
        key: Utf8PathBuf,
    },
    /// RFC 8555, proved by TLS-ALPN-01 (RFC 8737): the authority reaches `listen` at port 443.
    Acme {
        /// The authority's directory.
        directory: Url,
        domains: Vec<String>,
        /// `mailto:` addresses.
        #[serde(default)]
        contact: Vec<String>,
        /// Folder of account and certificate.
        cache: Utf8PathBuf,
        /// PEM of the roots of a private authority; those of the system if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<Utf8PathBuf>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    pub name: String,
    /// First part of every key; `*` lets the agent choose.
    pub directory: String,
    pub access_key_file: Utf8PathBuf,
    pub secret_key_file: Utf8PathBuf,
    /// Directories below which an agent may hand files over by path.
    #[serde(default)]
    pub handoff: Vec<Utf8PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum ProviderConfig {
    Filesystem {
        path: Utf8PathBuf,
    },
    /// Amazon S3, MinIO, and what else speaks its API.
    S3 {
        /// Where it answers; Amazon's own for the region if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<Url>,
        region: String,
        bucket: String,
        /// Put before every key, with a `/` in between.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        identity: S3Identity,
        /// PEM of the roots of a private authority; those of the system if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<Utf8PathBuf>,
        /// `https://HOST/BUCKET/KEY` instead of `https://BUCKET.HOST/KEY`.
        #[serde(default)]
        path_style: bool,
        /// Make the bucket where it is missing.
        #[serde(default)]
        create_bucket: bool,
    },
}

/// Who asks a bucket's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum S3Identity {
    /// Whoever has these keys.
    Keys {
        access_key_file: Utf8PathBuf,
        secret_key_file: Utf8PathBuf,
    },
    /// Whoever the platform says that this process is: EKS by a role of its service account or by
    /// Pod Identity, ECS, or an instance of EC2. There is no key anywhere.
    Platform,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum CatalogueConfig {
    /// `catalogue.sqlite` below `data`.
    #[default]
    Sqlite,
    /// MongoDB, FerretDB, and what else speaks its protocol; several vaults may share it.
    Mongodb {
        /// `mongodb://HOST[:PORT][,HOST[:PORT]…]/[?replicaSet=NAME]`; never holds user or password.
        uri: String,
        database: String,
        /// User in the first line, password in the second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials_file: Option<Utf8PathBuf>,
        #[serde(default)]
        tls: bool,
        /// PEM of the roots of a private authority; Mozilla's if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<Utf8PathBuf>,
        /// This vault's certificate, for a server that asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<Identity>,
    },
}

/// PEM files; read at the start only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub certificate: Utf8PathBuf,
    /// Nobody else may read it.
    pub key: Utf8PathBuf,
}

impl CatalogueConfig {
    fn is_sqlite(&self) -> bool {
        *self == Self::Sqlite
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Largest sum of objects, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Free space left on the disk, in bytes; 5 % of it (at most 10 GiB) if absent. Means nothing
    /// to a provider without a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub name: String,
    /// `http` or `https`; never holds user or password.
    pub url: Url,
    /// File with the key of the `x-stakeout-signature` header (HMAC-SHA256 over the body, hex).
    pub secret_file: Utf8PathBuf,
}

/// A broker that hears of every event by MQTT 5, at least once (QoS 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    pub name: String,
    /// `mqtt://HOST:1883` or `mqtts://HOST:8883`; never holds user or password.
    pub url: Url,
    /// `stakeout/<site>/recordings` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// User in the first line, password in the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<Utf8PathBuf>,
    /// PEM of the roots of a private authority; those of the system if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Utf8PathBuf>,
}

/// A broker that hears of every event by AMQP 0-9-1, at least once (publisher confirms).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    pub name: String,
    /// `amqp://HOST:5672/VHOST` or `amqps://HOST:5671/VHOST`; never holds user or password.
    pub url: Url,
    /// A durable topic exchange, made where it is missing; the default exchange if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// A durable quorum queue, made where it is missing and bound to the exchange.
    /// `stakeout.<site>.recordings` if neither it nor an exchange is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// User in the first line, password in the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<Utf8PathBuf>,
    /// PEM of the roots of a private authority; those of the system if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Utf8PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read vault configuration `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: std::io::Error,
    },
    #[error("vault configuration `{path}` is not valid")]
    Parse {
        path: Utf8PathBuf,
        source: serde_json::Error,
    },
    #[error("vault configuration `{path}` has version {found}; this vault reads version 1")]
    Version { path: Utf8PathBuf, found: u32 },
}

/// Reads and checks the file at `path`.
pub fn read_config(path: &Utf8Path) -> Result<VaultConfig, ConfigError> {
    let path = path.to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let config: VaultConfig = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(source) => return Err(ConfigError::Parse { path, source }),
    };
    if config.version != 1 {
        return Err(ConfigError::Version {
            path,
            found: config.version,
        });
    }
    Ok(config)
}
