//! The configuration file of one agent process.
//!
//! Invariant: no secret is in it. Credentials are named by the path of a file that holds them.
//! It knows neither how the file came to be nor how the agent runs. Start at [`AgentConfig`].

use std::net::SocketAddr;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use url::Url;

/// Everything one agent process needs; JSON on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Format of this file; 1.
    pub version: u32,
    /// The site, as the profile names it.
    pub site: String,
    /// Directory that this process owns: recordings, journal, index.
    pub data: Utf8PathBuf,
    pub http: HttpConfig,
    pub cameras: Vec<CameraConfig>,
    pub retention: Retention,
    /// Where finished recordings go; without it they stay in `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadConfig>,
}

/// The agent's own API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// File with the bearer token that every call but `/healthz` and `/metrics` needs.
    pub token_file: Utf8PathBuf,
    /// With it the API speaks HTTPS and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// A certificate with its key, both PEM. They may be replaced while the agent runs: it looks every
/// few seconds, so no restart and no recording is spent on a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its issuer.
    pub certificate: Utf8PathBuf,
    pub key: Utf8PathBuf,
}

/// One camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    pub name: String,
    /// Recorded stream; never holds user or password.
    pub rtsp: Url,
    /// Stream that motion looks at, when it is not the recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Url>,
    /// File with `user` on its first line and the password on its second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<Utf8PathBuf>,
    pub record: RecordPolicy,
}

/// When to record, and how long a file may get. Times in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordPolicy {
    pub when: When,
    /// Footage before the trigger; used by `motion`.
    pub pre_ms: u64,
    /// Footage after the last trigger; used by `motion`.
    pub post_ms: u64,
    /// Longest file; the next begins at the following key frame.
    pub longest_ms: u64,
}

/// What makes the agent write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Always.
    Continuous,
    /// From `pre` before motion to `post` after it.
    Motion,
    /// Always, and motion is noted in each file's name.
    Both,
}

/// How long finished footage stays in the agent's own directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Largest sum of recordings, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Free space that is left to others on the disk, in bytes; 2 % of it (at most 4 GiB) if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
}

/// A vault that takes finished recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadConfig {
    /// Base of the vault's API, ending in `/api`.
    pub url: Url,
    pub access_key_file: Utf8PathBuf,
    pub secret_key_file: Utf8PathBuf,
    /// The account's directory (`X-Kerberos-Storage-Directory`).
    pub directory: String,
    /// The vault sees this process' `data`: files are handed over by path instead of sent.
    #[serde(default)]
    pub handoff: bool,
    /// PEM bundle of the only issuers that an `https` vault is trusted by; the system's roots, if
    /// absent. Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Utf8PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read agent configuration `{path}`")]
    Read {
        path: Utf8PathBuf,
        source: std::io::Error,
    },
    #[error("agent configuration `{path}` is not valid")]
    Parse {
        path: Utf8PathBuf,
        source: serde_json::Error,
    },
    #[error("agent configuration `{path}` has version {found}; this agent reads version 1")]
    Version { path: Utf8PathBuf, found: u32 },
    #[error("agent configuration `{path}` names no camera")]
    NoCamera { path: Utf8PathBuf },
    #[error("agent configuration `{path}` names camera `{name}` twice")]
    DuplicateCamera { path: Utf8PathBuf, name: String },
}

/// Reads and checks the file at `path`.
pub fn read_config(path: &camino::Utf8Path) -> Result<AgentConfig, ConfigError> {
    let path = path.to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    let config: AgentConfig = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(source) => return Err(ConfigError::Parse { path, source }),
    };
    if config.version != 1 {
        return Err(ConfigError::Version {
            path,
            found: config.version,
        });
    }
    if config.cameras.is_empty() {
        return Err(ConfigError::NoCamera { path });
    }
    for (i, camera) in config.cameras.iter().enumerate() {
        if config.cameras.iter().take(i).any(|c| c.name == camera.name) {
            return Err(ConfigError::DuplicateCamera {
                path,
                name: camera.name.clone(),
            });
        }
    }
    Ok(config)
}
