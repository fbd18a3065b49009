//! The targets side by side: what was seen of each, and the way to change it. Nothing else of the
//! program asks which target it is.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use installer_docker::{Connection, DockerError, DockerObserved, DockerWorld};
use installer_engine::{EffectError, ErrorKind, Probe, World};
use installer_host::{HostWorld, Observed};
use installer_kubernetes::{KubernetesObserved, KubernetesWorld};
use installer_plan::docker::Ownership;
use installer_plan::{Action, CameraFact, Condition, Receipt, SecretFact};
use installer_render::Layout;
use installer_spec::TargetChoice;

use crate::error::{CommandError, Exit};

/// Where a site is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// Services of this machine.
    Host,
    /// Containers of an engine.
    Docker,
    /// Objects of a cluster.
    Kubernetes,
}

impl Target {
    /// The target that is asked for; nothing where it is left open.
    pub(crate) fn asked(asked: Option<Self>, profile: TargetChoice) -> Option<Self> {
        match (asked, profile) {
            (Some(target), _) => Some(target),
            (None, TargetChoice::Auto) => None,
            (None, TargetChoice::Host) => Some(Self::Host),
            (None, TargetChoice::Docker) => Some(Self::Docker),
            (None, TargetChoice::Kubernetes) => Some(Self::Kubernetes),
        }
    }

    /// Whether a site lies at `data` for this target, or is about to.
    pub(crate) fn lies_at(self, data: &Utf8Path) -> bool {
        let layout = match self {
            Self::Host => Layout::new(data),
            Self::Docker => Layout::with_control(data),
            Self::Kubernetes => return false,
        };
        layout.receipt().exists()
    }

    /// The target that a site can come from, with all that it has recorded.
    pub(crate) fn other(self) -> Option<Self> {
        match self {
            Self::Host => Some(Self::Docker),
            Self::Docker => Some(Self::Host),
            Self::Kubernetes => None,
        }
    }

    /// As `--target` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Host => "this machine's services",
            Self::Docker => "the container engine",
            Self::Kubernetes => "the cluster",
        }
    }
}

/// What is made anew though nothing is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// By purpose.
    pub(crate) secrets: BTreeSet<String>,
    /// The site's authority, and with it every certificate.
    pub(crate) certificates: bool,
}

/// An engine and what was observed at it.
#[derive(Debug)]
pub(crate) struct OnEngine {
    pub(crate) connection: Connection,
    pub(crate) observed: DockerObserved,
}

/// A cluster and what was observed at it.
#[derive(Debug)]
pub(crate) struct OnCluster {
    pub(crate) connection: installer_kubernetes::Connection,
    pub(crate) observed: KubernetesObserved,
    /// Of the site's lock, just before.
    pub(crate) turn: Option<installer_kubernetes::Turn>,
}

/// What was observed at a target.
#[derive(Debug)]
pub(crate) enum Seen {
    Host(Box<Observed>),
    Docker(Box<OnEngine>),
    Kubernetes(Box<OnCluster>),
}

impl Seen {
    /// Its files are this machine's.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Docker(seen) => seen.observed.facts.engine.local,
            Self::Kubernetes(_) => false,
        }
    }

    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Host(seen) => seen.facts.receipt.as_ref(),
            Self::Docker(seen) => seen.observed.facts.receipt.as_ref(),
            Self::Kubernetes(seen) => seen.observed.facts.receipt.as_ref(),
        }
    }

    pub(crate) fn rotate(&mut self, rotation: &Rotation) {
        match self {
            Self::Host(seen) => {
                seen.facts.rotate.clone_from(&rotation.secrets);
                seen.facts.certificates.authority &= !rotation.certificates;
            }
            Self::Docker(seen) => {
                let facts = &mut seen.observed.facts;
                facts.rotate.clone_from(&rotation.secrets);
                facts.certificates.authority &= !rotation.certificates;
            }
            Self::Kubernetes(seen) => {
                let facts = &mut seen.observed.facts;
                facts.rotate.clone_from(&rotation.secrets);
                facts.certificates.authority &= !rotation.certificates;
            }
        }
    }

    /// What a cluster was told, and has not come to yet, counts as done.
    pub(crate) fn take_for_ready(&mut self) {
        match self {
            Self::Host(_) | Self::Docker(_) => {}
            Self::Kubernetes(seen) => {
                let objects = seen.observed.facts.objects.values_mut();
                objects.for_each(|fact| fact.ready = true);
            }
        }
    }

    /// Versions that are kept of each secret, by purpose.
    pub(crate) fn secrets(&self) -> &BTreeMap<String, SecretFact> {
        match self {
            Self::Host(seen) => &seen.facts.secrets,
            Self::Docker(seen) => &seen.observed.facts.secrets,
            Self::Kubernetes(seen) => &seen.observed.facts.secrets,
        }
    }

    pub(crate) fn rates(&self) -> &BTreeMap<String, CameraFact> {
        match self {
            Self::Host(seen) => &seen.facts.cameras,
            Self::Docker(seen) => &seen.observed.facts.cameras,
            Self::Kubernetes(seen) => &seen.observed.facts.cameras,
        }
    }

    pub(crate) fn rates_mut(&mut self) -> &mut BTreeMap<String, CameraFact> {
        match self {
            Self::Host(seen) => &mut seen.facts.cameras,
            Self::Docker(seen) => &mut seen.observed.facts.cameras,
            Self::Kubernetes(seen) => &mut seen.observed.facts.cameras,
        }
    }

    /// What a saved plan is bound to.
    pub(crate) fn machine(&self) -> &str {
        match self {
            Self::Host(seen) => &seen.facts.machine.id,
            Self::Docker(seen) => &seen.observed.facts.engine.id,
            Self::Kubernetes(seen) => &seen.observed.facts.cluster.id,
        }
    }

    pub(crate) fn footage_bytes(&self) -> u64 {
        match self {
            Self::Host(seen) => seen.facts.data.disk.footage_bytes,
            Self::Docker(seen) => {
                let disk = seen.observed.facts.disk;
                disk.map_or(0, |disk| disk.footage_bytes)
            }
            // As much as may lie in the claims: what does, only the vault knows.
            Self::Kubernetes(seen) => {
                let objects = seen.observed.facts.objects.values();
                let ours = objects.filter(|fact| fact.ownership == Ownership::Ours);
                ours.filter_map(|fact| fact.storage_bytes).sum()
            }
        }
    }

    /// What one run at a time is about: its lock lies on this machine.
    pub(crate) fn lock_key(&self, data: &Utf8Path) -> Utf8PathBuf {
        match self {
            Self::Host(_) => data.to_owned(),
            Self::Docker(_) => Utf8PathBuf::from(format!("/docker/{}{data}", self.machine())),
            Self::Kubernetes(_) => {
                Utf8PathBuf::from(format!("/kubernetes/{}/{data}", self.machine()))
            }
        }
    }
}

/// A target as it is, and the one that the site still lies at when it moves.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) seen: Seen,
    pub(crate) from: Option<Seen>,
}

/// The way to change a target.
#[derive(Debug)]
pub(crate) enum AnyWorld {
    Host(Box<HostWorld>),
    Docker(Box<DockerWorld>),
    Kubernetes(Box<KubernetesWorld>),
    /// From the second to the first.
    Moving(Box<Self>, Box<Self>),
}

impl AnyWorld {
    pub(crate) fn effects(&self) -> u64 {
        match self {
            Self::Host(world) => world.effects(),
            Self::Docker(world) => world.effects(),
            Self::Kubernetes(world) => world.effects(),
            Self::Moving(to, _) => to.effects(),
        }
    }

    /// Services that were away while they were replaced, each with the milliseconds.
    pub(crate) fn gaps(&self) -> Vec<(String, u64)> {
        match self {
            Self::Host(_) | Self::Kubernetes(_) => Vec::new(),
            Self::Moving(to, _) => to.gaps(),
            Self::Docker(world) => world
                .gaps()
                .iter()
                .map(|(name, gap)| {
                    (
                        name.clone(),
                        u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
                    )
                })
                .collect(),
        }
    }

    fn performs(&self, action: &Action) -> bool {
        matches!(
            (self, action),
            (Self::Host(_), Action::Host(_)) | (Self::Docker(_), Action::Docker(_))
        )
    }

    fn answers(&self, condition: &Condition) -> bool {
        let of_engine = match condition {
            Condition::All { of } => return of.iter().all(|one| self.answers(one)),
            condition => matches!(condition, Condition::Container { .. }),
        };
        matches!(self, Self::Docker(_)) == of_engine
    }

    pub(crate) async fn end(self) {
        match self {
            Self::Host(_) | Self::Kubernetes(_) => {}
            Self::Docker(world) => world.end().await,
            Self::Moving(to, from) => {
                Box::pin(to.end()).await;
                Box::pin(from.end()).await;
            }
        }
    }
}

impl World for AnyWorld {
    async fn read_receipt(&self) -> Result<Option<Receipt>, EffectError> {
        match self {
            Self::Host(world) => world.read_receipt().await,
            Self::Docker(world) => world.read_receipt().await,
            Self::Kubernetes(world) => world.read_receipt().await,
            Self::Moving(to, _) => Box::pin(to.read_receipt()).await,
        }
    }

    async fn write_receipt(&mut self, receipt: &Receipt) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.write_receipt(receipt).await,
            Self::Docker(world) => world.write_receipt(receipt).await,
            Self::Kubernetes(world) => world.write_receipt(receipt).await,
            Self::Moving(to, _) => Box::pin(to.write_receipt(receipt)).await,
        }
    }

    async fn erase_receipt(&mut self) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.erase_receipt().await,
            Self::Docker(world) => world.erase_receipt().await,
            Self::Kubernetes(world) => world.erase_receipt().await,
            Self::Moving(to, _) => Box::pin(to.erase_receipt()).await,
        }
    }

    async fn perform(&mut self, action: &Action) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.perform(action).await,
            Self::Docker(world) => world.perform(action).await,
            Self::Kubernetes(world) => world.perform(action).await,
            Self::Moving(to, from) => {
                let world = if to.performs(action) { to } else { from };
                Box::pin(world.perform(action)).await
            }
        }
    }

    async fn ahead(&mut self, next: &[&Action]) -> usize {
        match self {
            Self::Host(world) => world.ahead(next).await,
            Self::Docker(world) => world.ahead(next).await,
            Self::Kubernetes(world) => world.ahead(next).await,
            Self::Moving(to, from) => {
                let to_performs = next.first().is_some_and(|action| to.performs(action));
                let world = if to_performs { to } else { from };
                Box::pin(world.ahead(next)).await
            }
        }
    }

    async fn probe(&self, condition: &Condition) -> Probe {
        match self {
            Self::Host(world) => world.probe(condition).await,
            Self::Docker(world) => world.probe(condition).await,
            Self::Kubernetes(world) => world.probe(condition).await,
            Self::Moving(to, from) => {
                let world = if to.answers(condition) { to } else { from };
                Box::pin(world.probe(condition)).await
            }
        }
    }

    fn interrupted(&self) -> bool {
        match self {
            Self::Host(world) => world.interrupted(),
            Self::Docker(world) => world.interrupted(),
            Self::Kubernetes(world) => world.interrupted(),
            Self::Moving(to, _) => to.interrupted(),
        }
    }
}

impl From<DockerError> for CommandError {
    fn from(error: DockerError) -> Self {
        let exit = match &error {
            DockerError::Forbidden { .. } => Exit::Forbidden,
            DockerError::Absent { .. } | DockerError::Certificates { .. } => Exit::WrongTarget,
            DockerError::Address { .. } => Exit::Usage,
            DockerError::Engine { .. } | DockerError::Read { .. } => Exit::Internal,
        };
        let failed = Self::from_error(exit, &error);
        match &error {
            DockerError::Forbidden { .. } => failed
                .hint("run it with sudo, or add yourself to the group that owns the socket: `sudo usermod -aG docker $USER`, then log in again; a rootless engine of your own is named with DOCKER_HOST"),
            DockerError::Certificates { .. } => failed
                .hint("DOCKER_CERT_PATH names a folder with ca.pem, of the authority that issued the engine's certificate, and cert.pem and key.pem, which that engine lets in"),
            DockerError::Absent { .. } => failed
                .hint("start it (`sudo systemctl start docker`), or name another with DOCKER_HOST"),
            _ => failed,
        }
    }
}

impl From<EffectError> for CommandError {
    fn from(error: EffectError) -> Self {
        let exit = match error.kind {
            ErrorKind::User => Exit::Usage,
            ErrorKind::Bug => Exit::Internal,
            ErrorKind::Forbidden => Exit::Forbidden,
            ErrorKind::Environment | ErrorKind::Transient | ErrorKind::Conflict => Exit::Partial,
        };
        Self::from_error(exit, &error)
    }
}
