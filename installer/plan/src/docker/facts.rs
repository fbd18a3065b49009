//! What was observed at a container engine, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use camino::Utf8PathBuf;
use installer_render::docker::Component;
use serde::{Deserialize, Serialize};

use super::ImageSource;
use crate::access::AccessFacts;
use crate::certificate::CertificateFacts;
use crate::digest::Digest;
use crate::facts::{CameraFact, Disk, PathFact, SecretFact};
use crate::receipt::Receipt;

/// Everything that planning for an engine may know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DockerFacts {
    pub engine: Engine,
    /// The data directory, on the engine's machine.
    pub data: Utf8PathBuf,
    /// Absent where the engine's disk cannot be seen from here.
    pub disk: Option<Disk>,
    /// Told apart from other installations of a site of this name: read from what is there, else
    /// made up for a first one.
    pub installation: String,
    /// User number that containers run as.
    pub owner: u32,
    pub images: BTreeMap<Component, ImageFact>,
    /// Networks with a name of this site.
    pub networks: BTreeMap<String, NetworkFact>,
    /// Containers with a name of this site.
    pub containers: BTreeMap<String, ContainerFact>,
    /// Below the data directory's `control` and its first level, by path relative to it.
    pub paths: BTreeMap<Utf8PathBuf, PathFact>,
    /// By purpose.
    pub secrets: BTreeMap<String, SecretFact>,
    pub missing_logins: BTreeMap<String, String>,
    pub certificates: CertificateFacts,
    #[serde(default)]
    pub access: AccessFacts,
    pub receipt: Option<Receipt>,
    /// Secrets of the same site at another target, by purpose: paths below the data directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<String, Utf8PathBuf>,
    /// Secrets that the owner wants anew, by purpose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rotate: BTreeSet<String>,
    pub cameras: BTreeMap<String, CameraFact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// The engine's own identity.
    pub id: String,
    pub name: String,
    pub version: String,
    pub api: String,
    /// `linux/amd64`, `linux/arm64`, …
    pub platform: String,
    pub rootless: bool,
    pub cgroup_version: String,
    pub storage_driver: String,
    pub root: Utf8PathBuf,
    pub cpus: u64,
    pub memory_bytes: u64,
    /// Reached by a socket of this machine, so that its files are this machine's.
    pub local: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFact {
    pub reference: String,
    /// ID under which the engine has it.
    pub present: Option<String>,
    /// ID that this release says it must have.
    pub wanted: Option<String>,
    pub source: Option<ImageSource>,
    #[serde(default)]
    pub standing: ImageStanding,
    /// What stands in the way of having it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<ImageObstacle>,
}

impl ImageFact {
    /// The engine has it, and it is the one of this release where that is known.
    pub fn is_there(&self) -> bool {
        self.present.is_some() && (self.wanted.is_none() || self.wanted == self.present)
    }
}

/// Why an image cannot be had, found out without changing anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageObstacle {
    /// A folder of images has another one than its release says, or none.
    OtherInFolder {
        folder: Utf8PathBuf,
        /// Digest that the release names.
        named: String,
        /// What is there instead: a digest, or why there is none.
        found: String,
    },
    /// The engine asked the registry for it, and this came of it.
    Registry { reason: String },
}

/// Whether what is in an image is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageStanding {
    /// By its digest.
    #[default]
    Pinned,
    /// Nobody has looked its digest up.
    Unverified,
    /// The same, and the owner insists (`--allow-unverified-images`).
    Insisted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFact {
    pub ownership: Ownership,
    /// No way out of it.
    pub internal: bool,
}

/// Whose thing with a name of ours it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// This installation's.
    Ours,
    /// Somebody else's, and by which sign.
    Foreign(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFact {
    pub ownership: Ownership,
    pub state: ContainerState,
    pub digest: Option<Digest>,
    /// ID of its image.
    pub image: String,
    pub networks: BTreeSet<String>,
    /// Addresses of the machine at which it is reached, while it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub published: BTreeSet<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerState {
    Running,
    /// Its health command says no, or it ends again and again.
    Failing,
    Paused,
    Stopped,
}
