//! A site on one host: its services and the files they read.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use agent_config::{AgentConfig, CameraConfig, HttpConfig, RecordPolicy, UploadConfig};
use camino::{Utf8Path, Utf8PathBuf};
use installer_spec::{Camera, EventSink, Isolation, Keeper, Profile, Source, TestSource, When};
use serde::{Deserialize, Serialize};
use url::Url;
use vault_api::{AccountConfig, ProviderConfig, VaultConfig, WebhookConfig};

use crate::{Layout, SecretName};

/// User name with which the test camera is watched.
pub const TEST_CAMERA_USER: &str = "viewer";

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

/// What a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Vault,
    TestCamera,
    Agent,
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

/// A file with its full text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    pub path: Utf8PathBuf,
    pub contents: String,
}

/// Everything that rendering needs and cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub profile: &'a Profile,
    /// The profile's folder: relative paths start there.
    pub folder: &'a Utf8Path,
    pub layout: &'a Layout,
    /// Port by service name; one for each of [`service_names`].
    pub ports: &'a BTreeMap<String, u16>,
    /// Version in force by purpose; one for each of [`secret_purposes`].
    pub secrets: &'a BTreeMap<String, u32>,
}

/// How a secret's value comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretOrigin {
    /// 32 random bytes in hex, made where it is kept.
    Random,
    /// [`TEST_CAMERA_USER`] and a random password.
    RandomLogin,
    /// The login that the profile names for the camera.
    Camera,
}

/// The services of a site in starting order, by name and role.
pub fn service_names(profile: &Profile) -> Vec<(String, Role)> {
    let mut names = Vec::new();
    if profile.storage.keeper == Keeper::Vault {
        names.push(("vault".to_owned(), Role::Vault));
    }
    for camera in &profile.cameras {
        if matches!(camera.source, Source::Test(_)) {
            names.push((format!("camera-{}", camera.name), Role::TestCamera));
        }
    }
    match profile.agents.isolation {
        Isolation::Group => names.push(("agent".to_owned(), Role::Agent)),
        Isolation::Camera => {
            for camera in &profile.cameras {
                names.push((format!("agent-{}", camera.name), Role::Agent));
            }
        }
    }
    names
}

/// Secrets that the site needs, by purpose.
pub fn secret_purposes(profile: &Profile) -> BTreeMap<String, SecretOrigin> {
    let mut purposes = BTreeMap::new();
    for (service, role) in service_names(profile) {
        match role {
            Role::Agent => {
                purposes.insert(format!("{service}-token"), SecretOrigin::Random);
            }
            Role::Vault => {
                for purpose in ["vault-admin-token", "vault-access-key", "vault-secret-key"] {
                    purposes.insert(purpose.to_owned(), SecretOrigin::Random);
                }
            }
            Role::TestCamera => {}
        }
    }
    for camera in &profile.cameras {
        match &camera.source {
            Source::Test(_) => {
                purposes.insert(camera_secret(&camera.name), SecretOrigin::RandomLogin);
            }
            Source::Rtsp {
                credentials: Some(_),
                ..
            } => {
                purposes.insert(camera_secret(&camera.name), SecretOrigin::Camera);
            }
            Source::Rtsp {
                credentials: None, ..
            } => {}
        }
    }
    for (index, _) in profile.events.iter().enumerate() {
        purposes.insert(webhook_name(index), SecretOrigin::Random);
    }
    purposes
}

/// Purpose of a camera's login.
pub fn camera_secret(camera: &str) -> String {
    format!("camera-{camera}-login")
}

fn webhook_name(index: usize) -> String {
    format!("webhook-{}", index + 1)
}

/// The site's services in starting order, with their files.
pub fn render(inputs: &Inputs<'_>) -> Vec<Service> {
    service_names(inputs.profile)
        .into_iter()
        .map(|(name, role)| match role {
            Role::Vault => vault(inputs, name),
            Role::TestCamera => test_camera(inputs, name),
            Role::Agent => agent(inputs, name),
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

    fn listen(&self, service: &str) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port(service)))
    }
}

fn json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("invariant: plain data serialises");
    text.push('\n');
    text
}

fn vault(inputs: &Inputs<'_>, name: String) -> Service {
    let (layout, storage) = (inputs.layout, &inputs.profile.storage);
    let webhooks = inputs
        .profile
        .events
        .iter()
        .enumerate()
        .map(|(index, sink)| {
            let EventSink::Webhook { url } = sink;
            let name = webhook_name(index);
            WebhookConfig {
                secret_file: inputs.secret(&name),
                url: url.clone(),
                name,
            }
        });
    let config = VaultConfig {
        version: 1,
        site: inputs.profile.site.clone(),
        listen: inputs.listen(&name),
        tls: None,
        data: layout.vault(),
        admin_token_file: inputs.secret("vault-admin-token"),
        account: AccountConfig {
            name: inputs.profile.site.clone(),
            directory: inputs.profile.site.clone(),
            access_key_file: inputs.secret("vault-access-key"),
            secret_key_file: inputs.secret("vault-secret-key"),
            handoff: vec![layout.agents()],
        },
        provider: ProviderConfig::Filesystem {
            path: layout.recordings(),
        },
        retention: vault_api::Retention {
            age_seconds: storage.retention.map(|age| age.as_secs()),
            quota_bytes: storage.quota,
            reserve_bytes: None,
        },
        webhooks: webhooks.collect(),
        mqtt: Vec::new(),
        amqp: Vec::new(),
    };
    let path = layout.service_config(&name);
    Service {
        role: Role::Vault,
        description: "stakeout vault".to_owned(),
        program: Program::Vault,
        arguments: vec!["run".to_owned(), "--config".to_owned(), path.to_string()],
        port: inputs.port(&name),
        config: Some(RenderedFile {
            path,
            contents: json(&config),
        }),
        // A hand-off is a rename out of the agents' directory.
        writable: vec![layout.vault(), layout.recordings(), layout.agents()],
        memory_max_mib: 512,
        name,
    }
}

fn test_camera(inputs: &Inputs<'_>, name: String) -> Service {
    let camera = inputs
        .profile
        .cameras
        .iter()
        .find(|camera| name == format!("camera-{}", camera.name))
        .expect("invariant: the name was made from a camera");
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
        memory_max_mib: 128,
        name,
    }
}

fn agent(inputs: &Inputs<'_>, name: String) -> Service {
    let (layout, profile) = (inputs.layout, inputs.profile);
    let mine = |camera: &&Camera| {
        profile.agents.isolation == Isolation::Group || name == format!("agent-{}", camera.name)
    };
    let cameras: Vec<_> = profile
        .cameras
        .iter()
        .filter(mine)
        .map(|camera| camera_config(inputs, camera))
        .collect();
    // A process owns its folder: it repairs and uploads whatever lies in there.
    let data = layout.agent_data(&name);
    let writable = vec![data.clone()];
    let count = u64::try_from(cameras.len()).unwrap_or(u64::MAX);
    let has_vault = profile.storage.keeper == Keeper::Vault;
    let agents = match profile.agents.isolation {
        Isolation::Group => 1,
        Isolation::Camera => u64::try_from(profile.cameras.len().max(1)).unwrap_or(1),
    };
    let retention = if has_vault {
        // What waits for the vault stays until it is there; only a full disk takes it.
        agent_config::Retention::default()
    } else {
        agent_config::Retention {
            age_seconds: profile.storage.retention.map(|age| age.as_secs()),
            quota_bytes: profile.storage.quota.map(|quota| quota / agents),
            reserve_bytes: None,
        }
    };
    let config = AgentConfig {
        version: 1,
        site: profile.site.clone(),
        data,
        http: HttpConfig {
            listen: inputs.listen(&name),
            token_file: inputs.secret(&format!("{name}-token")),
        },
        cameras,
        retention,
        upload: has_vault.then(|| UploadConfig {
            url: vault_url(inputs.port("vault")),
            access_key_file: inputs.secret("vault-access-key"),
            secret_key_file: inputs.secret("vault-secret-key"),
            directory: profile.site.clone(),
            handoff: true,
        }),
    };
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
        config: Some(RenderedFile {
            path,
            contents: json(&config),
        }),
        writable,
        // A 20 s pre-roll at 8 Mbit/s, a 4K key-frame decoder and room to breathe.
        memory_max_mib: 256 + 64 * count.saturating_sub(1),
        name,
    }
}

/// Base of the vault's API on this host.
pub fn vault_url(port: u16) -> Url {
    Url::parse(&format!("http://127.0.0.1:{port}/api")).expect("invariant: a literal URL")
}

fn camera_config(inputs: &Inputs<'_>, camera: &Camera) -> CameraConfig {
    let login = || inputs.secret(&camera_secret(&camera.name));
    let (rtsp, sub, credentials_file) = match &camera.source {
        Source::Rtsp {
            main,
            sub,
            credentials,
        } => (
            main.clone(),
            sub.clone(),
            credentials.as_ref().map(|_| login()),
        ),
        Source::Test(_) => {
            let port = inputs.port(&format!("camera-{}", camera.name));
            let url = Url::parse(&format!("rtsp://127.0.0.1:{port}/{}", camera.name));
            (
                url.expect("invariant: camera names are URL-safe"),
                None,
                Some(login()),
            )
        }
    };
    let millis = |duration: std::time::Duration| {
        u64::try_from(duration.as_millis()).expect("invariant: the profile bounds its durations")
    };
    CameraConfig {
        name: camera.name.clone(),
        rtsp,
        sub,
        credentials_file,
        record: RecordPolicy {
            when: match camera.record.when {
                When::Continuous => agent_config::When::Continuous,
                When::Motion => agent_config::When::Motion,
                When::Both => agent_config::When::Both,
            },
            pre_ms: millis(camera.record.pre),
            post_ms: millis(camera.record.post),
            longest_ms: millis(camera.record.longest),
        },
    }
}
