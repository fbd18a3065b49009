//! A site on one host: its services and the files they read.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use agent_config::TlsFiles;
use camino::{Utf8Path, Utf8PathBuf};
use installer_spec::{Access, Profile, Provider, Source, TestSource};
use serde::{Deserialize, Serialize};
use url::Url;
use vault_api::Identity;

use crate::access::{ACCESS, acme_folder};
use crate::configuration::{
    Assignment, Placement, RenderedFile, Role, TEST_CAMERA_MEMORY_MIB, VAULT_MEMORY_MIB,
    agent_config, agent_memory_mib, assignments, camera_secret, json, vault_config,
};
use crate::{Layout, SecretName};

/// The programs that a site runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Program {
    /// Supervisor, where systemd is absent.
    #[serde(rename = "stakeout")]
    Stakeout,
    #[serde(rename = "stakeout-agent")]
    Agent,
    #[serde(rename = "stakeout-vault")]
    Vault,
}

impl Program {
    pub const ALL: [Self; 3] = [Self::Stakeout, Self::Agent, Self::Vault];

    pub fn file_name(self) -> &'static str {
        match self {
            Self::Stakeout => "stakeout",
            Self::Agent => "stakeout-agent",
            Self::Vault => "stakeout-vault",
        }
    }
}

/// One long-running process of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `vault`, `camera-demo`, `agent-gate`, `agent`.
    pub name: String,
    pub role: Role,
    pub description: String,
    pub program: Program,
    pub arguments: Vec<String>,
    /// Loopback port it listens on.
    pub port: u16,
    /// Its configuration file, where it has one.
    pub config: Option<RenderedFile>,
    /// Directories it may write.
    pub writable: Vec<Utf8PathBuf>,
    pub memory_max_mib: u64,
}

/// Everything that rendering needs and cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub profile: &'a Profile,
    /// The profile's folder: relative paths start there.
    pub folder: &'a Utf8Path,
    pub layout: &'a Layout,
    /// Port by service name; one for each of [`crate::service_names`].
    pub ports: &'a BTreeMap<String, u16>,
    /// Version in force by purpose; one for each of [`crate::secret_purposes`].
    pub secrets: &'a BTreeMap<String, u32>,
}

/// The site's services in starting order, with their files.
pub fn render(inputs: &Inputs<'_>) -> Vec<Service> {
    assignments(inputs.profile)
        .into_iter()
        .filter_map(|one| match one.role {
            Role::Vault => Some(vault(inputs, one.name)),
            Role::TestCamera => Some(test_camera(inputs, one)),
            Role::Agent => Some(agent(inputs, one)),
            Role::Store => None,
        })
        .collect()
}

impl Inputs<'_> {
    fn port(&self, service: &str) -> u16 {
        *self
            .ports
            .get(service)
            .expect("invariant: the planner gives every service a port")
    }
}

impl Placement for Inputs<'_> {
    fn profile(&self) -> &Profile {
        self.profile
    }

    fn listen(&self, service: &str) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port(service)))
    }

    fn secret(&self, purpose: &str) -> Utf8PathBuf {
        let version = *self
            .secrets
            .get(purpose)
            .expect("invariant: the planner gives every secret a version");
        self.layout.secret(&SecretName {
            purpose: purpose.to_owned(),
            version,
        })
    }

    fn vault(&self) -> Url {
        vault_url(self.port("vault"))
    }

    fn test_camera(&self, camera: &str) -> Url {
        let port = self.port(&format!("camera-{camera}"));
        Url::parse(&format!("rtsp://127.0.0.1:{port}/{camera}"))
            .expect("invariant: camera names are URL-safe")
    }

    fn agent_data(&self, service: &str) -> Utf8PathBuf {
        self.layout.agent_data(service)
    }

    fn vault_data(&self) -> Utf8PathBuf {
        self.layout.vault()
    }

    fn recordings(&self) -> Utf8PathBuf {
        self.layout.recordings()
    }

    fn tls(&self, _service: &str) -> Option<TlsFiles> {
        None
    }

    fn trust(&self) -> Option<Utf8PathBuf> {
        None
    }

    fn identity(&self) -> Option<Identity> {
        None
    }

    fn handoff(&self) -> Option<Utf8PathBuf> {
        Some(self.layout.agents())
    }

    fn public(&self, access: &Access) -> Option<SocketAddr> {
        access.address
    }

    fn access_folder(&self) -> Utf8PathBuf {
        self.layout.certificate(ACCESS)
    }
}

/// Base of the vault's API on this host.
pub fn vault_url(port: u16) -> Url {
    Url::parse(&format!("http://127.0.0.1:{port}/api")).expect("invariant: a literal URL")
}

fn vault(inputs: &Inputs<'_>, name: String) -> Service {
    let layout = inputs.layout;
    let path = layout.service_config(&name);
    // A hand-off is a rename out of the agents' directory.
    let mut writable = vec![layout.vault(), layout.agents()];
    if inputs.profile.storage.provider == Provider::Filesystem {
        writable.insert(1, layout.recordings());
    }
    writable.extend(acme_folder(inputs));
    Service {
        role: Role::Vault,
        description: "stakeout vault".to_owned(),
        program: Program::Vault,
        arguments: vec!["run".to_owned(), "--config".to_owned(), path.to_string()],
        port: inputs.port(&name),
        config: Some(RenderedFile {
            path,
            contents: json(&vault_config(inputs, &name)),
        }),
        writable,
        memory_max_mib: VAULT_MEMORY_MIB,
        name,
    }
}

fn test_camera(inputs: &Inputs<'_>, assigned: Assignment<'_>) -> Service {
    let name = assigned.name;
    let camera = assigned
        .cameras
        .first()
        .expect("invariant: a test camera plays one camera");
    let source = match &camera.source {
        Source::Test(TestSource::File(path)) => inputs.folder.join(path).into_string(),
        _ => "scene".to_owned(),
    };
    let port = inputs.port(&name);
    let login = inputs.secret(&camera_secret(&camera.name));
    let arguments = [
        "test-camera",
        "--source",
        &source,
        "--listen",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--login-file",
        login.as_str(),
    ];
    Service {
        role: Role::TestCamera,
        description: format!("stakeout test camera {}", camera.name),
        program: Program::Agent,
        arguments: arguments.map(str::to_owned).to_vec(),
        port,
        config: None,
        writable: Vec::new(),
        memory_max_mib: TEST_CAMERA_MEMORY_MIB,
        name,
    }
}

fn agent(inputs: &Inputs<'_>, assigned: Assignment<'_>) -> Service {
    let layout = inputs.layout;
    let config = agent_config(inputs, &assigned);
    let name = assigned.name;
    let path = layout.service_config(&name);
    Service {
        role: Role::Agent,
        description: name.strip_prefix("agent-").map_or_else(
            || "stakeout agent of all cameras".to_owned(),
            |camera| format!("stakeout agent of camera {camera}"),
        ),
        program: Program::Agent,
        arguments: vec!["run".to_owned(), "--config".to_owned(), path.to_string()],
        port: inputs.port(&name),
        writable: vec![layout.agent_data(&name)],
        memory_max_mib: agent_memory_mib(config.cameras.len()),
        config: Some(RenderedFile {
            path,
            contents: json(&config),
        }),
        name,
    }
}
