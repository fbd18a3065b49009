//! A site on a container engine: containers, networks, and the files they read.
//!
//! Each container sees its own part of the site's data below [`ROOT`], and nothing else of it.

mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use agent_config::TlsFiles;
use camino::{Utf8Path, Utf8PathBuf};
use installer_spec::{Access, Catalogue, Database, Keeper, Profile, Provider, Source, TestSource};
use serde::{Deserialize, Serialize};
use url::Url;
use vault_api::Identity;

use crate::access::{ACCESS, access_certificate, acme_folder};
use crate::configuration::{
    Assignment, Placement, RenderedFile, Role, TEST_CAMERA_MEMORY_MIB, VAULT_MEMORY_MIB,
    agent_config, agent_memory_mib, agent_of, assignments, camera_secret, json, service_names,
    vault_config,
};
use crate::store::is_of_vault;
use crate::{Layout, SecretName, Store};

pub use stores::{CertificateFiles, certificate_files, reads_once};

/// The site's data directory as containers see it.
pub const ROOT: &str = "/stakeout";

/// Where the vault listens in its container.
pub const VAULT_PORT: u16 = 8443;
/// Where an agent listens, on its container's loopback only: the installer comes in by `pipe`.
pub const AGENT_PORT: u16 = 8080;
/// Above 1024: not every engine lets a user bind lower ones.
pub(crate) const CAMERA_PORT: u16 = 8554;

/// An image that a site runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    Agent,
    Vault,
    Minio,
    Ferretdb,
    Mosquitto,
    Rabbitmq,
}

impl Component {
    pub const ALL: [Self; 6] = [
        Self::Agent,
        Self::Vault,
        Self::Minio,
        Self::Ferretdb,
        Self::Mosquitto,
        Self::Rabbitmq,
    ];

    /// Its name in the catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Vault => "vault",
            Self::Minio => Store::Minio.name(),
            Self::Ferretdb => Store::Ferretdb.name(),
            Self::Mosquitto => Store::Mosquitto.name(),
            Self::Rabbitmq => Store::Rabbitmq.name(),
        }
    }

    /// Made by us and coming with the release, so that its ID is known before it is there.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Agent | Self::Vault)
    }
}

/// Where the vault listens for those who come by `access`.
pub const PUBLIC_PORT: u16 = 8444;

/// One container of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// `vault`, `camera-demo`, `agent-gate`, `agent`; its name in every network it is in.
    pub service: String,
    pub role: Role,
    pub image: Component,
    /// Names of the cameras that it records or plays.
    pub cameras: Vec<String>,
    /// Arguments of the image's entry point.
    pub command: Vec<String>,
    /// Names of files and settings; never a secret.
    pub environment: BTreeMap<String, String>,
    /// Folders in memory, for what a program writes and nobody needs later.
    pub scratch: Vec<Utf8PathBuf>,
    /// Names of [`Network`]s. The first has the way out.
    pub networks: Vec<String>,
    pub mounts: Vec<Mount>,
    /// Where the machine passes connections on to a port of the container.
    pub published: Option<Published>,
    /// Read from a mounted file; a change of it is a change of the container.
    pub config: Option<RenderedFile>,
    /// Asked inside the container, exit code 0 when it is well.
    pub health: Vec<String>,
    pub limits: Limits,
}

/// A port of a container at an address of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub address: SocketAddr,
    pub port: u16,
}

/// A part of the site's data that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Relative to the data directory; absolute for a file of the owner's.
    pub source: Utf8PathBuf,
    pub target: Utf8PathBuf,
    pub access: MountAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountAccess {
    Read,
    Write,
}

/// What a container may take of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_mib: u64,
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A trust zone: containers outside of it cannot be reached from inside, and the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    pub reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Its own containers only.
    Internal,
    /// And whatever the machine reaches: cameras, webhooks.
    Outside,
}

/// Services that have a certificate of the site's authority, each with the names in it; [`ACCESS`]
/// is among them where the vault shows such a one to others.
pub fn certificates(profile: &Profile) -> BTreeMap<String, BTreeSet<String>> {
    let mut certificates = BTreeMap::new();
    if profile.storage.keeper == Keeper::Vault {
        // The loopback names are for the installer and the health check.
        let names = ["vault", "localhost", "127.0.0.1"].map(str::to_owned);
        certificates.insert("vault".to_owned(), BTreeSet::from(names));
    }
    for store in crate::stores(profile) {
        let names = [store.name(), "localhost", "127.0.0.1"].map(str::to_owned);
        certificates.insert(store.name().to_owned(), BTreeSet::from(names));
        if store == Store::Ferretdb {
            let names = BTreeSet::from(["vault".to_owned()]);
            certificates.insert(stores::IDENTITY.to_owned(), names);
        }
    }
    certificates.extend(access_certificate(profile));
    certificates
}

/// Everything that rendering needs and cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub profile: &'a Profile,
    /// The profile's folder: relative paths start there.
    pub folder: &'a Utf8Path,
    /// Version in force by purpose; one for each of [`crate::secret_purposes`].
    pub secrets: &'a BTreeMap<String, u32>,
    /// Bytes that one camera's footage may take at its agent while it waits for the vault; absent,
    /// the disk is the limit.
    pub buffer_bytes: Option<u64>,
    /// Where agents listen: at their container's loopback, but where somebody reads their numbers.
    pub agents_at: Ipv4Addr,
}

/// The containers of a site in starting order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub networks: Vec<Network>,
    pub containers: Vec<Container>,
}

/// Renders the whole site.
pub fn render(inputs: &Inputs<'_>) -> Site {
    let deployed = crate::stores(inputs.profile);
    let mut containers: Vec<_> = deployed
        .iter()
        .map(|store| stores::container(inputs, *store))
        .collect();
    let services = assignments(inputs.profile);
    containers.extend(services.iter().filter_map(|service| match service.role {
        Role::Vault => Some(vault(inputs, service.name.clone())),
        Role::TestCamera => Some(test_camera(inputs, service)),
        Role::Agent => Some(agent(inputs, service)),
        Role::Store => None,
    }));
    let mut networks = Vec::new();
    if !deployed.is_empty() {
        networks.push(Network {
            name: stores::NETWORK.to_owned(),
            reach: Reach::Internal,
        });
    }
    for service in services {
        let reach = match service.role {
            // The vault is in its agents' networks; its own leads out, for webhooks.
            Role::Vault | Role::Agent => Reach::Outside,
            Role::TestCamera | Role::Store => continue,
        };
        networks.push(Network {
            name: service.name,
            reach,
        });
    }
    Site {
        networks,
        containers,
    }
}

impl Inputs<'_> {
    fn layout() -> Layout {
        Layout::with_control(ROOT)
    }
}

impl Placement for Inputs<'_> {
    fn profile(&self) -> &Profile {
        self.profile
    }

    fn listen(&self, service: &str) -> SocketAddr {
        let (address, port) = if service == "vault" {
            (Ipv4Addr::UNSPECIFIED, VAULT_PORT)
        } else {
            (self.agents_at, AGENT_PORT)
        };
        SocketAddr::V4(SocketAddrV4::new(address, port))
    }

    fn secret(&self, purpose: &str) -> Utf8PathBuf {
        let version = *self
            .secrets
            .get(purpose)
            .expect("invariant: the planner gives every secret a version");
        Self::layout().secret(&SecretName {
            purpose: purpose.to_owned(),
            version,
        })
    }

    fn vault(&self) -> Url {
        Url::parse(&format!("https://vault:{VAULT_PORT}/api")).expect("invariant: a literal URL")
    }

    fn test_camera(&self, camera: &str) -> Url {
        Url::parse(&format!("rtsp://camera-{camera}:{CAMERA_PORT}/{camera}"))
            .expect("invariant: camera names are URL-safe")
    }

    fn agent_data(&self, service: &str) -> Utf8PathBuf {
        Self::layout().agent_data(service)
    }

    fn vault_data(&self) -> Utf8PathBuf {
        Self::layout().vault()
    }

    fn recordings(&self) -> Utf8PathBuf {
        Self::layout().recordings()
    }

    fn tls(&self, service: &str) -> Option<TlsFiles> {
        let folder = Self::layout().certificate(service);
        Some(TlsFiles {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        })
    }

    fn trust(&self) -> Option<Utf8PathBuf> {
        Some(Self::layout().trust().join("ca.crt"))
    }

    fn identity(&self) -> Option<Identity> {
        let folder = Self::layout().certificate(stores::IDENTITY);
        Some(Identity {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        })
    }

    fn handoff(&self) -> Option<Utf8PathBuf> {
        None
    }

    fn buffer(&self) -> Option<u64> {
        self.buffer_bytes
    }

    fn public(&self, _access: &Access) -> Option<SocketAddr> {
        Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PUBLIC_PORT))
    }

    fn access_folder(&self) -> Utf8PathBuf {
        Self::layout().certificate(ACCESS)
    }
}

fn mount(target: Utf8PathBuf, access: MountAccess) -> Mount {
    let source = target
        .strip_prefix(ROOT)
        .expect("invariant: it was made below the root")
        .to_owned();
    Mount {
        source,
        target,
        access,
    }
}

/// Secrets of one service, of those that the site has.
fn secret_mounts<'a>(
    inputs: &Inputs<'_>,
    purposes: impl Iterator<Item = &'a String>,
) -> Vec<Mount> {
    purposes
        .filter(|purpose| inputs.secrets.contains_key(*purpose))
        .map(|purpose| mount(inputs.secret(purpose), MountAccess::Read))
        .collect()
}

fn vault(inputs: &Inputs<'_>, name: String) -> Container {
    let config = RenderedFile {
        path: Inputs::layout().service_config(&name),
        contents: json(&vault_config(inputs, &name)),
    };
    let mut mounts = vec![mount(config.path.clone(), MountAccess::Read)];
    let of_vault = inputs.secrets.keys().filter(|purpose| is_of_vault(purpose));
    mounts.extend(secret_mounts(inputs, of_vault));
    // A folder, not its files: what is renewed in it is seen without a restart.
    mounts.push(mount(
        Inputs::layout().certificate(&name),
        MountAccess::Read,
    ));
    if inputs.profile.access.is_some() {
        let may = match acme_folder(inputs) {
            Some(_) => MountAccess::Write,
            None => MountAccess::Read,
        };
        mounts.push(mount(inputs.access_folder(), may));
    }
    mounts.push(mount(inputs.vault_data(), MountAccess::Write));
    if inputs.profile.storage.provider == Provider::Filesystem {
        mounts.push(mount(inputs.recordings(), MountAccess::Write));
    }
    let mut networks = vec![name.clone()];
    if !crate::stores(inputs.profile).is_empty() {
        mounts.push(mount(Inputs::layout().trust(), MountAccess::Read));
        networks.push(stores::NETWORK.to_owned());
    }
    if inputs.profile.catalogue == Catalogue::Mongodb(Database::Deploy) {
        let identity = Inputs::layout().certificate(stores::IDENTITY);
        mounts.push(mount(identity, MountAccess::Read));
    }
    networks.extend(
        service_names(inputs.profile)
            .into_iter()
            .filter(|(_, role)| *role == Role::Agent)
            .map(|(agent, _)| agent),
    );
    Container {
        role: Role::Vault,
        cameras: Vec::new(),
        image: Component::Vault,
        command: ["run", "--config", config.path.as_str()]
            .map(str::to_owned)
            .to_vec(),
        environment: BTreeMap::new(),
        scratch: Vec::new(),
        networks,
        mounts,
        published: inputs.profile.access.as_ref().and_then(|access| {
            Some(Published {
                address: access.address?,
                port: PUBLIC_PORT,
            })
        }),
        health: ["stakeout-vault", "health", "--config", config.path.as_str()]
            .map(str::to_owned)
            .to_vec(),
        config: Some(config),
        limits: Limits {
            memory_mib: VAULT_MEMORY_MIB,
            cpu_milli: 2000,
            pids: 256,
        },
        service: name,
    }
}

fn agent(inputs: &Inputs<'_>, service: &Assignment<'_>) -> Container {
    let (name, cameras) = (service.name.clone(), &service.cameras);
    let config = RenderedFile {
        path: Inputs::layout().service_config(&name),
        contents: json(&agent_config(inputs, service)),
    };
    let has_vault = inputs.profile.storage.keeper == Keeper::Vault;
    let mut purposes: BTreeSet<_> = cameras.iter().map(|c| camera_secret(&c.name)).collect();
    purposes.insert(format!("{name}-token"));
    if has_vault {
        purposes.extend(["vault-access-key", "vault-secret-key"].map(str::to_owned));
    }
    let mut mounts = vec![mount(config.path.clone(), MountAccess::Read)];
    mounts.extend(secret_mounts(inputs, purposes.iter()));
    if has_vault {
        mounts.push(mount(Inputs::layout().trust(), MountAccess::Read));
    }
    mounts.push(mount(inputs.agent_data(&name), MountAccess::Write));
    let count = u64::try_from(cameras.len()).unwrap_or(u64::MAX);
    Container {
        role: Role::Agent,
        cameras: cameras.iter().map(|camera| camera.name.clone()).collect(),
        image: Component::Agent,
        command: ["run", "--config", config.path.as_str()]
            .map(str::to_owned)
            .to_vec(),
        environment: BTreeMap::new(),
        scratch: Vec::new(),
        networks: vec![name.clone()],
        mounts,
        published: None,
        health: ["stakeout-agent", "health", "--config", config.path.as_str()]
            .map(str::to_owned)
            .to_vec(),
        config: Some(config),
        limits: Limits {
            memory_mib: agent_memory_mib(cameras.len()),
            // Recording takes 1 % of a core, decoding a 4K key frame a second some 30 %.
            cpu_milli: 1000 + 250 * count.saturating_sub(1),
            // A writer thread for each camera, and the decoder's.
            pids: 64 + 8 * count,
        },
        service: name,
    }
}

fn test_camera(inputs: &Inputs<'_>, service: &Assignment<'_>) -> Container {
    let name = service.name.clone();
    let camera = service
        .cameras
        .first()
        .expect("invariant: a test camera plays one camera");
    let login = inputs.secret(&camera_secret(&camera.name));
    let mut mounts = vec![mount(login.clone(), MountAccess::Read)];
    let source = match &camera.source {
        Source::Test(TestSource::File(path)) => {
            let target = Utf8Path::new(ROOT).join("clip.mp4");
            mounts.push(Mount {
                source: inputs.folder.join(path),
                target: target.clone(),
                access: MountAccess::Read,
            });
            target.into_string()
        }
        _ => "scene".to_owned(),
    };
    let port = CAMERA_PORT.to_string();
    let command = [
        "test-camera",
        "--source",
        &source,
        "--listen",
        "0.0.0.0",
        "--port",
        &port,
        "--login-file",
        login.as_str(),
    ];
    let agent = agent_of(inputs.profile, camera);
    Container {
        role: Role::TestCamera,
        cameras: vec![camera.name.clone()],
        image: Component::Agent,
        command: command.map(str::to_owned).to_vec(),
        environment: BTreeMap::new(),
        scratch: Vec::new(),
        networks: vec![agent],
        mounts,
        published: None,
        config: None,
        health: vec![
            "stakeout-agent".to_owned(),
            "health".to_owned(),
            "--address".to_owned(),
            format!("127.0.0.1:{CAMERA_PORT}"),
        ],
        limits: Limits {
            memory_mib: TEST_CAMERA_MEMORY_MIB,
            cpu_milli: 500,
            pids: 64,
        },
        service: name,
    }
}

/// Whether a URL leads to the machine that looks at it. An RTSP URL's host is text to the `url` crate, whatever it looks like.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
