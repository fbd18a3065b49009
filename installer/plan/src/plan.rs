//! A plan: ordered steps that carry every choice.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use installer_render::host::Program;
use installer_render::kubernetes::ObjectId;
use installer_render::{RenderedFile, SecretName, SecretOrigin};
use serde::{Deserialize, Serialize};

use crate::check::Finding;
use crate::digest::{Digest, digest_of};
use crate::docker::DockerAction;
use crate::facts::CameraFact;
use crate::kubernetes::{Conflicts, KubernetesAction};
use crate::receipt::Owned;
use crate::storage::StorageEstimate;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Install,
    Uninstall,
}

/// The whole way from what is there to what is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Format of a saved plan; 1.
    pub format: u32,
    pub operation: Operation,
    pub site: String,
    /// `host`, `docker`, `kubernetes`.
    pub target: String,
    /// The machine it was made for.
    pub machine: String,
    pub data: Utf8PathBuf,
    pub steps: Vec<Step>,
    /// Things that are as they should be.
    pub unchanged: usize,
    /// What the site owns when the plan is done.
    pub owned: Owned,
    /// What stands in the way, and what the owner should know.
    pub findings: Vec<Finding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageEstimate>,
    /// The objects that it changes or removes, as they were when it was made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<ObjectId, Digest>,
    /// Fields of other managers that it would take, and whether it may.
    #[serde(default, skip_serializing_if = "Conflicts::is_empty")]
    pub conflicts: Conflicts,
    /// Bit rates that the estimate is made of, by camera, as far as they were measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, CameraFact>,
}

impl Plan {
    /// Identifies the changes; findings and estimates are left out, since they move by themselves.
    pub fn digest(&self) -> Digest {
        digest_of(&(
            self.format,
            self.operation,
            &self.site,
            &self.machine,
            &self.data,
            &self.steps,
            &self.seen,
            &self.conflicts,
        ))
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The text files that it writes, in path order; programs and secrets are left out.
    pub(crate) fn into_files(self) -> Vec<RenderedFile> {
        let written = |action| match action {
            Action::Host(HostAction::WriteFile { path, contents, .. })
            | Action::Docker(DockerAction::WriteFile { path, contents, .. }) => {
                Some((path, contents))
            }
            Action::Host(_) | Action::Docker(_) | Action::Kubernetes(_) => None,
        };
        let mut files: Vec<_> = self
            .steps
            .into_iter()
            .filter_map(|step| written(step.action))
            .map(|(path, contents)| RenderedFile {
                // An absolute path stays as it is.
                path: self.data.join(path),
                contents,
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Stable and unique within the plan: `file config/vault.json`.
    pub id: String,
    pub change: Change,
    /// Lines that say more than the id: a difference, a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    pub action: Action,
    /// Holds before the next step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Add,
    Change,
    Remove,
}

/// What an adapter is told to do; each target has its own vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Host(HostAction),
    Docker(DockerAction),
    Kubernetes(KubernetesAction),
}

/// Changes to a host. Each can be repeated without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum HostAction {
    /// A system user without home, shell or password.
    CreateUser {
        name: String,
    },
    RemoveUser {
        name: String,
    },
    /// `owner` is a user name; absent, the user that installs.
    MakeDirectory {
        path: Utf8PathBuf,
        mode: u32,
        owner: Option<String>,
    },
    /// Copied, so that the site outlives the folder it was built in.
    InstallProgram {
        program: Program,
        from: Utf8PathBuf,
        to: Utf8PathBuf,
        digest: Digest,
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
        owner: Option<String>,
    },
    /// A new authority of the site, and the trust in it. Paths are folders.
    MakeAuthority {
        folder: Utf8PathBuf,
        trust: Utf8PathBuf,
    },
    /// A certificate from the authority in `authority`, with a new key.
    IssueCertificate {
        service: String,
        names: BTreeSet<String>,
        authority: Utf8PathBuf,
        certificate: Utf8PathBuf,
        key: Utf8PathBuf,
        owner: Option<String>,
    },
    /// The owner's certificate and key, which lie beside the profile and have this fingerprint.
    InstallCertificate {
        fingerprint: String,
        certificate: Utf8PathBuf,
        key: Utf8PathBuf,
        owner: Option<String>,
    },
    WriteFile {
        path: Utf8PathBuf,
        mode: u32,
        contents: String,
        owner: Option<String>,
    },
    RemoveFile {
        path: Utf8PathBuf,
    },
    /// With everything in it where `recursive`, else only when empty.
    RemoveDirectory {
        path: Utf8PathBuf,
        recursive: bool,
    },
    /// Gives everything there to one user; absent, to the one that installs.
    Own {
        path: Utf8PathBuf,
        owner: Option<String>,
    },
    /// The service manager reads its files again.
    ReloadServices,
    StartSupervisor {
        program: Utf8PathBuf,
    },
    StopSupervisor,
    /// Starts it at boot, too.
    EnableService {
        unit: String,
    },
    DisableService {
        unit: String,
    },
    /// Starts or restarts it with what is on disk now.
    StartService {
        name: String,
        unit: String,
    },
    StopService {
        name: String,
        unit: String,
    },
}

/// What has to be true before a run goes on. The deadline is in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "until")]
pub enum Condition {
    /// The container runs, has this digest, and its own health command is content.
    Container {
        service: String,
        name: String,
        digest: Digest,
        deadline_seconds: u64,
    },
    /// `GET http://127.0.0.1:port/healthz` answers 200, from the process with this digest.
    Healthy {
        service: String,
        port: u16,
        digest: Digest,
        deadline_seconds: u64,
    },
    /// The port takes connections.
    Listening {
        service: String,
        port: u16,
        digest: Digest,
        deadline_seconds: u64,
    },
    Stopped {
        service: String,
        deadline_seconds: u64,
    },
    SupervisorAnswers {
        deadline_seconds: u64,
    },
    SupervisorGone {
        deadline_seconds: u64,
    },
    /// These Deployments run what was last said of them, and nothing older.
    RolledOut {
        names: BTreeSet<String>,
        deadline_seconds: u64,
    },
    /// The cameras of these agents do what they did when they were noted, and have written something
    /// newer.
    Recording {
        agents: BTreeSet<String>,
        deadline_seconds: u64,
    },
    /// These objects of a cluster are there no more.
    Gone {
        objects: BTreeSet<ObjectId>,
        deadline_seconds: u64,
    },
    /// Every workload in the namespace of a release runs what was last said of it.
    Released {
        name: String,
        namespace: String,
        deadline_seconds: u64,
    },
    /// What an addon of a cluster brings is there.
    Addon {
        name: String,
        brings: crate::kubernetes::Brings,
        deadline_seconds: u64,
    },
    /// Each of these; they are waited for at the same time.
    All {
        of: Vec<Self>,
    },
}
