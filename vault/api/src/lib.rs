//! The vault's wire: headers, answers, events, and its configuration file.
//!
//! Invariant: types only, and no secret among them. It knows nothing of stores or servers.
//!
//! | call | who | answer |
//! |---|---|---|
//! | `POST /api/storage` | account keys | 200 [`Stored`], else [`Problem`] |
//! | `POST /api/ping` | account keys | 200 |
//! | `GET /api/health`, `/healthz` | open | 200, with a line per integration that takes no events; or 503 and [`Problem`] |
//! | `GET /metrics` | open | Prometheus text |
//! | `GET /api/recordings?camera=&after=&limit=` | admin token or account keys | [`Page`], newest first |
//! | `GET`, `HEAD /api/recordings/{id}` | same | [`Recording`] |
//! | `GET`, `HEAD /api/recordings/{id}/media` | same | `video/mp4`, ranges |
//! | `GET /api/events?after=SEQ&wait_ms=N` | admin token | `Vec<`[`Event`]`>`, oldest first; waits up to N ms (at most 30,000) for one |
//! | `GET /api/usage` | admin token | [`Usage`] |

mod config;

pub use config::{
    AccountConfig, AmqpConfig, CatalogueConfig, ConfigError, Identity, MqttConfig, ProviderConfig,
    PublicConfig, Retention, S3Identity, TlsConfig, VaultConfig, WebhookConfig, read_config,
};

use serde::{Deserialize, Serialize};

/// Version of the catalogue's tables that this release writes. Steps between versions go forward
/// only, so an older vault does not open a newer catalogue.
pub const CATALOGUE_VERSION: u32 = 1;

/// Request headers of `POST /api/storage`, as upstream's agent sends them (upstream-agent.md, 4.2).
pub mod header {
    pub const ACCESS_KEY: &str = "x-kerberos-storage-accesskey";
    pub const SECRET_KEY: &str = "x-kerberos-storage-secretaccesskey";
    pub const FILE_NAME: &str = "x-kerberos-storage-filename";
    pub const DEVICE: &str = "x-kerberos-storage-device";
    pub const CAPTURE: &str = "x-kerberos-storage-capture";
    pub const DIRECTORY: &str = "x-kerberos-storage-directory";
    pub const PROVIDER: &str = "x-kerberos-storage-provider";
    pub const FPS: &str = "x-kerberos-storage-fps";
    /// Milliseconds.
    pub const DURATION: &str = "x-kerberos-storage-duration";
    /// Unix milliseconds.
    pub const TIMESTAMP: &str = "x-kerberos-storage-timestamp";
    /// Ours: absolute path of a finished file that the vault may take by rename; the body is empty.
    /// Allowed only below the account's `handoff` directories.
    pub const HANDOFF: &str = "x-stakeout-handoff";
    /// Ours: camera name, where the device key is not it.
    pub const CAMERA: &str = "x-stakeout-camera";
    /// Ours: lower-case hex SHA-256 of the body; a mismatch is refused.
    pub const SHA256: &str = "x-stakeout-sha256";
}

/// Acknowledgement: the provider holds the object durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `file_uploaded`, upstream's word for it.
    pub status: String,
    pub id: i64,
    /// `<directory>/<file name>`.
    pub key: String,
    pub bytes: u64,
    /// This very recording was there before; nothing was written.
    pub duplicate: bool,
}

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable word: `storage_account_not_found`, `storage_directory_invalid`, `file_empty`, …
    pub status: String,
    pub message: String,
}

/// One recording in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub id: i64,
    /// `<directory>/<file name>`.
    pub key: String,
    pub account: String,
    pub camera: String,
    /// Unix milliseconds.
    pub start_ms: i64,
    pub duration_ms: i64,
    pub bytes: i64,
    /// Lower-case hex; absent when the file was handed over by rename and not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Unix milliseconds of the acknowledgement.
    pub stored_ms: i64,
    /// Where the provider keeps it, in its own terms: a path, or `s3://BUCKET/KEY`.
    pub location: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub recordings: Vec<Recording>,
    /// Hand it back as `after` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Told to integrations after the object is durable, at least once; `seq` tells repeats apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub seq: i64,
    /// `recording.stored` or `recording.expired`.
    #[serde(rename = "type")]
    pub kind: String,
    pub site: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    pub recording: Recording,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub recordings: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
    /// Events that an integration has not taken yet.
    pub undelivered: u64,
    /// Bytes; absent where the provider has no disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total: Option<u64>,
    #[serde(default)]
    pub integrations: Vec<IntegrationUsage>,
}

/// How an integration does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationUsage {
    pub name: String,
    /// Events that it has not taken yet.
    pub undelivered: u64,
    /// Why it takes none now; absent when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
