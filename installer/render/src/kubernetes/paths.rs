//! Whom a site's services connect to: what NetworkPolicies let through, and what can be tried.

use std::fmt;

use installer_spec::{
    Broker, Camera, Catalogue, Database, EventSink, Keeper, Profile, Provider, S3Identity, Source,
};
use url::Url;

use crate::configuration::{Role, assignments};
use crate::docker::{CAMERA_PORT, VAULT_PORT};
use crate::store::Store;
use crate::stores;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// Pods of the site.
    Service(String),
    /// A name, or an address.
    Host(String),
    /// Somebody whom the platform alone knows.
    Anybody,
    /// Who lends pods of EKS a role, on every node.
    Lender,
}

/// Somebody whom a service needs, and the TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) to: To,
    pub(super) port: u16,
}

impl Need {
    fn service(name: impl Into<String>, port: u16) -> Self {
        let to = To::Service(name.into());
        Self { to, port }
    }

    fn url(url: &Url) -> Self {
        let usual = match url.scheme() {
            "rtsp" => 554,
            "rtsps" => 322,
            "mqtt" => 1883,
            "mqtts" => 8883,
            "amqp" => 5672,
            "amqps" => 5671,
            "http" => 80,
            _ => 443,
        };
        Self {
            to: To::Host(url.host_str().unwrap_or_default().to_owned()),
            port: url.port_or_known_default().unwrap_or(usual),
        }
    }
}

/// What an agent with these cameras needs besides names.
pub(super) fn of_agent<'a>(
    profile: &Profile,
    cameras: impl Iterator<Item = &'a Camera>,
) -> Vec<Need> {
    let mut needs = Vec::new();
    if profile.storage.keeper == Keeper::Vault {
        needs.push(Need::service("vault", VAULT_PORT));
    }
    for camera in cameras {
        match &camera.source {
            Source::Test(_) => {
                let name = format!("camera-{}", camera.name);
                needs.push(Need::service(name, CAMERA_PORT));
            }
            Source::Rtsp { main, sub, .. } => {
                needs.extend(
                    [Some(main), sub.as_ref()]
                        .into_iter()
                        .flatten()
                        .map(Need::url),
                );
            }
        }
    }
    without_repeats(needs)
}

/// What the vault needs besides names.
pub(super) fn of_vault(profile: &Profile) -> Vec<Need> {
    let stores = stores(profile).into_iter();
    let mut needs: Vec<_> = stores
        .map(|store| Need::service(store.name(), store.port()))
        .collect();
    let anybody = Need {
        to: To::Anybody,
        port: 443,
    };
    if let Provider::S3(s3) = &profile.storage.provider {
        needs.push(s3.endpoint.as_ref().map_or(anybody.clone(), Need::url));
        if s3.identity == S3Identity::Platform {
            // Who lends the role, and the agent beside the pods of EKS. The metadata service of the
            // node stays shut: it would lend the node's own.
            let lender = Need {
                to: To::Lender,
                port: 80,
            };
            needs.extend([anybody, lender]);
        }
    }
    if let Catalogue::Mongodb(Database::External { address, .. }) = &profile.catalogue {
        needs.extend(address.hosts.iter().map(|host| {
            let (name, port) = host.rsplit_once(':').unwrap_or((host, "27017"));
            Need {
                to: To::Host(name.to_owned()),
                port: port.parse().unwrap_or(27017),
            }
        }));
    }
    for sink in &profile.events {
        match sink {
            EventSink::Webhook { url }
            | EventSink::Mqtt {
                broker: Broker::External { url, .. },
                ..
            }
            | EventSink::Amqp {
                broker: Broker::External { url, .. },
                ..
            } => needs.push(Need::url(url)),
            EventSink::Mqtt { .. } | EventSink::Amqp { .. } => {}
        }
    }
    without_repeats(needs)
}

fn without_repeats(needs: Vec<Need>) -> Vec<Need> {
    let mut kept = Vec::new();
    for need in needs {
        if !kept.contains(&need) {
            kept.push(need);
        }
    }
    kept
}

/// A connection that can be tried from inside a pod of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub from: String,
    pub role: Role,
    /// As that pod names it.
    pub to: String,
    pub port: u16,
    /// The service of the site that it leads to.
    pub service: Option<String>,
    /// Whether the site's policies let it through.
    pub allowed: bool,
}

impl Path {
    /// Whether it leads to somebody who listens in every cluster.
    pub fn is_to_api_server(&self) -> bool {
        self.to == API_SERVER
    }

    /// Whether both have one end.
    pub fn leads_where(&self, other: &Self) -> bool {
        (&self.to, self.port) == (&other.to, other.port)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, port, .. } = self;
        if to.contains(':') && !to.starts_with('[') {
            return write!(f, "[{to}]:{port}");
        }
        write!(f, "{to}:{port}")
    }
}

/// Every cluster has it, and no policy of ours lets anybody there.
const API_SERVER: &str = "kubernetes.default.svc";

/// So many agents stand for all where a table of everybody and everybody would grow without end.
const TABLE_AGENTS: usize = 2;

/// Every connection that is needed; then, of a few services of each role, every one that is not.
///
/// What runs in the pods of stores is others', so that from there nothing can be tried.
pub fn paths(profile: &Profile) -> Vec<Path> {
    let services = assignments(profile);
    let mut paths = Vec::new();
    for service in &services {
        let needs = match service.role {
            Role::Agent => of_agent(profile, service.cameras.iter().copied()),
            Role::Vault => of_vault(profile),
            Role::Store | Role::TestCamera => Vec::new(),
        };
        paths.extend(needs.into_iter().filter_map(|need| {
            let (to, inside) = match need.to {
                To::Service(name) => (name.clone(), Some(name)),
                To::Host(name) => (name, None),
                To::Anybody | To::Lender => return None,
            };
            Some(Path {
                from: service.name.clone(),
                role: service.role,
                to,
                port: need.port,
                service: inside,
                allowed: true,
            })
        }));
    }
    let agents = services.iter().filter(|one| one.role == Role::Agent);
    let agents: Vec<_> = agents.take(TABLE_AGENTS).collect();
    let cameras = |role: Role| services.iter().filter(move |one| one.role == role);
    let cameras: Vec<_> = cameras(Role::TestCamera).take(TABLE_AGENTS).collect();
    let vault = services.iter().find(|one| one.role == Role::Vault);
    let mut targets: Vec<_> = stores(profile)
        .into_iter()
        .map(|store: Store| (store.name().to_owned(), store.port(), true))
        .collect();
    targets.extend(vault.map(|_| ("vault".to_owned(), VAULT_PORT, true)));
    targets.extend(
        cameras
            .iter()
            .map(|one| (one.name.clone(), CAMERA_PORT, true)),
    );
    targets.push((API_SERVER.to_owned(), 443, false));
    let mut forbidden = Vec::new();
    for from in agents.into_iter().chain(cameras).chain(vault) {
        for (to, port, inside) in &targets {
            let allowed =
                |path: &Path| path.from == from.name && path.to == *to && path.port == *port;
            if from.name == *to || paths.iter().any(allowed) {
                continue;
            }
            forbidden.push(Path {
                from: from.name.clone(),
                role: from.role,
                to: to.clone(),
                port: *port,
                service: inside.then(|| to.clone()),
                allowed: false,
            });
        }
    }
    paths.extend(forbidden);
    paths
}

#[cfg(test)]
mod tests {
    use installer_spec::{MemoryLists, SourceFile, parse};

    use super::*;

    fn check(rest: &str, allowed: &[&str], forbidden: &[&str]) {
        let text = format!("version: 1\nsite: paths\ntarget: kubernetes\n{rest}");
        let source = SourceFile {
            name: "paths.yaml",
            text: &text,
        };
        let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
        let told = |allowed: bool| {
            let paths = paths(&profile)
                .into_iter()
                .filter(|path| path.allowed == allowed);
            paths
                .map(|path| format!("{} {path}", path.from))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(true), allowed);
        assert_eq!(told(false), forbidden);
    }

    #[test]
    fn what_is_not_needed_is_forbidden() {
        check(
            "cameras: [ { name: gate, test: scene }, { name: yard, rtsp: 'rtsp://10.0.3.11/main' } ]\n\
             storage: { provider: minio, quota: 1GiB }\n\
             events: [ { webhook: 'https://192.0.2.7/hook' } ]\n",
            &[
                "vault minio:9000",
                "vault 192.0.2.7:443",
                "agent-gate vault:8443",
                "agent-gate camera-gate:8554",
                "agent-yard vault:8443",
                "agent-yard 10.0.3.11:554",
            ],
            &[
                "agent-gate minio:9000",
                "agent-gate kubernetes.default.svc:443",
                "agent-yard minio:9000",
                "agent-yard camera-gate:8554",
                "agent-yard kubernetes.default.svc:443",
                "camera-gate minio:9000",
                "camera-gate vault:8443",
                "camera-gate kubernetes.default.svc:443",
                "vault camera-gate:8554",
                "vault kubernetes.default.svc:443",
            ],
        );
    }

    #[test]
    fn a_table_of_many_agents_has_few_lines() {
        let cameras: Vec<_> = (0..50)
            .map(|n| format!("{{ name: c{n}, test: scene }}"))
            .collect();
        let text = format!(
            "version: 1\nsite: paths\ntarget: kubernetes\ncameras: [ {} ]\n\
             storage: {{ provider: filesystem, quota: 1GiB }}\n",
            cameras.join(", ")
        );
        let source = SourceFile {
            name: "paths.yaml",
            text: &text,
        };
        let profile = parse(&source, &MemoryLists::default()).unwrap().profile;
        let (allowed, forbidden): (Vec<_>, Vec<_>) =
            paths(&profile).into_iter().partition(|path| path.allowed);
        assert_eq!((allowed.len(), forbidden.len()), (100, 13));
    }
}
