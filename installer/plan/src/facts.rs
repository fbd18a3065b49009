//! What was observed at a host, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::host::Program;
use serde::{Deserialize, Serialize};

use crate::access::AccessFacts;
use crate::certificate::CertificateFacts;
use crate::digest::Digest;
use crate::receipt::Receipt;

/// Everything that planning may know of the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub machine: Machine,
    pub data: DataDirectory,
    /// Programs beside this one, with the digest of their files; a missing one is absent.
    pub programs: BTreeMap<Program, (Utf8PathBuf, Digest)>,
    /// Every managed file and directory that exists: below the data directory (footage and logs
    /// excepted) and this site's units.
    pub paths: BTreeMap<Utf8PathBuf, PathFact>,
    /// By purpose.
    pub secrets: BTreeMap<String, SecretFact>,
    /// Logins that the profile names and nobody can provide, with the reason.
    pub missing_logins: BTreeMap<String, String>,
    #[serde(default)]
    pub certificates: CertificateFacts,
    #[serde(default)]
    pub access: AccessFacts,
    /// Services of this site that the service manager knows.
    pub services: BTreeMap<String, ServiceFact>,
    /// Our supervisor answers.
    pub supervisor: bool,
    pub ports: PortFact,
    pub receipt: Option<Receipt>,
    /// Secrets of the same site at another target, by purpose: files of this machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<String, Utf8PathBuf>,
    /// Secrets that the owner wants anew, by purpose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rotate: BTreeSet<String>,
    /// By camera name: from its footage, else as it was measured at an earlier run or now.
    pub cameras: BTreeMap<String, CameraFact>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub hostname: String,
    /// `/etc/machine-id`, or the boot's where there is none.
    pub id: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub uid: u32,
    pub manager: ServiceManager,
    /// The user that services run as under systemd ([`crate::host::user_name`]) exists.
    pub service_user: bool,
}

/// What keeps processes running here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceManager {
    /// systemd is PID 1 and we may write its units.
    Systemd,
    /// One process of ours.
    Supervisor,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDirectory {
    pub path: Utf8PathBuf,
    pub writable: Writable,
    pub disk: Disk,
}

/// Whether files can be made at the data directory or the nearest folder above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writable {
    Yes,
    /// The file system is mounted read-only.
    ReadOnly,
    /// This user may not write in the named folder.
    Denied(Utf8PathBuf),
    /// Something that is no folder stands in the way.
    NotADirectory(Utf8PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// What this site's footage takes of it now.
    pub footage_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathFact {
    /// `text` is there for configuration, so that a plan can show what differs.
    File {
        digest: Digest,
        mode: u32,
        text: Option<String>,
    },
    Directory {
        mode: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFact {
    /// Versions that are kept, in order.
    pub versions: BTreeSet<u32>,
    /// The newest version whose value equals what the profile's source says; the newest of all
    /// where no source can be asked.
    pub current: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFact {
    pub running: bool,
    /// What it was started with; see [`crate::host`].
    pub digest: Option<Digest>,
    /// Comes back by itself after a reboot.
    pub enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PortFact {
    /// Loopback ports on which nothing listens, lowest first.
    pub free: Vec<u16>,
    /// Ports of the receipt that something else than our own service holds.
    pub taken: BTreeSet<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CameraFact {
    pub bits_per_second: u64,
}
