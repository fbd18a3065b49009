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
    pub listen: SocketAddr,
    /// Directory that this process owns: catalogue, outbox, staging.
    pub data: Utf8PathBuf,
    /// File with the bearer token of the read and admin API.
    pub admin_token_file: Utf8PathBuf,
    pub account: AccountConfig,
    pub provider: ProviderConfig,
    pub retention: Retention,
    #[serde(default)]
    pub webhooks: Vec<WebhookConfig>,
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
pub enum ProviderConfig {
    Filesystem { path: Utf8PathBuf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Largest sum of objects, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Free space left on the disk, in bytes; 5 % of it (at most 10 GiB) if absent.
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
