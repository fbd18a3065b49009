//! The targets side by side: what was seen of each, and the way to change it. Nothing else of the
//! program asks which target it is.

use camino::Utf8PathBuf;
use installer_docker::{Connection, DockerError, DockerObserved, DockerWorld};
use installer_engine::{EffectError, ErrorKind, Probe, World};
use installer_host::{HostWorld, Observed};
use installer_plan::{Action, Condition, Receipt};
use installer_spec::TargetChoice;

use crate::error::{CommandError, Exit};

/// Where a site is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// Services of this machine.
    Host,
    /// Containers of an engine.
    Docker,
}

impl Target {
    pub(crate) fn choose(asked: Option<Self>, profile: TargetChoice) -> Result<Self, CommandError> {
        match (asked, profile) {
            (Some(target), _) => Ok(target),
            (None, TargetChoice::Auto | TargetChoice::Host) => Ok(Self::Host),
            (None, TargetChoice::Docker) => Ok(Self::Docker),
            (None, TargetChoice::Kubernetes) => Err(CommandError::new(
                Exit::WrongTarget,
                "the profile asks for target `kubernetes`, which this version cannot install",
            )
            .hint("set `target: host` or `target: docker` in the profile")),
        }
    }
}

/// An engine and what was observed at it.
#[derive(Debug)]
pub(crate) struct OnEngine {
    pub(crate) connection: Connection,
    pub(crate) observed: DockerObserved,
}

/// What was observed at a target.
#[derive(Debug)]
pub(crate) enum Seen {
    Host(Box<Observed>),
    Docker(Box<OnEngine>),
}

impl Seen {
    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Host(seen) => seen.facts.receipt.as_ref(),
            Self::Docker(seen) => seen.observed.facts.receipt.as_ref(),
        }
    }

    /// What a saved plan is bound to.
    pub(crate) fn machine(&self) -> &str {
        match self {
            Self::Host(seen) => &seen.facts.machine.id,
            Self::Docker(seen) => &seen.observed.facts.engine.id,
        }
    }

    pub(crate) fn footage_bytes(&self) -> u64 {
        match self {
            Self::Host(seen) => seen.facts.data.disk.footage_bytes,
            Self::Docker(seen) => {
                let disk = seen.observed.facts.disk;
                disk.map_or(0, |disk| disk.footage_bytes)
            }
        }
    }

    /// What one run at a time is about: its lock lies on this machine.
    pub(crate) fn lock_key(&self, data: &camino::Utf8Path) -> Utf8PathBuf {
        match self {
            Self::Host(_) => data.to_owned(),
            Self::Docker(_) => Utf8PathBuf::from(format!("/docker/{}{data}", self.machine())),
        }
    }
}

/// The way to change a target.
#[derive(Debug)]
pub(crate) enum AnyWorld {
    Host(Box<HostWorld>),
    Docker(Box<DockerWorld>),
}

impl AnyWorld {
    pub(crate) fn effects(&self) -> u64 {
        match self {
            Self::Host(world) => world.effects(),
            Self::Docker(world) => world.effects(),
        }
    }

    /// Services that were away while they were replaced, each with the milliseconds.
    pub(crate) fn gaps(&self) -> Vec<(String, u64)> {
        match self {
            Self::Host(_) => Vec::new(),
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

    pub(crate) async fn end(self) {
        match self {
            Self::Host(_) => {}
            Self::Docker(world) => world.end().await,
        }
    }
}

impl World for AnyWorld {
    async fn read_receipt(&self) -> Result<Option<Receipt>, EffectError> {
        match self {
            Self::Host(world) => world.read_receipt().await,
            Self::Docker(world) => world.read_receipt().await,
        }
    }

    async fn write_receipt(&mut self, receipt: &Receipt) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.write_receipt(receipt).await,
            Self::Docker(world) => world.write_receipt(receipt).await,
        }
    }

    async fn erase_receipt(&mut self) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.erase_receipt().await,
            Self::Docker(world) => world.erase_receipt().await,
        }
    }

    async fn perform(&mut self, action: &Action) -> Result<(), EffectError> {
        match self {
            Self::Host(world) => world.perform(action).await,
            Self::Docker(world) => world.perform(action).await,
        }
    }

    async fn probe(&self, condition: &Condition) -> Probe {
        match self {
            Self::Host(world) => world.probe(condition).await,
            Self::Docker(world) => world.probe(condition).await,
        }
    }

    fn interrupted(&self) -> bool {
        match self {
            Self::Host(world) => world.interrupted(),
            Self::Docker(world) => world.interrupted(),
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
            ErrorKind::Environment | ErrorKind::Transient | ErrorKind::Conflict => Exit::Partial,
        };
        Self::from_error(exit, &error)
    }
}
