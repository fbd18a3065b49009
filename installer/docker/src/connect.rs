//! The way to an engine: `DOCKER_HOST`, the current context of the `docker` command, or the socket
//! that Docker has by itself.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;

use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::fs::{Access, access};

use crate::error::DockerError;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Long enough for a slow disk to make a container; streams have no limit.
const TIMEOUT_SECONDS: u64 = 120;

/// Where an engine is, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `unix:///…` or `tcp://host:port`.
    pub address: String,
    /// `DOCKER_HOST`, `context NAME`, or `the default`.
    pub named_by: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for tcp.
    certificates: Option<PathBuf>,
}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Connection {
    pub docker: Docker,
    pub origin: Origin,
    /// `linux/amd64`, `linux/arm64`, …
    pub platform: String,
}

impl Connection {
    /// The engine's files are this machine's.
    pub fn is_local(&self) -> bool {
        self.origin.address.starts_with("unix://")
    }
}

impl Origin {
    /// Reads the environment and the configuration of the `docker` command.
    pub fn read() -> Self {
        let certificates = env::var_os("DOCKER_CERT_PATH").map(PathBuf::from);
        if let Ok(address) = env::var("DOCKER_HOST")
            && !address.is_empty()
        {
            let verify = env::var_os("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty());
            return Self {
                address,
                named_by: "DOCKER_HOST".to_owned(),
                certificates: certificates.or_else(|| verify.then(|| home().join(".docker"))),
            };
        }
        context().unwrap_or_else(|| Self {
            address: format!("unix://{DEFAULT_SOCKET}"),
            named_by: "the default".to_owned(),
            certificates: None,
        })
    }
}

fn home() -> PathBuf {
    env::var_os("HOME").map(PathBuf::from).unwrap_or_default()
}

/// The context that `docker context use` chose, if it is not the default one.
fn context() -> Option<Origin> {
    let folder = env::var_os("DOCKER_CONFIG").map_or_else(|| home().join(".docker"), PathBuf::from);
    let chosen = env::var("DOCKER_CONTEXT").ok().or_else(|| {
        let text = fs::read_to_string(folder.join("config.json")).ok()?;
        let config: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
        Some(config.get("currentContext")?.as_str()?.to_owned())
    })?;
    // Contexts lie in folders named by the SHA-256 of their name.
    let digest = {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(chosen.as_bytes()))
    };
    let meta = folder.join("contexts/meta").join(&digest).join("meta.json");
    let meta: serde_json::Value = serde_json::from_str(&fs::read_to_string(meta).ok()?).ok()?;
    let address = meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned();
    let certificates = folder.join("contexts/tls").join(&digest).join("docker");
    Some(Origin {
        address,
        named_by: format!("context {chosen}"),
        certificates: certificates.is_dir().then_some(certificates),
    })
}

/// Connects and agrees on the API's version.
pub async fn connect(origin: Origin) -> Result<Connection, DockerError> {
    let address = origin.address.clone();
    let unusable = |reason: &str| DockerError::Address {
        origin: address.clone(),
        reason: reason.to_owned(),
    };
    let folder = origin.certificates.clone();
    let absent = |source: Option<bollard::errors::Error>| match (source, &folder) {
        (Some(source), Some(folder)) if is_about_certificates(&source) => {
            DockerError::Certificates {
                origin: address.clone(),
                folder: folder.display().to_string(),
                source,
            }
        }
        (source, _) => DockerError::Absent {
            origin: address.clone(),
            source,
        },
    };
    let docker = if let Some(path) = address.strip_prefix("unix://") {
        match access(path, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => {}
            // The socket's own permission, or that of a folder on the way.
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                let uid = rustix::process::geteuid().as_raw();
                return Err(DockerError::Forbidden {
                    origin: address,
                    uid,
                });
            }
            Err(_) => return Err(absent(None)),
        }
        Docker::connect_with_unix(&address, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
    } else if address.starts_with("tcp://") || address.starts_with("https://") {
        let folder = origin.certificates.as_deref().ok_or_else(|| {
            unusable("without TLS anybody in the network would be root there; set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH")
        })?;
        Docker::connect_with_ssl(
            &address,
            &folder.join("key.pem"),
            &folder.join("cert.pem"),
            &folder.join("ca.pem"),
            TIMEOUT_SECONDS,
            API_DEFAULT_VERSION,
        )
    } else {
        return Err(unusable("it begins with neither unix:// nor tcp://"));
    };
    let docker = docker.map_err(|source| absent(Some(source)))?;
    let docker = docker
        .negotiate_version()
        .await
        .map_err(|source| absent(Some(source)))?;
    let version = docker
        .version()
        .await
        .map_err(|source| absent(Some(source)))?;
    let platform = format!(
        "{}/{}",
        version.os.unwrap_or_default(),
        version.arch.unwrap_or_default()
    );
    Ok(Connection {
        docker,
        origin,
        platform,
    })
}

/// The TLS library's own words, wherever in the chain they are; so is a file that cannot be read.
fn is_about_certificates(error: &bollard::errors::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let said = error.to_string().to_lowercase();
        if ["certificate", "handshake", "alert"]
            .iter()
            .any(|word| said.contains(word))
        {
            return true;
        }
        next = error.source();
    }
    false
}
