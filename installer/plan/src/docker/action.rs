//! What the container engine is told to do.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::docker::{Component, Limits, MountAccess, Published, Reach};
use installer_render::{SecretName, SecretOrigin};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Changes to an engine and to the data directory on its machine. Each can be repeated without
/// harm; paths are relative to the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum DockerAction {
    /// Brings an image that the engine does not have.
    FetchImage {
        component: Component,
        reference: String,
        from: ImageSource,
    },
    MakeDirectory {
        path: Utf8PathBuf,
        mode: u32,
        owner: u32,
    },
    /// Create-only.
    MakeSecret {
        name: SecretName,
        path: Utf8PathBuf,
        origin: SecretOrigin,
        /// Key of the profile's login that it holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<String>,
        /// A file that holds it already: of the same site at another target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<Utf8PathBuf>,
        /// The secret that it is made of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<Utf8PathBuf>,
        owner: u32,
    },
    /// A new authority of the site, and the trust in it. Paths are folders.
    MakeAuthority {
        folder: Utf8PathBuf,
        trust: Utf8PathBuf,
        owner: u32,
    },
    /// A certificate from the authority in `authority`, with a new key. `certificate` and `key` are
    /// files in `folder`.
    IssueCertificate {
        service: String,
        certificate: String,
        key: String,
        names: BTreeSet<String>,
        authority: Utf8PathBuf,
        folder: Utf8PathBuf,
        owner: u32,
    },
    /// The owner's certificate and key, which lie beside the profile and have this fingerprint.
    InstallCertificate {
        fingerprint: String,
        certificate: String,
        key: String,
        folder: Utf8PathBuf,
        owner: u32,
    },
    WriteFile {
        path: Utf8PathBuf,
        mode: u32,
        contents: String,
        owner: u32,
    },
    RemoveFile {
        path: Utf8PathBuf,
    },
    /// With everything in it where `recursive`, else only when empty.
    RemoveDirectory {
        path: Utf8PathBuf,
        recursive: bool,
    },
    /// Gives everything there to one user.
    Own {
        path: Utf8PathBuf,
        owner: u32,
    },
    CreateNetwork(NetworkSpec),
    RemoveNetwork {
        name: String,
    },
    Connect {
        container: String,
        network: String,
        alias: String,
    },
    /// Made, not started.
    CreateContainer(Box<ContainerSpec>),
    StartContainer {
        name: String,
    },
    /// For one that reads a file at its start only, which has changed.
    RestartContainer {
        name: String,
    },
    /// Stops the first and starts the second; when that does not become well, the first runs again.
    SwapContainers {
        service: String,
        from: String,
        to: String,
        digest: Digest,
        deadline_seconds: u64,
        /// It is an agent: cameras that gave frames before have to give them again.
        records: bool,
        /// Cameras of it that record all the time: each has to write something newer.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        continuous: BTreeSet<String>,
    },
    /// Stops it first, giving it time to finish.
    RemoveContainer {
        name: String,
    },
    RenameContainer {
        from: String,
        to: String,
    },
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// An image folder (OCI layout) beside the installer, and which of its platforms.
    Folder { path: Utf8PathBuf, platform: String },
    /// The registry in the reference.
    Registry,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub reach: Reach,
    pub labels: BTreeMap<String, String>,
}

/// Everything that the engine is told about one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub service: String,
    /// The image's ID, which is the digest of its configuration; of other people's the reference.
    pub image: String,
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Folders in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scratch: Vec<Utf8PathBuf>,
    /// User and group number.
    pub user: u32,
    /// The network that it starts in; others are joined by [`DockerAction::Connect`].
    pub network: Option<String>,
    pub binds: Vec<Bind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    pub health: Vec<String>,
    pub limits: Limits,
    pub stop_seconds: u64,
    /// Of the site, the service and the digest of all of this.
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute, on the engine's machine.
    pub source: Utf8PathBuf,
    pub target: Utf8PathBuf,
    pub access: MountAccess,
}
