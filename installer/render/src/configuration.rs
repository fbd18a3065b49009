//! What every target shares: which services a site has, which secrets, and what its agents and its
//! vault are told. A target says by [`Placement`] where things are.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use agent_config::{AgentConfig, CameraConfig, HttpConfig, RecordPolicy, TlsFiles, UploadConfig};
use camino::Utf8PathBuf;
use installer_spec::{Access, Camera, Isolation, Keeper, Profile, Source, When};
use serde::{Deserialize, Serialize};
use url::Url;
use vault_api::{AccountConfig, Identity, TlsConfig, VaultConfig};

use crate::access::public;
use crate::secret::{SecretOrigin, chart_secret};
use crate::store::{catalogue, integrations, provider, store_secrets};

/// User name with which the test camera is watched.
pub const TEST_CAMERA_USER: &str = "viewer";

/// What a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What the vault uses: an object store, a database, a broker.
    Store,
    Vault,
    TestCamera,
    Agent,
}

/// A service of a site and the cameras that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment<'a> {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) cameras: Vec<&'a Camera>,
}

/// The services of a site in starting order; its [`stores`](crate::stores()) come before them.
pub(crate) fn assignments(profile: &Profile) -> Vec<Assignment<'_>> {
    let mut services = Vec::new();
    let mut add = |name: String, role, cameras| {
        services.push(Assignment {
            name,
            role,
            cameras,
        });
    };
    if profile.storage.keeper == Keeper::Vault {
        add("vault".to_owned(), Role::Vault, Vec::new());
    }
    for camera in &profile.cameras {
        if let Some(name) = test_camera_of(camera) {
            add(name, Role::TestCamera, vec![camera]);
        }
    }
    match profile.agents.isolation {
        Isolation::Group => {
            let cameras = profile.cameras.iter().collect();
            add("agent".to_owned(), Role::Agent, cameras);
        }
        Isolation::Camera => {
            for camera in &profile.cameras {
                add(agent_of(profile, camera), Role::Agent, vec![camera]);
            }
        }
    }
    services
}

/// The same, by name and role.
pub fn service_names(profile: &Profile) -> Vec<(String, Role)> {
    let services = assignments(profile).into_iter();
    services
        .map(|service| (service.name, service.role))
        .collect()
}

/// The service that records a camera.
pub fn agent_of(profile: &Profile, camera: &Camera) -> String {
    match profile.agents.isolation {
        Isolation::Camera => format!("agent-{}", camera.name),
        Isolation::Group => "agent".to_owned(),
    }
}

/// The service that stands for a camera of ours; others have none.
pub fn test_camera_of(camera: &Camera) -> Option<String> {
    matches!(camera.source, Source::Test(_)).then(|| format!("camera-{}", camera.name))
}

/// A file with its full text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    pub path: Utf8PathBuf,
    pub contents: String,
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
            Role::TestCamera | Role::Store => {}
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
                purposes.insert(camera_secret(&camera.name), SecretOrigin::Login);
            }
            Source::Rtsp {
                credentials: None, ..
            } => {}
        }
    }
    purposes.extend(store_secrets(profile));
    for chart in &profile.charts {
        for name in chart.secrets.keys() {
            purposes.insert(chart_secret(&chart.name, name), SecretOrigin::Login);
        }
    }
    purposes
}

/// Purpose of a camera's login.
pub fn camera_secret(camera: &str) -> String {
    format!("camera-{camera}-login")
}

/// Where things of a site are on a target.
pub(crate) trait Placement {
    fn profile(&self) -> &Profile;
    /// Address at which a service's API listens.
    fn listen(&self, service: &str) -> SocketAddr;
    /// File that holds a secret, as the service sees it.
    fn secret(&self, purpose: &str) -> Utf8PathBuf;
    /// Base of the vault's API, as agents reach it.
    fn vault(&self) -> Url;
    /// A test camera's stream, as its agent reaches it.
    fn test_camera(&self, camera: &str) -> Url;
    /// Folder that an agent process owns.
    fn agent_data(&self, service: &str) -> Utf8PathBuf;
    /// Folder of the vault's catalogue.
    fn vault_data(&self) -> Utf8PathBuf;
    /// Folder of the filesystem provider.
    fn recordings(&self) -> Utf8PathBuf;
    /// A service's certificate; absent where nothing leaves this machine.
    fn tls(&self, service: &str) -> Option<TlsFiles>;
    /// Bundle of the issuers that the site's parts trust, where there are certificates.
    fn trust(&self) -> Option<Utf8PathBuf>;
    /// What the vault shows to a database of the site's own.
    fn identity(&self) -> Option<Identity>;
    /// The folder out of which the vault takes agents' files by rename; absent where they share
    /// no disk and agents send them.
    fn handoff(&self) -> Option<Utf8PathBuf>;
    /// Bytes that one camera's footage may take while it waits for the vault; absent, the disk is the
    /// limit.
    fn buffer(&self) -> Option<u64> {
        None
    }
    /// Where the vault listens for those who come by `access`.
    fn public(&self, access: &Access) -> Option<SocketAddr>;
    /// Folder of the certificate that they are shown.
    fn access_folder(&self) -> Utf8PathBuf;
}

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("invariant: plain data serialises");
    text.push('\n');
    text
}

/// What the vault is told.
pub(crate) fn vault_config(place: &impl Placement, service: &str) -> VaultConfig {
    let profile = place.profile();
    let integrations = integrations(place);
    VaultConfig {
        version: 1,
        site: profile.site.clone(),
        listen: place.listen(service),
        tls: place.tls(service).map(|files| TlsConfig::Files {
            certificate: files.certificate,
            key: files.key,
        }),
        public: public(place),
        data: place.vault_data(),
        admin_token_file: place.secret("vault-admin-token"),
        account: AccountConfig {
            name: profile.site.clone(),
            directory: profile.site.clone(),
            access_key_file: place.secret("vault-access-key"),
            secret_key_file: place.secret("vault-secret-key"),
            handoff: place.handoff().into_iter().collect(),
        },
        provider: provider(place),
        catalogue: catalogue(place),
        retention: vault_api::Retention {
            age_seconds: profile.storage.retention.map(|age| age.as_secs()),
            quota_bytes: profile.storage.quota,
            reserve_bytes: None,
        },
        webhooks: integrations.webhooks,
        mqtt: integrations.mqtt,
        amqp: integrations.amqp,
    }
}

/// What an agent is told.
pub(crate) fn agent_config(place: &impl Placement, service: &Assignment<'_>) -> AgentConfig {
    let profile = place.profile();
    let (service, cameras) = (service.name.as_str(), &service.cameras);
    let has_vault = profile.storage.keeper == Keeper::Vault;
    let agents = match profile.agents.isolation {
        Isolation::Group => 1,
        Isolation::Camera => u64::try_from(profile.cameras.len().max(1)).unwrap_or(1),
    };
    let retention = if has_vault {
        // What waits for the vault stays until it is there; only a full disk takes it.
        let count = u64::try_from(cameras.len()).unwrap_or(1);
        agent_config::Retention {
            quota_bytes: place.buffer().map(|bytes| bytes * count),
            ..agent_config::Retention::default()
        }
    } else {
        agent_config::Retention {
            age_seconds: profile.storage.retention.map(|age| age.as_secs()),
            quota_bytes: profile.storage.quota.map(|quota| quota / agents),
            reserve_bytes: None,
        }
    };
    AgentConfig {
        version: 1,
        site: profile.site.clone(),
        // A process owns its folder: it repairs and uploads whatever lies in there.
        data: place.agent_data(service),
        http: HttpConfig {
            listen: place.listen(service),
            token_file: place.secret(&format!("{service}-token")),
            tls: None,
        },
        cameras: cameras
            .iter()
            .map(|camera| camera_config(place, camera))
            .collect(),
        retention,
        upload: has_vault.then(|| UploadConfig {
            url: place.vault(),
            access_key_file: place.secret("vault-access-key"),
            secret_key_file: place.secret("vault-secret-key"),
            directory: profile.site.clone(),
            handoff: place.handoff().is_some(),
            ca_file: place.trust(),
        }),
    }
}

fn camera_config(place: &impl Placement, camera: &Camera) -> CameraConfig {
    let login = || place.secret(&camera_secret(&camera.name));
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
        Source::Test(_) => (place.test_camera(&camera.name), None, Some(login())),
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

/// Memory that an agent may take: a 20 s pre-roll at 8 Mbit/s, a 4K key-frame decoder and room to
/// breathe; less for each further camera.
pub(crate) fn agent_memory_mib(cameras: usize) -> u64 {
    256 + 64 * u64::try_from(cameras.saturating_sub(1)).unwrap_or(u64::MAX / 64)
}

pub(crate) const VAULT_MEMORY_MIB: u64 = 512;
pub(crate) const TEST_CAMERA_MEMORY_MIB: u64 = 128;
