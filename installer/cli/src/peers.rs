//! The way to the agents and the vault of an installed site, wherever they run.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use installer_engine::{CameraAccess, Forward, VaultAccess};
use installer_host::read_secret;
use installer_plan::Plan;
use installer_render::docker::{AGENT_PORT, ROOT, VAULT_PORT};
use installer_render::{Layout, agent_of};
use installer_spec::{Camera, Keeper};
use url::Url;

use crate::error::{CommandError, Exit};
use crate::site::Site;
use crate::target::{OnCluster, OnEngine, Seen};

/// Held for as long as the site is talked to.
#[derive(Debug)]
pub(crate) struct Peers {
    /// In the profile's order.
    pub(crate) cameras: Vec<CameraAccess>,
    _forwards: Vec<Forward>,
}

/// Opens the way to everything that `plan` has made.
pub(crate) async fn peers(site: &Site, plan: &Plan, seen: &Seen) -> Result<Peers, CommandError> {
    match seen {
        Seen::Host(_) => on_host(site, plan),
        Seen::Docker(seen) => on_engine(site, seen).await,
        Seen::Kubernetes(seen) => in_cluster(site, seen).await,
    }
}

fn base(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}/")).expect("invariant: a literal URL")
}

fn on_host(site: &Site, plan: &Plan) -> Result<Peers, CommandError> {
    let layout = Layout::new(site.data.clone());
    let secret = |purpose: &str| {
        read_secret(&layout, purpose)
            .map_err(|error| CommandError::from_error(Exit::Internal, &error))
    };
    let base = |service: &str| {
        let port = plan.owned.ports.get(service).copied().unwrap_or(0);
        base(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let vault = match site.profile.storage.keeper {
        Keeper::Agent => None,
        Keeper::Vault => Some(VaultAccess {
            url: base("vault"),
            token: secret("vault-admin-token")?,
            integrations: !site.profile.events.is_empty(),
        }),
    };
    let access = |camera: &Camera| {
        let service = agent_of(&site.profile, camera);
        Ok(CameraAccess {
            camera: camera.name.clone(),
            agent: base(&service),
            token: secret(&format!("{service}-token"))?,
            vault: vault.clone(),
            trust: None,
            folder: layout.agent_data(&service).join(&camera.name),
        })
    };
    let cameras: Result<_, CommandError> = site.profile.cameras.iter().map(access).collect();
    Ok(Peers {
        cameras: cameras?,
        _forwards: Vec::new(),
    })
}

pub(crate) async fn on_engine(site: &Site, seen: &OnEngine) -> Result<Peers, CommandError> {
    let name = &site.profile.site;
    let secret = |purpose: &str| seen.observed.secret(purpose).map(str::to_owned);
    let open = async |service: &str, port: u16| {
        let container = installer_plan::docker::object_name(name, service);
        let program = match service {
            "vault" => "stakeout-vault",
            _ => "stakeout-agent",
        };
        installer_docker::forward(&seen.connection, &container, program, port).await
    };
    through(site, seen.observed.trust.as_ref(), secret, open).await
}

/// The way through the API server.
pub(crate) async fn in_cluster(site: &Site, seen: &OnCluster) -> Result<Peers, CommandError> {
    let namespace = &seen.observed.facts.namespace;
    let secret = |purpose: &str| seen.observed.secret(purpose).map(str::to_owned);
    let open = async |service: &str, port: u16| {
        installer_kubernetes::forward(&seen.connection, namespace, service, port).await
    };
    through(site, seen.observed.trust.as_ref(), secret, open).await
}

/// Containers are reached by ways of their own, `open`ed by service and port.
async fn through(
    site: &Site,
    trust: Option<&String>,
    secret: impl Fn(&str) -> Option<String>,
    open: impl AsyncFn(&str, u16) -> io::Result<Forward>,
) -> Result<Peers, CommandError> {
    let secret = |purpose: &str| {
        secret(purpose).ok_or_else(|| {
            let message = format!("the site has no secret `{purpose}`");
            CommandError::new(Exit::Internal, message)
        })
    };
    let open = async |service: &str, port: u16| {
        let opened = open(service, port).await;
        opened.map_err(|error| CommandError::from_error(Exit::Internal, &error))
    };
    let mut forwards = Vec::new();
    let vault = match site.profile.storage.keeper {
        Keeper::Agent => None,
        Keeper::Vault => {
            let forward = open("vault", VAULT_PORT).await?;
            let url = Url::parse(&format!("https://{}/", forward.address()))
                .expect("invariant: a literal URL");
            forwards.push(forward);
            Some(VaultAccess {
                url,
                token: secret("vault-admin-token")?,
                integrations: !site.profile.events.is_empty(),
            })
        }
    };
    let layout = Layout::with_control(ROOT);
    let mut cameras = Vec::new();
    let mut agents: BTreeMap<String, Url> = BTreeMap::new();
    for camera in &site.profile.cameras {
        let service = agent_of(&site.profile, camera);
        let agent = match agents.get(&service) {
            Some(url) => url.clone(),
            None => {
                let forward = open(&service, AGENT_PORT).await?;
                let url = base(forward.address());
                agents.insert(service.clone(), url.clone());
                forwards.push(forward);
                url
            }
        };
        cameras.push(CameraAccess {
            camera: camera.name.clone(),
            agent,
            token: secret(&format!("{service}-token"))?,
            vault: vault.clone(),
            trust: trust.cloned(),
            folder: layout.agent_data(&service).join(&camera.name),
        });
    }
    Ok(Peers {
        cameras,
        _forwards: forwards,
    })
}
